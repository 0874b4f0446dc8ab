"""What a selection does to the labels, where gold says what they should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline.annotations import AnnotationLine, read_lines
from distill_offline.confidence.calibration import cross_fitted
from distill_offline.config.settings import SelectSettings
from distill_offline.label_kinds import kind_of
from distill_offline.run.gold import Gold
from distill_offline.schema import Example, Head, Scores, content_digest, tokens_digest
from distill_offline.scoring.comparison import LabelledSentence, compare
from distill_offline.scoring.metrics import score
from distill_offline.select.calibrate import Calibrated
from distill_offline.select.rules import KEPT, judge, select
from distill_offline.select.teacher_confidence import with_confidence
from distill_offline.spans.bio import decode_bio

__all__ = ["Effect", "effect_on_gold", "effect_on_truth"]

_Truth = Mapping[str, Example]  # by the digest of its text


@dataclass(frozen=True, slots=True)
class _Measured:
    """Scores of the labels of so many sentences, against the gold of these sentences alone."""

    sentences: int
    scores: Scores

    def as_dict(self) -> dict[str, Any]:
        return {"sentences": self.sentences, **self.scores.as_dict()}


@dataclass(frozen=True, slots=True)
class Effect:
    """How good the labels are before and after.

    `on`: which gold. `confidences`: `cross-fitted` where each was calibrated without its own sentence, `as given`
    where they are those that the selection itself goes by. `unmatched` sentences have no gold there.
    """

    on: str
    confidences: str
    before: _Measured
    after: _Measured
    unmatched: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "on": self.on,
            "confidences": self.confidences,
            "unmatched": self.unmatched,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
        }


def effect_on_gold(
    metric: str,
    head: Head,
    annotations: Path,
    gold: Gold,
    settings: SelectSettings,
    calibrated: Calibrated | None,
    kept_of_budget: float,
    seed: int,
) -> Effect | None:
    """The same rules on the teacher's labels for the gold training sentences, which the selection itself never sees.

    Confidences are calibrated by a map that was fitted without their sentence. A budget becomes the same share of the
    sentences: `kept_of_budget`, 0 to 1. None if the teacher labelled none of them.
    """
    known = {example.sentence.id: example for example in gold.train}
    read = list(read_lines(annotations, head))
    rated = (with_confidence(line, settings.confidence_from) for line in read)
    ours = [(line, known[line.sentence.id]) for line in rated if line.sentence.id in known]
    ours = [(line, example) for line, example in ours if line.sentence.tokens == example.sentence.tokens]
    if not ours:
        return None
    lines, truth = [line for line, _ in ours], [example for _, example in ours]
    is_fitted = calibrated is not None and calibrated.calibration.method != "none"
    judged = list(_cross_fitted(lines, truth, settings)) if is_fitted else lines
    free = replace(settings, budget=None)
    if settings.budget is not None:
        free = replace(free, budget=max(1, round(kept_of_budget * judge(judged, free, ()).count(KEPT))))
    after = select(lambda: judged, free, (), Counter(), seed=seed)
    how = "cross-fitted" if is_fitted else "as given"
    unmatched = len(read) - len(lines)
    return _effect((metric, head), "annotate/gold/train", how, (lines, after), _by_text(truth), unmatched)


def effect_on_truth(
    metric: str,
    head: Head,
    lines: Callable[[], Iterable[AnnotationLine]],
    kept: Iterable[AnnotationLine],
    truth: Iterable[Example],
) -> Effect:
    """All lines, and those that were kept, against gold for the same sentences, matched by their text."""
    known = _by_text(truth)
    unmatched = sum(content_digest(line.sentence) not in known for line in lines())
    return _effect((metric, head), "select.truth", "as given", (lines(), kept), known, unmatched)


_Lines = Iterable[AnnotationLine]


def _effect(
    how_measured: tuple[str, Head], on: str, how: str, lines: tuple[_Lines, _Lines], truth: _Truth, unmatched: int
) -> Effect:
    before, after = (_measured(*how_measured, lines_, truth) for lines_ in lines)
    return Effect(on, how, before, after, unmatched)


def _measured(metric: str, head: Head, lines: _Lines, truth: _Truth) -> _Measured:
    gold, predicted = list[tuple[str, ...]](), list[tuple[str, ...]]()
    for line in lines:
        example = truth.get(content_digest(line.sentence))
        if example is None:
            continue
        pair: tuple[tuple[str, ...], tuple[str, ...]] | None = (example.labels, line.labels)
        if kind_of(head).per_token:
            pair = _over_places(example, line)
        if pair is not None:
            gold.append(pair[0])
            predicted.append(pair[1])
    if not gold:
        return _Measured(0, Scores(0.0, 0.0, 0.0, 0))
    return _Measured(len(gold), score(metric, gold, predicted, on="").overall)


def _over_places(example: Example, line: AnnotationLine) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Gold's labels and a line's over the places that their tokens share."""
    answer = LabelledSentence(line.sentence, line.labels, masked=line.beside.masked)
    compared = compare(example.sentence, example.labels, answer, example.unheld)
    return None if compared is None else compared.labels


def _cross_fitted(
    lines: Sequence[AnnotationLine], truth: Iterable[Example], settings: SelectSettings
) -> Iterator[AnnotationLine]:
    scores, right, groups = list[float](), list[bool](), list[str]()
    labels = {tokens_digest(example.sentence.tokens): example.labels for example in truth}
    for line in lines:
        content = tokens_digest(line.sentence.tokens)
        true = {(span.start, span.end, span.type) for span in decode_bio(labels[content])}
        for span in line.spans:
            if span.confidence is not None:
                scores.append(span.confidence)
                right.append((span.start, span.end, span.type) in true)
                groups.append(content)
    assert settings.calibration != "none"
    fitted = iter(cross_fitted(scores, right, groups, settings.calibration))
    for line in lines:
        spans = (s if s.confidence is None else replace(s, confidence=next(fitted)) for s in line.spans)
        yield replace(line, spans=tuple(spans))


def _by_text(examples: Iterable[Example]) -> dict[str, Example]:
    return {content_digest(example.sentence): example for example in examples}
