"""From a mention that a teacher wrote to the tokens it stands for, and from words to subwords; pure and measured.

Places are found in two passes, both in the order of the answer: first on the exact characters (white space apart),
then on normalised ones (Unicode NFKC, case, quotes and hyphens). A place must begin and end at token borders. Each
mention takes the first free place behind the mention before it, or else the first free place of all, so repeated
mentions spread over their distinct occurrences. Of two overlapping mentions the one given first wins. What finds no
place is returned with its reason.
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
        **dict.fromkeys("“”„‟″«»", '"'),
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
    return _exact(unicodedata.normalize("NFKC", text).translate(_VARIANTS).casefold())


@dataclass(slots=True)
class _Index:
    """A sentence's characters without white space, and which of them begin or end a token."""

    text: str
    starts: dict[int, int]
    ends: dict[int, int]
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

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

    def find(self, mention: str) -> list[tuple[int, int]]:
        """Token ranges where `mention` (already normalised) stands, still possibly free, in order."""
        if mention not in self.places:
            found, position = [], self.text.find(mention)
            while position >= 0:
                end = position + len(mention)
                if position in self.starts and end in self.ends:
                    found.append((self.starts[position], self.ends[end]))
                position = self.text.find(mention, position + 1)
            self.places[mention] = found
        return self.places[mention]


def locate(mentions: Iterable[tuple[str, str]], tokens: Sequence[str]) -> Alignment:
    """Where each `(mention, type)` of an answer stands in `tokens`.

    Time is linear in the sentence for each distinct mention. Reasons for rejection: `empty`, `not_in_text`,
    `inside_token` (found, but not at token borders), `overlapping` (all its places are taken).
    """
    given = list(mentions)
    taken = bytearray(len(tokens))
    spans: list[Span] = []
    rejected: dict[int, Rejection] = {}
    waiting = list(range(len(given)))
    for kind, normalise in (("exact", _exact), ("normalised", _normalised)):
        index, cursor, left = _Index.build(tokens, normalise), 0, []
        for number in waiting:
            mention, type_ = given[number]
            key = normalise(mention)
            if not key:
                rejected[number] = Rejection(mention, "empty")
                continue
            place = _take(index.find(key), taken, cursor)
            if place is None:
                left.append(number)
                rejected[number] = Rejection(mention, _reason(index, key))
                continue
            rejected.pop(number, None)
            taken[place[0] : place[1]] = b"\x01" * (place[1] - place[0])
            cursor = place[1]
            spans.append(Span(*place, type_, alignment=kind))
        waiting = left
        if not waiting:
            break
    return Alignment(tuple(sorted(spans, key=lambda s: s.start)), tuple(rejected[n] for n in sorted(rejected)))


def _take(places: list[tuple[int, int]], taken: bytearray, cursor: int) -> tuple[int, int] | None:
    """The first free place from `cursor` on, else the first free one; places found taken are forgotten for good."""
    for first in (bisect_left(places, (cursor, 0)), 0):
        while first < len(places):
            start, end = places[first]
            if not any(taken[start:end]):
                return places.pop(first)
            del places[first]
    return None


def _reason(index: _Index, key: str) -> str:
    position = index.text.find(key)
    if position < 0:
        return "not_in_text"
    while position >= 0:
        if position in index.starts and position + len(key) in index.ends:
            return "overlapping"
        position = index.text.find(key, position + 1)
    return "inside_token"


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
