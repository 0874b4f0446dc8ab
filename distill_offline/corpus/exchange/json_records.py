"""Records of a JSON file: those of one list, or an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.foreign_rows import whose_row
from distill_offline.corpus.jsonl import RepeatedKey, json_value, jsonl_rows
from distill_offline.corpus.lines import fault, read_text
from distill_offline.errors import CorpusError

__all__ = ["as_id", "json_records", "listed", "not_one_of", "write_json_lines", "write_json_list"]


def json_records(path: Path, shown: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(record from 1, object) of a list; (line, object) where each has a line. Raises CorpusError for anything else."""
    rows: Iterable[tuple[int, object]] = _listed(path, shown) if _begins_with(path, b"[") else jsonl_rows(path, shown)
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise fault(shown, number, "an object is wanted here.")
        yield number, row


def listed(record: Mapping[str, Any], key: str, shown: str, number: int, *, of: type | None = None) -> list[Any]:
    """The list of that name, empty if there is none. Raises CorpusError for anything else, and for one that holds
    something else than `of`."""
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fault(shown, number, f"`{key}` must be a list.")
    if of is not None and not all(isinstance(each, of) for each in value):
        raise fault(shown, number, f"`{key}` must hold {'objects' if of is dict else 'strings'}.")
    return value


def not_one_of(tool: str, row: Mapping[str, Any], wanted: str, shown: str, number: int) -> CorpusError:
    """The error of a record that is none of the tool's."""
    whose = whose_row(row)
    hint = f" It looks like one of {whose}." if whose and whose != tool else ""
    return fault(shown, number, f"this is no record of {tool}: {wanted}.{hint}")


def as_id(value: object) -> str | None:
    """An id as text; None if there is none."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None


def write_json_list(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON list, a record a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for number, record in enumerate(records):
            file.write(("," if number else "") + "\n" + json.dumps(record, ensure_ascii=False))
        file.write("\n]\n")


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """An object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _begins_with(path: Path, letter: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == letter
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or type(error).__name__}).") from error


def _listed(path: Path, shown: str) -> Iterator[tuple[int, object]]:
    try:
        found = json_value(read_text(path, shown))
    except json.JSONDecodeError as error:
        raise fault(shown, error.lineno, f"not JSON: {error.msg} at column {error.colno}.") from error
    except RepeatedKey as error:
        raise fault(shown, 1, f"not usable JSON: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise fault(shown, 1, f"not usable JSON ({type(error).__name__}).") from error
    return enumerate(found, 1)
