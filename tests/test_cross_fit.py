"""Confidences by students that never saw the label, as a stage of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from annotated_runs import TYPES

from distill_offline import manifest, pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import CrossFitSettings, Settings, Source
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError, Interrupted
from distill_offline.pipeline.export_labels import export_labels
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, content_digest
from distill_offline.select.cross_fit import cross_fit
from distill_offline.storage.files import read_rows, write_rows


@pytest.fixture
def settings(encoder: Path, tmp_path: Path) -> Settings:
    """Sixty labelled sentences from elsewhere, the first of them twice, and one that stands in dev."""
    demo = list(read_examples("package:demo/train.jsonl", origin="original"))[:60]
    dev = next(read_examples("package:demo/dev.jsonl", origin="original"))
    copy = replace(demo[0], sentence=replace(demo[0].sentence, id="copy"))
    write_examples(tmp_path / "distilled.jsonl", [*demo, copy, dev])
    return parse_settings(
        {
            "name": "crossed",
            "task": {"types": TYPES},
            "corpus": {
                "original": {
                    "train": {"path": "package:demo/train.jsonl", "skip": 50, "limit": 30},
                    "dev": "package:demo/dev.jsonl",
                },
                "distilled": str(tmp_path / "distilled.jsonl"),
            },
            "select": {"cross_fit": {"folds": 3, "updates": 2, "batch_size": 4, "learning_rate": 3e-3}},
            "train": {"encoder": str(encoder)},
        },
        "test",
    )


def crossing(settings: Settings, **changes: Any) -> Settings:
    assert settings.select.cross_fit is not None
    return replace(settings, select=replace(settings.select, cross_fit=replace(settings.select.cross_fit, **changes)))


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(read_rows(folder / "cross_fit/annotations.jsonl"))


def test_every_span_gets_a_probability_and_nothing_else_changes(tmp_path: Path, settings: Settings) -> None:
    said: list[str] = []
    counts = cross_fit(RunFolder(tmp_path / "run", settings, say=said.append))
    given = list(read_examples(tmp_path / "distilled.jsonl", origin="distilled"))
    found = rows(tmp_path / "run")
    assert [(row["id"], tuple(row["labels"])) for row in found] == [(e.sentence.id, e.labels) for e in given]
    confidences = [span["confidence"] for row in found for span in row["spans"]]
    assert counts == {"rows": 62, "spans_judged": len(confidences)}
    assert all(0 <= each <= 1 for each in confidences)
    assert len(set(confidences)) > 10
    assert all(0 < row["missed"] < 1 for row in found if "O" in row["labels"])
    assert manifest.is_whole(tmp_path / "run/cross_fit")
    assert {p.name for p in (tmp_path / "run/cross_fit").iterdir()} == {"annotations.jsonl", "manifest.json"}
    assert cross_fit(RunFolder(tmp_path / "run", settings, say=said.append)) == counts
    assert said[-1] == "cross_fit: up to date"


class _Watched:
    """What each fold's student was trained on, seen through the public loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from distill_offline.train import loop as training

        self.pools: list[training.Pools] = []
        real = training.train

        def watched(student: Any, pools: training.Pools, *rest: Any, **named: Any) -> Any:
            self.pools.append(pools)
            return real(student, pools, *rest, **named)

        monkeypatch.setattr(training, "train", watched)


def contents(examples: Any) -> set[str]:
    return {content_digest(e.sentence) for e in examples}


def test_no_student_saw_what_it_judges_nor_dev(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _Watched(monkeypatch).pools
    cross_fit(RunFolder(tmp_path / "run", settings))
    everything = contents(read_examples(tmp_path / "distilled.jsonl", origin="distilled"))
    dev = contents(read_examples("package:demo/dev.jsonl", origin="original"))
    left_out = [everything - dev - contents(pools.distilled) for pools in seen]
    assert len(seen) == 3
    assert set.union(*left_out) == everything - dev
    assert sum(map(len, left_out)) == len(everything - dev)  # each in one fold, its copy with it
    for pools, fold in zip(seen, left_out, strict=True):
        assert not dev & contents(pools.distilled)
        assert not fold & contents(pools.original)  # what gold says of a held-out sentence is held out, too
        assert len(pools.original) >= 20
        assert pools.dev == ()


def test_without_original_data_only_distilled_labels_are_learnt(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _Watched(monkeypatch).pools
    cross_fit(RunFolder(tmp_path / "run", crossing(settings, with_original=False)))
    assert [list(pools.original) for pools in seen] == [[], [], []]


def test_a_stopped_stage_goes_on_with_the_fold_it_had_reached(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross_fit(RunFolder(tmp_path / "whole", settings))
    seen, asked = _Watched(monkeypatch).pools, 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5  # once a fold and once an update: within the second fold

    with pytest.raises(Interrupted):
        cross_fit(RunFolder(tmp_path / "run", settings, stop=stop))
    assert not manifest.is_whole(tmp_path / "run/cross_fit")
    assert len(seen) == 2
    cross_fit(RunFolder(tmp_path / "run", settings))
    assert len(seen) == 4  # the second again, and the third
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_teachers_own_confidence_stays_unless_overruled(tmp_path: Path, settings: Settings) -> None:
    file, labels = tmp_path / "distilled.jsonl", tmp_path / "labels.jsonl"
    export_labels(file, file, labels)
    labels.write_text(labels.read_text().replace('null,"tags"]', '0.875,"exact"]', 3))
    corpus = replace(settings.corpus, distilled=Source(path=str(file), labels=str(labels)))
    sure = crossing(replace(settings, corpus=corpus), folds=2, updates=1)
    assert cross_fit(RunFolder(tmp_path / "run", sure))["spans_kept"] == 3
    assert sum(span["confidence"] == 0.875 for row in rows(tmp_path / "run") for span in row["spans"]) == 3
    overruled = cross_fit(RunFolder(tmp_path / "run", crossing(sure, overrule=True)))
    assert "spans_kept" not in overruled
    assert not any(span["confidence"] == 0.875 for row in rows(tmp_path / "run") for span in row["spans"])


def test_too_few_sentences_for_the_folds_are_refused(tmp_path: Path, settings: Settings) -> None:
    few = replace(settings, corpus=replace(settings.corpus, distilled=few_of(tmp_path)))
    with pytest.raises(InputError, match=r"select\.cross_fit\.folds: 3 folds cannot be made of 2 different sentences"):
        cross_fit(RunFolder(tmp_path / "run", few))


def few_of(tmp_path: Path) -> str:
    examples: list[Example] = list(read_examples("package:demo/train.jsonl", origin="original"))[:2]
    write_examples(tmp_path / "few.jsonl", examples)
    return str(tmp_path / "few.jsonl")


def test_wrong_labels_get_lower_confidence_than_right_ones(tmp_path: Path, settings: Settings) -> None:
    rows_given = []
    for number in range(80):  # what is a pump and what a day is plain; every tenth label says the other
        word, kind = (("pump", "EQUIPMENT"), ("monday", "DATE"))[number % 2]
        said = {"EQUIPMENT": "DATE", "DATE": "EQUIPMENT"}[kind] if number % 10 == 3 else kind
        rows_given.append({"tokens": [word, "is", str(number)], "labels": [f"B-{said}", "O", "O"]})
    write_rows(tmp_path / "distilled.jsonl", rows_given)
    chosen = CrossFitSettings(folds=2, updates=25, batch_size=8, learning_rate=1e-2, with_original=False)
    cross_fit(RunFolder(tmp_path / "run", replace(settings, select=replace(settings.select, cross_fit=chosen))))
    confidences = [row["spans"][0]["confidence"] for row in rows(tmp_path / "run")]
    wrong = [each for number, each in enumerate(confidences) if number % 10 == 3]
    right = [each for number, each in enumerate(confidences) if number % 10 != 3]
    assert max(wrong) < min(right)


def test_select_judges_by_it_and_a_purge_reaches_it(tmp_path: Path, settings: Settings) -> None:
    cross_fit(RunFolder(tmp_path / "run", settings))
    found = {row["id"]: row for row in rows(tmp_path / "run")}
    middle = median(row["missed"] for row in found.values())
    folder = RunFolder(tmp_path / "run", replace(settings, select=replace(settings.select, max_missed=middle)))
    folder.open()
    counts = pipeline.select(folder)
    folder.seal()
    selected = list(read_rows(folder.path / "select/annotations.jsonl"))
    assert 20 < len(selected) < len(found) - counts["probably_missed_an_entity"] <= len(found) - 20
    for row in found.values():
        assert row.pop("students") is not None  # theirs alone: select has no use for it but to relabel
        assert len(row.pop("no_entity")) == len(row["spans"])
    assert all(row == found[row["id"]] for row in selected)
    assert max(row["missed"] for row in selected) <= middle
    assert manifest.verify(folder.path) == []
    document = selected[0]["document"]
    pipeline.purge(document, [folder.path])
    assert document not in {row["document"] for row in rows(folder.path)}
    assert manifest.verify(folder.path) == []


def test_a_plan_has_the_folds_and_knows_when_they_are_old(tmp_path: Path, settings: Settings) -> None:
    def steps(settings: Settings) -> list[tuple[str, bool]]:
        found = pipeline.plan(RunFolder(tmp_path / "run", settings), ("select",))
        return [(step["stage"], step["fresh"]) for step in found]

    assert steps(settings) == [("cross_fit", False), ("select", False)]
    assert not (tmp_path / "run").exists()
    pipeline.select(RunFolder(tmp_path / "run", settings))
    assert steps(settings) == [("cross_fit", True), ("select", True)]
    assert steps(crossing(settings, updates=3)) == [("cross_fit", False), ("select", False)]
    (step, _) = pipeline.plan(RunFolder(tmp_path / "run", settings), ("select",))
    assert (step["updates"], step["detail"]) == (6, "3 folds, 2 updates of 4 sentences each")
    assert steps(replace(settings, select=replace(settings.select, budget=3))) == [
        ("cross_fit", True),
        ("select", False),
    ]
    assert [stage for stage, _ in steps(replace(settings, select=replace(settings.select, cross_fit=None)))] == [
        "select"
    ]
