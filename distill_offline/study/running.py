"""The cells of a study, one after the other: train, score, keep the row, drop the student."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distill_offline import manifest, pipeline
from distill_offline.completions.lock import Lock
from distill_offline.corpus import digest as gold_digest
from distill_offline.errors import ConfigError, DistillError, EnvironmentFault, InputError, Interrupted
from distill_offline.filesystem import is_network
from distill_offline.inputs import make_task, read_labelled
from distill_offline.run_folder import RunFolder
from distill_offline.schema import Example, Watch
from distill_offline.scoring import score
from distill_offline.settings import Settings, Source
from distill_offline.student import Student
from distill_offline.study.counts import pack, sentence_counts
from distill_offline.study.grid import Cell, Study
from distill_offline.study.remaining import Remaining
from distill_offline.study.results import Results, Row
from distill_offline.study_settings import StudySettings

__all__ = ["Runner"]

_KEPT = frozenset({"history.jsonl"})  # of a student's folder, where students are not kept


@dataclass(slots=True)
class Runner:
    """Runs what is missing of a study, below `folder`, into `results`.

    `say`, `watch`, `stop` and `command` are a RunFolder's. `clock` gives seconds.
    """

    study: Study
    folder: Path
    results: Results
    say: Callable[[str], None] = lambda line: None
    watch: Watch = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    command: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    _examples: dict[str, tuple[str | Source | None, tuple[Example, ...]]] = field(default_factory=dict)

    def run(self, limit_hours: float | None = None) -> int:
        """Add a row for every cell that has none yet; gives their number.

        Raises Interrupted when `stop()` turns true, or before a cell that would probably end after `limit_hours`;
        InputError where another process is at work in the folder, or the corpus is smaller than the sizes. A cell that
        fails for reasons of its own does not keep the others from running: DistillError names it at the end.
        """
        began, ran = self.clock(), 0
        failed: list[str] = []
        with self._alone():
            left = Remaining.of(self.study, self.results.read())
            _check_sizes([cell for cell, key in left.cells if key not in left.known], self.study.plan)
            for place in dict.fromkeys(cell.place for cell in self.study.cells):
                self._tidy(place, [cell for cell, _ in left.cells])  # a kill may have come between a row and this
            for number, (cell, key) in enumerate(left.cells):
                self._check(left, began, limit_hours, cell, key)
                self.say(f"study: {left.done + 1}/{left.total} · {cell}{_eta(left.seconds(number))}")
                try:
                    row = _filed(left.known[key], cell) if key in left.known else self._cell(cell, key)
                except (EnvironmentFault, Interrupted):
                    raise
                except DistillError as error:
                    self.say(f"study: {cell} cannot be run: {error}")
                    failed.append(f"{cell}: {error}")
                    continue
                self.results.add(row)
                left.add(row)
                ran += 1
                self.say(f"study: F1 {100 * row.overall['f1']:.1f} · {cell}")
                self._tidy(cell.place, [other for other, _ in left.cells[number + 1 :]])
        if failed:
            raise DistillError(
                f"study: {len(failed)} cells cannot be run, the others are done (--table shows them). {failed[0]}"
            )
        return ran

    def _check(self, left: Remaining, began: float, hours: float | None, cell: Cell, key: str) -> None:
        """Raise Interrupted where it is time to stop."""
        state = f"{left.done} of {left.total} cells are done. Run the same command again."
        if self.stop():
            raise Interrupted(f"study: stopped; {state}")
        next_one = 0.0 if key in left.known else left.expected(cell.arm.name) or 0.0
        if hours is not None and self.clock() - began + next_one > hours * 3600:
            raise Interrupted(f"study: {hours:g} hours would be over before another cell ends; {state}")

    def _cell(self, cell: Cell, key: str) -> Row:
        began = self.clock()
        run = RunFolder(
            self.folder / cell.place,
            cell.settings,
            command=self.command,
            watch=lambda each: self.watch(replace(each, stage=f"{cell.place.as_posix()}: {each.stage}")),
            stop=self.stop,
        )
        run.open()
        place = run.folder(f"train/{cell.arm.name}")
        was_there = manifest.is_whole(place)
        if cell.settings.asks_a_teacher:
            pipeline.annotate(run)
        pipeline.select(run)
        # What an arm averages may have been trained for a row that is long done, and dropped.
        trained = pipeline.train(run, (*cell.arm.average, cell.arm.name))
        scored = self._scored(cell, place / "student")
        run.seal()
        return self._row(cell, key, trained, scored, None if was_there else self.clock() - began)

    def _scored(self, cell: Cell, student: Path) -> dict[str, Any]:
        settings, task = cell.settings, make_task(cell.settings)
        split = settings.evaluate.split
        examples = self._read(settings, split)
        gold = [example.labels for example in examples]
        predicted = Student.load(student).predict([example.sentence for example in examples])
        report = score(task.metric, gold, predicted, on=gold_digest(examples)).as_dict()
        return {
            "on": report["on"],
            "split": split,
            "metric": task.metric,
            "overall": report["overall"],
            "per_type": report["per_type"],
            "errors": report["errors"],
            "types": tuple(settings.task.types),
            "counts": pack(sentence_counts(task.head, gold, predicted, tuple(settings.task.types))),
        }

    def _read(self, settings: Settings, split: str) -> tuple[Example, ...]:
        """The examples of a split; of each split the one read last is held."""
        source = getattr(settings.corpus.original, split)
        held = self._examples.get(split)
        if held is None or held[0] != source:
            examples = tuple(read_labelled(settings, source, origin="original")) if source is not None else ()
            held = self._examples[split] = (source, examples)
        return held[1]

    def _row(
        self,
        cell: Cell,
        key: str,
        trained: Mapping[str, Mapping[str, Any]],
        scored: Mapping[str, Any],
        seconds: float | None,
    ) -> Row:
        plan, settings, own = self.study.plan, cell.settings, trained[cell.arm.name]
        pools = {**trained[cell.arm.average[0]], **own} if cell.arm.average else own
        resolved = settings.train.of(cell.arm)
        averaged = [settings.train.of(arm).updates for arm in settings.train.arms if arm.name in cell.arm.average]
        taken = ("distilled_drawn", "original_drawn", "best_update", "best_dev_f1", "threads")
        return Row(
            key=key,
            study=settings.name,
            variant=cell.variant,
            size=cell.size,
            seed=cell.seed,
            arm=cell.arm.name,
            pools={
                "original": pools["original_pool"],
                "dev": len(self._read(settings, "dev")),
                "dev_in_size": int(plan.dev_share is not None),
                "distilled": pools["distilled_pool"],
                "dropped": pools["original_dropped_as_overlap"],
            },
            training={
                "updates": sum(averaged) if cell.arm.average else resolved.updates,  # of all that an average took
                "batch_size": resolved.batch_size,
                "learning_rate": resolved.learning_rate,
                **{name: own[name] for name in taken},
                "seconds": None if seconds is None else round(seconds, 1),
            },
            versions=manifest.versions(),
            **scored,
        )

    def _tidy(self, place: Path, missing: Sequence[Cell]) -> None:
        """Drop the students of a run folder, but for those that an arm still to be run averages."""
        here = [cell for cell in missing if cell.place == place]
        kept = {name for cell in here for name in cell.arm.average} | {cell.arm.name for cell in here}
        if self.study.plan.keep_students:
            return
        students = self.folder / place / "train"
        for folder in students.iterdir() if students.is_dir() else ():
            if folder.name in kept or not folder.is_dir():
                continue
            manifest.unseal(folder)  # first: a folder without its student is not whole
            for inner in folder.iterdir():
                if inner.is_dir():
                    shutil.rmtree(inner)
                elif inner.name not in _KEPT:
                    inner.unlink()
        manifest.unseal(self.folder / place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = Lock(self.folder / "study", is_shared=is_network(self.folder))
        except BlockingIOError as error:
            raise InputError(f"{self.folder}: another process runs a study here. Wait for it, or stop it.") from error
        try:
            yield
        finally:
            lock.release()


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
        found = sum(1 for _ in read_labelled(cells[0].settings, whole, origin="original"))
        if most > found:
            raise ConfigError(
                f"study.sizes: {most} sentences of corpus.original.train are asked for (dev lies behind the largest "
                f"size), and {whole.path} has {found}. Take smaller sizes, or a smaller reserve."
            )


def _filed(row: Row, cell: Cell) -> Row:
    """The result of a cell that another one with the same settings has found already."""
    variant, size, seed, arm = cell.name
    return replace(row, study=cell.settings.name, variant=variant, size=size, seed=seed, arm=arm)


def _eta(seconds: float | None) -> str:
    if not seconds:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f" · ETA {hours} h {minutes:02} min" if hours else f" · ETA {minutes} min"
