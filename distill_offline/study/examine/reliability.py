"""How far a student's confidences are what they say, in counts that can be added up over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill_offline.schema import Example
from distill_offline.student.model import Student

__all__ = ["BINS", "ConfidenceBins", "added", "binned", "confidences"]

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


def confidences(
    student: Student, examples: Sequence[Example], predicted: Sequence[Sequence[str]]
) -> list[tuple[float, bool]]:
    """How sure the student is of each entity that it finds, and whether exactly this one is there; or of each class."""
    scored = student.scored([example.sentence for example in examples])
    return student.kind.confidences(scored, student.labels, predicted, [example.labels for example in examples])
