"""What a student got right and wrong, sentence by sentence, small enough to be committed; it tells no text."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from distill_offline.errors import InputError
from distill_offline.scoring.sentence_counts import Counts

__all__ = ["pack", "unpack"]


def pack(counts: Counts) -> str:
    """The counts as text: base64 of zlib of little-endian 16-bit numbers, ordered by type, kind of count, sentence."""
    planes = np.ascontiguousarray(np.moveaxis(counts, 0, -1), dtype="<u2")
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def unpack(text: str, types: int) -> Counts:
    """The counts that `pack` was given. Raises InputError if it was not."""
    try:
        values = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype="<u2")
        return np.moveaxis(values.reshape(types, 3, -1), -1, 0).astype(np.uint16)
    except (ValueError, zlib.error) as error:
        raise InputError("its counts cannot be read. Remove the row; its cell is then run again.") from error
