"""How sure the teacher was: the log-probabilities of the tokens that spell a span, and its agreement with itself."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from distill_offline.bio import encode_bio
from distill_offline.schema import Annotation, Completion, Head, Rejection, Span

__all__ = ["Spelled", "spelled", "vote"]

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
    the text within it behind which the pairs begin. None where the completion has no log-probabilities, or where the
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
    found: list[Spelled | None] = []
    cursor = 0
    for mention, type_ in pairs:
        at = _next(literals, cursor, mention)
        to = None if at is None else _next(literals, at + 1, type_)
        if at is None or to is None:
            found.append(None)
            continue
        a, b = (sum(_tokens(ends, literals[each], completion.token_logprobs)) for each in (at, to))
        found.append(Spelled(a, b))
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


def vote(samples: Sequence[Annotation], *, of: int, head: Head) -> Annotation:
    """What several answers to one sentence say together; `of` is how many were asked for, unusable ones included.

    Of entities, in two stages (self-consistency: Wang et al. 2023; two-stage voting for NER: Xie et al. 2024): a place
    stands where at least half of `of` have an entity there, whatever its type; its type is then the one most often
    given, the first one given among equals. Of two places that overlap, the more often found stands, then the earlier,
    then the longer. A span's `agreement` is the share of `of` that gave this very span; its `confidence` the mean of
    theirs, 0 for an answer without it, or the agreement where the answers come without probabilities. Mentions that
    were rejected in at least half of `of` stay rejected. Of classes, the one most often given; the share of `of` that
    gave it is its agreement, and its confidence.
    """
    if head == "sequence-classification":
        ((labels, times),) = Counter(each.labels for each in samples).most_common(1)
        return replace(
            samples[0], labels=labels, confidence=times / of, agreement=times / of, renamed=_renamed(samples)
        )
    given: dict[tuple[int, int], list[Span]] = {}
    for each in samples:
        for span in each.spans:
            given.setdefault((span.start, span.end), []).append(span)
    places = sorted(given, key=lambda place: (-len(given[place]), place[0], -place[1]))
    spans = list[Span]()
    for start, end in places:
        is_free = all(end <= other.start or other.end <= start for other in spans)
        if is_free and 2 * len(given[start, end]) >= of:
            spans.append(_most_given(given[start, end], of))
    spans.sort(key=lambda span: span.start)
    refused = Counter[Rejection]()
    for each in samples:
        refused.update(set(each.rejected))
    kept = tuple(rejection for rejection, times in refused.items() if 2 * times >= of)
    return Annotation(
        samples[0].id, encode_bio(spans, len(samples[0].labels)), tuple(spans), kept, renamed=_renamed(samples)
    )


def _renamed(samples: Sequence[Annotation]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for each in samples for pair in each.renamed)


def _most_given(spans: Sequence[Span], of: int) -> Span:
    """One of the spans at a place: of the type most often given there, with the samples' agreement and confidence."""
    type_ = Counter(span.type for span in spans).most_common(1)[0][0]
    same = [span for span in spans if span.type == type_]
    sure = [span.confidence for span in same if span.confidence is not None]
    agreement = len(same) / of
    return replace(same[0], agreement=agreement, confidence=sum(sure) / of if len(sure) == len(same) else agreement)
