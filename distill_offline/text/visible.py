"""What of a text can be seen: by it texts are compared, whoever cut them into tokens and however they are spaced."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Places", "invisible", "same_places", "squeezed"]

# White space, control and format characters (Cc, Cf, Z*), and what else Unicode calls ignorable by default (UAX #44,
# Default_Ignorable_Code_Point), as a class of characters. The format characters that are drawn, such as the Arabic
# number signs (Prepended_Concatenation_Mark), are not among them.
_CLASS = (
    r"\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
_UNSEEN = re.compile(f"[{_CLASS}]+")


def invisible(tokens: Sequence[str]) -> frozenset[int]:
    """The positions of the tokens in which there is nothing to be seen: a no-break space, a soft hyphen, a mark that
    joins nothing. Students see nothing in them either."""
    if not _UNSEEN.search("".join(tokens)):
        return frozenset()
    return frozenset(at for at, token in enumerate(tokens) if _UNSEEN.fullmatch(token))


def squeezed(text: str) -> str:
    """The text without what cannot be seen, in Unicode's composed form (NFC): equal for a sentence and its tokens
    joined by blanks, whatever the tokens are."""
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the characters of a text lie among the places that it shares with another.

    `begins[c]` and `ends[c]`: the place at which a range begins, or behind which it ends, whose border lies before
    character `c`; a border within a place takes the whole of it. A range of nothing but unseen characters is empty.
    """

    begins: Sequence[int]
    ends: Sequence[int]

    def of(self, start: int, end: int) -> tuple[int, int]:
        """The half-open range of places that a half-open range of characters has."""
        return self.begins[start], max(self.begins[start], self.ends[end])


def same_places(one: str, other: str) -> tuple[Places, Places, int] | None:
    """The places of two texts that are the same but for what cannot be seen, and how many there are; else None.

    A place is a character that can be seen. Where one text is composed (NFC) and the other is not, it is a letter with
    all its marks.
    """
    if _UNSEEN.sub("", one) == _UNSEEN.sub("", other):
        cut = [[character for character in text if not _UNSEEN.match(character)] for text in (one, other)]
    elif squeezed(one) == squeezed(other):
        cut = [_composed(text) for text in (one, other)]
        if [unicodedata.normalize("NFC", piece) for piece in cut[0]] != [
            unicodedata.normalize("NFC", piece) for piece in cut[1]
        ]:
            return None
    else:
        return None
    return _places(one, cut[0]), _places(other, cut[1]), len(cut[0])


def _composed(text: str) -> list[str]:
    """The characters that can be seen, each together with those behind it that NFC may join to it or order with it."""
    pieces: list[str] = []
    for character in _UNSEEN.sub("", text):
        if pieces and _joins(pieces[-1], character):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _joins(piece: str, character: str) -> bool:
    if unicodedata.combining(character):
        return True
    apart = unicodedata.normalize("NFC", piece) + unicodedata.normalize("NFC", character)
    return unicodedata.normalize("NFC", piece + character) != apart


def _places(text: str, pieces: Iterable[str]) -> Places:
    """The places of a text whose seen characters are those of `pieces`, one after the other."""
    sizes = [len(piece) for piece in pieces]
    begins, ends, position, inside = [0] * (len(text) + 1), [0] * (len(text) + 1), 0, 0
    for at, character in enumerate(text):
        begins[at], ends[at] = position, position + (inside > 0)
        if not _UNSEEN.match(character):
            inside += 1
            if inside == sizes[position]:
                position, inside = position + 1, 0
    begins[-1] = ends[-1] = position
    return Places(begins, ends)
