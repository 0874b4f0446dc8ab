"""The rows of finished cells, a line of JSON each: scores and counts; no weights, no text, no path and no host name."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from distill_offline.artifacts import json_line
from distill_offline.errors import InputError
from distill_offline.study.counts import Counts, unpack

__all__ = ["Results", "Row"]

_TRAINING = {"updates", "distilled_drawn", "original_drawn", "best_dev_f1", "seconds"}  # what tables are made of
_POOLS = {"original", "dev", "dev_in_size", "distilled", "dropped"}


@dataclass(frozen=True, slots=True)
class Row:
    """A finished cell. `key` is the digest of what decided it; `on` that of the gold set it was scored on.

    `pools` counts sentences: `original` trained on, `dev`, `dev_in_size` (1 where dev is part of the size),
    `distilled`, `dropped` (of original, because they stand in dev or test). `training` has what the train stage
    counted, `updates`, `batch_size`, `learning_rate` and `seconds` (None where a finished student was found). `counts`
    is unpacked by `sentence_counts`.
    """

    key: str
    study: str
    variant: str
    size: int
    seed: int
    arm: str
    pools: Mapping[str, int]
    training: Mapping[str, Any]
    on: str
    split: str
    metric: str
    overall: Mapping[str, float]
    per_type: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, int]
    types: tuple[str, ...]
    counts: str
    versions: Mapping[str, str]

    @property
    def cell(self) -> tuple[str, int, int, str]:
        return self.variant, self.size, self.seed, self.arm

    def sentence_counts(self) -> Counts:
        """True positives, false positives, false negatives: (sentences, types, 3)."""
        return unpack(self.counts, len(self.types))


@dataclass(frozen=True, slots=True)
class Results:
    """The file of rows: appended to line by line, so that a kill costs the line being written at most."""

    path: Path

    def read(self) -> list[Row]:
        """All rows in the order in which they were written, without a last one that was cut off by a kill.

        Raises InputError with file and line for one that is no row of ours.
        """
        if not self.path.exists():
            return []
        *lines, last = self.path.read_bytes().split(b"\n")
        if _is_whole(last):  # an editor took the line's end away
            lines.append(last)
        rows = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                rows.append(_row(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{self.path}:{number}: no row of a study. Remove the line.") from error
            except InputError as error:
                raise InputError(f"{self.path}:{number}: {error}") from error
        return rows

    def add(self, row: Row) -> None:
        """Append a row and see it onto the disk; other studies may do so at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            with suppress(OSError):  # a filesystem without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            end = before.rfind(b"\n") + 1
            if _is_whole(before[end:]):
                file.write(b"\n")
            else:
                file.truncate(end)  # what a kill left behind
            file.seek(0, os.SEEK_END)
            file.write(json_line({each.name: asdict(row)[each.name] for each in fields(row)}).encode())
            file.flush()
            os.fsync(file.fileno())


_SHAPE = TypeAdapter(Row)


def _row(line: bytes) -> Row:
    """The row that a line holds; raises ValueError, TypeError, KeyError or InputError where it holds none."""
    value = json.loads(line)
    row = Row(**{**value, "types": tuple(value["types"])})
    _SHAPE.validate_json(line, strict=True)
    if missing := (_TRAINING - row.training.keys()) | (_POOLS - row.pools.keys()):
        raise KeyError(min(missing))
    row.sentence_counts()
    return row


def _is_whole(line: bytes) -> bool:
    try:
        _row(line)
    except (ValueError, TypeError, KeyError, InputError):
        return False
    return True
