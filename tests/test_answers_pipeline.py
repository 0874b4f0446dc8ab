"""What a teacher says, from its stored answers to the files of a run: drafts, repetitions, types by another name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_offline import pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.run.folder import RunFolder
from distill_offline.storage.files import read_rows

TEXT = "Oslo beat Bergen, and Oslo celebrated as only Oslo can."
DRAFT = '[["Friday","LOC"]]'


def run(folder: Path, answers: Mapping[str, str], said: list[str], **task: Any) -> RunFolder:
    """A run that has a sentence for each answer."""
    text, script = folder / "text.jsonl", folder / "answers.jsonl"
    text.write_text("".join(json.dumps({"id": name, "text": f"{TEXT} {name}"}) + "\n" for name in answers))
    script.write_text("".join(json.dumps({"id": name, "text": answer}) + "\n" for name, answer in answers.items()))
    types = {"LOC": "a place", "PER": "a human"}
    settings = parse_settings(
        {
            "name": "run",
            "task": {"types": types, **task},
            "corpus": {"unlabelled": str(text)},
            "backend": {"name": "scripted", "options": {"answers": str(script)}},
            "annotate": {"demonstrations": {"strategy": "none"}, "max_quarantined": 1.0, "max_failure_rate": 1.0},
        },
        "test",
    )
    return RunFolder(folder / "run", settings, say=said.append)


def starts(folder: RunFolder) -> dict[str, list[int]]:
    rows = read_rows(folder.folder("annotate") / "annotations.jsonl")
    return {row["id"]: [span["start"] for span in row["spans"]] for row in rows}


def test_drafts_never_become_labels_and_contradictions_are_counted(tmp_path: Path) -> None:
    answers = {
        "harmony": f"<|channel|>analysis<|message|>{DRAFT}?<|end|><|start|>assistant<|channel|>final<|message|>[]",
        "stripped": f"analysisPerhaps {DRAFT}? No.assistantfinal[]",
        "tags": f"<Think>{DRAFT}?</Think>[]",
        "prose": f"Perhaps {DRAFT}. No, a day is no place. Final answer: []",
        "cut": f"<think>{DRAFT}",
        "two": f"{DRAFT}\n[]",
    }
    said: list[str] = []
    folder = run(tmp_path, answers, said)
    counts = pipeline.annotate(folder)["unlabelled"]
    assert starts(folder) == {"harmony": [], "stripped": [], "tags": [], "prose": []}
    assert counts["quarantined"] == {"contradicting_answers": 1, "only_thinking": 1}
    assert any("1 contradicting_answers, 1 only_thinking" in line for line in said)


def test_another_rule_for_repetitions_reads_the_answers_again_and_asks_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    folder = run(tmp_path, {"r": '[["Oslo","LOC"],["Bergen","LOC"]]'}, said)
    first = pipeline.annotate(folder)["unlabelled"]
    assert (first["asked"], first["aligned"]) == (1, {"exact": 2, "repeated": 2})
    assert starts(folder) == {"r": [0, 2, 5, 9]}
    settings = replace(folder.settings, task=replace(folder.settings.task, repeats="first"))
    again = pipeline.annotate(replace(folder, settings=settings))["unlabelled"]
    assert (again["asked"], again["cached"], again["aligned"]) == (0, 1, {"exact": 2})
    assert starts(folder) == {"r": [0, 2]}


def test_types_by_another_name_are_counted_and_unknown_ones_are_said_aloud(tmp_path: Path) -> None:
    answers = {"a": '[["Oslo","B-LOC"],["Bergen","loc"]]', "b": '[["Oslo","CITY"]]', "c": "[]"}
    said: list[str] = []
    folder = run(tmp_path, answers, said)
    counts = pipeline.annotate(folder)["unlabelled"]
    assert counts["renamed"] == {"B-LOC as LOC": 1, "loc as LOC": 1}
    assert (counts["rejected"], counts["only_unknown"]) == ({"unknown_type": 1}, 1)
    assert any("2 types by another name (1 B-LOC as LOC, 1 loc as LOC)" in line for line in said)
    (warning,) = [line for line in said if "warning" in line]
    assert "1 of 3 mentions (33.3%) have a type that task.types does not name, and 1 of 3 rows have" in warning
    assert warning.endswith(counts["warnings"][0])
    said.clear()
    settings = replace(folder.settings, task=replace(folder.settings.task, synonyms={"LOC": ("city",)}))
    counts = pipeline.reparse(replace(folder, settings=settings))["unlabelled"]
    assert (counts["rejected"], counts["only_unknown"]) == ({}, 0)
    assert starts(folder)["b"] == [0, 5, 9]
    assert not any("warning" in line for line in said)


@pytest.mark.parametrize("types", [{"Drug": "a", "DRUG": "b"}, {"LOC": "a", "PER": "b"}])
def test_types_that_an_answer_could_confuse_are_told_before_it_is_asked(tmp_path: Path, types: dict[str, str]) -> None:
    said: list[str] = []
    pipeline.annotate(run(tmp_path, {"a": "[]"}, said, types=types))
    assert ("warning: task.types: Drug, DRUG differ" in said[0]) == ("Drug" in types)
