"""The cells of a study, one after the other: train, score, keep the row, drop the student."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from distill_offline import manifest, pipeline
from distill_offline.config.settings import SeededTrainSettings, Settings, Source
from distill_offline.config.study import StudySettings
from distill_offline.errors import ConfigError, DistillError, EnvironmentFault, InputError, Interrupted
from distill_offline.pretrain.stage import fingerprint, is_pretrained, take_over
from distill_offline.run.encoder import PRETRAIN, starting_encoder, starts_pretrained
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import read_labelled
from distill_offline.schema import Example, Watch
from distill_offline.storage.files import check_own, remove_folder
from distill_offline.storage.filesystem import is_network
from distill_offline.storage.lock import Lock
from distill_offline.student.model import Student
from distill_offline.study.cell_row import Splits, cell_row, how_read
from distill_offline.study.examine.looking import CURVES, Examination
from distill_offline.study.examine.reference import Matched, Truth
from distill_offline.study.examine.rows import Examinations, Examined
from distill_offline.study.grid import Cell, Study
from distill_offline.study.remaining import Remaining, RemainingCell
from distill_offline.study.results import Results, Row
from distill_offline.train.stage import distilled_pool

__all__ = ["CellName", "CellsRun", "Runner"]

_Found = TypeVar("_Found", Row, Examined)
CellName = tuple[str, int, int, str]

_ENCODERS = "pretrained"  # what pretrain made, by what it was made from; all cells take it over
_KEPT = frozenset({"history.jsonl"})  # of a student's folder, where students are not kept


@dataclass(frozen=True, slots=True)
class CellsRun:
    """How many cells were run, which cannot be (and why), and whether time was over before the end."""

    ran: int = 0
    failed: Mapping[CellName, str] = field(default_factory=dict)
    out_of_time: bool = False

    def and_(self, other: CellsRun) -> CellsRun:
        """Both together."""
        return CellsRun(self.ran + other.ran, {**self.failed, **other.failed}, self.out_of_time or other.out_of_time)


@dataclass(slots=True)
class Runner:
    """Runs what is missing of a study, below `folder`, into `results`.

    With `renew` it also runs the cells again whose rows are of another method. `say`, `watch`, `stop` and `command` are
    a RunFolder's. `clock` gives seconds.
    """

    study: Study
    folder: Path
    results: Results
    say: Callable[[str], None] = lambda line: None
    watch: Watch = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    command: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    renew: bool = False
    _splits: Splits = field(default_factory=Splits)
    _truth: tuple[tuple[Any, ...], Truth] | None = None

    def run(self, limit_hours: float | None = None) -> int:
        """Add a row for every cell that has none yet; gives their number.

        Raises Interrupted when `stop()` turns true, or before a cell that would probably end after `limit_hours`;
        InputError where another process is at work in the folder, or the corpus is smaller than the sizes. A cell that
        fails for reasons of its own does not keep the others from running: DistillError names it at the end.
        """
        with self.alone():
            left = self.left()
            self.check_and_tidy(left)
            done = self.run_cells(left, limit_hours)
        return self.told(done, limit_hours)

    def left(self) -> Remaining:
        """What is missing as the rows are now."""
        return Remaining.of(self.study, self.results.read(), self._examinations.read(), renew=self.renew)

    def check_and_tidy(self, left: Remaining) -> None:
        """Before anything is trained. Raises ConfigError or InputError for what cannot be run to its end."""
        trained = [remaining_cell.cell for remaining_cell in left.cells if left.needs_training(remaining_cell)]
        _check_sizes(trained, self.study.plan)
        self._check_reference(left)
        for work_folder in dict.fromkeys(remaining_cell.folder for remaining_cell in self.study.cells):
            self._tidy(work_folder, left.cells)  # a kill may have come between a row and this

    def run_cells(
        self,
        left: Remaining,
        limit_hours: float | None = None,
        only: Collection[CellName] | None = None,
        *,
        beside_others: bool = False,
    ) -> CellsRun:
        """Run the cells that are left, or of them those of these names. Raises as `run` does, but for what `told` says.

        `beside_others`: other processes run cells, so that nobody here knows how many are done.
        """
        began, run = self.clock(), CellsRun()
        failed: dict[str, str] = {}
        for number, remaining in enumerate(left.cells):
            if only is not None and remaining.cell.name not in only:
                continue
            if remaining.fails_like in failed:
                run = replace(run, failed={**run.failed, remaining.cell.name: failed[remaining.fails_like]})
                continue
            if self.stop():
                raise Interrupted(f"study: stopped; {left.state}")
            next_one = (left.expected(remaining) or 0.0) if left.needs_training(remaining) else 0.0
            if limit_hours is not None and self.clock() - began + next_one > limit_hours * 3600:
                return replace(run, out_of_time=True)
            place = f"{left.done + 1}/{left.total} · {remaining}{left.eta(number)}"
            self.say(f"study: {remaining if beside_others else place}")
            try:
                row, examined = self._examined_cell(left, remaining)
            except (EnvironmentFault, Interrupted):
                raise
            except DistillError as error:
                self.say(f"study: {remaining.cell} cannot be run: {error}")
                failed[remaining.fails_like] = f"{remaining.cell}: {error}"
                run = replace(run, failed={**run.failed, remaining.cell.name: failed[remaining.fails_like]})
                continue
            if not remaining.has_row:
                self.results.add(row)
            if examined is not None:
                self._examinations.add(examined)
            left.add(row, examined)
            run = replace(run, ran=run.ran + 1)
            self.say(f"study: F1 {100 * row.overall['f1']:.1f} · {remaining.cell}")
            self._tidy(remaining.cell.folder, left.cells[number + 1 :])
        return run

    def told(self, done: CellsRun, limit_hours: float | None) -> int:
        """How many cells were run. Raises Interrupted if time was over, DistillError if some cannot be run."""
        if done.out_of_time:
            state = self.left().state
            raise Interrupted(f"study: {limit_hours:g} hours would be over before another cell ends; {state}")
        if done.failed:
            first = next(iter(done.failed.values()))
            raise DistillError(
                f"study: {len(done.failed)} cells cannot be run, the others are done (--table shows them). {first}"
            )
        return done.ran

    @property
    def _examinations(self) -> Examinations:
        return Examinations.beside(self.results.path)

    def _check_reference(self, left: Remaining) -> None:
        """Raises ConfigError if the reference has none of the sentences of corpus.distilled."""
        looked_at = next((e for e in left.cells if e.examination is not None and left.needs_training(e)), None)
        if self.study.reference is None or looked_at is None:
            return
        settings = looked_at.cell.settings
        if settings.corpus.distilled is not None and not settings.asks_a_teacher:
            self._matched(settings, tuple(read_labelled(settings, settings.corpus.distilled, origin="distilled")))

    def _examined_cell(self, left: Remaining, remaining: RemainingCell) -> tuple[Row, Examined | None]:
        """What the cell lacks: filed already under another name, or found by training it."""
        before = left.known.get(remaining.key)
        if before is not None and not left.needs_training(remaining):
            examined = left.examined[remaining.examination] if remaining.examination is not None else None
            return _filed(before, remaining.cell), None if examined is None else _filed(examined, remaining.cell)
        row, examined = self._cell(remaining, before)
        return row if before is None else _filed(before, remaining.cell), examined

    def _cell(self, remaining: RemainingCell, before: Row | None) -> tuple[Row, Examined | None]:
        """Train and score the cell, and look into it where that is asked for; `before` is its row, if it has one."""
        began, cell, plan = self.clock(), remaining.cell, self.study.plan
        run = self._run_folder(cell)
        run.open()
        began += self._pretrain(run, cell)
        if cell.settings.asks_a_teacher:
            if cell.settings.adapt is not None:
                pipeline.adapt(run)
            pipeline.annotate(run)
        pipeline.select(run)
        split = self._splits.read(cell.settings, cell.settings.evaluate.split)
        looking = None
        if remaining.examination is not None and plan.examine is not None:
            pool = distilled_pool(run)
            matched = self._matched(cell.settings, pool)
            looking = Examination(cell, remaining.examination, plan.examine, run.path, pool, matched, split, self.clock)
            looking.prepare()
        arm_folder = run.folder(f"train/{cell.arm.name}")
        was_there = manifest.is_whole(arm_folder)
        # What an arm needs may have been trained for a row that is long done, and dropped.
        needed = [arm.name for arm in cell.settings.train.before(cell.arm)]
        trained = pipeline.train(run, needed) if needed else {}
        trained |= pipeline.train(run, [cell.arm.name], looking.observe if looking else None)
        student = Student.load(arm_folder / "student")
        predicted = student.predict([example.sentence for example in split])
        run.seal()
        seconds = self.clock() - began - (looking.looked() if looking else 0.0)
        row = cell_row(
            cell,
            remaining.key,
            self._splits,
            predicted,
            trained,
            dev_in_size=plan.dev_share is not None,
            pretrained=_pretrained(run, cell),
            seconds=None if was_there else seconds,
        )
        if looking is None:
            return row, None
        is_the_rows = None if before is None else before.counts == row.counts
        if before is not None and not is_the_rows:
            why = "other versions or threads?" if before.method == row.method else "made by another method"
            self.say(f"study: {cell} scores otherwise than its row does, which stays ({why})")
        best = trained[cell.arm.name]["best_update"]
        return row, looking.finish(student, split, predicted, best, is_the_rows)

    def _pretrain(self, run: RunFolder, cell: Cell) -> float:
        """Have the encoder that the cell starts from, made once for all; gives the seconds that this took."""
        began = self.clock()
        if (shared := self._shared_encoder(run, cell)) is not None:
            take_over(run, shared)
        return self.clock() - began

    def encoder_of(self, cell: Cell) -> str | None:
        """What `pretrain` makes the encoder from that the cell starts from, as a digest; None if it makes none."""
        return fingerprint(self._run_folder(cell)) if _starts_pretrained(cell) else None

    def _shared_encoder(self, run: RunFolder, cell: Cell) -> RunFolder | None:
        """The folder in which the encoder was pre-trained that a cell starts from; None if it needs none."""
        if not _starts_pretrained(cell):
            return None
        shared = replace(run, path=self.folder / _ENCODERS / fingerprint(run)[:16], say=self.say)
        if not is_pretrained(shared):
            shared.open()
            pipeline.pretrain(shared)
            shared.seal()
        return shared

    def _run_folder(self, cell: Cell) -> RunFolder:
        """The run that a cell is part of."""
        return RunFolder(
            self.folder / cell.folder,
            replace(cell.settings, train=_one_at_a_time(cell)),
            command=self.command,
            watch=lambda progress: self.watch(replace(progress, stage=f"{cell.folder.as_posix()}: {progress.stage}")),
            stop=self.stop,
        )

    def _matched(self, settings: Settings, pool: Sequence[Example]) -> Matched | None:
        """The examples of `pool` with gold out of study.examine.reference, which is read once where it is
        read in one way."""
        reference = self.study.reference
        if reference is None:
            return None
        reading = how_read(settings, reference)
        if self._truth is None or self._truth[0] != reading:
            self._truth = reading, Truth.of(read_labelled(settings, reference, origin="original"))
        return self._truth[1].match(pool)

    def _tidy(self, work_folder: Path, missing: Sequence[RemainingCell]) -> None:
        """Drop the students of a run folder, but for those that an arm still to be run needs."""
        here = [left.cell for left in missing if left.cell.folder == work_folder]
        for curve in (self.folder / work_folder / CURVES).glob("*.jsonl"):
            if curve.stem not in {cell.arm.name for cell in here}:
                curve.unlink()
        kept = {student.name for cell in here for student in cell.students}
        if self.study.plan.keep_students:
            return
        if not here:
            manifest.unseal(self.folder / work_folder / PRETRAIN)
            remove_folder(self.folder / work_folder / PRETRAIN)
        students = self.folder / work_folder / "train"
        for folder in students.iterdir() if students.is_dir() else ():
            if folder.name in kept or not folder.is_dir():
                continue
            manifest.unseal(folder)  # first: a folder without its student is not whole
            for inner in folder.iterdir():
                if inner.is_dir():
                    shutil.rmtree(inner)
                elif inner.name not in _KEPT:
                    inner.unlink()
        manifest.unseal(self.folder / work_folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder. Raises InputError if one is at work in it."""
        check_own(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = Lock(self.folder / "study", is_shared=is_network(self.folder))
        except BlockingIOError as error:
            raise InputError(f"{self.folder}: another process runs a study here. Wait for it, or stop it.") from error
        try:
            yield
        finally:
            lock.release()


def _starts_pretrained(cell: Cell) -> bool:
    """Whether the cell, or what chooses its labels, starts from an encoder that `pretrain` makes."""
    settings = cell.settings
    arms = (*settings.train.before(cell.arm), cell.arm)
    crosses = settings.pretrain is not None and settings.select.cross_fit is not None
    return crosses or any(starts_pretrained(settings, arm.name) for arm in arms)


def _pretrained(run: RunFolder, cell: Cell) -> str | None:
    """The beginning of the digest of the encoder that was pre-trained for the cell, if one was."""
    if cell.arm.average or not starts_pretrained(cell.settings, cell.arm.name):
        return None
    return starting_encoder(run, cell.arm.name).digest[:16]


def _check_sizes(cells: Sequence[Cell], plan: StudySettings) -> None:
    """Raises ConfigError for a size beyond what the corpus has: its cells would quietly be of a smaller one."""
    needed: dict[Source, int] = {}
    for cell in cells:
        original = cell.settings.corpus.original
        last = original.dev if plan.dev_share and original.dev is not None else original.train
        assert isinstance(original.train, Source)  # the grid made both
        assert isinstance(last, Source)
        whole = replace(original.train, shuffle=None, skip=0, limit=None)
        needed[whole] = max(needed.get(whole, 0), last.skip + (last.limit or 0))
    for whole, most in needed.items():
        examples = sum(1 for _ in read_labelled(cells[0].settings, whole, origin="original"))
        if most > examples:
            raise ConfigError(
                f"study.sizes: {most} sentences of corpus.original.train are asked for (dev lies behind the largest "
                f"size), and {whole.path} has {examples}. Take smaller sizes, or a smaller reserve."
            )


def _filed(row: _Found, cell: Cell) -> _Found:
    """The result of a cell that another one with the same settings has found already."""
    variant, size, seed, arm = cell.name
    return replace(row, study=cell.settings.name, variant=variant, size=size, seed=seed, arm=arm)


def _one_at_a_time(cell: Cell) -> SeededTrainSettings:
    """A cell trains one student, and those that it needs. Each is alone and has all threads."""
    train = cell.settings.train
    kept = {arm.name for arm in (*train.before(cell.arm), cell.arm)}
    arms = tuple(arm if arm.name in kept else replace(arm, labellers=None) for arm in train.arms)
    return replace(train, at_once=1, arms=arms)
