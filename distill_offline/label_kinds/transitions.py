"""Which tag follows which: the logarithms of how often, estimated from what a student learns, and kept with it.

A table is (labels + 1) × labels: a row for each tag that comes before, the last one for a sentence's beginning. The
decoder adds them to the head's log-probabilities. Pairs that are no valid IOB2 have -inf.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_offline.schema import Example

__all__ = ["allowed_transitions", "as_lists", "average_transitions", "estimated_transitions", "from_lists"]

_SMOOTHING = 0.1  # added to each count, so that what was never seen is only unlikely
_DIGITS = 6  # in the student's config.json

Float = NDArray[np.float64]


@lru_cache(maxsize=64)
def allowed_transitions(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which tags may follow which: I- only a B- or I- of its own type, if the head has a B- of that type at all."""
    known = set(labels)

    def may_follow(before: str, tag: str) -> bool:
        return tag[:2] != "I-" or f"B-{tag[2:]}" not in known or before[2:] == tag[2:]

    return np.array([[may_follow(before, tag) for tag in labels] for before in (*labels, "O")])


def estimated_transitions(examples: Iterable[Example], labels: Sequence[str], weight: float) -> Float:
    """`weight` times the logarithm of how often each tag follows each in the examples, every one counted once.

    0.1 is added to each count. Labels that are masked count for nothing, nor does what follows them. Raises KeyError
    for a label that is none of `labels`.
    """
    number = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1, len(labels)))
    for example in examples:
        before = len(labels)
        for token, label in enumerate(example.labels):
            if token in example.masked:
                before = -1
                continue
            if before >= 0:
                counts[before, number[label]] += 1
            before = number[label]
    allowed = allowed_transitions(tuple(labels))
    smoothed = np.where(allowed, counts + _SMOOTHING, 0.0)
    shares = np.divide(smoothed, smoothed.sum(1, keepdims=True))
    table: Float = np.where(allowed, weight * np.log(np.where(allowed, shares, 1.0)), -np.inf)
    return table.round(_DIGITS)


def average_transitions(tables: Sequence[Float | None]) -> Float | None:
    """The mean of several students' tables; one without a table has 0 for all that is allowed. None if none has one."""
    given = [table for table in tables if table is not None]
    if not given:
        return None
    mean: Float = np.sum(given, axis=0) / len(tables)
    return mean.round(_DIGITS)


def as_lists(table: Float) -> list[list[float | None]]:
    """JSON of a table: null for -inf."""
    return [[float(value) if np.isfinite(value) else None for value in row] for row in table]


def from_lists(value: Any, labels: Sequence[str]) -> Float:
    """The table of its JSON. Raises ValueError for what is none of these labels."""
    rows, columns = len(labels) + 1, len(labels)
    if not isinstance(value, list) or len(value) != rows:
        raise ValueError(f"must be a list of {rows} rows")
    for row in value:
        if not isinstance(row, list) or len(row) != columns:
            raise ValueError(f"must have {columns} numbers in each row")
        if not all(cell is None or (type(cell) in (int, float) and abs(cell) < 1e6) for cell in row):
            raise ValueError("must hold numbers and null alone")
    table = np.array([[-np.inf if cell is None else float(cell) for cell in row] for row in value])
    allowed = allowed_transitions(tuple(labels))
    if not np.isfinite(table[allowed]).all():
        raise ValueError("must have a number for each tag that may follow another")
    return np.where(allowed, table, -np.inf)
