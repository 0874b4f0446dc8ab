"""JSONL: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from distill_offline.corpus.lines import fault, text_lines

__all__ = ["jsonl_rows"]


def jsonl_rows(path: Path, shown: str) -> Iterator[tuple[int, object]]:
    """(line, value) for every line that is not blank. Raises CorpusError for what is no JSON."""
    for number, line in text_lines(path, shown):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            raise fault(shown, number, f"not JSON: {error.msg} at column {error.colno}.") from error
        except ValueError as error:
            raise fault(shown, number, "not usable JSON: a number has too many digits.") from error
        except RecursionError as error:
            raise fault(shown, number, "not usable JSON: too deeply nested.") from error
