"""What a run shows in one comparison: the blended student against the one that learnt human labels alone.

Which students are compared is chosen by their F1 on dev, never by the split that is scored. The intervals resample
sentences: they say how much the figures depend on which sentences were scored, not on the seed, of which a run has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_offline.label_kinds import comparable, kind_of
from distill_offline.schema import Example, Head
from distill_offline.scoring.sentence_counts import Counts, sentence_counts
from distill_offline.scoring.statistics import compare, f1, hierarchical_interval, resampled_f1

__all__ = ["Learner", "verdict"]

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Learner:
    """A student that is scored: how many sentences it drew of each kind, F1 on dev (None without dev), its labels."""

    distilled_drawn: int
    original_drawn: int
    dev_f1: float | None
    labels: Sequence[tuple[str, ...]]


def verdict(head: Head, examples: Sequence[Example], learners: Mapping[str, Learner]) -> dict[str, Any] | None:
    """The comparison as JSON; None if there is no student or nothing to score.

    `best` is the best student on dev of those that learnt distilled sentences (of all, if none did), or without dev the
    first that learnt both kinds; with its `f1`, `precision`, `recall` and `interval` (95%). `baseline` is the best of
    those that learnt human labels alone, with the `difference` between the two, its `difference_interval` and `p`; they
    are missing if no arm is one of the two kinds.
    """
    blended = {name: learner for name, learner in learners.items() if learner.distilled_drawn}
    alone = {n: learner for n, learner in learners.items() if learner.original_drawn and not learner.distilled_drawn}
    candidates = blended or alone or dict(learners)
    if not candidates or not examples:
        return None
    best, average = _best(candidates), kind_of(head).average
    counts = _counts(head, examples, {name: learner.labels for name, learner in learners.items()})
    drawn = {name: resampled_f1(of_arm[None], draws=_DRAWS, average=average) for name, of_arm in counts.items()}
    scores = {name: float(f1(of_arm.sum(axis=0, dtype=float), average)) for name, of_arm in counts.items()}
    hits, wrong, missed = counts[best].sum(axis=(0, 1), dtype=float).tolist()
    result: dict[str, Any] = {
        "best": best,
        "learnt_distilled": bool(blended),
        "f1": scores[best],
        "interval": list(hierarchical_interval(drawn[best])),
        "precision": hits / max(1.0, hits + wrong),
        "recall": hits / max(1.0, hits + missed),
        "scores": {name: [scores[name], *hierarchical_interval(drawn[name])] for name in learners},
    }
    if not blended or not alone:
        return result
    baseline = _best(alone)
    compared = compare([scores[best]], [scores[baseline]], drawn[best], drawn[baseline])
    return result | {
        "baseline": baseline,
        "baseline_f1": scores[baseline],
        "difference": compared.difference,
        "difference_interval": [compared.low, compared.high],
        "p": compared.p,
    }


def _best(learners: Mapping[str, Learner]) -> str:
    """The best on dev. Without such figures one that learnt both kinds of label before others; then the first."""

    def rank(name: str) -> tuple[float, bool]:
        learner = learners[name]
        return (-1.0 if learner.dev_f1 is None else learner.dev_f1, bool(learner.original_drawn))

    return max(learners, key=rank)


def _counts(
    head: Head, examples: Sequence[Example], labels: Mapping[str, Sequence[tuple[str, ...]]]
) -> dict[str, Counts]:
    """Each (sentences, types, 3); the types are those that gold or any student names, so that arms stay comparable."""
    places = kind_of(head).places
    sides = {name: comparable(head, examples, of_arm) for name, of_arm in labels.items()}
    every = [of_sentence for pair in sides.values() for side in pair for of_sentence in side]
    types = sorted({name for of_sentence in every for name in places(of_sentence).values()}) or [""]
    return {name: sentence_counts(head, gold, predicted, types) for name, (gold, predicted) in sides.items()}
