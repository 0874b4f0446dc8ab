"""What students that never saw a label say of it: the folds, and the probabilities of spans; pure, no torch.

Probabilities from outside a label's own fold are what confident learning asks for (Northcutt, Jiang and Chuang 2021);
CrossWeigh (Wang et al. 2019) found wrong entity labels by the predictions of such students.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_offline.schema import Span

__all__ = ["folds", "missed", "span_confidence", "span_factors"]


def folds(contents: Sequence[str], count: int, seed: int) -> list[int]:
    """The fold, 0 to `count` - 1, of each content digest: copies of a sentence share one, sizes differ by one content.

    Which contents meet depends on the contents and the seed alone, not on their order.
    """
    distinct = sorted(set(contents), key=lambda content: hashlib.sha256(f"{seed}\x1f{content}".encode()).digest())
    fold_of = {content: number % count for number, content in enumerate(distinct)}
    return [fold_of[content] for content in contents]


def span_factors(probabilities: NDArray[np.float32], span: Span, labels: Sequence[str]) -> list[float]:
    """What must be true of each token for exactly this span to stand there, as the student's probabilities.

    B- of its type at the first token, I- at each further one; and, where the sentence goes on, that the next token does
    not: 1 - p(I-). `probabilities` are tokens × labels.
    """
    begins, continues = labels.index(f"B-{span.type}"), labels.index(f"I-{span.type}")
    inside = [float(probabilities[token, continues]) for token in range(span.start + 1, span.end)]
    ends = [1.0 - float(probabilities[span.end, continues])] if span.end < len(probabilities) else []
    return [float(probabilities[span.start, begins]), *inside, *ends]


def span_confidence(probabilities: NDArray[np.float32], span: Span, labels: Sequence[str]) -> float:
    """How sure the student is of exactly this span and type, 0 to 1: the geometric mean of span_factors.

    It ranks spans as well as their product, which would be the probability, and lies nearer to the share that is right:
    see docs/confidence-without-probabilities.md.
    """
    factors = span_factors(probabilities, span, labels)
    return math.prod(factors) ** (1 / len(factors))


def missed(probabilities: NDArray[np.float32], tags: Sequence[str], labels: Sequence[str]) -> float:
    """The probability of an entity at that token labelled O at which the student most expects one; 0 without any."""
    outside = [token for token, tag in enumerate(tags) if tag == "O"]
    return max((1.0 - float(probabilities[token, labels.index("O")]) for token in outside), default=0.0)
