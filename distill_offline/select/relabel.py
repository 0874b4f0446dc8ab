"""Doubtful labels take what students say instead that never saw them: an entity with other borders or type, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from distill_offline.annotations import AnnotationLine
from distill_offline.schema import Span
from distill_offline.spans.bio import encode_bio

__all__ = ["missed_entities", "relabelled"]

_SURE = 0.5  # a student's own reading is taken if it is at least as probable as all others together


def relabelled(
    line: AnnotationLine, doubtful: Sequence[Span], max_missed: float, counts: Counter[str]
) -> AnnotationLine:
    """The line with the students' labels where its own are doubtful and the students say otherwise.

    A doubtful span that the students find just so stays. If they are not sure themselves, of another entity or that
    there is none, or if what they find overlaps a span that is not doubtful, its tokens are masked. Entities that the
    line lacks, and of which a student is surer than `max_missed`, are added. Spans that come from students have the
    alignment `students` and their probability; `relabelled` lists the tokens that have another label now. `counts`
    gains `spans_confirmed`, `spans_relabelled`, `spans_added`, `spans_masked`, `tokens_masked`, `sentences_relabelled`.
    """
    said = line.by_students or ()
    no_entity = dict(zip(map(_place, line.spans), line.no_entity or (), strict=False))
    confirmed = [span for span in doubtful if any(_place(span) == _place(other) for other in said)]
    trusted = [span for span in line.spans if span not in doubtful or span in confirmed]
    students = list(missed_entities(line, max_missed))
    counts["spans_confirmed"] += len(confirmed)
    counts["spans_added"] += len(students)
    masked = set[int]()
    for span in doubtful:
        if span in confirmed:
            continue
        instead = [other for other in said if _overlaps(other, span)]
        if instead:
            is_sure = all((other.confidence or 0.0) >= _SURE and not _touches(other, trusted) for other in instead)
        else:
            is_sure = no_entity.get(_place(span), 0.0) >= _SURE
        if is_sure:
            students += [other for other in instead if other not in students]
            counts["spans_relabelled"] += 1
        else:
            masked |= set(range(span.start, span.end))
            counts["spans_masked"] += 1
    masked -= {token for span in students for token in range(span.start, span.end)}
    counts["tokens_masked"] += len(masked)
    spans = sorted((*trusted, *students), key=lambda span: span.start)
    labels = encode_bio(spans, len(line.labels))
    changed = [n for n, (old, new) in enumerate(zip(line.labels, labels, strict=True)) if old != new]
    touched = _Touched(tuple(sorted(masked)), tuple(n for n in changed if n not in masked))
    counts["sentences_relabelled"] += bool(touched.relabelled)
    return replace(_beside(line, touched), labels=labels, spans=tuple(spans))


def missed_entities(line: AnnotationLine, max_missed: float) -> tuple[Span, ...]:
    """What students find, each surer than `max_missed`, where the line has no entity at all."""
    if max_missed >= 1.0 or line.by_students is None:
        return ()
    free = [span for span in line.by_students if not _touches(span, line.spans)]
    return tuple(span for span in free if (span.confidence or 0.0) > max_missed)


@dataclass(frozen=True, slots=True)
class _Touched:
    """Positions of tokens: from which nothing is to be learnt, and which have a student's label."""

    masked: tuple[int, ...]
    relabelled: tuple[int, ...]


def _beside(line: AnnotationLine, touched: _Touched) -> AnnotationLine:
    values = {}
    if touched.masked:
        values["masked"] = tuple(sorted({*line.beside.masked, *touched.masked}))
    if touched.relabelled:
        values["relabelled"] = tuple(sorted({*line.beside.relabelled, *touched.relabelled}))
    return replace(line, beside=line.beside.with_(**values)) if values else line


def _place(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.type


def _overlaps(span: Span, other: Span) -> bool:
    return span.start < other.end and other.start < span.end


def _touches(span: Span, others: Iterable[Span]) -> bool:
    return any(_overlaps(span, other) for other in others)
