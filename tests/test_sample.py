"""annotate --sample: what an edit would do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import perfect, run_of

from distill_offline import manifest, pipeline
from distill_offline.config.settings import Settings
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder
from distill_offline.storage.files import read_rows


def test_a_sample_shows_the_difference_and_leaves_the_run_as_it_is(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    folder.seal()
    changed = replace(
        perfect(settings), task=replace(settings.task, guidelines="Be exact.")
    )  # a better prompt, and a teacher that heeds it
    edited = RunFolder(folder.path, changed)
    found = pipeline.sample(edited, 15)
    assert (found["rows"], found["asked"]) == (15, 15)
    assert found["same"] + found["changed"] == 15
    assert found["unusable_now"] == 0 < found["unusable_before"]
    assert found["spans"]["kept"] > 0
    assert len(found["changed_ids"]) == found["changed"] > 0
    assert sum(row["kept"] for row in found["per_type"].values()) == found["spans"]["kept"]
    assert manifest.verify(folder.path) == []
    again = pipeline.sample(edited, 15)
    assert again == {**found, "asked": 0}
    edited.open()
    assert pipeline.annotate(edited)["unlabelled"]["asked"] == 25  # the fifteen are taken over


def test_a_sample_counts_spans_that_moved_and_changed_type(tmp_path: Path, settings: Settings) -> None:
    settings = perfect(settings)
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    rows = list(read_rows(folder.folder("annotate") / "annotations.jsonl"))
    expected: dict[str, int] = dict.fromkeys(("kept", "added", "removed", "retyped"), 0)
    answers: dict[str, str] = {}
    for row in rows:
        places = [(row["offsets"][s["start"]][0], row["offsets"][s["end"] - 1][1], s["type"]) for s in row["spans"]]
        spans = [[row["text"][start:end], type_] for start, end, type_ in places]
        expected["kept"] += max(0, len(spans) - 2)
        if spans:
            spans[0][1] = "DATE" if spans[0][1] != "DATE" else "PERSON"
            expected["retyped"] += 1
        if len(spans) > 1:
            del spans[-1]
            expected["removed"] += 1
        answers[row["id"]] = json.dumps(spans)
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in answers.items()))
    assert settings.backend is not None
    other = replace(settings, backend=replace(settings.backend, options={"answers": str(file)}))
    found = pipeline.sample(RunFolder(folder.path, other), 1000)
    assert found["rows"] == 40
    assert found["spans"] == expected


def test_a_sample_asks_nothing_where_the_prompt_has_not_changed(tmp_path: Path, settings: Settings) -> None:
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    found = pipeline.sample(folder, 15)
    assert (found["rows"], found["asked"], found["same"]) == (15, 0, 15)


def test_a_sample_of_nothing_is_a_mistake(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="nothing is annotated here"):
        pipeline.sample(RunFolder(tmp_path / "run", settings), 5)
