"""Looking into a cell while it is trained and afterwards; what is seen decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter

from distill_offline import manifest
from distill_offline.confidence.reliability import binned
from distill_offline.config.study import ExamineSettings
from distill_offline.manifest.method import EXAMINING, method
from distill_offline.run.gold import make_task
from distill_offline.schema import Example, tokens_digest
from distill_offline.scoring.metrics import quick_f1
from distill_offline.spans.bio import unmasked
from distill_offline.storage.files import read_rows, remove_folder
from distill_offline.student.model import Student
from distill_offline.study.examine.reference import Matched
from distill_offline.study.examine.rows import Examined, Point
from distill_offline.study.examine.teacher_errors import teacher_errors
from distill_offline.study.grid import Cell
from distill_offline.study.lines import Lines

__all__ = ["CURVES", "Examination"]

CURVES = "examine"  # the folder, within a cell's run folder, of what was seen of arms that are not done

_SCHEDULE = 100  # in so many steps a p(t) is kept that changes all the time


@dataclass(frozen=True, slots=True)
class _Seen:
    """A point of the curve of the examination `key`, and how many seconds it took to make."""

    key: str
    point: Point
    seconds: float


class _Curve(Lines[_Seen]):
    """What was seen of an arm that is still being trained; it survives a kill as the arm's checkpoint does."""

    __slots__ = ()
    WHAT: ClassVar[str] = "point of a curve"

    @staticmethod
    def parse(line: bytes) -> _Seen:
        return _SHAPE.validate_json(line, strict=True)


_SHAPE = TypeAdapter(_Seen)


@dataclass(slots=True)
class Examination:
    """Looks at one cell. `folder` is the cell's run folder, `pool` all that its arms may draw of distilled sentences.

    `matched` are those of them that have gold (None without a reference), `held_out` gold of the split that is scored.
    """

    cell: Cell
    key: str
    examine: ExamineSettings
    folder: Path
    pool: Sequence[Example]
    matched: Matched | None
    held_out: Sequence[Example]
    clock: Callable[[], float] = time.monotonic
    _points: dict[int, _Seen] = field(default_factory=dict)
    _before: float = 0.0
    _sample: list[Example] = field(default_factory=list)
    _gold: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # With a reference, of sentences that have gold: both curves are then of the very same ones.
        known = self.matched.examples if self.matched else self.pool
        chosen = _chosen(known, self.examine.distilled)
        self._sample = [known[number] for number in chosen]
        self._gold = [self.matched.gold[number] for number in chosen] if self.matched else []
        self.held_out = [self.held_out[number] for number in _chosen(self.held_out, self.examine.held_out)]
        self._before = self._read()

    def prepare(self) -> None:
        """Take away a finished student, or a checkpoint, of which part of the curve was never seen."""
        missing = [update for update in self._updates if update not in self._points]
        if not missing:
            return
        manifest.unseal(self._arm)
        checkpoints = self._arm / "checkpoint"
        if missing[0] <= max((int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal()), default=0):
            remove_folder(checkpoints)

    def observe(self, updates: int, student: Student) -> None:
        """Add a point to the curve where one is due and none is there yet; the student stays as it is.

        Another process than the one that finishes may do so: they share the curve's file.
        """
        if updates not in self._updates or updates in self._points:
            return
        began = self.clock()
        count = len(self._sample)
        said = student.predict([example.sentence for example in (*self._sample, *self.held_out)])
        gold_labels, gold, taught = (
            [
                unmasked(tuple(labels_of_example), example.masked)
                for labels_of_example, example in zip(labels, self._sample, strict=False)
            ]
            for labels in (said[:count], self._gold, [example.labels for example in self._sample])
        )
        point = Point(
            updates,
            agreement=self._f1(taught, gold_labels),
            gold=self._f1(gold, gold_labels) if gold else None,
            held_out=self._f1([example.labels for example in self.held_out], said[count:]),
        )
        self._points[updates] = _Seen(self.key, point, round(self.clock() - began, 3))
        self._curve.add(self._points[updates])

    def looked(self) -> float:
        """How many seconds `observe` took since this was made."""
        return self._read() - self._before

    def finish(
        self,
        student: Student,
        split: Sequence[Example],
        predicted: Sequence[Sequence[str]],
        best_update: int,
        is_the_rows: bool | None,
    ) -> Examined:
        """All that was seen, with what the finished student says of the pool and of the whole `split` that is scored.

        `predicted` are its labels for that split.
        """
        began, cell, matched, looked = self.clock(), self.cell, self.matched, self._read()
        p = [round(row["p"], 4) for row in read_rows(self._arm / "history.jsonl")]
        errors = None
        if matched is not None:
            labels = student.predict([example.sentence for example in matched.examples])
            errors = teacher_errors(student.head, matched.examples, matched.gold, labels)
        calibration = binned(_confidences(student, split, predicted))
        return Examined(
            key=self.key,
            study=cell.settings.name,
            variant=cell.variant,
            size=cell.size,
            seed=cell.seed,
            arm=cell.arm.name,
            updates=len(p),
            best_update=best_update,
            sentences={
                "pool": len(self.pool),
                "unmatched": matched.unmatched if matched else 0,
                "ambiguous": matched.ambiguous if matched else 0,
                "distilled": len(self._sample),
                "held_out": len(self.held_out),
            },
            schedule=_schedule(p),
            curve=tuple(replace(self._points[update].point, p=p[update - 1]) for update in self._updates),
            errors=errors,
            calibration=calibration,
            is_the_rows=is_the_rows,
            seconds=round(looked + self.clock() - began, 1),
            method=method(*EXAMINING),
        )

    def _read(self) -> float:
        """Read the curve as far as it has been seen; gives the seconds that the looking took."""
        self._points = {seen.point.update: seen for seen in self._curve.read() if seen.key == self.key}
        return sum(seen.seconds for seen in self._points.values())

    @property
    def _curve(self) -> _Curve:
        return _Curve(self.folder / CURVES / f"{self.cell.arm.name}.jsonl")

    @property
    def _arm(self) -> Path:
        return self.folder / "train" / self.cell.arm.name

    @property
    def _updates(self) -> Sequence[int]:
        """After which updates the student is looked at: none of an average, which is not trained."""
        if self.cell.arm.average:
            return ()
        settings = self.cell.settings.train.of(self.cell.arm)
        return sorted({*range(settings.eval_every, settings.updates + 1, settings.eval_every), settings.updates})

    def _f1(self, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float | None:
        return round(quick_f1(make_task(self.cell.settings).metric, gold, predicted), 6) if gold else None


def _schedule(p: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """From which updates on p is what, of p at every update."""
    changes = [update for update in range(len(p)) if not update or p[update] != p[update - 1]]
    if len(changes) > _SCHEDULE:
        changes = [changes[len(changes) * step // _SCHEDULE] for step in range(_SCHEDULE)]
    return tuple((update, p[update]) for update in changes)


def _chosen(examples: Sequence[Example], count: int) -> list[int]:
    """Which examples a sample holds: it depends on the sentences alone, not on their order."""
    by_content = sorted(range(len(examples)), key=lambda number: tokens_digest(examples[number].sentence.tokens))
    return by_content[:count]


def _confidences(
    student: Student, examples: Sequence[Example], predicted: Sequence[Sequence[str]]
) -> list[tuple[float, bool]]:
    """How sure the student is of each entity that it finds, and whether exactly this one is there; or of each class."""
    scored = student.scored([example.sentence for example in examples])
    return student.kind.confidences(scored, student.labels, predicted, [example.labels for example in examples])
