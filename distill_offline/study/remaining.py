"""What is left of a study, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_offline.study.grid import Cell, Study
from distill_offline.study.results import Results, Row

__all__ = ["Remaining", "progress"]


@dataclass(slots=True)
class Remaining:
    """The cells without a row, the rows by key, and what cells took so far.

    A row of another study in the same file spares the training, too; it is filed again under this one's name.
    """

    total: int
    done: int
    cells: list[tuple[Cell, str]]
    known: dict[str, Row]
    other: int
    _measured: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, rows: Sequence[Row]) -> Remaining:
        keyed = [(cell, study.key(cell)) for cell in study.cells]
        keys, name = {key for _, key in keyed}, study.settings.name
        filed = {(row.cell, row.key) for row in rows if row.study == name}
        known = {row.key: row for row in rows if row.key in keys}
        cells = [(cell, key) for cell, key in keyed if (cell.name, key) not in filed]
        other = sum(row.study == name and row.key not in keys for row in rows)
        left = cls(len(keyed), len(keyed) - len(cells), cells, known, other)
        for row in known.values():
            left._measure(row)
        return left

    def add(self, row: Row) -> None:
        if row.key not in self.known:
            self._measure(row)
        self.known[row.key] = row
        self.done += 1

    def _measure(self, row: Row) -> None:
        if row.training["seconds"] is not None:
            self._measured.setdefault(row.arm, []).append(row.training["seconds"])

    def expected(self, arm: str) -> float | None:
        """The mean seconds of a cell: of its own arm where one was measured; None while none was at all."""
        measured = self._measured.get(arm) or [s for each in self._measured.values() for s in each]
        return sum(measured) / len(measured) if measured else None

    def seconds(self, start: int = 0) -> float | None:
        """What the cells from `start` on will take; each key is trained once."""
        train = {key: cell.arm.name for cell, key in self.cells[start:] if key not in self.known}
        each = [self.expected(arm) for arm in train.values()]
        return None if None in each else sum(s for s in each if s is not None)


def progress(study: Study, results: Results) -> dict[str, Any]:
    """How far a study is: `cells`, `done`, `other` rows (of other settings or data), `seconds` expected for the rest
    (None where nothing was measured), and `missing`, a line each in the order in which they run."""
    left = Remaining.of(study, results.read())
    seconds = left.seconds()
    return {
        "cells": left.total,
        "done": left.done,
        "other": left.other,
        "seconds": None if seconds is None else round(seconds),
        "missing": [str(cell) for cell, _ in left.cells],
    }
