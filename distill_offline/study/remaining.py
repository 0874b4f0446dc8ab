"""What is left of a study, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_offline.manifest.method import EXAMINING, method
from distill_offline.study.examine.rows import Examinations, Examined
from distill_offline.study.grid import Cell, Study
from distill_offline.study.methods import examined_by_method, of_other_methods, rows_by_method
from distill_offline.study.results import Results, Row

__all__ = ["Remaining", "RemainingCell", "progress"]


@dataclass(frozen=True, slots=True)
class RemainingCell:
    """A cell that lacks its row, or the examination of that key (None if it lacks none)."""

    cell: Cell
    key: str
    has_row: bool
    examination: str | None

    def __str__(self) -> str:
        return f"{self.cell}{' (to be examined)' if self.has_row else ''}"

    @property
    def fails_like(self) -> str:
        """The same for cells of which none can be run if one cannot: those that also read the same files."""
        return f"{self.key} {self.cell.settings.corpus!r}"


@dataclass(slots=True)
class Remaining:
    """The cells that lack something, the rows and examinations by key, and what cells took so far.

    `other` counts rows of other settings or data, `old` the cells whose row is of another method than the present one.
    A row of another study in the same file spares the training, too; it is filed again under this one's name.
    """

    total: int
    done: int
    cells: list[RemainingCell]
    known: dict[str, Row]
    examined: dict[str, Examined]
    other: int
    old: int
    _measured: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, study: Study, rows: Sequence[Row], examined: Sequence[Examined] = (), *, renew: bool = False
    ) -> Remaining:
        """With `renew`, rows of other methods than the present one count for nothing."""
        rows, examined = rows_by_method(study, rows), examined_by_method(study, examined)
        if renew:
            rows = [row for row in rows if row.method == method()]
            examined = [examination for examination in examined if examination.method == method(*EXAMINING)]
        keyed = [(left, study.key(left), study.examination_key(left)) for left in study.cells]
        keys, name = {key for _, key, _ in keyed}, study.settings.name
        wanted = {examination for *_, examination in keyed}
        filed = {(row.cell, row.key) for row in rows if row.study == name}
        seen = {(examination.cell, examination.key) for examination in examined if examination.study == name}
        known = {row.key: row for row in rows if row.key in keys}
        every = [
            RemainingCell(
                left, key, (left.name, key) in filed, None if (left.name, examination) in seen else examination
            )
            for left, key, examination in keyed
        ]
        cells = [left for left in every if not left.has_row or left.examination is not None]
        other = sum(row.study == name and row.key not in keys for row in rows)
        by_key = {examination.key: examination for examination in examined if examination.key in wanted}
        old = of_other_methods([known[left.key] for left in every if left.has_row])
        left = cls(len(every), len(every) - len(cells), cells, known, by_key, other, old)
        for row in known.values():
            left._measure(row)
        return left

    def add(self, row: Row, examined: Examined | None = None) -> None:
        if row.key not in self.known:
            self._measure(row)
        self.known[row.key] = row
        if examined is not None:
            self.examined[examined.key] = examined
        self.done += 1

    def needs_training(self, cell: RemainingCell) -> bool:
        """Whether no cell of the same settings has what this one lacks."""
        return cell.key not in self.known or not (cell.examination is None or cell.examination in self.examined)

    def _measure(self, row: Row) -> None:
        if row.training["seconds"] is not None:
            self._measured.setdefault(row.arm, []).append(row.training["seconds"])

    def expected(self, cell: RemainingCell) -> float | None:
        """The mean seconds of a cell: of its own arm where one was measured; None while none was at all."""
        measured = self._measured.get(cell.cell.arm.name) or [s for some in self._measured.values() for s in some]
        looking = [one.seconds for one in self.examined.values()] if cell.examination is not None else []
        return _mean(measured) + (_mean(looking) if looking else 0.0) if measured else None

    @property
    def state(self) -> str:
        """How many cells are done, and what goes on with the others."""
        return f"{self.done} of {self.total} cells are done. Run the same command again."

    def eta(self, start: int = 0, *, at_once: int = 1) -> str:
        """` · ETA 2 h 05 min` for the cells from `start` on, so many at a time; nothing if that is not known."""
        seconds = self.seconds(start)
        if not seconds:
            return ""
        hours, minutes = divmod(round(seconds / at_once / 60), 60)
        return f" · ETA {hours} h {minutes:02} min" if hours else f" · ETA {minutes} min"

    def seconds(self, start: int = 0) -> float | None:
        """What the cells from `start` on will take; each key is trained once."""
        seconds, trained = 0.0, set[tuple[str, str | None]]()
        for cell in filter(self.needs_training, self.cells[start:]):
            expected = self.expected(cell)
            if expected is None:
                return None
            if (cell.key, cell.examination) not in trained:
                seconds += expected
            trained |= {(cell.key, cell.examination), (cell.key, None)}  # a row comes with every examination
        return seconds


def progress(study: Study, results: Results, *, renew: bool = False) -> dict[str, Any]:
    """How far a study is: `cells`, `done`, `other` rows (of other settings or data), `old` ones of them that are done
    (by another method, none with `renew`), `seconds` expected for the rest
    (None if nothing was measured), and `missing`, a line each in the order in which they run."""
    left = Remaining.of(study, results.read(), Examinations.beside(results.path).read(), renew=renew)
    seconds = left.seconds()
    return {
        "cells": left.total,
        "done": left.done,
        "other": left.other,
        "old": left.old,
        "seconds": None if seconds is None else round(seconds),
        "missing": [str(cell) for cell in left.cells],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
