"""What students that never saw a label say of it: the folds, and the probabilities of spans; pure, no torch.

Probabilities from outside a label's own fold are what confident learning asks for (Northcutt, Jiang and Chuang 2021);
CrossWeigh (Wang et al. 2019) found wrong entity labels by the predictions of such students.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_offline.decoding import Distribution
from distill_offline.schema import Span

__all__ = ["folds", "missed", "span_confidence"]


def folds(contents: Sequence[str], count: int, seed: int) -> list[int]:
    """The fold, 0 to `count` - 1, of each content digest: copies of a sentence share one, sizes differ by one content.

    Which contents meet depends on the contents and the seed alone, not on their order.
    """
    distinct = sorted(set(contents), key=lambda content: hashlib.sha256(f"{seed}\x1f{content}".encode()).digest())
    fold_of = {content: number % count for number, content in enumerate(distinct)}
    return [fold_of[content] for content in contents]


def span_confidence(found: Distribution, span: Span) -> float:
    """How sure the student is of exactly this span and type of somebody else's, 0 to 1.

    Its probability among all valid tags, as the geometric mean of what it takes: a tag at each of its tokens, and that
    it ends there where the sentence goes on. It ranks spans as well as the probability itself, which sinks with a
    span's length, and lies nearer to the share that is right: see docs/confidence-without-probabilities.md.
    """
    parts = span.end - span.start + (span.end < found.length)
    return float(found.of(span) ** (1 / parts))


def missed(probabilities: NDArray[np.float32], tags: Sequence[str], labels: Sequence[str]) -> float:
    """The probability of an entity at that token labelled O at which the student most expects one; 0 without any."""
    outside = [token for token, tag in enumerate(tags) if tag == "O"]
    return max((1.0 - float(probabilities[token, labels.index("O")]) for token in outside), default=0.0)
