"""Near-duplicates: which texts are almost copies of an earlier one, found exactly and in about linear time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Kind", "near_duplicates"]

Kind = Literal["unique", "copy", "copy_of_held_out"]

LEAST = 0.5  # below it texts are no copies, and what is common to many has to be looked through

_PIECE = 5  # characters
_TOGETHER = 8  # rare pieces that two texts share before they are compared: more than one rare word brings along
_MOST_HOLDERS = 256  # of a rare piece, the latest: where all texts follow one template, no piece of it is rare
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, without a pattern in its bits: neighbouring characters spread over all 64


def near_duplicates(texts: Sequence[str], similarity: float, held_out: Sequence[str] = ()) -> list[Kind]:
    """Of each text, in order, whether it is a near-copy of one of `held_out` or of an earlier text that is `unique`.

    Similarity is the share of common pieces (Jaccard index over the sets of five consecutive characters, lower-cased,
    spaces included): 1 for the same text. It must be at least 0.5; higher is faster. Pairs are found by their rarest
    pieces, of which any two texts as similar as that have some in common (prefix filtering: Bayardo, Ma and Srikant
    2007), and then compared exactly. Where more than 256 texts share a rare piece, only the latest of them are looked
    at: time stays linear, and a copy may be missed.
    """
    if not LEAST <= similarity <= 1:
        raise ValueError(f"similarity {similarity} is not between {LEAST} and 1")
    if not texts:
        return []
    pieces = _pieces([*held_out, *texts])
    # Apart, so that many similar texts never crowd out what must not be trained on.
    forbidden, kept = _Search(pieces, similarity), _Search(pieces, similarity)
    for number in range(len(held_out)):
        forbidden.add(number)
    kinds: list[Kind] = []
    for number in range(len(held_out), len(held_out) + len(texts)):
        if forbidden.has_near(number):
            kinds.append("copy_of_held_out")
        elif kept.has_near(number):
            kinds.append("copy")
        else:
            kinds.append("unique")
            kept.add(number)
    return kinds


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Each text's distinct pieces as numbers, rarest first: those of text i are `ranks[borders[i]:borders[i + 1]]`."""

    ranks: NDArray[np.int64]
    borders: NDArray[np.int64]

    def of(self, number: int) -> NDArray[np.int64]:
        return self.ranks[self.borders[number] : self.borders[number + 1]]


@dataclass(frozen=True, slots=True)
class _Search:
    """The texts added so far, by their rarest pieces."""

    pieces: _Pieces
    similarity: float
    index: dict[int, list[int]] = field(default_factory=dict)

    def add(self, number: int) -> None:
        for piece in self._rarest(number):
            self.index.setdefault(piece, []).append(number)

    def has_near(self, number: int) -> bool:
        """Whether one of the added texts is as similar as that."""
        own_pieces, borders = self.pieces.of(number), self.pieces.borders
        least, most = self._least(len(own_pieces)), math.floor(len(own_pieces) / self.similarity + 1e-9)
        met = Counter[int]()
        for piece in self._rarest(number):
            met.update(self.index.get(piece, ())[-_MOST_HOLDERS:])
        together = min(_TOGETHER, self._least(least))
        for other in (number_ for number_, count in met.items() if count >= together):
            size = int(borders[other + 1] - borders[other])
            if not least <= size <= most:
                continue
            shared = len(np.intersect1d(own_pieces, self.pieces.of(other), assume_unique=True))
            if shared >= self.similarity * (len(own_pieces) + size - shared) - 1e-9:
                return True
        return False

    def _least(self, size: int) -> int:
        """How many pieces a text must share with one of `size` pieces to be similar, and have itself."""
        return math.ceil(self.similarity * size - 1e-9)

    def _rarest(self, number: int) -> list[int]:
        """So many pieces that two similar texts have `_TOGETHER` of these in common, or all that they must share."""
        own_pieces = self.pieces.of(number)
        rarest: list[int] = own_pieces[: len(own_pieces) - self._least(len(own_pieces)) + _TOGETHER].tolist()
        return rarest


def _pieces(texts: Sequence[str]) -> _Pieces:
    hashes, sizes = [], [0]
    for hashed_text in _hashed(texts):
        hashes.append(hashed_text)
        sizes.append(len(hashed_text))
    borders = np.cumsum(sizes)
    _, numbers, counts = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    # How many texts have a piece, then its hash: the same order on every machine, whatever the texts' order.
    rank_of = np.empty(len(counts), np.int64)
    rank_of[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranks = rank_of[numbers]
    owner = np.repeat(np.arange(len(texts)), sizes[1:])
    return _Pieces(ranks[np.lexsort((ranks, owner))], borders)


def _hashed(texts: Sequence[str]) -> Iterator[NDArray[np.uint64]]:
    """The distinct pieces of each text, hashed to 64 bits; a short text is padded, so that each has one at least."""
    powers = [pow(_MULTIPLIER, exponent, 2**64) for exponent in range(_PIECE)]
    for text in texts:
        padded = f" {text.lower()} ".ljust(_PIECE).encode("utf-32-le", "surrogatepass")
        characters = np.frombuffer(padded, np.uint32).astype(np.uint64)
        count = len(characters) - _PIECE + 1
        total = np.zeros(count, np.uint64)
        for offset, power in enumerate(powers):
            total += characters[offset : offset + count] * np.uint64(power)
        yield np.unique(total)
