"""acquire: which sentences to annotate next, by a student's uncertainty, by diversity, or at random."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distill_offline.registry import load, spelled, theirs
from distill_offline.select.diversity import spread

__all__ = ["MEASURES", "By", "diverse", "most_uncertain", "uncertainty", "uniform"]

By = Literal["uncertainty", "random", "diverse"]

MEASURES = {
    "mnlp": "distill_offline.pipeline.uncertainty:mnlp",
    "least-confidence": "distill_offline.pipeline.uncertainty:least_confidence",
    "entropy": "distill_offline.pipeline.uncertainty:mean_entropy",
    "max-entropy": "distill_offline.pipeline.uncertainty:max_entropy",
}
_SMALLEST = 1e-12  # of a probability, where its logarithm is taken


def uncertainty(measure: str, probabilities: NDArray[np.float32]) -> float:
    """How unsure a student is of one sentence, 0 if it is sure; `probabilities` are tokens × labels.

    Of tags they are those among all valid ones (Student.probabilities). All go back to uncertainty sampling (Lewis and
    Gale 1994), for sequences surveyed by Settles and Craven (2008).
    Raises ConfigError for an unknown measure.
    """
    function = load("measure", measure, MEASURES, group="measures")
    with theirs("measure", spelled(measure, "measures")):
        return float(function(np.asarray(probabilities, dtype=np.float64)))


def mnlp(probabilities: NDArray[np.float64]) -> float:
    """The mean negative log-probability of each token's likeliest label (Shen et al. 2018).

    The mean over tokens, so that long sentences do not win by their length.
    """
    return float(-np.log(np.maximum(probabilities.max(1), _SMALLEST)).mean())


def least_confidence(probabilities: NDArray[np.float64]) -> float:
    """1 minus the product of the probabilities of each token's likeliest label: long sentences are less sure."""
    return float(-np.expm1(np.log(np.maximum(probabilities.max(1), _SMALLEST)).sum()))


def mean_entropy(probabilities: NDArray[np.float64]) -> float:
    """The mean over tokens of the entropy of their labels, in nats."""
    return float(_entropies(probabilities).mean())


def max_entropy(probabilities: NDArray[np.float64]) -> float:
    """The entropy of the labels of the token that it is least sure of, in nats."""
    return float(_entropies(probabilities).max())


def most_uncertain(scores: Sequence[float], n: int) -> list[int]:
    """The positions of the `n` highest scores, the highest first; ties by position."""
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:n]


def uniform(count: int, n: int, seed: int) -> list[int]:
    """`n` of `count` positions (all, if there are fewer), drawn at random, in the order of the draw."""
    return random.Random(seed).sample(range(count), min(n, count))


def diverse(texts: Iterable[str], n: int, seed: int) -> list[int]:
    """The positions of `n` texts that are unlike each other, see diversity.spread."""
    return spread(list(texts), n, seed)


def _entropies(probabilities: NDArray[np.float64]) -> Any:
    kept = np.maximum(probabilities, _SMALLEST)
    return -(kept * np.log(kept)).sum(1)
