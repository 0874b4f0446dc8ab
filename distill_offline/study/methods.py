"""By which method the rows of a study were made, and what to say where it is not one and the present one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from distill_offline.manifest.method import EXAMINING, method
from distill_offline.study.examine.rows import Examined
from distill_offline.study.grid import METHODS_BEFORE, Study
from distill_offline.study.results import Row

__all__ = ["examined_by_method", "methods_note", "of_other_methods", "rows_by_method"]

_Found = TypeVar("_Found", Row, Examined)


def rows_by_method(study: Study, rows: Sequence[Row]) -> list[Row]:
    """The rows with the keys of now, those of the present method last: of two of a cell the later one counts.

    Rows of methods 1 and 2 had the method in their keys; they are known by it, and now say it as all others do.
    """
    cells = {
        study.key(cell, before): (study.key(cell), str(before)) for cell in study.cells for before in METHODS_BEFORE
    }
    return sorted((_translated(row, cells) for row in rows), key=lambda row: row.method == method())


def examined_by_method(study: Study, examined: Sequence[Examined]) -> list[Examined]:
    """The same of examined cells."""
    cells = dict[str, tuple[str, str]]()
    for cell in study.cells:
        now = study.examination_key(cell)
        if now is not None:
            cells |= {study.examination_key(cell, before) or "": (now, str(before)) for before in METHODS_BEFORE}
    return sorted(
        (_translated(examination, cells) for examination in examined),
        key=lambda examination: examination.method == method(*EXAMINING),
    )


def _translated(row: _Found, keys: dict[str, tuple[str, str]]) -> _Found:
    if row.method or row.key not in keys:
        return row
    key, by = keys[row.key]
    return replace(row, key=key, method=by)


def of_other_methods(rows: Sequence[Row]) -> int:
    """How many rows are not of the present method."""
    return sum(row.method != method() for row in rows)


def methods_note(rows: Sequence[Row]) -> str:
    """What to say beside a table of these rows; empty if all are of the present method."""
    others = of_other_methods(rows)
    if not others:
        return ""
    by = ", ".join(
        f"{count} by {name}"
        for name, count in sorted(Counter(row.method or "none that is said" for row in rows).items())
    )
    mixed = "Differences between rows of two methods are of these, too. " if others < len(rows) else ""
    return (
        f"{others} of {len(rows)} rows were made by another method of training, labelling or scoring than the present "
        f"one, {method()} ({by}). {mixed}The same command with --renew, without --table, runs them again."
    )
