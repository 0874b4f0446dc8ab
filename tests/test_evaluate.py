"""evaluate: a teacher's quality, from the run's folder to the page and the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import TYPES, run_of
from click.testing import CliRunner
from confident_teacher import confident

from distill_offline import manifest, pipeline
from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError
from distill_offline.evaluate.compare import compare_with_gold
from distill_offline.report import View, render
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import read_gold
from distill_offline.select.calibrate import CALIBRATION
from distill_offline.storage.files import ANNOTATIONS, read_rows, write_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose teacher, with confidences, has labelled train and test; select has its calibration."""
    place = tmp_path_factory.mktemp("run")
    settings = {
        "name": "quality",
        "task": {"types": TYPES},
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 30},
                "test": {"path": "package:demo/test.jsonl", "limit": 10},
            },
            "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 10},
        },
        "annotate": {"gold": ["train", "test"], "demonstrations": {"k": 2}},
        "train": {"encoder": "none"},
    }
    made = run_of(place, confident(parse_settings(settings, "test"), place))
    pipeline.annotate(made)
    pipeline.select(made)
    return made


@pytest.fixture
def folder(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it, to change."""
    shutil.copytree(run.path, tmp_path / "run")
    return replace(run, path=tmp_path / "run")


def test_the_teachers_row_has_its_quality_and_what_calibration_makes_of_it(folder: RunFolder) -> None:
    result = pipeline.evaluate(folder)
    (row,) = result["rows"]
    quality = row["quality"]
    assert quality["matches"]["strict"]["f1"] == pytest.approx(row["overall"]["f1"])
    assert {kind: quality["overall"][kind] for kind in row["errors"]} == row["errors"]
    assert quality["overall"]["wrong_type"] > 0
    assert set(quality["by_alignment"]) == {"exact"}
    assert quality["reliability"]["auroc"] > 0.6
    assert quality["calibrated"]["bins"] != quality["reliability"]["bins"]
    assert result["calibration"]["before"]["bins"]
    assert pipeline.evaluate(folder) == result
    (folder.folder("select") / CALIBRATION).unlink()
    manifest.seal_again(folder.folder("select"), {})
    again = pipeline.evaluate(folder)
    assert "calibration" not in again
    assert "calibrated" not in again["rows"][0]["quality"]


def test_labels_that_the_teacher_was_asked_for_under_another_configuration_are_not_scored(folder: RunFolder) -> None:
    annotate = replace(folder.settings.annotate, gold=("train",))
    assert pipeline.evaluate(replace(folder, settings=replace(folder.settings, annotate=annotate)))["rows"] == []


def test_a_calibration_of_a_select_that_is_not_whole_is_not_read(folder: RunFolder) -> None:
    manifest.unseal(folder.folder("select"))
    assert "calibration" not in pipeline.evaluate(folder)


def test_the_page_shows_errors_and_reliability(folder: RunFolder) -> None:
    html = render(View("x", pipeline.evaluate(folder), {}, {}, {}))
    assert html.count("<svg") == 2
    assert "Share that is right by confidence: gold training sentences" in html
    assert "Share that is right by confidence: test split" in html
    for word in ("<th>found by</th>", "<th>confidence</th>", "PERSON", "wrong boundary", "Brier score", "calibrated"):
        assert word in html


def evaluated(*words: str) -> Any:
    result = CliRunner().invoke(commands, ["evaluate", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def gold_of(folder: RunFolder, split: str, path: Path) -> str:
    write_examples(path, read_gold(folder.settings).split(split))
    return str(path)


def test_the_command_shows_quality_of_annotations(folder: RunFolder, tmp_path: Path) -> None:
    gold = gold_of(folder, "test", tmp_path / "gold.jsonl")
    annotations = str(folder.folder("annotate") / "gold/test")
    found = json.loads(evaluated(annotations, "--gold", gold, "--json"))
    assert set(found) == {"on", "by", "overall", "per_type", "errors", "counts", "quality"}
    assert found["quality"]["by_type"]["PERSON"]["missed"] >= 0
    shown = evaluated(annotations, "--gold", gold)
    for words in ("spans by type", "spans by how the mention was found", "spans by confidence", "AUROC", "ent type"):
        assert words in shown


def test_selected_annotations_have_a_quality_too_and_labelled_files_have_none(
    folder: RunFolder, tmp_path: Path
) -> None:
    source = folder.settings.corpus.unlabelled
    assert source is not None
    write_examples(tmp_path / "gold.jsonl", read_examples(source, origin="original"))
    found = compare_with_gold(folder.folder("select"), tmp_path / "gold.jsonl")
    assert found.quality is not None
    assert found.quality.overall.correct > 5
    assert found.quality.matches["strict"]["f1"] == pytest.approx(found.report.overall.f1)
    assert compare_with_gold(tmp_path / "gold.jsonl", tmp_path / "gold.jsonl").quality is None


def test_masked_entities_are_neither_found_nor_missed(folder: RunFolder, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    first, second = ["Marta", "saw", "Noor", "at", "noon"], ["Noor", "slept"]
    tags = ["B-PERSON", "O", "B-PERSON", "O", "B-DATE"]
    write_rows(
        gold,
        [
            {"id": "a", "tokens": first, "labels": tags},
            {"id": "b", "tokens": second, "labels": ["B-PERSON", "O"]},
        ],
    )
    # The first is masked, the second found; of the third the label stands, but no loss is taken on it.
    given = {"tokens": first, "labels": ["O", "O", *tags[2:]], "masked": [0, 4], "rejected": []}
    spans = [{"start": n, "end": n + 1, "type": type_} for n, type_ in ((2, "PERSON"), (4, "DATE"))]
    rows: list[dict[str, Any]] = [
        {"id": "a", **given, "spans": spans},
        {"id": "b", "tokens": second, "labels": ["O", "O"], "spans": []},
    ]
    write_rows(tmp_path / "select" / ANNOTATIONS, rows)
    for labels in (tmp_path / "select", tmp_path / "select" / ANNOTATIONS):
        held = compare_with_gold(labels, gold)
        overall, counts = held.report.overall, held.report.counts
        assert (overall.precision, overall.recall, overall.support) == (1.0, 0.5, 2)
        assert (counts["masked"], held.report.errors["missed"]) == (2, 1)
    kinds = compare_with_gold(tmp_path / "select", gold).quality
    assert kinds is not None
    assert (kinds.overall.correct, kinds.overall.spans, kinds.overall.missed) == (1, 1, 1)
    assert "missed: 1" in evaluated(str(tmp_path / "select"), "--gold", str(gold))
    assert "masked: 2" in evaluated(str(tmp_path / "select"), "--gold", str(gold))
    assert "masked" not in compare_with_gold(gold, gold).report.counts


def test_spans_without_confidence_have_kinds_and_no_bins(folder: RunFolder, tmp_path: Path) -> None:
    gold = gold_of(folder, "test", tmp_path / "gold.jsonl")
    file = folder.folder("annotate") / "gold/test" / ANNOTATIONS
    rows = [{**row, "spans": [{**s, "confidence": None} for s in row["spans"]]} for row in read_rows(file)]
    write_rows(tmp_path / "bare" / ANNOTATIONS, rows)
    found = json.loads(evaluated(str(tmp_path / "bare"), "--gold", gold, "--json"))["quality"]
    assert (found["by_confidence"], found["reliability"]) == ([], None)
    assert found["without_confidence"] == found["overall"]["spans"] > 0
    assert "AUROC" not in evaluated(str(tmp_path / "bare"), "--gold", gold)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spans": None},
        {"labels": 3},
        {"labels": ["O"] * 999},
        {"labels": [1, 2, 3]},
        {"tokens": ["a", "b"], "labels": ["O", "?"], "masked": [0]},
        {"tokens": ["a", "b"], "labels": ["O", "O"], "text": "a b", "offsets": [[0, 1], [1, 2]]},
        {"confidence": float("nan")},
        {"confidence": "no"},
    ],
)
def test_a_line_that_is_no_annotation_is_named(folder: RunFolder, tmp_path: Path, wrong: dict[str, Any]) -> None:
    gold = gold_of(folder, "test", tmp_path / "gold.jsonl")
    rows = list(read_rows(folder.folder("annotate") / "gold/test" / ANNOTATIONS))
    number = next(n for n, row in enumerate(rows) if row["spans"])
    spans = [{**span, **wrong} for span in rows[number]["spans"]]
    rows[number] = {**rows[number], **({"spans": spans} if "confidence" in wrong else wrong)}
    write_rows(tmp_path / "bare" / ANNOTATIONS, rows)
    with pytest.raises(InputError, match=rf"annotations\.jsonl:{number + 1}: this is not a line of annotations"):
        compare_with_gold(tmp_path / "bare", Path(gold))
