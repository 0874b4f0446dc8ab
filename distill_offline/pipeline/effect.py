"""What a selection does to the labels, where gold says what they should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline.artifacts import read_rows
from distill_offline.bio import decode_bio
from distill_offline.calibration import cross_fitted
from distill_offline.comparison import Given, compare
from distill_offline.inputs import Gold
from distill_offline.pipeline.annotation_lines import sentence_of
from distill_offline.pipeline.calibrate import Calibrated
from distill_offline.schema import Example, Scores, content_digest, text_digest, tokens_digest
from distill_offline.scoring import METRIC_OF, score
from distill_offline.settings import SelectSettings
from distill_offline.stages.select import KEPT, Row, judge, select

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
    annotations: Path,
    gold: Gold,
    settings: SelectSettings,
    calibrated: Calibrated | None,
    kept_of_budget: float,
    seed: int,
) -> Effect | None:
    """The same rules on the teacher's labels for the gold training sentences, which the selection itself never sees.

    Confidences are calibrated by a map that was fitted without their sentence. A budget becomes the same share of the
    sentences: `kept_of_budget`, 0 to 1. None where the teacher labelled none of them.
    """
    known = {example.sentence.id: example for example in gold.train}
    read = list(read_rows(annotations))
    rows = [r for r in read if r["id"] in known and list(known[r["id"]].sentence.tokens) == r["tokens"]]
    if not rows:
        return None
    truth = [known[row["id"]] for row in rows]
    is_fitted = calibrated is not None and calibrated.calibration.method != "none"
    judged = list(_cross_fitted(rows, truth, settings)) if is_fitted else rows
    free = replace(settings, budget=None)
    if settings.budget is not None:
        free = replace(free, budget=max(1, round(kept_of_budget * judge(judged, free, ()).count(KEPT))))
    after = select(lambda: judged, free, (), Counter(), seed=seed)
    how = "cross-fitted" if is_fitted else "as given"
    return _effect(metric, "annotate/gold/train", how, (rows, after), _by_text(truth), len(read) - len(rows))


def effect_on_truth(
    metric: str, rows: Callable[[], Iterable[Row]], kept: Iterable[Row], truth: Iterable[Example]
) -> Effect:
    """All lines, and those that were kept, against gold for the same sentences, matched by their text."""
    known = _by_text(truth)
    unmatched = sum(text_digest(row["text"]) not in known for row in rows())
    return _effect(metric, "select.truth", "as given", (rows(), kept), known, unmatched)


def _effect(
    metric: str, on: str, how: str, rows: tuple[Iterable[Row], Iterable[Row]], truth: _Truth, unmatched: int
) -> Effect:
    before, after = (_measured(metric, each, truth) for each in rows)
    return Effect(on, how, before, after, unmatched)


def _measured(metric: str, rows: Iterable[Row], truth: _Truth) -> _Measured:
    gold, given = list[tuple[str, ...]](), list[tuple[str, ...]]()
    for row in rows:
        example, labels = truth.get(text_digest(row["text"])), tuple(row["labels"])
        if example is None:
            continue
        pair: tuple[tuple[str, ...], tuple[str, ...]] | None = (example.labels, labels)
        if metric == METRIC_OF["token-classification"]:
            pair = _over_places(example, row, labels)
        if pair is not None:
            gold.append(pair[0])
            given.append(pair[1])
    if not gold:
        return _Measured(0, Scores(0.0, 0.0, 0.0, 0))
    return _Measured(len(gold), score(metric, gold, given, on="").overall)


def _over_places(example: Example, row: Row, labels: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Gold's labels and a line's over the places that their tokens share."""
    given = Given(sentence_of(row, tuple(row["tokens"])), labels, masked=tuple(row.get("masked", ())))
    compared = compare(example.sentence, example.labels, given, example.unheld)
    return None if compared is None else compared.labels


def _cross_fitted(rows: Iterable[Row], truth: Iterable[Example], settings: SelectSettings) -> Iterator[Row]:
    scores, right, groups = list[float](), list[bool](), list[str]()
    listed, labels = list(rows), {tokens_digest(each.sentence.tokens): each.labels for each in truth}
    for row in listed:
        content = tokens_digest(row["tokens"])
        true = {(span.start, span.end, span.type) for span in decode_bio(labels[content])}
        for span in row["spans"]:
            if span.get("confidence") is not None:
                scores.append(span["confidence"])
                right.append((span["start"], span["end"], span["type"]) in true)
                groups.append(content)
    assert settings.calibration != "none"
    fitted = iter(cross_fitted(scores, right, groups, settings.calibration))
    for row in listed:
        spans = [s if s.get("confidence") is None else {**s, "confidence": next(fitted)} for s in row["spans"]]
        yield {**row, "spans": spans}


def _by_text(examples: Iterable[Example]) -> dict[str, Example]:
    return {content_digest(example.sentence): example for example in examples}
