"""Where a string stands in a sentence's tokens, exactly or nearly; pure, and bounded in what it may cost."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from rapidfuzz.distance import Levenshtein

__all__ = ["Budget", "Places", "Range", "TokenText", "allowed_edits", "normalised", "squeezed"]

_HEAD = 32  # characters by which token borders are sorted
_GRAM = 3  # characters; every piece of a mention that is looked up nearly is at least as long
_SHORTEST, _LONGEST = 8, 200  # characters without white space of what is looked for nearly
_CHARACTERS_AN_EDIT, _MOST_EDITS = 8, 1
_WORD = 5  # characters; a shorter word is never edited: Hall A is not Hall B, hepatitis B is not hepatitis
_WORDS = re.compile(r"""[\s!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+""")

# Written by one and left out by the other without a difference in meaning: soft hyphen, zero-width and bidirectional
# marks, fillers, variation selectors (also those of ideographs and of Mongolian), annotation marks, Arabic vowel marks
# and tatweel, Hebrew points. The tags that tell one flag from another (U+E0020 to U+E007F) are not among them.
_IGNORED = (
    *(0x00AD, 0x034F, 0x061C, 0x0640, 0x0670, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, 0xE0001),
    *(*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFFC), *range(0xE0100, 0xE01F0), *range(0x064B, 0x0660)),
    *(*range(0x13430, 0x13440), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
    *(c for c in range(0x0591, 0x05C8) if unicodedata.category(chr(c)) == "Mn"),
)
_VARIANTS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys('"“”„‟″«»', "''"),  # the Penn Treebank writes `` and '' as tokens
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys(map(chr, _IGNORED), ""),
    }
)

Range = tuple[int, int]
_SHORT = 400  # characters of a text that is scanned rather than indexed


def squeezed(text: str) -> str:
    """The text without white space: tokenisers and teachers place it differently."""
    if text.isalnum():
        return text
    return "".join(text.split())


def normalised(text: str) -> str:
    """The text squeezed, case-folded, with one form of quotes and hyphens and no invisible characters, and in NFKD.

    Two texts are equal in it where they are in NFKC; but only NFKD of a text is that of its parts put together, so
    that it does not matter where a tokeniser cuts.
    """
    return squeezed(_folded(text))


def _folded(text: str) -> str:
    # Variants before NFKD, too: it takes some of them apart (´ becomes a space and an accent, ″ two primes).
    plain = text.translate(_VARIANTS)
    if plain.isascii():
        return plain.casefold()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", plain).casefold()).translate(_VARIANTS)


def allowed_edits(length: int) -> int:
    """How many characters may be added, lost or changed in a mention of `length` squeezed characters."""
    return min(length // _CHARACTERS_AN_EDIT, _MOST_EDITS) if _SHORTEST <= length <= _LONGEST else 0


@dataclass(slots=True)
class Budget:
    """Steps that one pass over one sentence may take; a step is a place looked at."""

    left: int

    def spend(self, steps: int) -> bool:
        """Whether so many steps are left; they are taken if so, and none if not."""
        if steps > self.left:
            return False
        self.left -= steps
        return True


@dataclass(slots=True)
class Places:
    """Token ranges where one mention stands, in order, and the reason when none of them is free (any more)."""

    ranges: Sequence[Range]
    reason: str
    following: list[int] = field(default_factory=list)  # the first place from each on that has not been tried yet

    def __post_init__(self) -> None:
        self.following = list(range(len(self.ranges) + 1))

    def take(self, taken: bytearray, cursor: int) -> Range | None:
        """The first free place from token `cursor` on, else the first free one; each is tried once in all."""
        for first in (bisect_left(self.ranges, (cursor, 0)), 0):
            number = self._untried(first)
            while number < len(self.ranges):
                self.following[number] = number + 1
                start, end = self.ranges[number]
                if taken.find(1, start, end) < 0:
                    return start, end
                number = self._untried(number)
        return None

    def afresh(self) -> Places:
        """The same places, none of them tried."""
        return Places(self.ranges, self.reason)

    def _untried(self, number: int) -> int:
        following = self.following
        while following[number] != number:
            following[number] = following[following[number]]  # halves the way for whoever comes next
            number = following[number]
        return number


class TokenText:
    """A sentence's characters in one form, and which of them begin or end a token.

    A token of which the form leaves nothing (white space) can neither begin nor end a mention.
    """

    def __init__(self, tokens: Sequence[str], form: Callable[[str], str]) -> None:
        parts = [form(token) for token in tokens]
        self._numbers = [number for number, letters in enumerate(parts) if letters]  # tokens of which something is left
        self._ends = list(accumulate(len(parts[number]) for number in self._numbers))  # characters, ascending
        self._begins = [0, *self._ends[:-1]]
        self._token_that_ends = {end: n for n, end in enumerate(self._ends)}
        self._text = "".join(parts)

    @cached_property
    def _sorted(self) -> list[tuple[str, int]]:
        return sorted((self._text[begin : begin + _HEAD], n) for n, begin in enumerate(self._begins))

    @cached_property
    def _grams(self) -> dict[str, list[int]]:
        numbers_of_gram: dict[str, list[int]] = {}
        for position in range(len(self._text) - _GRAM + 1):
            numbers_of_gram.setdefault(self._text[position : position + _GRAM], []).append(position)
        return numbers_of_gram

    def find(self, mention: str, budget: Budget) -> Places:
        """Where `mention`, in this text's form and not empty, stands from token border to token border."""
        if len(self._text) <= _SHORT:
            return self._find_by_scanning(mention, budget)
        head = mention[:_HEAD]
        low = bisect_left(self._sorted, head, key=lambda pair: pair[0])
        high = bisect_right(self._sorted, head, key=lambda pair: pair[0][: len(head)])
        if not budget.spend((high - low) * (1 + len(mention) // 256)):
            return Places((), "over_budget")
        ranges = []
        for begin in sorted(n for _, n in self._sorted[low:high]):
            position = self._begins[begin]
            last = self._token_that_ends.get(position + len(mention))
            if last is not None and self._text.startswith(mention, position):
                ranges.append((self._numbers[begin], self._numbers[last] + 1))
        return Places(ranges, "overlapping" if ranges else "not_in_text")

    def _find_by_scanning(self, mention: str, budget: Budget) -> Places:
        """As `find`; for a short text, in which every place of the mention is quicker looked at than an index made."""
        ranges, steps = [], 1
        position = self._text.find(mention)
        while position >= 0:
            begin, last = bisect_left(self._begins, position), self._token_that_ends.get(position + len(mention))
            if last is not None and begin < len(self._begins) and self._begins[begin] == position:
                ranges.append((self._numbers[begin], self._numbers[last] + 1))
            position, steps = self._text.find(mention, position + 1), steps + 1
        if not budget.spend(steps):
            return Places((), "over_budget")
        return Places(ranges, "overlapping" if ranges else "not_in_text")

    def why_nowhere(self, mention: str, budget: Budget) -> str:
        """`inside_token`, `not_in_text` or, not looked, `over_budget`: for a mention that `find` found nowhere."""
        if len(mention) < _GRAM:
            if not budget.spend(1 + len(self._text) // 256):
                return "over_budget"
            return "inside_token" if mention in self._text else "not_in_text"
        positions = self._grams.get(mention[:_GRAM], ())
        if not budget.spend(len(positions) * (1 + len(mention) // 256)):
            return "over_budget"
        stands = any(self._text.startswith(mention, position) for position in positions)
        return "inside_token" if stands else "not_in_text"

    def find_nearly(self, written: str, budget: Budget) -> Places:
        """The places of the mention `written` (in no form yet) that take the fewest edits, if any takes few enough.

        No more than `allowed_edits`, and none of them may touch a numeral, a word's first letter or a word of fewer
        than five letters; but a hyphen may come or go. The text's form must be `normalised`. A mention cut into one
        piece more than it may have edits has a piece that none of them touches: only around such pieces is it compared.
        """
        mention = normalised(written)
        best = allowed_edits(len(mention))
        if not best or len(mention) > len(self._text) + best:
            return Places((), "not_in_text")
        begins = self._begins_around(mention, best, budget)
        if begins is None:
            return Places((), "over_budget")
        words, ranges = _positions_in_words(_WORDS.findall(_folded(written))), list[Range]()
        for begin in begins:
            position = self._begins[begin]
            first = bisect_left(self._ends, position + len(mention) - best, begin)
            beyond = bisect_right(self._ends, position + len(mention) + best, begin)
            if not budget.spend(4 * (beyond - first)):
                return Places((), "over_budget")
            for last in range(first, beyond):
                window = self._text[position : self._ends[last]]
                distance = Levenshtein.distance(mention, window, score_cutoff=best)
                if distance > best or not self._are_slips(mention, window, words, begin, last):
                    continue
                if distance < best:
                    best, ranges = distance, []
                ranges.append((self._numbers[begin], self._numbers[last] + 1))
        return Places(ranges, "overlapping" if ranges else "not_in_text")

    def _are_slips(self, mention: str, window: str, words: Sequence[Range], begin: int, last: int) -> bool:
        """Whether every edit from mention to window may be a slip of the pen."""
        tokens = [self._text[self._begins[n] : self._ends[n]] for n in range(begin, last + 1)]
        # A token that a tokeniser left whole (Al-Qaida) has words, too.
        inside = _positions_in_words([word for token in tokens for word in _WORDS.findall(token)])
        edits = Levenshtein.editops(mention, window)
        return all(
            (edit.tag == "insert" or _may_change(mention, words, edit.src_pos, edit.tag == "replace"))
            and (edit.tag == "delete" or _may_change(window, inside, edit.dest_pos, edit.tag == "replace"))
            for edit in edits
        )

    def _begins_around(self, mention: str, edits: int, budget: Budget) -> list[int] | None:
        """The tokens at which a window may begin that holds a whole piece of the mention; None: over the budget."""
        size = len(mention) // (edits + 1)
        beginnings: set[int] = set()
        for offset in range(0, size * (edits + 1), size):
            piece = mention[offset : offset + size]
            positions = self._grams.get(piece[:_GRAM], ())
            if not budget.spend(2 * len(positions)):
                return None
            for position in positions:
                if self._text.startswith(piece, position):
                    low = bisect_left(self._begins, position - offset - edits)
                    beginnings.update(range(low, bisect_right(self._begins, position - offset + edits)))
        return sorted(beginnings)


def _positions_in_words(words: Sequence[str]) -> list[Range]:
    """Where in its word each character stands, and the length of that word; white space is left out."""
    return [(n, len(word)) for word in words if not word.isspace() for n in range(len(word))]


def _may_change(text: str, words: Sequence[Range], position: int, replaced: bool) -> bool:
    changed, first, last = text[position], position, position
    if not replaced:  # of a letter that occurs there twice, either may have come or gone
        while first > 0 and text[first - 1] == changed:
            first -= 1
        while last < len(text) - 1 and text[last + 1] == changed:
            last += 1
    if changed == "-":
        return first > 0 and last < len(text) - 1
    return not changed.isnumeric() and any(n > 0 and length >= _WORD for n, length in words[first : last + 1])
