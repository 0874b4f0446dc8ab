"""Means, intervals and paired tests over seeds and sentences, out of per-sentence counts; pure, numpy and scipy only.

Two things vary where students are compared: the seed (which sentences were drawn, how the head began, in which order it
learned) and the sentences that they are scored on. A figure that resamples only one of them is too sure of itself. The
hierarchical bootstrap here resamples both: every seed is scored on the same resampled sentences (crossed, not nested),
and of S seeds S − 1 are drawn, with replacement, which makes the bootstrap's variance of a mean over few seeds unbiased
(McCarthy and Snowden 1985; Rao and Wu 1988). Two arms are always compared with each other on the same draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Average",
    "Comparison",
    "Interval",
    "Values",
    "compare",
    "f1",
    "hierarchical_interval",
    "holm",
    "paired_t",
    "resampled_f1",
    "resampled_type_f1",
    "sign_flip",
    "smallest_sign_flip",
    "t_interval",
]

Average = Literal["micro", "macro"]
Counts = NDArray[np.integer[Any]]
Values = NDArray[np.float64]

_LEVEL = 0.95
_CHUNK = 256  # draws of sentences held at once
_MOST_FLIPS = 20  # seeds up to which all sign flips are gone through


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, the sample standard deviation behind it, and a 95% interval; None if one value alone says neither."""

    mean: float
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better one arm is than another over the seeds that both have.

    `low`, `high` and `p` are of the hierarchical bootstrap: seeds and sentences. `p_t` is a paired t-test's and
    `p_flip` an exact sign flip's over the seeds alone, None for a single seed.
    """

    seeds: int
    difference: float
    low: float
    high: float
    p: float
    p_t: float | None
    p_flip: float | None


def f1(counts: Counts | Values, average: Average) -> Values:
    """F1 out of counts (..., types, 3), the last axis true positives, false positives, false negatives.

    `micro` adds the types up; `macro` is the mean over the types that occur in gold or prediction. 0 if none does.
    """
    values = np.asarray(counts, dtype=np.float64)
    if average == "micro":
        values = values.sum(axis=-2, keepdims=True)
    hits, wrong = 2.0 * values[..., 0], values[..., 1] + values[..., 2]
    occurs = hits + wrong > 0
    f1_of_type = np.divide(hits, hits + wrong, out=np.zeros_like(hits), where=occurs)
    result: Values = f1_of_type.sum(axis=-1) / np.maximum(1, occurs.sum(axis=-1))
    return result


def t_interval(values: Sequence[float]) -> Interval:
    """Mean, sample standard deviation and Student's 95% interval of the mean."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None, None)
    from scipy.stats import t

    deviation = float(np.std(values, ddof=1))
    half = float(t.ppf((1 + _LEVEL) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Interval(mean, deviation, mean - half, mean + half)


def resampled_f1(counts: Counts, *, draws: int, seed: int = 0, average: Average = "micro") -> Values:
    """The F1 of every seed on `draws` resamples of the sentences: (draws, seeds).

    `counts` is (seeds, sentences, types, 3). Which sentences a draw takes depends on their number, `draws` and `seed`
    alone, so that arms stay paired.
    """
    if average == "micro":
        counts = counts.sum(axis=2, keepdims=True)
    return np.concatenate([f1(block, average) for block in _resampled_counts(counts, draws, seed)])


def resampled_type_f1(counts: Counts, *, draws: int, seed: int = 0) -> Values:
    """The same for each type by itself, on the same sentences: (draws, seeds, types)."""
    return np.concatenate([f1(block[..., None, :], "micro") for block in _resampled_counts(counts, draws, seed)])


def _resampled_counts(counts: Counts, draws: int, seed: int) -> Iterator[Values]:
    """The summed counts of resampled sentences, in parts: (draws, seeds, types, 3)."""
    seeds, sentences, types, _ = counts.shape
    flat = np.moveaxis(counts, 1, 0).reshape(sentences, -1).astype(np.float64)
    generator = np.random.default_rng([seed, sentences])
    for start in range(0, draws, _CHUNK):
        rows = min(_CHUNK, draws - start)
        chosen = generator.integers(sentences, size=(rows, sentences)) + sentences * np.arange(rows)[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * sentences).reshape(rows, sentences)
        yield (times.astype(np.float64) @ flat).reshape(rows, seeds, types, 3)


def hierarchical_interval(resampled: Values, *, seed: int = 0) -> tuple[float, float]:
    """The 95% percentile interval of the mean over seeds, out of `resampled_f1`: of seeds and sentences together.

    With one seed it is of sentences alone.
    """
    low, high = np.quantile(_means(resampled, seed), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def compare(
    scores: Sequence[float], others: Sequence[float], resampled: Values, others_resampled: Values, *, seed: int = 0
) -> Comparison:
    """One arm against another, paired by seed: `scores[i]` and `others[i]` belong to one seed, as do the columns.

    p is two-sided: twice the smaller share of draws in which the difference lies on one side of 0 or on it, 1 added
    above and below, so that it is never 0 (Davison and Hinkley 1997, 4.2).
    """
    differences = np.subtract(scores, others)
    drawn = _means(resampled - others_resampled, seed)
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    fewer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    several = len(differences) > 1
    return Comparison(
        seeds=len(differences),
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2.0 * (fewer + 1) / (len(drawn) + 1)),
        p_t=paired_t(differences.tolist()) if several else None,
        p_flip=sign_flip(differences.tolist()) if several and len(differences) <= _MOST_FLIPS else None,
    )


def paired_t(differences: Sequence[float]) -> float:
    """The two-sided p of Student's paired t-test; its unit is the difference of one seed. Two seeds at least."""
    from scipy.stats import t

    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2.0 * float(t.sf(abs(mean / error), len(differences) - 1))


def sign_flip(differences: Sequence[float]) -> float:
    """The exact two-sided p of the sign-flip (Fisher-Pitman) test: every way to swap the arms within seeds."""
    values = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    means = np.abs((signs * values).mean(axis=1))
    return float((means >= abs(values.mean()) * (1 - 1e-12)).mean())


def smallest_sign_flip(seeds: int) -> float:
    """The smallest p that a sign flip over so many seeds can give: 2 / 2^seeds, which for five is 0.0625."""
    return min(1.0, 2.0 * 0.5**seeds)


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm 1979), in the order given: the family-wise error is controlled."""
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, position in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[position]))
        corrected[position] = highest
    return corrected


def _means(resampled: Values, seed: int) -> Values:
    """The mean over drawn seeds, draw by draw: which seeds are drawn depends on shapes and `seed` alone."""
    draws, seeds = resampled.shape
    generator = np.random.default_rng([seed, draws, seeds])
    chosen = generator.integers(seeds, size=(draws, max(1, seeds - 1)))
    means: Values = np.take_along_axis(resampled, chosen, axis=1).mean(axis=1)
    return means
