"""What a run shows in one comparison: the blended student against the one that learnt human labels alone.

Which arms are compared is chosen by their F1 on dev, never by the split that is scored. An arm that was trained from
several seeds is compared by its mean over them, and the intervals resample seeds and sentences. With one seed they
resample sentences alone: they say how much the figures depend on which sentences were scored, not on the seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill_offline.label_kinds import comparable, kind_of
from distill_offline.schema import Example, Head
from distill_offline.scoring.sentence_counts import Counts, sentence_counts
from distill_offline.scoring.statistics import compare, f1, hierarchical_interval, resampled_f1

__all__ = ["Learner", "verdict"]

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Learner:
    """A student that is scored: how many sentences it drew of each kind, F1 on dev (None without dev), its labels.

    `arm` is the one whose student it is, where it is not the only one; `number` tells its seed from the others'.
    """

    distilled_drawn: int
    original_drawn: int
    dev_f1: float | None
    labels: Sequence[tuple[str, ...]]
    arm: str = ""
    number: int = 1


@dataclass(frozen=True, slots=True)
class _Arm:
    """The students of an arm by their numbers, with their names."""

    students: Mapping[int, tuple[str, Learner]]

    @property
    def distilled_drawn(self) -> int:
        return sum(learner.distilled_drawn for _, learner in self.students.values())

    @property
    def original_drawn(self) -> int:
        return sum(learner.original_drawn for _, learner in self.students.values())

    @property
    def dev_f1(self) -> float | None:
        """The mean; None if a student has none."""
        scores = [learner.dev_f1 for _, learner in self.students.values() if learner.dev_f1 is not None]
        return sum(scores) / len(scores) if len(scores) == len(self.students) else None

    @property
    def best_student(self) -> str:
        """The name of the best on dev; without dev of the first."""
        ranked = [(-1.0 if each.dev_f1 is None else each.dev_f1, name) for name, each in self.students.values()]
        return max(ranked, key=lambda pair: pair[0])[1]


def verdict(head: Head, examples: Sequence[Example], learners: Mapping[str, Learner]) -> dict[str, Any] | None:
    """The comparison as JSON; None if there is no student or nothing to score.

    `best` is the arm that is the best on dev of those that learnt distilled sentences (of all, if none did), or without
    dev the first that learnt both kinds; with its `f1`, `precision`, `recall` and `interval` (95%). `baseline` is the
    best of those that learnt human labels alone, with the `difference` between the two, its `difference_interval` and
    `p`; they are missing if no arm is one of the two kinds. `scores` has F1 and interval of each arm.

    Where arms have several students, all figures are means over them, and paired by their numbers. Only then there are
    `seeds`, how many students `best` has; `f1_by_seed` of each arm; `student` (and `baseline_student`), the one of the
    arm that is best on dev; and `pairs`, over how many numbers that both arms have the `difference` is.
    """
    arms = _by_arm(learners)
    blended = {name: arm for name, arm in arms.items() if arm.distilled_drawn}
    alone = {name: arm for name, arm in arms.items() if arm.original_drawn and not arm.distilled_drawn}
    candidates = blended or alone or arms
    if not candidates or not examples:
        return None
    best, average = _best(candidates), kind_of(head).average
    of_student = _counts(head, examples, {name: learner.labels for name, learner in learners.items()})
    # (seeds, sentences, types, 3)
    counts = {name: np.stack([of_student[n] for n, _ in arm.students.values()]) for name, arm in arms.items()}
    drawn = {name: resampled_f1(of_arm, draws=_DRAWS, average=average) for name, of_arm in counts.items()}
    by_seed = {name: f1(of_arm.sum(axis=1, dtype=float), average).tolist() for name, of_arm in counts.items()}
    scores = {name: float(np.mean(of_arm)) for name, of_arm in by_seed.items()}
    hits, wrong, missed = np.moveaxis(counts[best].sum(axis=(1, 2), dtype=float), -1, 0)
    result: dict[str, Any] = {
        "best": best,
        "learnt_distilled": bool(blended),
        "f1": scores[best],
        "interval": list(hierarchical_interval(drawn[best])),
        "precision": float(np.mean(hits / np.maximum(1.0, hits + wrong))),
        "recall": float(np.mean(hits / np.maximum(1.0, hits + missed))),
        "scores": {name: [scores[name], *hierarchical_interval(drawn[name])] for name in arms},
    }
    are_several = any(len(arm.students) > 1 for arm in arms.values())
    if are_several:
        result |= {"seeds": len(by_seed[best]), "student": arms[best].best_student, "f1_by_seed": by_seed}
    baseline = _best(alone) if blended and alone else None
    columns = _paired(arms[best], arms[baseline]) if baseline is not None else []
    if baseline is None or not columns:
        return result
    ours, others = (list(numbers) for numbers in zip(*columns, strict=True))
    f1_of_pairs = [by_seed[best][n] for n in ours], [by_seed[baseline][n] for n in others]
    compared = compare(*f1_of_pairs, drawn[best][:, ours], drawn[baseline][:, others])
    return result | {
        "baseline": baseline,
        "baseline_f1": scores[baseline],
        **({"baseline_student": arms[baseline].best_student, "pairs": len(columns)} if are_several else {}),
        "difference": compared.difference,
        "difference_interval": [compared.low, compared.high],
        "p": compared.p,
    }


def _by_arm(learners: Mapping[str, Learner]) -> dict[str, _Arm]:
    students: dict[str, dict[int, tuple[str, Learner]]] = {}
    for name, learner in learners.items():
        students.setdefault(learner.arm or name, {})[learner.number] = name, learner
    return {name: _Arm(of_arm) for name, of_arm in students.items()}


def _paired(arm: _Arm, other: _Arm) -> list[tuple[int, int]]:
    """Where the students of a number that both arms have stand among those of each."""
    places = {number: place for place, number in enumerate(other.students)}
    return [(place, places[number]) for place, number in enumerate(arm.students) if number in places]


def _best(arms: Mapping[str, _Arm]) -> str:
    """The best on dev. Without such figures one that learnt both kinds of label before others; then the first."""

    def rank(name: str) -> tuple[float, bool]:
        arm = arms[name]
        return (-1.0 if arm.dev_f1 is None else arm.dev_f1, bool(arm.original_drawn))

    return max(arms, key=rank)


def _counts(
    head: Head, examples: Sequence[Example], labels: Mapping[str, Sequence[tuple[str, ...]]]
) -> dict[str, Counts]:
    """Each (sentences, types, 3); the types are those that gold or any student names, so that arms stay comparable."""
    places = kind_of(head).places
    sides = {name: comparable(head, examples, of_arm) for name, of_arm in labels.items()}
    every = [of_sentence for pair in sides.values() for side in pair for of_sentence in side]
    types = sorted({name for of_sentence in every for name in places(of_sentence).values()}) or [""]
    return {name: sentence_counts(head, gold, predicted, types) for name, (gold, predicted) in sides.items()}
