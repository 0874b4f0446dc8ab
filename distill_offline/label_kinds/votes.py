"""What several answers to one sentence say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from distill_offline.schema import Annotation, Rejection, Span
from distill_offline.spans.bio import encode_bio

__all__ = ["renamed", "vote", "vote_on_class"]


def vote(samples: Sequence[Annotation], *, of: int) -> Annotation:
    """What several answers to one sentence say of its entities together; `of` is how many were asked for, unusable ones
    included.

    In two stages (self-consistency: Wang et al. 2023; two-stage voting for NER: Xie et al. 2024): a place
    stands where at least half of `of` have an entity there, whatever its type; its type is then the one most often
    given, the first one given among equals. Of two places that overlap, the more often found stands, then the earlier,
    then the longer. A span's `agreement` is the share of `of` that gave this very span; its `confidence` the mean of
    theirs, 0 for an answer without it, or the agreement where the answers come without probabilities. Mentions that
    were rejected in at least half of `of` stay rejected.
    """
    spans_at: dict[tuple[int, int], list[Span]] = {}
    for sample in samples:
        for span in sample.spans:
            spans_at.setdefault((span.start, span.end), []).append(span)
    places = sorted(spans_at, key=lambda place: (-len(spans_at[place]), place[0], -place[1]))
    spans = list[Span]()
    for start, end in places:
        is_free = all(end <= other.start or other.end <= start for other in spans)
        if is_free and 2 * len(spans_at[start, end]) >= of:
            spans.append(_most_given(spans_at[start, end], of))
    spans.sort(key=lambda span: span.start)
    refused = Counter[Rejection]()
    for sample in samples:
        refused.update(set(sample.rejected))
    kept = tuple(rejection for rejection, times in refused.items() if 2 * times >= of)
    return Annotation(
        samples[0].id, encode_bio(spans, len(samples[0].labels)), tuple(spans), kept, renamed=renamed(samples)
    )


def vote_on_class(samples: Sequence[Annotation], *, of: int) -> Annotation:
    """The labels that most answers to one text give; the share of `of` that gave them is agreement and confidence."""
    ((labels, times),) = Counter(sample.labels for sample in samples).most_common(1)
    return replace(samples[0], labels=labels, confidence=times / of, agreement=times / of, renamed=renamed(samples))


def renamed(samples: Sequence[Annotation]) -> tuple[tuple[str, str], ...]:
    """All that several answers called by another name."""
    return tuple(pair for sample in samples for pair in sample.renamed)


def _most_given(spans: Sequence[Span], of: int) -> Span:
    """One of the spans at a place: of the type most often given there, with the samples' agreement and confidence."""
    type_ = Counter(span.type for span in spans).most_common(1)[0][0]
    same = [span for span in spans if span.type == type_]
    sure = [span.confidence for span in same if span.confidence is not None]
    agreement = len(same) / of
    return replace(same[0], agreement=agreement, confidence=sum(sure) / of if len(sure) == len(same) else agreement)
