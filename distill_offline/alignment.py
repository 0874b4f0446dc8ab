"""From a mention that a teacher wrote to the tokens it stands for, and from words to subwords; pure and measured.

Places are found in two passes, both in the order of the answer: first on the exact characters (white space apart),
then on normalised ones (Unicode NFKC, case, quotes and hyphens; invisible characters are left out). A place must
begin and end at token borders. Each mention takes the first free place behind the mention before it, or else the first
free place of all, so repeated mentions spread over their distinct occurrences. Of two overlapping mentions of one pass
the one given first wins. What finds no place is returned with its reason.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from distill_offline.schema import Rejection, Span

__all__ = ["Alignment", "labels_of_words", "locate", "spread_to_subwords"]

IGNORED = -100  # the label index that torch's cross-entropy leaves out
_VARIANTS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys('"“”„‟″«»', "''"),  # the Penn Treebank writes `` and '' as tokens
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "\u00ad": "",
        "\u200b": "",
        "\ufeff": "",
    }
)


@dataclass(frozen=True, slots=True)
class Alignment:
    """The spans that mentions were found at, in token order, and those that found no place."""

    spans: tuple[Span, ...]
    rejected: tuple[Rejection, ...]


def _exact(text: str) -> str:
    return "".join(text.split())


def _normalised(text: str) -> str:
    # Before NFKC, too: it takes some variants apart (´ becomes a space and an accent, ″ two primes).
    composed = unicodedata.normalize("NFKC", text.translate(_VARIANTS))
    return _exact(composed.translate(_VARIANTS).casefold())


@dataclass(slots=True)
class _Places:
    """Token ranges where one mention stands, in order, and the reason when none of them is free (any more)."""

    ranges: list[tuple[int, int]]
    reason: str
    following: list[int] = field(default_factory=list)  # the first place from each on that has not been tried yet

    def __post_init__(self) -> None:
        self.following = list(range(len(self.ranges) + 1))

    def take(self, taken: bytearray, cursor: int) -> tuple[int, int] | None:
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

    def _untried(self, number: int) -> int:
        following = self.following
        while following[number] != number:
            following[number] = following[following[number]]  # halves the way for whoever comes next
            number = following[number]
        return number


@dataclass(slots=True)
class _Index:
    """A sentence's characters without white space, and which of them begin or end a token."""

    text: str
    starts: dict[int, int]
    ends: dict[int, int]
    places: dict[str, _Places] = field(default_factory=dict)

    @classmethod
    def build(cls, tokens: Sequence[str], normalise: Callable[[str], str]) -> _Index:
        parts, starts, ends, position = [], {}, {}, 0
        for number, token in enumerate(tokens):
            part = normalise(token)
            if not part:  # a token of pure white space cannot begin or end a mention
                continue
            starts[position] = number
            position += len(part)
            ends[position] = number + 1
            parts.append(part)
        return cls("".join(parts), starts, ends)

    def find(self, mention: str) -> _Places:
        """Where `mention` (already normalised) stands."""
        if mention not in self.places:
            ranges, position = [], self.text.find(mention)
            stands = position >= 0
            while position >= 0:
                end = position + len(mention)
                if position in self.starts and end in self.ends:
                    ranges.append((self.starts[position], self.ends[end]))
                position = self.text.find(mention, position + 1)
            reason = "overlapping" if ranges else "inside_token" if stands else "not_in_text"
            self.places[mention] = _Places(ranges, reason)
        return self.places[mention]


def locate(mentions: Iterable[tuple[str, str]], tokens: Sequence[str]) -> Alignment:
    """Where each `(mention, type)` of an answer stands in `tokens`.

    Time is linear in the sentence for each distinct mention. Reasons for rejection: `empty`, `not_in_text`,
    `inside_token` (found, but not at token borders), `overlapping` (all its places are taken).
    """
    given = list(mentions)
    taken = bytearray(len(tokens))
    found: dict[int, Span] = {}
    reasons: dict[int, str] = {}
    for kind, normalise in (("exact", _exact), ("normalised", _normalised)):
        index, cursor = _Index.build(tokens, normalise), 0
        for number, (mention, type_) in enumerate(given):
            if number not in found:
                key = normalise(mention)
                if not key:
                    reasons[number] = "empty"
                    continue
                places = index.find(key)
                place = places.take(taken, cursor)
                if place is None:
                    reasons[number] = places.reason
                    continue
                taken[place[0] : place[1]] = b"\x01" * (place[1] - place[0])
                found[number] = Span(*place, type_, alignment=kind)
            cursor = found[number].end
        if len(found) == len(given):
            break
    rejected = tuple(Rejection(given[n][0], reasons[n]) for n in range(len(given)) if n not in found)
    return Alignment(tuple(sorted(found.values(), key=lambda span: span.start)), rejected)


def spread_to_subwords(
    labels: Sequence[int], words: Sequence[int | None], owned: Sequence[bool] | None = None
) -> list[int]:
    """One label index a subword: a word's first subword carries its label, the rest carry -100.

    `words[i]` is the word that subword i belongs to (None for special subwords), as fast tokenizers' `word_ids()`
    give it. Where windows overlap, `owned[i]` is False for subwords whose word another window labels.
    """
    spread, last = [], None
    for position, word in enumerate(words):
        first = word is not None and word != last
        spread.append(labels[word] if first and word is not None and (owned is None or owned[position]) else IGNORED)
        last = word
    return spread


def labels_of_words(tags: Sequence[str]) -> tuple[str, ...]:
    """Valid IOB2 from a model's free choice of tags: an I- tag that continues nothing of its type begins an entity."""
    valid: list[str] = []
    previous = "O"
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            tag = f"B-{tag[2:]}"
        valid.append(tag)
        previous = tag
    return tuple(valid)
