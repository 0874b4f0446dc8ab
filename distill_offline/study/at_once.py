"""Cells of a study that run at the same time: those of one variant, size and seed in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.errors import Interrupted
from distill_offline.models import catalogue
from distill_offline.models.fitting import weights_of
from distill_offline.study.grid import Study
from distill_offline.study.remaining import Remaining, RemainingCell
from distill_offline.study.results import Results
from distill_offline.study.running import CellName, CellsRun, Runner
from distill_offline.train.at_once import Started, Task, gpus_of, how_many, run_at_once
from distill_offline.train.processes import Crew, Member, count, threads_each

__all__ = ["run"]


def run(runner: Runner, limit_hours: float | None = None) -> int:
    """As Runner.run, but with as many cells at a time as `train.at_once` says. Raises as it does.

    Cells of one variant, size and seed share a folder and what is in it, so that they run in turn.
    """
    began = runner.clock()
    with runner.alone():
        left = runner.left()
        runner.check_and_tidy(left)
        parts = _parts(left)
        at_once = _at_once(runner, parts)
        done = CellsRun()
        if at_once > 1:
            done = _run_parts(runner, left, parts, at_once, limit_hours)
            left = runner.left()  # without these, and those whose results are known by now
        if not done.out_of_time:
            hours = None if limit_hours is None else limit_hours - (runner.clock() - began) / 3600
            names = {cell.cell.name for cell in left.cells} - done.failed.keys()
            done = done.and_(runner.run_cells(left, hours, None if at_once == 1 else names))
    return runner.told(done, limit_hours)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a process is told: its cells, by name, and where they run."""

    study: Study
    folder: Path
    rows: Path
    command: tuple[str, ...]
    renew: bool
    cells: frozenset[CellName]
    limit_hours: float | None


def _parts(left: Remaining) -> dict[Path, list[RemainingCell]]:
    """The cells that have to be trained, by their folder; of several with the same settings the first alone."""
    parts, first = dict[Path, list[RemainingCell]](), dict[tuple[str, str | None], Path]()
    for cell in filter(left.needs_training, left.cells):
        folder = cell.cell.folder
        if first.setdefault((cell.key, cell.examination), folder) == folder:
            parts.setdefault(folder, []).append(cell)
    return parts


def _at_once(runner: Runner, parts: Mapping[Path, Sequence[RemainingCell]]) -> int:
    train = runner.study.settings.train
    if train.at_once == 1 or len(parts) < 2:
        return 1
    settings = [cell.cell.settings for cells in parts.values() for cell in cells]
    if any(each.asks_a_teacher for each in settings):
        runner.say("study: cells that ask a teacher run one after the other: there is memory for one teacher")
        return 1
    encoders = {each.train.encoder for each in settings}
    weights = max(weights_of(catalogue.locate(encoder)) for encoder in encoders)
    return how_many(train.at_once, len(parts), count(train.processes), weights)


def _run_parts(
    runner: Runner, left: Remaining, parts: Mapping[Path, Sequence[RemainingCell]], at_once: int, hours: float | None
) -> CellsRun:
    """All parts, so many at a time. Raises Interrupted when the study is to stop, or what ended a process."""
    began, study = runner.clock(), runner.study
    runner.make_encoders(left)
    runner.say(f"study: {left.done} of {left.total} cells are done; {len(parts)} groups left, {at_once} at a time")
    processes = count(study.settings.train.processes)
    threads = threads_each(processes * at_once)
    found = list[CellsRun]()

    def task(folder: Path, cells: Sequence[RemainingCell]) -> Task:
        def start(slot: int) -> Started:
            rest = None if hours is None else hours - (runner.clock() - began) / 3600
            names = frozenset(cell.cell.name for cell in cells)
            part = _Part(study, runner.folder, runner.results.path, runner.command, runner.renew, names, rest)
            gpus = gpus_of(slot, processes)
            return Started(Crew(_run_part, part, 1, name=f"study {folder}", threads=threads, gpus=gpus), finish)

        return Task(folder.as_posix(), frozenset(), start)

    def finish(run: CellsRun) -> dict[str, Any]:
        found.append(run)
        return {}

    try:
        tasks = [task(folder, cells) for folder, cells in parts.items()]
        run_at_once(tasks, at_once, say=runner.say, watch=runner.watch, stop=runner.stop)
    except Interrupted as error:
        now = runner.left()
        raise Interrupted(
            f"study: stopped; {now.done} of {now.total} cells are done. Run the same command again."
        ) from error
    together = CellsRun()
    for run in found:
        together = together.and_(run)
    return together


def _run_part(part: _Part, member: Member) -> CellsRun:
    """In a process of its own."""
    runner = Runner(
        part.study,
        part.folder,
        Results(part.rows),
        say=member.say,
        watch=member.watch,
        stop=member.stop,
        command=part.command,
        renew=part.renew,
    )
    return runner.run_cells(runner.left(), part.limit_hours, part.cells)
