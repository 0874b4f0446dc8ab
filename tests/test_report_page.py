"""The page of a run, out of what its stages left: verdict, sentences, what is hidden, and what purge does to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from whole_runs import EVIL, example, whole_run

from distill_offline import pipeline
from distill_offline.cli import commands
from distill_offline.corpus import read_examples
from distill_offline.errors import InputError
from distill_offline.evaluate.predictions import PREDICTIONS
from distill_offline.evaluate.verdict import Learner, verdict
from distill_offline.pipeline.report_page import _confusion, page_of_run
from distill_offline.report.verdict import headline, next_steps
from distill_offline.report.words import count_rows, duration, setting_rows
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example
from distill_offline.storage.files import read_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> RunFolder:
    return whole_run(tmp_path_factory.mktemp("page"), encoder)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="sentences" type="application/json">(.*?)</script>', page, re.S)
    assert found
    return dict(json.loads(found[1]))


def test_predictions_say_where_everybody_sees_what_and_hold_no_text(run: RunFolder) -> None:
    file = run.folder("evaluate") / PREDICTIONS
    rows = {row["id"]: row for row in read_rows(file)}
    assert len(rows) == 8
    assert set(rows["secret-7:1"]["students"]) == {"original_only", "simple_mix"}
    assert rows["secret-7:1"]["gold"] == [[3, 8, "PERSON", None]]
    content = file.read_text("utf-8")
    assert "Žofie" not in content
    assert "onerror" not in content
    for row in rows.values():
        for spans in row["students"].values():
            assert all(0 <= confidence <= 1 for *_, confidence in spans)


def test_the_page_opens_with_a_verdict_and_shows_each_sentence(run: RunFolder) -> None:
    page = (run.folder("report") / "index.html").read_text("utf-8")
    verdict_at, table_at = page.index('class="verdict"'), page.index("<table")
    assert verdict_at < table_at
    assert re.search(r'class="verdict">(Blending|No student|The student)', page)
    data = data_of(page)
    assert data["readings"] == ["gold", "teacher", "original_only", "simple_mix"]
    row = next(row for row in data["rows"] if row["id"] == "secret-7:1")
    (span,) = row["readings"]["gold"]
    as_a_browser = row["text"].encode("utf-16-le")
    assert as_a_browser[2 * span[0] : 2 * span[1]].decode("utf-16-le") == "Žofie"
    assert "sentences labelled by people" in page


def test_hostile_text_stays_data_and_the_policy_allows_one_script_alone(run: RunFolder) -> None:
    page = (run.folder("report") / "index.html").read_text("utf-8")
    assert "<img" not in page
    assert any(EVIL in row["text"] for row in data_of(page)["rows"])
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert f"script-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'").replace("&#x2B;", "+")
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    assert not re.search(r'(?:src|href)="', page)


def test_a_redacted_page_holds_no_text_and_no_script(run: RunFolder) -> None:
    page = page_of_run(run.path, redact=True)
    assert 'class="verdict"' in page
    assert "<script" not in page
    original = run.settings.corpus.original.test
    assert original is not None
    scored = read_examples(original, origin="original")
    names = {t for e in scored for t, label in zip(e.sentence.tokens, e.labels, strict=True) if label != "O"}
    assert len({name for name in names if len(name) > 3}) > 5
    assert not [name for name in names if len(name) > 3 and name in page]
    assert "secret-7" not in page


def test_the_verb_writes_the_page_anywhere_and_refuses_what_is_no_run(run: RunFolder, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    result = CliRunner().invoke(commands, ["report", str(run.path), "-o", str(target), "--redact", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"file": str(target), "bytes": target.stat().st_size, "has_text": False}
    with pytest.raises(InputError, match="no run is here"):
        page_of_run(tmp_path)


def test_nothing_but_a_page_is_overwritten_and_not_the_runs_own(run: RunFolder, tmp_path: Path) -> None:
    def report(target: Path) -> str:
        return str(CliRunner().invoke(commands, ["report", str(run.path), "-o", str(target)]).exception or "")

    mine = tmp_path / "gold.jsonl"
    mine.write_text("mine")
    assert "is no page" in report(mine)
    assert mine.read_text() == "mine"
    assert "which its manifest seals" in report(run.path / "report" / "index.html")
    assert report(tmp_path / "page.html") == report(tmp_path / "page.html") == ""


def test_a_stage_whose_files_changed_is_told_on_the_page(run: RunFolder, tmp_path: Path) -> None:
    assert "nothing of" not in page_of_run(run.path)
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "train" / "simple_mix" / "history.jsonl").write_text("{")
    assert "nothing of train/simple_mix is shown" in page_of_run(tmp_path / "run")


def test_purge_takes_the_text_out_of_the_page_and_the_document_out_of_the_predictions(
    run: RunFolder, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    (other,) = pipeline.purge("no-such-document", [copy])
    assert other["lines"] == 0
    assert "Žofie" in json.dumps(data_of((copy / "report" / "index.html").read_text("utf-8")), ensure_ascii=False)
    (found,) = pipeline.purge("secret-7", [copy])
    assert found["failed"] == ""
    assert found["lines"] > 0
    page = (copy / "report" / "index.html").read_text("utf-8")
    assert "<script" not in page
    assert "secret-7" not in page
    assert not [row for row in read_rows(copy / "evaluate" / PREDICTIONS) if row["document"] == "secret-7"]
    again = replace(run, path=copy)
    pipeline.run(again)  # the seals hold


def arms(better: int, sentences: int = 200) -> tuple[list[Example], dict[str, Learner]]:
    """Two students of which one misses an entity in `better` more sentences."""
    examples = [example(n, ("Ann", "left"), ("B-PERSON", "O")) for n in range(sentences)]
    right, nothing = ("B-PERSON", "O"), ("O", "O")
    blended = [right if n >= 20 else nothing for n in range(sentences)]
    alone = [right if n >= 20 + better else nothing for n in range(sentences)]
    return examples, {"simple_mix": Learner(9, 9, 0.5, blended), "original_only": Learner(0, 9, 0.4, alone)}


def test_the_verdict_is_the_difference_of_two_students_chosen_on_dev() -> None:
    examples, learners = arms(40)
    found = verdict("token-classification", examples, learners)
    assert found is not None
    assert (found["best"], found["baseline"]) == ("simple_mix", "original_only")
    blended, alone = (2 * right / (right + 200) for right in (180, 140))
    assert found["difference"] == pytest.approx(blended - alone)
    low, high = found["difference_interval"]
    assert 0 < low < found["difference"] < high
    assert (found["precision"], found["recall"]) == (1.0, 0.9)
    worse = {**learners, "union": Learner(9, 9, 0.9, [("O", "O")] * 200)}
    chosen = verdict("token-classification", examples, worse)
    assert chosen is not None
    assert chosen["best"] == "union"  # best on dev, however it does here


@pytest.mark.parametrize(
    ("better", "said"),
    [
        (40, r"Blending brings \+\d+\.\d F1 \(\d+\.\d to \d+\.\d\) over your 250 labelled sentences alone"),
        (0, "no difference"),
    ],
)
def test_the_headline_says_what_the_interval_allows(better: int, said: str) -> None:
    examples, learners = arms(better)
    found = verdict("token-classification", examples, learners)
    assert found is not None
    assert re.search(said, headline(found, 250))
    swapped = {
        "simple_mix": replace(learners["original_only"], distilled_drawn=9),
        "original_only": replace(learners["simple_mix"], distilled_drawn=0),
    }
    lost = verdict("token-classification", examples, swapped)
    assert lost is not None
    if better:
        assert headline(lost, None).startswith("Blending loses")
        assert "original_only" in next_steps(lost, 200, None)[0]


def test_without_dev_the_verdict_is_of_a_blend_wherever_it_stands() -> None:
    examples, learners = arms(40)
    labels = {name: learner.labels for name, learner in learners.items()}
    undecided = {
        "distilled_only": Learner(9, 0, None, [("O", "O")] * len(examples)),
        "original_only": Learner(0, 9, None, labels["original_only"]),
        "simple_mix": Learner(9, 9, None, labels["simple_mix"]),
    }
    found = verdict("token-classification", examples, undecided)
    assert found is not None
    assert (found["best"], found["baseline"]) == ("simple_mix", "original_only")
    by_dev = {**undecided, "distilled_only": Learner(9, 0, 0.1, undecided["distilled_only"].labels)}
    chosen = verdict("token-classification", examples, by_dev)
    assert chosen is not None
    assert chosen["best"] == "distilled_only"


def test_one_arm_alone_is_told_without_a_comparison_and_nothing_gives_no_verdict() -> None:
    examples, learners = arms(1)
    alone = verdict("token-classification", examples, {"original_only": learners["original_only"]})
    assert alone is not None
    assert "difference" not in alone
    assert "nothing is compared" in headline(alone, 250)
    assert verdict("token-classification", examples, {}) is None
    assert verdict("token-classification", [], learners) is None


def test_classes_are_compared_by_their_macro_f1() -> None:
    examples = [replace(example(n, ("a",), ("x",)), labels=("sport" if n % 2 else "trade",)) for n in range(60)]
    right = [e.labels for e in examples]
    wrong = [("sport",)] * 60
    learners = {"simple_mix": Learner(5, 5, None, right), "original_only": Learner(0, 5, None, wrong)}
    found = verdict("sequence-classification", examples, learners)
    assert found is not None
    assert found["f1"] == 1.0
    assert found["baseline_f1"] == pytest.approx(np.mean([2 / 3, 0.0]))


def test_counts_are_words() -> None:
    assert count_rows({"annotated": 1200, "rejected": {"inside_token": 3}}) == [
        ("annotated", "1,200"),
        ("rejected › inside token", "3"),
    ]
    assert setting_rows({"train": {"updates": 5, "arms": [{"name": "a"}], "x": None}}) == [
        ("train.updates", "5"),
        ("train.arms.0.name", "a"),
        ("train.x", "–"),
    ]
    assert [duration(s) for s in (12, 300, 12000)] == ["12 s", "5 min", "3 h 20 min"]


def test_of_several_classes_a_text_none_is_said_to_stand_for_another() -> None:
    def row(gold: list[str], said: list[str]) -> dict[str, Any]:
        gold_, said_ = ([[None, None, name, None] for name in names] for names in (gold, said))
        return {"gold": gold_, "teacher": None, "students": {"a": said_}}

    assert _confusion([row(["x"], ["y"]), row(["x"], ["y"])]) == {"a": [("x", "y", 2)]}
    assert _confusion([row(["x", "y"], ["x", "z"]), row(["x"], ["x", "z"]), row(["x"], ["x"])]) == {}
