"""How sure the teacher was of a span: by the log-probabilities of its tokens, and by repeated answers."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from distill_offline.schema import Completion, Span

__all__ = ["Spelled", "agreement", "spelled"]

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spelled:
    """Natural log-probabilities of one `(mention, type)` of an answer, each with its closing quote.

    `mention` and `type` are sums over their tokens, `least` is that of the least likely token of both.
    """

    mention: float
    type: float
    least: float

    @property
    def confidence(self) -> float:
        """The probability of the whole, 0 to 1: that of spelling exactly this mention and this type, here."""
        return math.exp(min(0.0, self.mention + self.type))


def spelled(completion: Completion, pairs: Sequence[tuple[str, str]], *, after: str = "") -> list[Spelled | None]:
    """What the tokens of an answer say of each of its `(mention, type)`, which stand in it as JSON strings in order.

    `after`: the text behind which they begin. None where the completion has no log-probabilities, or where a pair
    cannot be found again in the tokens.
    """
    if not completion.token_logprobs or len(completion.token_texts) != len(completion.token_logprobs):
        return [None] * len(pairs)
    raw = "".join(completion.token_texts)
    ends = list(accumulate(map(len, completion.token_texts)))
    literals = [(m.start(), m.end(), _value(m[0])) for m in _LITERAL.finditer(raw, max(0, raw.find(after)))]
    found: list[Spelled | None] = []
    cursor = 0
    for mention, type_ in pairs:
        at = _next(literals, cursor, mention)
        to = None if at is None else _next(literals, at + 1, type_)
        if at is None or to is None:
            found.append(None)
            continue
        a, b = (_tokens(ends, literals[each], completion.token_logprobs) for each in (at, to))
        found.append(Spelled(sum(a), sum(b), min((*a, *b), default=0.0)))
        cursor = to + 1
    return found


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


def agreement(samples: Iterable[Sequence[Span]]) -> dict[tuple[int, int, str], float]:
    """For each span of repeated answers to one sentence, the share of the answers that hold it (self-consistency).

    Source: Wang et al. 2023; for NER, two-stage voting as in Xie et al. 2024 falls out of it: a place's share is the
    sum over its types.
    """
    counts, total = Counter[tuple[int, int, str]](), 0
    for spans in samples:
        total += 1
        counts.update({(span.start, span.end, span.type) for span in spans})
    return {place: count / total for place, count in counts.items()}
