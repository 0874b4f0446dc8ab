"""Which subwords are hidden, as what, and which text an update learns from; pure, a function of seed and update.

Hidden are whole words: a word of which some pieces are to be seen is guessed from these and not from its context.
Shares as in BERT (Devlin et al. 2019); other words in each pass, as in RoBERTa (Liu et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPECIAL", "Hidden", "Order", "Windows", "hide"]

Ints = NDArray[np.int32]

SPECIAL = -1  # the word of a subword that is no part of any
_AS_MASK, _AS_OTHER = 0.8, 0.1  # of the hidden words; the rest stays as it is
_ORDERS, _MASKS = 0, 1  # so that the random numbers for one are not those for the other


@dataclass(frozen=True, slots=True)
class Windows:
    """Text as subwords: window i is `ids[starts[i] : starts[i + 1]]`, and `words` says of each which word it is of.

    Words are numbered within a window, subwords of one word are neighbours; SPECIAL if there is none.
    """

    ids: Ints
    words: Ints
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Of each window, in subwords."""
        return np.diff(self.starts)

    def only(self, wanted: NDArray[np.int64]) -> Windows:
        """The windows of these numbers, in their order."""
        lengths = self.lengths[wanted]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[wanted] - starts[:-1], lengths)
        return Windows(self.ids[places], self.words[places], starts)


@dataclass(frozen=True, slots=True)
class Hidden:
    """`ids` as the model sees them, and which of them it is to guess (`wanted`); flat, as Windows has them."""

    ids: Ints
    wanted: NDArray[np.bool_]


def hide(windows: Windows, share: float, mask: int, others: Ints, seed: int, update: int) -> Hidden:
    """Hide whole words until `share` of the subwords that are words' is hidden; at least one word, if there is one.

    `mask` is the subword [MASK], `others` are those that may stand in a hidden word's place.
    """
    random = np.random.default_rng([seed, update, _MASKS])
    begins = _word_begins(windows)
    words = np.flatnonzero(begins)
    in_word = np.flatnonzero(windows.words != SPECIAL)
    wanted, ids = np.zeros(len(windows.ids), np.bool_), windows.ids.copy()
    if not len(words):
        return Hidden(ids, wanted)
    number = np.cumsum(begins)[in_word] - 1  # the word of each of them
    sizes = np.bincount(number, minlength=len(words))
    order = random.permutation(len(words))
    chosen = np.zeros(len(words), np.bool_)
    fits = np.cumsum(sizes[order]) <= round(share * len(in_word))
    fits[0] = True
    chosen[order[fits]] = True
    fate = random.random(len(words))
    wanted[in_word] = chosen[number]
    as_mask, as_other = np.zeros_like(wanted), np.zeros_like(wanted)
    as_mask[in_word] = (chosen & (fate < _AS_MASK))[number]
    as_other[in_word] = (chosen & (fate >= _AS_MASK) & (fate < _AS_MASK + _AS_OTHER))[number]
    ids[as_mask] = mask
    if len(others):
        ids[as_other] = random.choice(others, int(as_other.sum()))
    return Hidden(ids, wanted)


def _word_begins(windows: Windows) -> NDArray[np.bool_]:
    """Whether a word, or the part of it that is in the window, begins at each subword."""
    before = np.concatenate([[SPECIAL], windows.words[:-1]]).astype(np.int32)
    before[windows.starts[:-1][windows.lengths > 0]] = SPECIAL
    begins: NDArray[np.bool_] = (windows.words != SPECIAL) & (windows.words != before)
    return begins


@dataclass(frozen=True, slots=True)
class Order:
    """Which windows each update learns from: pass by pass all of them, shuffled, in parts of about `tokens` subwords.

    `updates` of them, if given, else as many as `passes` need. A part depends on the seed and its number alone.
    """

    lengths: NDArray[np.int64]
    tokens: int
    passes: int
    updates: int | None
    seed: int

    @property
    def updates_per_pass(self) -> int:
        """The updates of one pass: no part is empty, since none is shorter than the longest window."""
        return max(1, int(self.lengths.sum()) // max(self.tokens, int(self.lengths.max())))

    def __len__(self) -> int:
        return self.updates or self.passes * self.updates_per_pass

    def parts(self, done: int = 0) -> Iterator[NDArray[np.int64]]:
        """The windows' numbers of each update from `done` on."""
        count = self.updates_per_pass
        for number in range(done // count, -(-len(self) // count)):
            order = np.random.default_rng([self.seed, number, _ORDERS]).permutation(len(self.lengths))
            begins = np.cumsum(self.lengths[order]) - self.lengths[order]
            total = int(self.lengths.sum())
            borders = np.searchsorted(begins, [total * step / count for step in range(count + 1)])
            for step in range(count):
                if done <= number * count + step < len(self):
                    yield order[borders[step] : borders[step + 1]]
