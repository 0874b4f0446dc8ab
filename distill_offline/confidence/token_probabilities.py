"""How sure the teacher was: the log-probabilities of the tokens that spell a span."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from distill_offline.schema import Completion

__all__ = ["Spelled", "spelled"]

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spelled:
    """Natural log-probabilities of one `(mention, type)` of an answer, each summed up to its closing quote."""

    mention: float
    type: float

    @property
    def confidence(self) -> float:
        """The probability of the whole, 0 to 1: that of spelling exactly this mention and this type, here."""
        return math.exp(min(0.0, self.mention + self.type))


def spelled(
    completion: Completion, pairs: Sequence[tuple[str, str]], *, source: str = "", after: str = ""
) -> list[Spelled | None]:
    """What the tokens of an answer say of each of its `(mention, type)`, which stand in it as JSON strings in order.

    `source`: the answer itself, out of all that was said: drafts before it have probabilities of their own. `after`:
    the text within it behind which the pairs begin. None if the completion has no log-probabilities, or where the
    answer or a pair cannot be found again in the tokens.
    """
    if not completion.token_logprobs or len(completion.token_texts) != len(completion.token_logprobs):
        return [None] * len(pairs)
    raw = "".join(completion.token_texts)
    ends = list(accumulate(map(len, completion.token_texts)))
    start = raw.rfind(source) if source else 0
    if start < 0:
        return [None] * len(pairs)
    start, end = max(start, raw.find(after, start)), start + len(source) if source else len(raw)
    literals = [(m.start(), m.end(), _value(m[0])) for m in _LITERAL.finditer(raw, start, end)]
    spans: list[Spelled | None] = []
    cursor = 0
    for mention, type_ in pairs:
        at = _next(literals, cursor, mention)
        to = None if at is None else _next(literals, at + 1, type_)
        if at is None or to is None:
            spans.append(None)
            continue
        a, b = (sum(_tokens(ends, literals[position], completion.token_logprobs)) for position in (at, to))
        spans.append(Spelled(a, b))
        cursor = to + 1
    return spans


def _next(literals: Sequence[tuple[int, int, str]], cursor: int, value: str) -> int | None:
    return next((n for n in range(cursor, len(literals)) if literals[n][2] == value), None)


def _value(literal: str) -> str:
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1]


def _tokens(ends: Sequence[int], literal: tuple[int, int, str], logprobs: Sequence[float]) -> Sequence[float]:
    """Log-probabilities of the tokens that hold a character of the literal behind its opening quote."""
    start, end, _ = literal
    first, last = bisect_right(ends, start + 1), bisect_left(ends, end)
    return logprobs[first : last + 1]
