"""JSONL: an object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.lines import fault, text_lines

__all__ = ["JsonLines", "RepeatedKey", "json_value", "jsonl_rows"]


class JsonLines:
    """The format `jsonl`."""

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, object]]:
        return jsonl_rows(path, shown)

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        with path.open("wb") as file:
            for row in rows:
                try:
                    file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                except UnicodeEncodeError:  # half a character (a lone surrogate): as an escape
                    file.write(json.dumps(row).encode() + b"\n")


class RepeatedKey(ValueError):
    """A key that occurs twice in an object: which one is meant?"""


def jsonl_rows(path: Path, shown: str) -> Iterator[tuple[int, object]]:
    """(line, value) for every line that is not blank.

    Raises CorpusError for what is no JSON, for one JSON value over many lines or a list of all rows, and for a key that
    occurs twice in an object.
    """
    is_first = True
    for number, line in text_lines(path, shown):
        if not line.strip():
            continue
        try:
            value = _DECODER.decode(line)
        except json.JSONDecodeError as error:
            reason = _reason(line, is_first=is_first) or f"not JSON: {error.msg} at column {error.colno}."
            raise fault(shown, number, reason) from error
        except RepeatedKey as error:
            raise fault(shown, number, f"not usable JSON: {error}.") from error
        except ValueError as error:
            raise fault(shown, number, "not usable JSON: a number has too many digits.") from error
        except RecursionError as error:
            raise fault(shown, number, "not usable JSON: too deeply nested.") from error
        if isinstance(value, list) and (not value or isinstance(value[0], dict)):
            raise fault(shown, number, f"this is one JSON list of rows, not JSONL. {_SPLIT}")
        is_first = False
        yield number, value


_SPLIT = "Write an object a line, for example with: jq -c '.[]' OLD > NEW"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise RepeatedKey(f"the key {repeated[:60]!r} occurs twice in one object")
    return unique


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises json.JSONDecodeError, RepeatedKey or another ValueError, RecursionError."""
    return _DECODER.decode(text)


def _reason(line: str, *, is_first: bool) -> str:
    """What a line that is no JSON probably is, and what to do; empty if that is not clear."""
    stripped = line.strip()
    if is_first and stripped in ("[", "{", "[{"):
        how = _SPLIT if stripped[0] == "[" else "Write an object a line, for example with: jq -c . OLD > NEW"
        return f"this is JSON over many lines, not JSONL. {how}"
    if stripped.endswith(",") and _is_json(stripped[:-1]):
        return "not JSON: a comma ends the line. Remove it, for example with: sed 's/, *$//' OLD > NEW"
    try:
        _, end = json.JSONDecoder().raw_decode(stripped)
    except (ValueError, RecursionError):
        return ""
    rest = stripped[end:].lstrip()
    return "not JSONL: there are several values in one line. Write an object a line." if rest[:1] in ("{", "[") else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
