"""A file of one JSON value a line, appended to by several processes; a kill costs the line being written at most."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from distill_offline.errors import InputError
from distill_offline.storage.files import json_line, open_in_place

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Lines"]

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Lines(ABC, Generic[T]):
    """The values, dataclasses, of the file at `path`; `WHAT` names one of them in messages."""

    WHAT: ClassVar[str] = "line of ours"
    path: Path

    @staticmethod
    @abstractmethod
    def parse(line: bytes) -> T:
        """The value that a line holds; raises ValueError, TypeError, KeyError or InputError if it holds none."""

    def read(self) -> list[T]:
        """All values in the order in which they were written, without a last one that was cut off by a kill.

        Raises InputError with file and line for one that is none of ours.
        """
        if not self.path.exists():
            return []
        *lines, last = self.path.read_bytes().split(b"\n")
        if self._is_whole(last):  # an editor took the line's end away
            lines.append(last)
        values = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                values.append(self.parse(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{self.path}:{number}: no {self.WHAT}. Remove the line.") from error
            except InputError as error:
                raise InputError(f"{self.path}:{number}: {error}") from error
        return values

    def add(self, value: T) -> None:
        """Append a value and see it onto the disk; other processes may do so at the same time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_in_place(self.path), "r+b") as file:
            with suppress(OSError):  # a filesystem without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            end = before.rfind(b"\n") + 1
            if self._is_whole(before[end:]):
                file.write(b"\n")
            else:
                file.truncate(end)  # what a kill left behind
            file.seek(0, os.SEEK_END)
            file.write(json_line(asdict(value)).encode())
            file.flush()
            os.fsync(file.fileno())

    def _is_whole(self, line: bytes) -> bool:
        try:
            self.parse(line)
        except (ValueError, TypeError, KeyError, InputError):
            return False
        return True
