"""What was seen in the cells that were examined, a line of JSON each: scores and counts; no text and no path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from distill_offline.confidence.reliability import BINS, ConfidenceBins
from distill_offline.study.examine.teacher_errors import TeacherErrors
from distill_offline.study.lines import Lines

__all__ = ["Examinations", "Examined", "Point"]

_SENTENCES = {"pool", "unmatched", "ambiguous", "distilled", "held_out"}


@dataclass(frozen=True, slots=True)
class Point:
    """F1 of the student after so many updates.

    `agreement` is compared with the distilled labels of the sample, `gold` against the reference's of the same
    sentences, `held_out` against gold of the split that is scored. None if there is nothing to hold it against.
    `p` is the schedule's at the last update.
    """

    update: int
    agreement: float | None
    gold: float | None
    held_out: float | None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """An examined cell. `key` is the digest of what decided what was seen.

    `sentences` counts: those of the `pool`, and of them `unmatched` or `ambiguous` in the reference; those of the
    samples, `distilled` and `held_out`. `schedule` is p(t): (from which update on, p), at most 100 of them; it and
    `curve` are empty for averaged students. `errors` (None without a reference) and `calibration` are of the finished
    student, with the weights that dev chose after `best_update`. `is_the_rows`: whether it got right and wrong exactly
    what the cell's row says (None if this is the run that made the row). `seconds` is what looking took,
    `method` what a row's is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    key: str
    study: str
    variant: str
    size: int
    seed: int
    arm: str
    updates: int
    best_update: int
    sentences: Mapping[str, int]
    schedule: tuple[tuple[int, float], ...]
    curve: tuple[Point, ...]
    errors: TeacherErrors | None
    calibration: ConfidenceBins
    is_the_rows: bool | None
    seconds: float
    method: str = ""

    @property
    def cell(self) -> tuple[str, int, int, str]:
        return self.variant, self.size, self.seed, self.arm


class Examinations(Lines[Examined]):
    """The file of examined cells."""

    __slots__ = ()
    WHAT: ClassVar[str] = "examined cell of a study"

    @classmethod
    def beside(cls, rows: Path) -> Examinations:
        """The one that belongs to a file of rows: ROWS.examined.jsonl."""
        return cls(rows.with_name(f"{rows.stem}.examined.jsonl"))

    @staticmethod
    def parse(line: bytes) -> Examined:
        examined = _SHAPE.validate_json(line, strict=True)
        if len(examined.calibration.bins) != BINS or _SENTENCES - examined.sentences.keys():
            raise ValueError("of another form")
        return examined


_SHAPE = TypeAdapter(Examined)
