"""Where a text holds JSON: its lists and objects one after another, whole or broken; pure, in linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Piece", "json_pieces"]

_OPENING = re.compile(r"[\[{]")
_PROSE = re.compile(r"""[\[{]\s*(?!(?:null|true|false)\b)[^\W\d_][^\[\]{}"]*[\]}]""")  # words in brackets: no JSON
_HOPEFUL = re.compile(r"""\[\s*[\[{"\]\-\dtfnNI]|\{\s*["}]""")
_PLAIN = json.JSONDecoder()

Pairs = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """`text[start:end]`: a JSON `value`, words in brackets (`prose`), or the beginning of a value that is none."""

    start: int
    end: int
    kind: Literal["value", "prose", "broken"]
    value: Any = None


def json_pieces(text: str, *, objects: Callable[[Pairs], Any] | None = None) -> Iterator[Piece]:
    """The lists and objects of a text, from the first to the last; what lies within a whole one is not looked at.

    `objects` makes an object of its keys and values. Behind a broken one the search goes on where it breaks. What is
    nested too deeply to be read, or breaks again and again over the whole text, is broken up to the end.
    """
    decoder = json.JSONDecoder(object_pairs_hook=objects) if objects else _PLAIN
    position, steps = 0, 16 * len(text) + 100_000
    while opening := _OPENING.search(text, position):
        start = opening.start()
        if prose := _PROSE.match(text, start):
            position = prose.end()
            yield Piece(start, position, "prose")
            continue
        if not _HOPEFUL.match(text, start):
            position = start + 1
            yield Piece(start, position, "broken")
            continue
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # A string without an end was looked at up to the end of the text; the error counts the lines before it.
            steps -= len(text) - start if error.msg.startswith("Unterminated") else error.pos - start
            steps -= error.pos // 16
            position = max(error.pos, start + 1) if steps > 0 else len(text)
            yield Piece(start, position, "broken")
        except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
            yield Piece(start, len(text), "broken")
            return
        else:
            yield Piece(start, position, "value", value)
