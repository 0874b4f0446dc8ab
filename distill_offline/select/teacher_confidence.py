"""Which of a teacher's confidences counts (select.confidence_from)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias, get_args

from distill_offline.annotations import AnnotationLine
from distill_offline.confidence.reliability import reliability
from distill_offline.config.select import ConfidenceFrom
from distill_offline.schema import Span

__all__ = ["WAYS", "Way", "aurocs", "confidence_of", "rated", "with_confidence"]

Way: TypeAlias = ConfidenceFrom
WAYS: tuple[Way, ...] = get_args(ConfidenceFrom)


def confidence_of(span: Span, way: Way) -> float | None:
    """How sure the teacher is of a span of its own, 0 to 1; None if one that is wanted is missing."""
    if way == "answer":
        return span.confidence
    if way == "verify" or span.verify is None:
        return span.verify
    return None if span.confidence is None else math.sqrt(span.confidence * span.verify)


def with_confidence(line: AnnotationLine, way: Way) -> AnnotationLine:
    """A teacher's line whose `confidence` is the one that counts."""
    if way == "answer":
        return line
    return replace(line, spans=rated(line.spans, way))


def rated(spans: Iterable[Span], way: Way) -> tuple[Span, ...]:
    """A teacher's spans whose `confidence` is the one that counts."""
    return tuple(replace(span, confidence=confidence_of(span, way)) for span in spans)


def aurocs(judged: Iterable[tuple[Span, bool]]) -> dict[str, float]:
    """The AUROC of each confidence over the spans that have all of them, for (span, is right); empty if it cannot
    be taken, or where nothing was verified."""
    whole = [(span, right) for span, right in judged if confidence_of(span, "both") is not None]
    found = dict[str, float]()
    for way in WAYS if whole else ():
        scores = [confidence_of(span, way) or 0.0 for span, _ in whole]
        if (auroc := reliability(scores, [right for _, right in whole]).auroc) is not None:
            found[way] = auroc
    return found
