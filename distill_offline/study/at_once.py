"""Cells of a study that run at the same time: those of one variant, size and seed in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.errors import DistillError, Interrupted
from distill_offline.models import catalogue
from distill_offline.models.fitting import weights_of
from distill_offline.study.grid import Study
from distill_offline.study.remaining import Remaining, RemainingCell
from distill_offline.study.results import Results
from distill_offline.study.running import CellName, CellsRun, Runner
from distill_offline.train.at_once import Started, Task, gpus_of, how_many, run_at_once
from distill_offline.train.processes import Crew, Member, count, threads_each

__all__ = ["cells_at_once", "run"]


def run(runner: Runner, limit_hours: float | None = None) -> int:
    """As Runner.run, but with as many cells at a time as `train.at_once` says. Raises as it does.

    Cells of one variant, size and seed share a folder and what is in it, so that they run in turn.
    """
    at_once = cells_at_once(runner.study)
    if at_once == 1:
        if runner.study.settings.train.at_once != 1 and _asks_a_teacher(runner.study):
            runner.say("study: one cell at a time, since some ask a teacher: there is memory for one")
        return runner.run(limit_hours)
    with runner.alone():
        left = runner.left()
        runner.check_and_tidy(left)
        parts = _Parts(runner, at_once, limit_hours)
        done = parts.run(left)
        left = runner.left()  # cells whose results are known by now, and those that cannot be run
        failed = {cell.fails_like: done.failed[cell.cell.name] for cell in left.cells if cell.cell.name in done.failed}
        twins = {cell.cell.name: failed[cell.fails_like] for cell in left.cells if cell.fails_like in failed}
        done = done.and_(CellsRun(failed=twins))
        known = {cell.cell.name for cell in left.cells if not left.needs_training(cell)}
        keys = {cell.key for cell in left.cells if cell.cell.name in done.failed}
        others = {cell.cell.name for cell in left.cells if cell.key in keys} - done.failed.keys()  # read other files
        done = done.and_(runner.run_cells(left, None, known | others))
    return runner.told(done, limit_hours)


def cells_at_once(study: Study) -> int:
    """How many cells of a study run at the same time. All count, done or not: their threads decide last bits."""
    wanted, groups = study.settings.train.at_once, len({cell.folder for cell in study.cells})
    if wanted == 1 or groups < 2 or _asks_a_teacher(study):
        return 1
    if wanted != "auto":
        return min(int(wanted), groups)
    sizes = []
    for encoder in {cell.settings.train.encoder for cell in study.cells}:
        try:
            sizes.append(weights_of(catalogue.locate(encoder)))
        except DistillError:  # told when a cell needs it
            continue
    return how_many(wanted, groups, _processes(study), max(sizes, default=0))


def _asks_a_teacher(study: Study) -> bool:
    return any(cell.settings.asks_a_teacher for cell in study.cells)


def _processes(study: Study) -> int:
    """The most processes that a student of the study is trained in."""
    return max(count(wanted) for wanted in {cell.settings.train.processes for cell in study.cells})


_Start = Callable[[int], Started | dict[str, Any]]


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


@dataclass(slots=True)
class _Parts:
    """Runs cells in processes, at most `at_once` of them at a time."""

    runner: Runner
    at_once: int
    limit_hours: float | None
    _done: CellsRun = field(default_factory=CellsRun)

    def run(self, left: Remaining) -> CellsRun:
        """Run what has to be trained. Raises Interrupted if the study is to stop, or the error that ended a process."""
        runner, groups = self.runner, _groups(left)
        if not groups:
            return self._done
        eta = left.eta(at_once=self.at_once)
        runner.say(f"study: {left.done} of {left.total} cells are done, {self.at_once} run at a time{eta}")
        tasks, makers = list[Task](), dict[str, str]()
        began = runner.clock()
        for folder, cells in groups.items():
            encoders = {encoder for cell in cells if (encoder := runner.encoder_of(cell.cell)) is not None}
            # The first that starts from an encoder of `pretrain` makes it; the others wait for it.
            needs = frozenset(makers[encoder] for encoder in encoders if encoder in makers)
            makers.update({encoder: folder.as_posix() for encoder in encoders if encoder not in makers})
            tasks.append(Task(folder.as_posix(), needs, self._starter(folder, cells, began)))
        try:
            run_at_once(tasks, self.at_once, say=runner.say, watch=runner.watch, stop=runner.stop)
        except Interrupted as error:
            raise Interrupted(f"study: stopped; {runner.left().state}") from error
        return self._done

    def _starter(self, folder: Path, cells: Sequence[RemainingCell], began: float) -> _Start:
        """What starts the process of a folder's cells, by its slot; with the hours over nothing starts any more."""
        runner, study = self.runner, self.runner.study
        processes = _processes(study)
        names = frozenset(cell.cell.name for cell in cells)

        def start(slot: int) -> Started | dict[str, Any]:
            hours = None
            if self.limit_hours is not None:
                hours = self.limit_hours - (runner.clock() - began) / 3600
                if self._done.out_of_time or hours <= 0:
                    self._done = self._done.and_(CellsRun(out_of_time=True))
                    return {}
            part = _Part(study, runner.folder, runner.results.path, runner.command, runner.renew, names, hours)
            threads, gpus = threads_each(processes * self.at_once), gpus_of(slot, processes)
            return Started(Crew(_run_part, part, 1, name=f"study {folder}", threads=threads, gpus=gpus), self._finish)

        return start

    def _finish(self, run: CellsRun) -> dict[str, Any]:
        self._done = self._done.and_(run)
        left = self.runner.left()
        self.runner.say(f"study: {left.done} of {left.total} cells are done{left.eta(at_once=self.at_once)}")
        return {}


def _groups(left: Remaining) -> Mapping[Path, Sequence[RemainingCell]]:
    """The cells that have to be trained, by their folder; of several with the same settings the first alone."""
    groups, first = dict[Path, list[RemainingCell]](), dict[tuple[str, str | None], Path]()
    for cell in filter(left.needs_training, left.cells):
        folder = cell.cell.folder
        if first.setdefault((cell.key, cell.examination), folder) == folder:
            groups.setdefault(folder, []).append(cell)
    return groups


def _run_part(part: _Part, member: Member) -> CellsRun:
    """In a process of its own."""
    import torch

    if member.threads is not None:  # OMP_NUM_THREADS may come too late, or be overruled
        torch.set_num_threads(member.threads)
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
    return runner.run_cells(runner.left(), part.limit_hours, part.cells, beside_others=True)
