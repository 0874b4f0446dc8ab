"""A corpus format from outside this package: what it gives is checked, and what it raises names key, file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.rows import FIELDS
from distill_offline.errors import ConfigError
from distill_offline.registry import theirs

__all__ = ["GuardedFormat"]

_KEY = "format"


class GuardedFormat:
    """A user's format behind the interface of formats.Format; made of its class.

    Raises ConfigError if the class is none, where it lacks what is asked of it or fails, and where `write` leaves
    rows over. Messages name files and never what is in them.
    """

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        if not isinstance(kind, type):
            raise ConfigError(f"{_KEY}: {name} is not a class.")
        with theirs(_KEY, name, "made without arguments"):
            self._format = kind()

    def check(self, method: str) -> None:
        """Raises ConfigError if the format has no `read`, or no `write`."""
        if not callable(getattr(self._format, method, None)):
            raise ConfigError(f"{_KEY}: {self.name} has no method {method}; files of it cannot be {_DONE[method]}.")

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        self.check("read")
        doing = f"read() of {shown}"
        with theirs(_KEY, self.name, doing, may_quote=True):
            rows = iter(self._format.read(path, shown))
        while True:
            with theirs(_KEY, self.name, doing, may_quote=True):
                pair = next(rows, None)
            if pair is None:
                return
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], int):
                raise ConfigError(f"{_KEY}: {self.name}, {doing}: it must yield (line, row).")
            line, row = pair
            if not isinstance(row, Mapping):
                raise ConfigError(f"{_KEY}: {self.name}, {doing}: the row of line {line} is not a mapping.")
            yield line, {key: _as_list(row[key]) for key in FIELDS if key in row}

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        self.check("write")
        handed = _HandedRows(rows)
        try:
            with theirs(_KEY, self.name, "write()", may_quote=True):
                self._format.write(path, iter(handed))
        except ConfigError:
            if handed.error is not None:
                raise handed.error from None
            raise
        if not handed.is_over:
            raise ConfigError(f"{_KEY}: {self.name}, write(): it did not take all the rows.")
        if not path.is_file():
            raise ConfigError(f"{_KEY}: {self.name}, write(): it did not write the file whose path it was given.")


_DONE = {"read": "read", "write": "written"}


class _HandedRows:
    """Rows that are handed out; what went wrong in making one is not the taker's fault."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self.error: Exception | None = None
        self.is_over = False

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        try:
            yield from self._rows
        except Exception as error:
            self.error = error
            raise
        self.is_over = True


def _as_list(value: object) -> object:
    """Tuples as lists, which rows hold; those in a list, too."""
    return [_as_list(item) for item in value] if isinstance(value, (tuple, list)) else value
