"""Folds, so that each label is judged by a student that never saw it; pure.

Probabilities from outside a label's own fold are what confident learning asks for (Northcutt, Jiang and Chuang 2021);
CrossWeigh (Wang et al. 2019) found wrong entity labels by the predictions of such students.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["folds"]


def folds(contents: Sequence[str], count: int, seed: int) -> list[int]:
    """The fold, 0 to `count` - 1, of each content digest: copies of a sentence share one, sizes differ by one content.

    Which contents meet depends on the contents and the seed alone, not on their order.
    """
    distinct = sorted(set(contents), key=lambda content: hashlib.sha256(f"{seed}\x1f{content}".encode()).digest())
    fold_of = {content: number % count for number, content in enumerate(distinct)}
    return [fold_of[content] for content in contents]
