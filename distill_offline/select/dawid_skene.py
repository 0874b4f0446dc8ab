"""How reliable each of several teachers seems (Dawid and Skene 1979): each has a confusion matrix of its own, which is
estimated together with the true labels by expectation maximisation, without any gold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Reliability", "dawid_skene"]

Floats = NDArray[np.float64]

_ITERATIONS, _ENOUGH = 100, 1e-5
_PRIOR_RIGHT, _PRIOR_WRONG = 2.0, 0.05  # counts that each confusion matrix begins with, so that rare labels stay sane


@dataclass(frozen=True, slots=True)
class Reliability:
    """What Dawid and Skene's model makes of the teachers.

    `probabilities` is (items, classes), `confusions` (teachers, true class, given class), `prior` (classes).
    """

    probabilities: Floats
    confusions: Floats
    prior: Floats


def dawid_skene(votes: NDArray[np.int64], classes: int, truth: NDArray[np.int64] | None = None) -> Reliability:
    """`votes` is (items, teachers), numbers of classes, -1 for no answer; each item has one answer at least.

    With `truth` (items; -1 where it is not known) the confusion matrices are counted where it is known.
    """
    items, teachers = votes.shape
    if truth is not None and (truth >= 0).any():
        known = np.flatnonzero(truth >= 0)
        confusions, prior = _maximised(votes[known], np.eye(classes)[truth[known]])
        return Reliability(_expected(votes, confusions, prior), confusions, prior)
    probabilities = np.full((items, classes), 1e-9)
    for teacher in range(teachers):
        answered = np.flatnonzero(votes[:, teacher] >= 0)
        probabilities[answered, votes[answered, teacher]] += 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    confusions, prior = _maximised(votes, probabilities)
    for _ in range(_ITERATIONS):
        before = probabilities
        probabilities = _expected(votes, confusions, prior)
        confusions, prior = _maximised(votes, probabilities)
        if np.abs(probabilities - before).max(initial=0.0) < _ENOUGH:
            break
    return Reliability(probabilities, confusions, prior)


def _maximised(votes: NDArray[np.int64], probabilities: Floats) -> tuple[Floats, Floats]:
    classes, teachers = probabilities.shape[1], votes.shape[1]
    start = np.full((classes, classes), _PRIOR_WRONG)
    np.fill_diagonal(start, _PRIOR_RIGHT)
    confusions = np.tile(start, (teachers, 1, 1))
    for teacher in range(teachers):
        for label in range(classes):
            confusions[teacher, :, label] += probabilities[votes[:, teacher] == label].sum(axis=0)
    prior = probabilities.sum(axis=0) + 1.0
    return confusions / confusions.sum(axis=2, keepdims=True), prior / prior.sum()


def _expected(votes: NDArray[np.int64], confusions: Floats, prior: Floats) -> Floats:
    logs = np.tile(np.log(prior), (len(votes), 1))
    for teacher, confusion in enumerate(np.log(confusions)):
        answered = np.flatnonzero(votes[:, teacher] >= 0)
        logs[answered] += confusion[:, votes[answered, teacher]].T
    logs -= logs.max(axis=1, keepdims=True)
    chances = np.exp(logs)
    result: Floats = chances / chances.sum(axis=1, keepdims=True)
    return result
