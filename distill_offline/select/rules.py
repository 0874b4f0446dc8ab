"""select: which annotations go into training, with every dropped one counted by its reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from distill_offline.annotations import AnnotationLine, LineValues
from distill_offline.config.settings import SelectSettings
from distill_offline.schema import Span, content_digest, text_digest
from distill_offline.select.diversity import spread
from distill_offline.select.near_duplicates import Kind, near_duplicates
from distill_offline.select.relabel import missed_entities, relabelled
from distill_offline.text.visible import squeezed

__all__ = ["KEPT", "judge", "learnable", "select"]

KEPT = "kept"
_REASON: dict[Kind, str] = {"copy": "near_duplicate", "copy_of_held_out": "near_dev_or_test"}


def select(
    lines: Callable[[], Iterable[AnnotationLine]],
    settings: SelectSettings,
    held_out: Iterable[str],
    counts: Counter[str],
    *,
    seed: int = 0,
) -> Iterator[AnnotationLine]:
    """Those lines of annotations.jsonl that may be trained on, in order, as students are to learn from them.

    `lines` is called twice, to judge and to write, and must give the same lines: no more than a line is held, and the
    text of sentences where near-duplicates or diversity ask for it. `held_out` are the texts of the sentences of dev
    and test. `counts` gains `seen`, `kept`, the reasons for dropping, and what became of doubtful spans.
    """
    reasons = judge(lines(), settings, held_out, seed=seed)
    counts["seen"] += len(reasons)
    counts.update(reasons)
    for line, reason in zip(lines(), reasons, strict=True):
        if reason == KEPT:
            yield learnable(line, settings, counts)


def judge(
    lines: Iterable[AnnotationLine], settings: SelectSettings, held_out: Iterable[str], *, seed: int = 0
) -> list[str]:
    """For each line `kept`, or the first reason against it.

    What occurs in dev or test is never kept, and with `near_duplicates` nothing that is nearly the same: by the text
    without its blanks, however it is cut into tokens. A copy is one of what else would be kept: where the first one has
    a fault of its own, the next one gets its chance. The budget comes last.
    """
    held = list(held_out)
    forbidden, seen = {text_digest(text) for text in held}, set[str]()
    needs_words = settings.budget and settings.prefer == "diverse"
    reasons: list[str] = []
    candidates: list[_Candidate] = []
    for position, line in enumerate(lines):
        content = content_digest(line.sentence)
        if content in forbidden:
            reasons.append("in_dev_or_test")
        elif settings.deduplicate and content in seen:
            reasons.append("duplicate")
        else:
            reasons.append(_fault(line, settings) or KEPT)
        if reasons[-1] == KEPT:
            seen.add(content)
            text = squeezed(line.sentence.text) if settings.near_duplicates is not None else ""
            words = " ".join(line.sentence.tokens) if needs_words else ""
            candidates.append(_Candidate(position, text, words, line.confidence))
    if settings.near_duplicates is not None:
        kinds = near_duplicates([c.text for c in candidates], settings.near_duplicates, list(map(squeezed, held)))
        for candidate, kind in zip(candidates, kinds, strict=True):
            reasons[candidate.position] = _REASON.get(kind, KEPT)
        candidates = [candidate for candidate in candidates if reasons[candidate.position] == KEPT]
    if settings.budget is not None and len(candidates) > settings.budget:
        chosen = _preferred(candidates, settings.budget, settings.prefer, seed)
        for number, candidate in enumerate(candidates):
            reasons[candidate.position] = KEPT if number in chosen else "over_budget"
    return reasons


def learnable(line: AnnotationLine, settings: SelectSettings, counts: Counter[str]) -> AnnotationLine:
    """The line without what is doubtful in it, and with its weight; unchanged if there is nothing to do.

    A masked span leaves `spans` and `labels`, which stay valid BIO, and its tokens are listed in `masked`. `counts`
    gains `spans_dropped`, or `spans_masked` and `tokens_masked`, or what `relabelled` says.
    """
    doubtful = [span for span in line.spans if _is_doubtful(span, settings)]
    if settings.doubtful == "relabel":
        if doubtful or missed_entities(line, settings.max_missed):
            line = relabelled(line, doubtful, settings.max_missed, counts)
    elif doubtful:
        labels, tokens = list(line.labels), [t for span in doubtful for t in range(span.start, span.end)]
        for token in tokens:
            labels[token] = "O"
        kept = tuple(span for span in line.spans if span not in doubtful)
        line = replace(line, labels=tuple(labels), spans=kept)
        counts["spans_masked" if settings.doubtful == "mask" else "spans_dropped"] += len(doubtful)
        if settings.doubtful == "mask":
            masked = tuple(sorted({*line.beside.masked, *tokens}))
            line = replace(line, beside=line.beside.with_(masked=masked))
            counts["tokens_masked"] += len(tokens)
    if line.by_students is not None or line.no_entity is not None:
        line = replace(line, by_students=None, no_entity=None)
    if settings.weigh and (weight := line.confidence) is not None:
        line = replace(line, beside=line.beside.with_(weight=weight))
    return line


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A line without a fault of its own, by its position; `text` without blanks, `words` with them, where needed."""

    position: int
    text: str
    words: str
    confidence: float | None


def _fault(line: AnnotationLine, settings: SelectSettings) -> str:
    """What speaks against a line by itself; empty if nothing does."""
    confidence = line.confidence
    if settings.drop_rejected and line.rejected:
        return "had_rejected_mentions"
    if confidence is not None and confidence < settings.min_sentence_confidence:
        return "unsure"
    adds = settings.doubtful == "relabel" and missed_entities(line, settings.max_missed)
    if (line.beside.missed or 0.0) > settings.max_missed and not adds:
        return "probably_missed_an_entity"
    if settings.doubtful == "sentence" and any(_is_doubtful(span, settings) for span in line.spans):
        return "doubtful"
    if _is_disputed(line.beside, settings):  # a class, which nothing of a text is left without
        return "doubtful"
    return ""


def _is_disputed(label: Span | LineValues, settings: SelectSettings) -> bool:
    """Whether too few samples agree on a span or a class."""
    return label.agreement is not None and label.agreement < settings.min_agreement


def _is_doubtful(span: Span, settings: SelectSettings) -> bool:
    if (span.confidence is not None and span.confidence < settings.min_confidence) or _is_disputed(span, settings):
        return True
    # Gold was not found by us, nor what students say, and what is repeated was found exactly.
    known = (*settings.alignments, *(["repeated"] if "exact" in settings.alignments else []), "gold", "students")
    return span.alignment not in known


def _preferred(candidates: Sequence[_Candidate], budget: int, prefer: str, seed: int) -> set[int]:
    """The numbers of the candidates that fill the budget."""
    everyone = range(len(candidates))
    if prefer == "random":
        return set(random.Random(seed).sample(everyone, budget))
    if prefer == "diverse":
        return set(spread([candidate.words for candidate in candidates], budget, seed))
    if prefer == "confident":
        return _most_confident([candidate.confidence for candidate in candidates], budget)
    return set(everyone[:budget])


def _most_confident(confidences: Sequence[float | None], budget: int) -> set[int]:
    """The most confident, and of those without a confidence the first, each kind in its share.

    A sentence without entities has no confidence: were it taken for sure, or for unsure, then a budget would hold
    nothing else, or none.
    """
    sure = [(-confidence, number) for number, confidence in enumerate(confidences) if confidence is not None]
    places = round(budget * len(sure) / len(confidences))
    without = [number for number, confidence in enumerate(confidences) if confidence is None]
    return {number for _, number in sorted(sure)[:places]} | set(without[: budget - places])
