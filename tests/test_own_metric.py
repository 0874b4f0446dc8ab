"""A task's own metric scores the teacher as it scores the students, and the table says whose scores they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from annotated_runs import TYPES
from outside import distribution, forget

from distill_offline.cli.console import Console
from distill_offline.config import parse_settings
from distill_offline.pipeline import run
from distill_offline.run.folder import RunFolder

SOURCE = """
from distill_offline import Measured, Scores
from distill_offline.tasks.ner import NER
class Counted(NER):
    metric = "a_tenth"
def a_tenth(gold, predicted):
    return Measured(Scores(0.1, 0.1, 0.1, len(gold)), {}, counts={"said": sum(len(each) for each in predicted)})
"""


def test_teacher_and_students_are_scored_by_the_tasks_own_metric(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = {"tasks": {"counted": "own_metric:Counted"}, "metrics": {"a_tenth": "own_metric:a_tenth"}}
    monkeypatch.syspath_prepend(str(distribution(tmp_path / "site", "own_metric", SOURCE, points)))
    forget(monkeypatch, "own_metric")
    corpus = {split: {"path": f"package:demo/{split}.jsonl", "limit": 10} for split in ("train", "dev", "test")}
    settings = parse_settings(
        {
            "name": "own",
            "task": {"name": "counted", "types": TYPES},
            "corpus": {"original": corpus, "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 10}},
            "backend": {"name": "scripted"},
            "annotate": {"gold": ["test"]},
            "train": {"encoder": str(encoder), "updates": 2, "eval_every": 2, "arms": [{"name": "simple_mix"}]},
        },
        "test",
    )
    result = run(RunFolder(tmp_path / "run", settings))
    teacher, student = result["rows"]
    assert (teacher["name"], student["name"], result["metric"]) == ("teacher", "simple_mix", "a_tenth")
    for row in (teacher, student):
        assert (row["overall"]["f1"], row["overall"]["support"], row["per_type"]) == (0.1, 10, {})
    assert teacher["counts"]["said"] == student["counts"]["said"] > 0
    assert teacher["counts"]["unanswered"] == 0
    assert teacher["quality"], "what kinds of error it makes is said all the same"
    Console().scores(result)
    assert "scores by a_tenth" in capsys.readouterr().out
    from distill_offline import manifest

    assert manifest.show(tmp_path / "run/evaluate")["versions"]["own_metric"] == "1.0"
    assert "own_metric" in sys.modules
