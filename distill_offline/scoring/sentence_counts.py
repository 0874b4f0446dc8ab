"""What labels got right and wrong, sentence by sentence: what every resampling of sentences begins with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_offline.label_kinds import all_kinds, kind_of
from distill_offline.schema import Head
from distill_offline.scoring.statistics import Average

__all__ = ["AVERAGE_OF", "Counts", "sentence_counts"]

Counts = NDArray[np.uint16]

AVERAGE_OF: dict[str, Average] = {kind.metric: kind.average for kind in all_kinds()}


def sentence_counts(
    head: Head, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> Counts:
    """True positives, false positives and false negatives of each sentence and type: (sentences, types, 3).

    Entities count by exact match; a wrong class is a false negative of the right one and a false positive of its own.
    """
    kind, column_of = kind_of(head), {name: number for number, name in enumerate(types)}
    counts = np.zeros((len(gold), len(types), 3), dtype=np.uint16)
    for row, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        true, predicted_labels = (set(kind.places(labels).items()) for labels in (a, b))
        for column, things in enumerate((true & predicted_labels, predicted_labels - true, true - predicted_labels)):
            for _, name in things:
                counts[row, column_of[name], column] += 1
    return counts
