"""How far confidences are what they say: of one set of spans, or in counts that can be added up over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill_offline.errors import InputError

__all__ = ["BINS", "ConfidenceBins", "Reliability", "added", "binned", "reliability"]

BINS = 20


@dataclass(frozen=True, slots=True)
class ConfidenceBins:
    """`bins`: BINS of equal width over 0 to 1, of each (answers, how many of them are right, the sum of their
    confidences). `squared`: the sum of squared differences between confidence and right (1) or wrong (0)."""

    bins: tuple[tuple[int, int, float], ...]
    squared: float

    @property
    def answers(self) -> int:
        return sum(count for count, _, _ in self.bins)

    @property
    def right(self) -> float:
        """The share that is right."""
        return sum(right for _, right, _ in self.bins) / (self.answers or 1)

    @property
    def confidence(self) -> float:
        """The mean confidence."""
        return sum(total for _, _, total in self.bins) / (self.answers or 1)

    @property
    def ece(self) -> float:
        """The expected calibration error over the bins (Naeini et al. 2015; Guo et al. 2017)."""
        return sum(abs(total - right) for _, right, total in self.bins) / (self.answers or 1)

    @property
    def brier(self) -> float:
        """The mean squared error (Brier 1950)."""
        return self.squared / (self.answers or 1)


def binned(scores: Iterable[tuple[float, bool]]) -> ConfidenceBins:
    """Counts of (confidence, is right)."""
    bins, squared = [(0, 0, 0.0) for _ in range(BINS)], 0.0
    for score, is_right in scores:
        number = min(int(score * BINS), BINS - 1)
        count, right, total = bins[number]
        bins[number] = count + 1, right + is_right, total + score
        squared += (score - is_right) ** 2
    return ConfidenceBins(tuple((count, right, round(total, 6)) for count, right, total in bins), round(squared, 6))


def added(parts: Sequence[ConfidenceBins]) -> ConfidenceBins:
    """All of them as one."""
    columns = zip(*(part.bins for part in parts), strict=True)
    bins = tuple((sum(c for c, _, _ in col), sum(r for _, r, _ in col), sum(t for _, _, t in col)) for col in columns)
    return ConfidenceBins(bins, sum(part.squared for part in parts))


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far probabilities are what they say.

    `bins`: (lowest score, highest, spans, mean score, share that is right), of about equal numbers of spans: equal
    scores are never parted. `ece` is the expected calibration error over them (Naeini et al. 2015), `brier` the mean
    squared error, `auroc` the chance that a right span has a higher score than a wrong one (None where all are of one
    kind).
    """

    bins: tuple[tuple[float, float, int, float, float], ...]
    ece: float
    brier: float
    auroc: float | None

    def as_dict(self) -> dict[str, Any]:
        return {"bins": [list(row) for row in self.bins], "ece": self.ece, "brier": self.brier, "auroc": self.auroc}


def reliability(scores: Sequence[float], is_right: Sequence[bool], bins: int = 10) -> Reliability:
    """Measure scores against what is right. Raises InputError if there are none."""
    if not scores:
        raise InputError("calibration: there are no spans with a confidence to measure.")
    p, right = np.asarray(scores, dtype=float), np.asarray(is_right, dtype=float)
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    begins = {int(np.searchsorted(ranked, ranked[len(ranked) * n // bins])) for n in range(1, bins)} - {0}
    parts = np.split(order, sorted(begins))
    rows = tuple(
        (float(p[part].min()), float(p[part].max()), len(part), float(p[part].mean()), float(right[part].mean()))
        for part in parts
    )
    ece = sum(n * abs(mean - share) for _, _, n, mean, share in rows) / len(p)
    auroc = None
    if 0 < right.sum() < len(right):
        from sklearn.metrics import roc_auc_score

        auroc = float(roc_auc_score(right, p))
    return Reliability(rows, float(ece), float(np.mean((p - right) ** 2)), auroc)
