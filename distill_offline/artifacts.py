"""The files of a run: JSON lines and text, written atomically and readable by their owner alone (0600)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from distill_offline.errors import InputError

__all__ = ["ANNOTATIONS", "QUARANTINE", "STORE", "read_rows", "replacing", "write_rows", "write_text"]

ANNOTATIONS, QUARANTINE, STORE = "annotations.jsonl", "quarantine.jsonl", "completions.sqlite"


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its name only when the block ends well; until then an older one stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON value a line; gives their number."""
    count = 0
    with replacing(path) as file:
        for row in rows:
            file.write(json_line(row))
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of ours. Raises InputError with file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not a line of JSON"
                raise InputError(f"{path}:{number}: {problem}. Run its stage again.") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: not a JSON object. Run its stage again.")
            yield row


def json_line(row: Mapping[str, Any]) -> str:
    """One line of JSON, UTF-8 as it is; escaped where it holds lone surrogates, which a teacher's answer can."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text + "\n"
