"""A study whose cells run at the same time: the same rows, stopped and resumed, and what goes wrong."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from studying import made_row, runner, write_config

from distill_offline import study as studies
from distill_offline.cli import commands
from distill_offline.errors import DistillError, EnvironmentFault, Interrupted
from distill_offline.study import Results, cells_at_once
from distill_offline.train.processes import Crew, hear

TWO = ("train.at_once=2",)


def rows_of(config: Path) -> dict[tuple[Any, ...], Any]:
    rows = Results(config.parent / "rows.jsonl").read()
    found = {(row.variant, row.size, row.seed, row.arm): (row.key, row.overall, row.counts) for row in rows}
    assert len(found) == len(rows)
    return found


def in_turn_with_one_thread(config: Path) -> dict[tuple[Any, ...], Any]:
    """What the study finds if cells run one after the other, with the threads that each has if there are two."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        studies.run(runner(config))
    finally:
        torch.set_num_threads(before)
    return rows_of(config)


def test_cells_that_run_at_once_are_those_that_run_in_turn(encoder: Path, tmp_path: Path) -> None:
    """The second variant is as the first: its cells are filed, not trained."""
    variants = {"a": {}, "same": {"train.updates": 3}}
    made = {}
    for name, changes in (("turn", ()), ("once", TWO)):
        (tmp_path / name).mkdir()
        config = write_config(tmp_path / name / "small.yaml", encoder, variants=variants)
        if not changes:
            made[name] = in_turn_with_one_thread(config)
            continue
        said = list[str]()
        assert studies.run(runner(config, changes, say=said.append)) == 8
        made[name] = rows_of(config)
        assert "study: 0 of 8 cells are done, 2 run at a time" in said
        assert sum(line.startswith("study: F1") for line in said) == 8
        assert studies.run(runner(config, changes)) == 0
        assert not [*(tmp_path / name / "study").rglob("model.safetensors")]  # students are not kept
    corpus_free = {name: {cell: found[1:] for cell, found in rows.items()} for name, rows in made.items()}
    assert corpus_free["turn"] == corpus_free["once"]


def test_how_many_run_at_once_is_no_part_of_what_a_cell_is(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder)
    plain, two = (runner(config, changes).study for changes in ((), TWO))
    assert [plain.key(cell) for cell in plain.cells] == [two.key(cell) for cell in two.cells]


def stopping_after(line: str) -> tuple[Callable[[str], None], Callable[[], bool]]:
    seen = threading.Event()

    def say(told: str) -> None:
        if told.startswith(line):
            seen.set()

    return say, seen.is_set


@pytest.mark.slow
def test_a_stop_ends_all_and_the_same_command_goes_on(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0, 1, 2])
    say, stop = stopping_after("study: F1")
    with pytest.raises(Interrupted, match=r"study: stopped; \d of 6 cells are done. Run the same command again"):
        studies.run(runner(config, TWO, say=say, stop=stop))
    done = len(rows_of(config))
    assert 1 <= done < 6
    assert studies.run(runner(config, TWO)) == 6 - done
    assert len(rows_of(config)) == 6


def threads_of(config: Path) -> set[int]:
    return {row.training["threads"] for row in Results(config.parent / "rows.jsonl").read()}


@pytest.mark.slow
def test_what_is_left_after_a_stop_has_the_same_number_of_threads(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One group alone is left, whatever the environment says in the processes."""
    import torch

    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    config = write_config(tmp_path / "small.yaml", encoder)
    studies.run(runner(config, (*TWO, "study.seeds=[0]")))
    assert studies.run(runner(config, TWO)) == 2
    alone, one = threads_of(config), max(1, torch.get_num_threads() // 2)
    assert alone == {torch.get_num_threads(), one}  # the first study had one group, and all threads
    (tmp_path / "rows.jsonl").unlink()
    studies.run(runner(config, TWO))
    rows = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text("".join(rows[:2]))
    assert studies.run(runner(config, TWO)) == 2
    assert threads_of(config) == {one}


def test_status_counts_the_cells_that_run_at_once(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0, 1, 2])
    of = {at_once: cells_at_once(runner(config, (f"train.at_once={at_once}",)).study) for at_once in (1, 2, 3, 9)}
    assert of == {1: 1, 2: 2, 3: 3, 9: 3}
    assert cells_at_once(runner(config, ("train.at_once=auto",)).study) >= 1
    rows = Results(tmp_path / "rows.jsonl")
    study = runner(config).study
    rows.add(replace(made_row(study, 0, found=0.5, seconds=3600.0), key=study.key(study.cells[0]), study="small-study"))
    left = {}
    for at_once in ("1", "3"):
        command = [
            "study",
            str(config),
            "-o",
            str(rows.path),
            "--status",
            "--json",
            "--set",
            f"train.at_once={at_once}",
        ]
        result = CliRunner().invoke(commands, command)
        assert result.exit_code == 0, result.output
        left[at_once] = json.loads(result.stdout)["seconds"]
    assert left == {"1": 5 * 3600, "3": 5 * 1200}


def test_a_study_that_asks_a_teacher_runs_in_turn(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder)
    asks = ("backend={name: scripted}", f"corpus.unlabelled={tmp_path / 'train.conll'}")
    assert cells_at_once(runner(config, (*TWO, asks[0])).study) == 2
    assert cells_at_once(runner(config, (*TWO, *asks)).study) == 1


def test_hours_that_are_over_are_told(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder)
    with pytest.raises(Interrupted, match=r"1e-09 hours would be over before another cell ends; 0 of 4 cells"):
        studies.run(runner(config, TWO), 1e-9)
    assert not rows_of(config)
    assert not (tmp_path / "study" / "base").exists()  # and no process was started


@pytest.mark.slow
def test_a_cell_that_cannot_be_run_keeps_no_other_from_running(encoder: Path, tmp_path: Path) -> None:
    """A schedule that asks for distilled sentences in a variant without any."""
    arms = [{"name": "original_only"}, {"name": "simple_mix"}]
    variants = {"a": {}, "none": {"corpus.distilled": None, "train.arms": arms}}
    config = write_config(tmp_path / "small.yaml", encoder, variants=variants)
    said = list[str]()
    with pytest.raises(DistillError, match="2 cells cannot be run, the others are done"):
        studies.run(runner(config, TWO, say=said.append))
    assert sum("cannot be run" in line for line in said) == 2  # and are not tried again at the end
    assert len(rows_of(config)) == 6


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_nothing_that_is_done_is_lost(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0, 1])
    killed = list[int]()

    def kill_one(line: str) -> None:
        if line.startswith("study: F1") and not killed:
            import multiprocessing

            child = multiprocessing.active_children()[0]
            killed.append(child.pid or 0)
            os.kill(child.pid or 0, 9)

    with pytest.raises(EnvironmentFault, match=r"study base/20/\d: its process ended with signal SIGKILL"):
        studies.run(runner(config, TWO, say=kill_one))
    assert killed
    studies.run(runner(config, TWO))
    assert len(rows_of(config)) == 4


def test_a_second_command_is_kept_out(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder)
    first = runner(config, TWO)
    with first.alone(), pytest.raises(DistillError, match="another process runs a study here"):
        studies.run(runner(config, TWO))


@pytest.mark.slow
def test_an_encoder_that_pretrain_makes_is_made_once(encoder: Path, tmp_path: Path) -> None:
    pretrain = {"text": str(tmp_path / "train.conll"), "updates": 2, "update_tokens": 64}
    variants = {"plain": {}, "pre": {"pretrain": pretrain}}
    config = write_config(tmp_path / "small.yaml", encoder, variants=variants)
    said = list[str]()
    studies.run(runner(config, TWO, say=said.append))
    assert len([*(tmp_path / "study" / "pretrained").iterdir()]) == 1
    assert sum(line.startswith("pretrain:") for line in said) == 1
    assert len(rows_of(config)) == 8


@pytest.mark.slow
def test_a_pretraining_that_fails_keeps_no_other_cell_from_running(encoder: Path, tmp_path: Path) -> None:
    pretrain = {"text": str(tmp_path / "train.conll"), "updates": 3, "update_tokens": 64, "learning_rate": 1e30}
    config = write_config(tmp_path / "small.yaml", encoder, variants={"plain": {}, "bad": {"pretrain": pretrain}})
    with pytest.raises(DistillError, match="4 cells cannot be run, the others are done"):
        studies.run(runner(config, TWO))
    assert {cell[0] for cell in rows_of(config)} == {"plain"}


@pytest.mark.slow
def test_what_fails_is_not_tried_again_under_another_name(encoder: Path, tmp_path: Path) -> None:
    bad = {"train.learning_rate": 1e30}
    config = write_config(tmp_path / "small.yaml", encoder, variants={"a": bad, "same": bad})
    said = list[str]()
    with pytest.raises(DistillError, match="8 cells cannot be run"):
        studies.run(runner(config, TWO, say=said.append))
    assert sum("cannot be run" in line for line in said) == 4


@pytest.mark.slow
def test_a_cell_that_shares_its_result_with_one_that_fails_runs_all_the_same(encoder: Path, tmp_path: Path) -> None:
    """Gold alone is the same cell in both variants, but the first one reads a file that is none."""
    variants = {"a": {"corpus.distilled.path": str(tmp_path / "small.yaml")}, "b": {}}
    config = write_config(tmp_path / "small.yaml", encoder, variants=variants)
    with pytest.raises(DistillError, match="cells cannot be run"):
        studies.run(runner(config, TWO))
    assert sum(cell[0] == "b" for cell in rows_of(config)) == 4


def full(job: Any, member: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x")


def test_a_full_disk_in_a_process_is_a_fault_of_the_machine() -> None:
    with Crew(full, None, 1, name="x", threads=1) as crew:
        while not crew.has_ended():
            hear([crew], print, print)
        with pytest.raises(EnvironmentFault, match=r"No space left on device.*Make room"):
            crew.result()
