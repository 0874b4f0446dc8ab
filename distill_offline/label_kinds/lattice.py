"""Sequences of labels in which each label's weight depends on the one before it: the best one, and sums over all.

Scores are sentences × tokens × labels, the longest sentence first, padded; `lengths` are those of the sentences.
Transitions are a table of transitions.py. Every step is one over all sentences that are that long. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sums", "active", "best_path", "log_sum", "path_sums"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]


def active(lengths: Index, token: int) -> int:
    """How many sentences have this token: they are the first ones."""
    return int(np.searchsorted(-lengths, -token, side="left"))


def log_sum(weights: Float) -> Float:
    """The logarithm of the sum of exponentials over the last axis; -inf if there is nothing but -inf."""
    highest = weights.max(-1)
    shift = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        total: Float = shift + np.log(np.exp(weights - shift[..., None]).sum(-1))
    return total


def best_path(scores: Float, lengths: Index, transitions: Float) -> Index:
    """Viterbi: the label of each token of each sentence; what is behind a sentence's end says nothing."""
    count, longest, labels = scores.shape
    onto = transitions[:-1].T  # labels × labels before them
    best = transitions[-1] + scores[:, 0]
    before = np.zeros((longest, count, labels), np.intp)
    path = np.zeros((count, longest), np.intp)
    now = count
    for token in range(1, longest + 1):
        still = active(lengths, token) if token < longest else 0
        path[still:now, token - 1] = best[still:now].argmax(1)
        if not still:
            break
        now = still
        paths = best[:still, None, :] + onto
        before[token, :still] = paths.argmax(2)
        best = paths.max(2) + scores[:still, token]
    for token in range(longest - 1, 0, -1):
        rows = np.arange(active(lengths, token))
        path[rows, token - 1] = before[token, rows, path[rows, token]]
    return path


@dataclass(frozen=True, slots=True)
class Sums:
    """Logarithms of weights, sentences × tokens × labels.

    `upto` of all that ends with a token's label, `onward` of all that follows it; `leaving` of all that follows it but
    for what goes on with an I- tag of its own type.
    """

    upto: Float
    onward: Float
    leaving: Float


def path_sums(scores: Float, lengths: Index, transitions: Float, goes_on: NDArray[np.bool_]) -> Sums:
    """Forward and backward. `goes_on`, labels × labels: whether the second continues an entity of the first."""
    count, longest, labels = scores.shape
    onto, along = transitions[:-1].T, transitions[:-1]
    ending = np.where(goes_on, -np.inf, along)
    upto = np.full((count, longest, labels), -np.inf)
    onward, leaving = np.zeros((2, count, longest, labels))
    upto[:, 0] = transitions[-1] + scores[:, 0]
    for token in range(1, longest):
        rows = slice(active(lengths, token))
        upto[rows, token] = log_sum(upto[rows, token - 1, None, :] + onto) + scores[rows, token]
    for token in range(longest - 2, -1, -1):
        still = slice(active(lengths, token + 1))
        further = (scores[still, token + 1] + onward[still, token + 1])[:, None, :]
        onward[still, token] = log_sum(further + along)
        leaving[still, token] = log_sum(further + ending)
    return Sums(upto, onward, leaving)
