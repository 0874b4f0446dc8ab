"""A study over the demo corpus: what a cell is, what is cached, what a row holds, and how it goes on."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from studying import runner, write_config

from distill_offline import pipeline
from distill_offline.corpus import read_examples
from distill_offline.errors import ConfigError, DistillError, InputError, Interrupted
from distill_offline.manifest.method import method
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import read_labelled
from distill_offline.schema import Progress
from distill_offline.storage.lock import Lock
from distill_offline.study import Results, Study, progress, rows_by_method
from distill_offline.study.caveats import caveats
from distill_offline.study.cell_row import Splits
from distill_offline.study.methods import methods_note

ARMS: list[dict[str, Any]] = [{"name": "original_only"}, {"name": "union"}]


@pytest.fixture(scope="module")
def finished(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a study that has been run, students kept; to look at."""
    config = write_config(tmp_path_factory.mktemp("study") / "small.yaml", encoder, keep_students=True)
    assert runner(config).run() == 4
    return config


@pytest.fixture
def config(finished: Path, tmp_path: Path) -> Path:
    """The same, to change."""
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    return finished_at(tmp_path / finished.name, finished.parent)


def finished_at(config: Path, before: Path) -> Path:
    config.write_text(config.read_text("utf-8").replace(str(before), str(config.parent)), "utf-8")
    return config


def trained_updates(seen: list[Progress]) -> int:
    return sum("train" in each.stage for each in seen)


def test_cells_go_round_all_arms_before_the_next_seed(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none", sizes=[10, 20], variants={"a": {}, "b": {"train.updates": 9}})
    cells = Study.load(path).cells
    assert [(c.seed, c.size, c.variant, c.arm.name) for c in cells[:5]] == [
        (0, 10, "a", "original_only"),
        (0, 10, "a", "union"),
        (0, 10, "b", "original_only"),
        (0, 10, "b", "union"),
        (0, 20, "a", "original_only"),
    ]
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    assert {cell.settings.train.updates for cell in cells if cell.variant == "b"} == {9}


def test_smaller_draws_are_among_larger_ones_and_dev_is_apart(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none", sizes=[10, 40], seeds=[3, 4])
    drawn: dict[tuple[int, int, str], set[str]] = {}
    for cell in Study.load(path).cells:
        for split in ("train", "dev"):
            source = getattr(cell.settings.corpus.original, split)
            ids = {e.sentence.id for e in read_labelled(cell.settings, source, origin="original")}
            drawn[cell.size, cell.seed, split] = ids
    assert [len(drawn[size, 3, split]) for size in (10, 40) for split in ("train", "dev")] == [8, 2, 32, 8]
    for split in ("train", "dev"):
        assert drawn[10, 3, split] < drawn[40, 3, split]
        assert drawn[10, 3, split] != drawn[10, 4, split]
    assert not drawn[40, 3, "train"] & drawn[40, 3, "dev"]


def test_a_shuffle_of_its_own_gives_every_seed_the_same_sentences(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none", sizes=[10], seeds=[3, 4])
    train = f"corpus.original.train={{path: {tmp_path / 'train.conll'}, shuffle: 9, limit: 10}}"
    cells = Study.load(path, [train]).cells
    assert {cell.seed for cell in cells} == {3, 4}
    assert len({str(cell.settings.corpus.original) for cell in cells}) == 1
    with pytest.raises(ConfigError, match=r"8 sentences are to be trained on, and .*limit allows 5"):
        Study.load(path, [train.replace("limit: 10", "limit: 5")])


def test_studies_with_the_same_reserve_draw_alike(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none")
    drawn = [
        next(cell for cell in Study.load(path, changes).cells if cell.size == 20).settings.corpus.original
        for changes in (["study.sizes=[20, 60]"], ["study.sizes=[20]", "study.reserve=60"], ["study.sizes=[20]"])
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_seed_shuffles_parallel_files_alike(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none", sizes=[60], dev_share=0)
    settings = Study.load(path).cells[-1].settings
    assert settings.corpus.original.dev is None
    train = {e.sentence.id for e in read_labelled(settings, settings.corpus.original.train or "", origin="original")}
    distilled = {e.sentence.id for e in read_labelled(settings, settings.corpus.distilled or "", origin="distilled")}
    assert (len(train), len(distilled), train & distilled) == (60, 40, set())


def test_a_variant_can_speak_of_size_train_and_seed(tmp_path: Path) -> None:
    variants = {
        "equal": {"corpus.distilled.limit": "{train}", "corpus.distilled.skip": 0, "task.prompt": "p-{seed}-{size}"}
    }
    cell = Study.load(write_config(tmp_path / "c.yaml", "none", variants=variants)).cells[-1]
    distilled = cell.settings.corpus.distilled
    assert not isinstance(distilled, str)
    assert distilled is not None
    assert (distilled.limit, distilled.skip, cell.settings.task.prompt) == (16, 0, "p-1-20")


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"sizes": []}, "study.sizes"),
        ({"seeds": [1, 1]}, "names a value twice"),
        ({"variants": {"a/b": {}}}, "becomes a folder"),
        ({"variants": {"a": {"train.updtes": 3}}}, "Did you mean train.updates"),
        ({"against": ["sigmoid"]}, "no variant trains the arm 'sigmoid'"),
        ({"variants": {"a": {"train.arms": [{"name": "sigmid"}]}}}, "Did you mean sigmoid"),
        ({"reserve": 19}, "reserve is smaller than the largest"),
        ({"sises": [3]}, "Did you mean study.sizes"),
        ({"variants": {"a": {"train.arms.1.options": {"s": 3}}}}, "schedule union does not take 's'"),
        ({"variants": {"a": {"train.arms": [{"name": "linear", "share": 0.0}]}}}, "share of 0 .* out of reach"),
        ({"variants": {"a": {"train.arms": [{"name": "m", "average": ["linear", "union"]}]}}}, "to average 'linear'"),
        ({"variants": {"a": {"train.arms": ARMS + ARMS[:1]}}}, "'original_only' occurs there twice"),
        ({"variants": {"a": {"seed": 3}}}, "the variant a sets seed"),
        ({"variants": {"a": {"name": "b"}}}, "the variant a sets name"),
        ({"sizes": [1], "dev_share": 0.9}, "nothing to train on of 1 sentences"),
    ],
)
def test_a_mistake_in_the_grid_is_told_before_anything_runs(
    tmp_path: Path, study: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Study.load(write_config(tmp_path / "c.yaml", "none", **study))


def test_a_run_without_a_study_section_is_told_what_is_missing(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", "none")
    with pytest.raises(ConfigError, match="study is missing"):
        Study.load(path, ["study=null"])


@pytest.mark.slow
def test_a_finished_study_trains_nothing_again_and_a_changed_setting_does(config: Path) -> None:
    rows = (config.parent / "rows.jsonl").read_bytes()
    seen: list[Progress] = []
    assert runner(config, watch=seen.append).run() == 0
    assert (config.parent / "rows.jsonl").read_bytes() == rows
    assert seen == []
    changed = ("train.arms.1.learning_rate=0.02", "study.seeds=[0]")  # of union alone
    assert progress(Study.load(config, changed), Results(config.parent / "rows.jsonl"))["done"] == 1
    assert runner(config, changed, watch=seen.append).run() == 1
    assert trained_updates(seen) == 3
    assert progress(Study.load(config), Results(config.parent / "rows.jsonl"))["done"] == 4


def test_a_changed_corpus_makes_the_rows_void_that_learned_from_it(tmp_path: Path, encoder: Path) -> None:
    config, other = write_config(tmp_path / "c.yaml", encoder), tmp_path / "other.conll"
    other.write_bytes((tmp_path / "train.conll").read_bytes())
    changes = (f"corpus.distilled.path={other}",)

    def keys() -> dict[tuple[str, int], str]:
        study = Study.load(config, changes)
        return {(cell.arm.name, cell.seed): study.key(cell) for cell in study.cells}

    before = keys()
    other.write_bytes((tmp_path / "test.conll").read_bytes())
    after = keys()
    assert [cell for cell in before if before[cell] != after[cell]] == [("union", 0), ("union", 1)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto is one where there is no GPU")
def test_a_number_of_processes_makes_another_cell_and_one_by_any_name_does_not(config: Path) -> None:
    keys = [
        [Study.load(config, changes).key(cell) for cell in Study.load(config, changes).cells]
        for changes in ((), ("train.processes=auto",), ("train.processes=2",))
    ]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])


def test_gold_alone_is_trained_once_for_variants_that_differ_in_distilled_data(config: Path) -> None:
    variants = json.dumps({"base": {}, "few": {"corpus.distilled.limit": 10}})
    seen: list[Progress] = []
    made = runner(config, (f"study.variants={variants}", "study.seeds=[0]"), watch=seen.append)
    assert made.run() == 2
    assert trained_updates(seen) == 3
    rows = {(row.variant, row.arm): row for row in made.results.read() if row.seed == 0}
    assert rows["few", "original_only"].counts == rows["base", "original_only"].counts
    assert rows["few", "union"].pools["distilled"] < rows["base", "union"].pools["distilled"]


def test_a_cell_scores_as_a_run_of_its_own_does(finished: Path) -> None:
    made = runner(finished)
    row = next(row for row in made.results.read() if (row.arm, row.seed) == ("union", 1))
    cell = next(cell for cell in made.study.cells if cell.name == row.cell)
    run = RunFolder(finished.parent / "alone", cell.settings)
    run.open()
    pipeline.select(run)
    trained = pipeline.train(run, ["union"])["union"]
    report = pipeline.evaluate(run)
    assert report["rows"][0]["overall"] == row.overall
    assert report["rows"][0]["per_type"] == row.per_type
    assert report["on"] == row.on
    assert trained["best_dev_f1"] == row.training["best_dev_f1"]
    alone, kept = finished.parent / "alone/train/union/student", made.folder / cell.folder / "train/union/student"
    assert (alone / "model.safetensors").read_bytes() == (kept / "model.safetensors").read_bytes()


def test_a_row_holds_the_counts_that_its_scores_come_from(finished: Path) -> None:
    rows = runner(finished).results.read()
    assert len(rows) == 4
    for row in rows:
        counts = row.sentence_counts()
        assert counts.shape == (20, 5, 3)
        true, wrong, missed = counts.sum(axis=(0, 1)).tolist()
        assert row.overall["support"] == true + missed
        assert row.overall["f1"] == pytest.approx(2 * true / max(1, 2 * true + wrong + missed))
        assert (row.pools["original"], row.pools["dev"], row.pools["distilled"]) == (16, 4, 40)


def test_rows_hold_no_text_no_path_and_no_host_name(finished: Path, encoder: Path) -> None:
    path = runner(finished).results.path
    text = path.read_text("utf-8")
    # Ordinary words stand in any JSON by chance; a name of a person or place in the corpus would be text.
    words = {t for e in read_examples(finished.parent / "test.conll", origin="original") for t in e.sentence.tokens}
    assert not {word for word in words if len(word) > 6 and word[0].isupper() and word in text}
    assert not [row for row in Results(path).read() if "/" in row.variant + row.arm + row.study + "".join(row.versions)]
    for secret in (str(finished.parent), str(encoder), str(Path.home()), platform.node()):
        assert secret not in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_students_are_dropped_and_their_histories_stay(config: Path) -> None:
    made = runner(config)
    assert (made.folder / "base/20/0/train/union/student/model.safetensors").exists()
    dropping = runner(config, ("study.keep_students=false",))
    assert dropping.run() == 0
    assert [path.name for path in (made.folder / "base/20/0/train/union").iterdir()] == ["history.jsonl"]
    assert not list(made.folder.rglob("*.safetensors"))


def test_averaged_students_are_there_when_they_are_needed(config: Path) -> None:
    arms = json.dumps([*ARMS, {"name": "both", "average": ["original_only", "union"]}])
    made = runner(config, (f"train.arms={arms}", "study.seeds=[0]", "study.keep_students=false"))
    assert made.run() == 1
    row = made.results.read()[-1]
    assert (row.arm, row.pools["original"], row.training["distilled_drawn"]) == ("both", 16, 0)
    assert row.training["updates"] == 6  # of both that were averaged: what the arm cost
    assert not list((made.folder / "base/20/0").rglob("*.safetensors"))


def test_an_arm_with_the_labels_of_another_arms_student(config: Path) -> None:
    again = {"name": "again", "schedule": "union", "labelled_by": "both"}
    arms = [*ARMS, {"name": "both", "average": ["original_only", "union"]}, again]
    made = runner(config, (f"train.arms={json.dumps(arms)}", "study.seeds=[0]", "study.keep_students=false"))
    assert made.run() == 2
    row = made.results.read()[-1]
    assert (row.arm, row.training["updates"]) == ("again", 9)  # three for each of the labeller's two, and for its own
    assert not list((made.folder / "base/20/0").rglob("*.safetensors"))
    keys = {made.study.key(cell) for cell in made.study.cells if cell.arm.name in ("union", "again")}
    assert len(keys) == 2
    arms[0] = {**arms[0], "learning_rate": 1e-4}  # decides what the labels are
    other = Study.load(config, (f"train.arms={json.dumps(arms)}", "study.seeds=[0]"))
    assert {other.key(cell) for cell in other.cells if cell.arm.name in ("union", "again")} & keys == {
        made.study.key(made.study.cells[1])
    }


def test_students_that_label_together_are_trained_for_their_cell_alone(config: Path) -> None:
    again = {"name": "again", "schedule": "union", "labelled_by": "union", "labellers": 3}
    changes = (f"train.arms={json.dumps([*ARMS, again])}", "study.seeds=[0]", "study.keep_students=false")
    made = runner(config, changes)
    assert made.run() == 1
    row, place = made.results.read()[-1], made.folder / "base/20/0/train"
    assert (row.arm, row.training["updates"]) == ("again", 12)
    assert row.training["seconds"] is not None
    assert {path.name for path in place.iterdir()} >= {"union", "union-2", "union-3", "again"}
    assert not list(place.rglob("*.safetensors"))
    fewer = Study.load(config, (changes[0].replace('"labellers": 3', '"labellers": 2'), *changes[1:]))
    keys = [study.key(cell) for study in (made.study, fewer) for cell in study.cells]
    assert [a == b for a, b in zip(keys[:3], keys[3:], strict=True)] == [True, True, False]


def test_a_cell_of_the_arm_whose_students_label_trains_one_of_them(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "union", "labelled_by": "reverse", "labellers": 2}
    path = write_config(tmp_path / "c.yaml", encoder, seeds=[0], keep_students=True)
    changes = (f"train.arms={json.dumps([{'name': 'reverse'}, again])}", "study.baseline=reverse", "study.against=[]")
    made = runner(path, changes, stop=lambda: (tmp_path / "rows.jsonl").exists())
    with pytest.raises(Interrupted, match="1 of 2 cells are done"):
        made.run()
    folder = made.folder / "base/20/0/train"
    assert [each.name for each in folder.iterdir()] == ["reverse"]
    weights = (folder / "reverse/student/model.safetensors").read_bytes()
    assert runner(path, changes).run() == 1
    assert (folder / "reverse/student/model.safetensors").read_bytes() == weights
    assert sorted(each.name for each in folder.iterdir()) == ["again", "reverse", "reverse-2"]


def test_a_stopped_study_goes_on_where_it_was(config: Path) -> None:
    made = runner(config)
    kept = made.results.path.read_bytes().split(b"\n")[:1]
    made.results.path.write_bytes(b"\n".join([*kept, b""]))
    shutil.rmtree(made.folder)
    changes = ("study.seeds=[0]",)
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at update 2"):
        runner(config, changes, stop=lambda: next(calls) > 2).run()
    assert len(made.results.read()) == 1
    assert runner(config, changes).run() == 1
    assert {row.cell[2:] for row in made.results.read()} == {(0, "original_only"), (0, "union")}


def test_no_cell_is_begun_that_would_end_after_the_hours_are_over(config: Path) -> None:
    made = runner(config)
    made.results.path.write_bytes(made.results.path.read_bytes().split(b"\n")[0] + b"\n")
    with pytest.raises(Interrupted, match=r"before another cell ends; 1 of 4 cells"):
        runner(config, clock=lambda: 0.0).run(limit_hours=1e-9)  # no time has passed: the cell's own is what is missing


def test_progress_tells_what_is_left_and_how_long_it_takes(config: Path) -> None:
    made = runner(config)
    rows = made.results.path.read_bytes().split(b"\n")
    made.results.path.write_bytes(b"")
    assert progress(made.study, made.results)["seconds"] is None
    made.results.path.write_bytes(rows[0] + b"\n")
    state = progress(made.study, made.results)
    assert (state["cells"], state["done"], len(state["missing"])) == (4, 1, 3)
    assert state["seconds"] == pytest.approx(3 * made.results.read()[0].training["seconds"], abs=1)
    voided = Study.load(config, ("seed=0", "train.updates=9"))
    assert progress(voided, made.results) | {"missing": 0} == {
        "cells": 4, "done": 0, "other": 1, "old": 0, "seconds": None, "missing": 0,
    }  # fmt: skip


def test_a_row_that_a_kill_cut_off_is_written_again(config: Path) -> None:
    made = runner(config)
    whole = made.results.path.read_bytes()
    made.results.path.write_bytes(whole[:-40])
    before = made.results.read()
    assert len(before) == 3
    assert runner(config).run() == 1
    rows = made.results.read()
    assert rows[:3] == before
    assert rows[3].training["seconds"] is None  # its student was whole already
    assert len({row.cell for row in rows}) == 4


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"key": "x"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:2: no row of a study"):
        Results(path).read()


@pytest.mark.parametrize(("size", "share", "needed"), [(121, 0, 121), (150, 0.2, 150), (130, None, 130)])
def test_a_size_that_the_corpus_does_not_have_is_refused(
    tmp_path: Path, encoder: Path, size: int, share: float | None, needed: int
) -> None:
    made = runner(write_config(tmp_path / "c.yaml", encoder, sizes=[20, size], dev_share=share))
    with pytest.raises(ConfigError, match=f"{needed} sentences of corpus.original.train are asked for .* has 120"):
        made.run()
    assert made.results.read() == []


def test_a_cell_that_fails_does_not_keep_the_others_from_running(config: Path) -> None:
    variants = json.dumps({"torn": {"corpus.distilled.path": str(config)}, "base": {}})
    made = runner(config, (f"study.variants={variants}", "study.seeds=[0, 2]"))
    with pytest.raises(DistillError, match=r"3 cells cannot be run.*torn, 20 sentences, seed 0, union"):
        made.run()
    assert {(row.variant, row.arm) for row in made.results.read() if row.seed == 2} == {
        ("base", "original_only"), ("base", "union"),
    }  # fmt: skip


def test_each_variant_is_scored_on_its_own_reading_of_the_gold(tmp_path: Path) -> None:
    (tmp_path / "two.conll").write_text("Anna\tB-PERSON\tO\nleft\tO\tB-DATE\n\nOslo\tB-LOCATION\tO\n")
    path = write_config(
        tmp_path / "c.yaml", "none", variants={"a": {"corpus.tag_column": 1}, "b": {"corpus.tag_column": 2}}
    )
    changes = (f"corpus.original.test={tmp_path / 'two.conll'}",)
    splits, found = Splits(), {}
    for cell in Study.load(path, changes).cells:
        found[cell.variant] = [example.labels for example in splits.read(cell.settings, "test")]
    assert found == {"a": [("B-PERSON", "O"), ("B-LOCATION",)], "b": [("O", "B-DATE"), ("O",)]}


def test_the_language_by_which_students_cut_tokens_is_part_of_the_key(tmp_path: Path, encoder: Path) -> None:
    path = write_config(tmp_path / "c.yaml", encoder)
    keys = [
        {study.key(cell) for cell in study.cells}
        for study in (Study.load(path), Study.load(path, ("corpus.language=ja",)))
    ]
    assert not keys[0] & keys[1]


def test_what_fails_is_not_tried_again_under_another_name(config: Path) -> None:
    torn = {"corpus.distilled.path": str(config)}
    said = list[str]()
    made = replace(
        runner(config, (f"study.variants={json.dumps({'torn': torn, 'same': torn})}", "study.seeds=[0]")),
        say=said.append,
    )
    with pytest.raises(DistillError, match="2 cells cannot be run"):
        made.run()
    assert sum("cannot be run" in line for line in said) == 1


def test_the_last_row_counts_without_its_line_end_too(config: Path) -> None:
    results = runner(config).results
    before = results.read()
    results.path.write_bytes(results.path.read_bytes().rstrip(b"\n"))
    assert results.read() == before
    results.add(before[0])
    assert results.read() == [*before, before[0]]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(size="20"),
        lambda row: row["training"].pop("seconds"),
        lambda row: row["overall"].update(f1=None),
        lambda row: row.update(note="by hand"),
    ],
)
def test_a_row_that_was_edited_into_another_shape_is_named(config: Path, change: Any) -> None:
    path = config.parent / "rows.jsonl"
    lines = path.read_text("utf-8").splitlines()
    row = json.loads(lines[1])
    change(row)
    path.write_text("\n".join([lines[0], json.dumps(row), *lines[2:], ""]), "utf-8")
    with pytest.raises(InputError, match=r"rows\.jsonl:2: no row of a study"):
        Results(path).read()


def test_rows_of_two_studies_at_once_are_all_kept(config: Path, tmp_path: Path) -> None:
    row, path = runner(config).results.read()[0], tmp_path / "shared.jsonl"
    with ThreadPoolExecutor(4) as pool:  # flock is between open files: threads meet as processes do
        list(pool.map(lambda number: Results(path).add(replace(row, seed=number)), range(80)))
    assert sorted(each.seed for each in Results(path).read()) == list(range(80))


def test_a_second_process_in_the_same_folder_is_refused(config: Path) -> None:
    made = runner(config)
    lock = Lock(made.folder / "study", is_shared=False)
    with pytest.raises(InputError, match="another process runs a study here"):
        made.run()
    lock.release()


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_scores(tmp_path: Path, encoder: Path) -> None:
    config = write_config(tmp_path / "c.yaml", encoder, seeds=[0, 1, 2])
    whole = {row.cell: row.overall for row in _finished(config, tmp_path / "whole.jsonl", tmp_path / "whole")}
    command = [sys.executable, "-m", "distill_offline", "study", str(config), "-o", "rows.jsonl", "--folder", "study"]
    for wait in (1, 2, 3):  # for so many rows
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(Results(tmp_path / "rows.jsonl").read()) < wait and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    rows = Results(tmp_path / "rows.jsonl").read()
    assert {row.cell: row.overall for row in rows} == whole
    assert len(rows) == len(whole) == 6


def _finished(config: Path, rows: Path, folder: Path) -> list[Any]:
    command = [sys.executable, "-m", "distill_offline", "study", str(config), "-o", str(rows), "--folder", str(folder)]
    subprocess.run(command, cwd=config.parent, capture_output=True, check=True)
    return Results(rows).read()


def test_rows_of_other_methods_are_read_told_and_run_again_when_asked(config: Path) -> None:
    study, results = Study.load(config), Results(config.parent / "rows.jsonl")
    assert {row.method for row in results.read()} == {method()}
    found = [json.loads(line) for line in results.path.read_text("utf-8").splitlines()]
    cells = {cell.name: cell for cell in study.cells}
    for before in (1, 2):  # as these methods filed them
        row = found[before - 1]
        del row["method"]
        row["key"] = study.key(cells[row["variant"], row["size"], row["seed"], row["arm"]], before)
    found[2]["method"] = "0123456789abcdef"
    results.path.write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    state = progress(study, results)
    assert (state["done"], state["old"], state["other"]) == (4, 3, 0)
    rows = rows_by_method(study, results.read())
    assert [row.method for row in rows] == ["1", "2", "0123456789abcdef", method()]
    (note,) = [each for each in caveats(study, rows, 0) if "another method" in each]
    assert note.startswith("3 of 4 rows were made by another method")
    assert {f"1 by {each}" in note for each in ("1", "2", "0123456789abcdef", method())} == {True}
    assert "--renew" in note
    assert runner(config).run() == 0
    assert progress(study, results, renew=True)["done"] == 1
    assert runner(config, renew=True).run() == 3
    state = progress(study, results)
    assert (state["done"], state["old"]) == (4, 0)
    latest = {row.cell: row for row in rows_by_method(study, results.read())}
    assert methods_note(list(latest.values())) == ""
