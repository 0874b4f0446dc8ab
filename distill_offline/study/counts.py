"""What a student got right and wrong, sentence by sentence, small enough to be committed; it tells no text."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill_offline.errors import InputError
from distill_offline.label_kinds import all_kinds, kind_of
from distill_offline.schema import Head
from distill_offline.study.statistics import Average

__all__ = ["AVERAGE_OF", "Counts", "pack", "sentence_counts", "unpack"]

Counts = NDArray[np.uint16]

AVERAGE_OF: dict[str, Average] = {kind.metric: kind.average for kind in all_kinds()}


def sentence_counts(
    head: Head, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]
) -> Counts:
    """True positives, false positives and false negatives of each sentence and type: (sentences, types, 3).

    Entities count by exact match; a wrong class is a false negative of the right one and a false positive of its own.
    """
    kind, place = kind_of(head), {name: number for number, name in enumerate(types)}
    counts = np.zeros((len(gold), len(types), 3), dtype=np.uint16)
    for row, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        true, found = (set(kind.places(labels).items()) for labels in (a, b))
        for column, things in enumerate((true & found, found - true, true - found)):
            for _, name in things:
                counts[row, place[name], column] += 1
    return counts


def pack(counts: Counts) -> str:
    """The counts as text: base64 of zlib of little-endian 16-bit numbers, ordered by type, kind of count, sentence."""
    planes = np.ascontiguousarray(np.moveaxis(counts, 0, -1), dtype="<u2")
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def unpack(text: str, types: int) -> Counts:
    """The counts that `pack` was given. Raises InputError where it was not."""
    try:
        values = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype="<u2")
        return np.moveaxis(values.reshape(types, 3, -1), -1, 0).astype(np.uint16)
    except (ValueError, zlib.error) as error:
        raise InputError("its counts cannot be read. Remove the row; its cell is then run again.") from error
