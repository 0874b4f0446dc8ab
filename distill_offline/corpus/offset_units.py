"""What the offsets of a span may count, and how they are read as characters of the text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from distill_offline.config.settings import OFFSETS, OffsetUnit
from distill_offline.corpus.tokenise import Range

__all__ = ["IN_WORDS", "OFFSETS", "OffsetUnit", "in_characters"]

IN_WORDS: dict[OffsetUnit, str] = {
    "characters": "characters",
    "utf16": "UTF-16 units (JavaScript, Java)",
    "bytes": "bytes of UTF-8",
    "crlf_as_one": "characters of which a CR LF is one",
    "lf_as_two": "characters of which a line end is two (CR LF)",
    "from_1": "characters from 1 on",
    "inclusive": "characters with the last one as the end",
    "from_1_inclusive": "characters from 1 on with the last one as the end",
}
_SHIFTS: dict[OffsetUnit, Range] = {"from_1": (-1, -1), "inclusive": (0, 1), "from_1_inclusive": (-1, 0)}


def in_characters(unit: OffsetUnit, text: str) -> Callable[[int, int], Range | None] | None:
    """What reads a start and end that count `unit` as a half-open range of the text's characters.

    It gives None for what is no range in the text: outside of it, empty, or within a character. None instead of it
    where the unit means the same as characters in this text.
    """
    if unit in _SHIFTS:
        before, behind = _SHIFTS[unit]
        return lambda start, end: _within(start + before, end + behind, len(text))
    widths = _widths(unit, text)
    if widths is None:
        return None
    position_of: dict[int, int] = {}
    for index, position in enumerate(accumulate(widths, initial=0)):
        position_of.setdefault(position, index)

    def read(start: int, end: int) -> Range | None:
        first, last = position_of.get(start), position_of.get(end)
        return None if first is None or last is None else _within(first, last, len(text))

    return read


def _within(start: int, end: int, length: int) -> Range | None:
    return (start, end) if 0 <= start < end <= length else None


def _widths(unit: OffsetUnit, text: str) -> list[int] | None:
    """How many units each character is; None where each is one."""
    if unit == "utf16" and not text.isascii() and max(text) > "\uffff":
        return [1 + (character > "\uffff") for character in text]
    if unit == "bytes" and not text.isascii():
        return [len(character.encode("utf-8", "surrogatepass")) for character in text]
    if unit == "crlf_as_one" and "\r\n" in text:
        return [int(not text.startswith("\r\n", at)) for at in range(len(text))]
    if unit == "lf_as_two" and "\n" in text:
        return [1 + (text[at] == "\n" and text[at - 1 : at] != "\r") for at in range(len(text))]
    return None
