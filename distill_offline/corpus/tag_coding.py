"""How a file spells its tags, told from all of them, and the same tags spelt as B-, I-, E-, S- and O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from distill_offline.spans.bio import Scheme
from distill_offline.text.visible import invisible

__all__ = [
    "OWN_SCHEME",
    "PREFIXED",
    "Coding",
    "coding_of",
    "is_tag",
    "plain_tags",
    "tag_problem",
    "type_of",
    "unseen_in",
]

Style = Literal["prefix", "suffix", "bare", "named", "brackets", "unknown"]

# What a letter says of a token's place in its entity. BILOU's L and U are E and S, BMEWO's M and W are I and S.
_PLACE = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_PREFIX = re.compile(r"([BIMELSUWbimelsuw])-(.+)")
_TWO_TAGS = re.compile(r"[|,;/+][BIELSUMW]-")
_SUFFIX = re.compile(r"(.+)-([BIMELSUWbimelsuw])")
_PLACE_BEHIND = re.compile(r"(.+)[_./: ]([BIMELSUW])")
_BARE = re.compile(r"(?![BIMELSUWO][_/.:])[A-Z][A-Za-z0-9_./ -]*[A-Za-z0-9_]")
_NAMED = re.compile(r".*[^\W\d_].*")  # a letter at least: 0, - and _ are no types
_BRACKETS = re.compile(r"(?:\(([^()*\s]+))?\*?(\))?")
_OUTSIDE = frozenset({"O", "o"})


@dataclass(frozen=True, slots=True)
class Coding:
    """How tags are spelt.

    `style`: B-PER, PER-B, PER on every token (`named`: whatever it looks like), or (PER* and *). `ends_only`: I- and E-
    alone, as IOE1 and IOE2 have them. `problem` says why the tags cannot be told; empty if they can.
    """

    style: Style
    ends_only: bool = False
    problem: str = ""


PREFIXED = Coding("prefix")
OWN_SCHEME: dict[str, Scheme] = {"bare": "iob1", "named": "iob1", "brackets": "iob2"}  # of what plain_tags makes


def coding_of(tags: Mapping[str, int], scheme: str = "") -> Coding:
    """The coding of a file whose tags occur so often each; most of them decide, so that faults stay faults.

    `scheme` is what somebody says. With `io` no tag tells where an entity begins, so each is a type, unless there are
    prefixes. With `ioe1` and `ioe2` an entity ends with E-, or where its type does, even if no E- occurs.
    """
    coding = _coding_of(tags, is_io=scheme == "io")
    if scheme not in ("ioe1", "ioe2") or coding.style not in ("prefix", "suffix"):
        return coding
    return replace(coding, ends_only=not any(_plain(tag, coding.style)[:2] in ("B-", "S-") for tag in tags))


def _coding_of(tags: Mapping[str, int], *, is_io: bool) -> Coding:
    inside = {tag: count for tag, count in tags.items() if tag not in _OUTSIDE}
    prefixed = sum(count for tag, count in inside.items() if _PREFIX.fullmatch(tag))
    suffixed = sum(count for tag, count in inside.items() if _SUFFIX.fullmatch(tag))
    if not inside:
        return Coding("prefix" if tags else "unknown")
    total = sum(inside.values())
    if is_io and not prefixed:
        return Coding("named")
    are_most = prefixed * 2 < total <= suffixed * 2 and _has_pair(inside, _SUFFIX)
    if prefixed < suffixed == total or are_most:
        return _with_letters("suffix", {match[2] for tag in inside if (match := _SUFFIX.fullmatch(tag))})
    if prefixed * 2 >= total:
        if any(_are_two(tag, inside) for tag in inside):
            return Coding(
                "prefix", problem="a tag is two, as B-PER|B-ORG. Keep one, or put each into a column of its own."
            )
        return _with_letters("prefix", {match[1] for tag in inside if (match := _PREFIX.fullmatch(tag))})
    if "*" in tags and all(_is_bracketed(tag) for tag in tags):
        return Coding("brackets")
    outside = sum(tags.get(tag, 0) for tag in _OUTSIDE)
    if not prefixed and outside >= max(inside.values()) and all(_BARE.fullmatch(tag) for tag in inside):
        return Coding("bare", problem=_GLUED if _are_glued(inside) else _BEHIND if _have_places_behind(inside) else "")
    return Coding("unknown")


_GLUED = (
    "its tags seem to be BPER and IPER for B-PER and I-PER. Put the hyphen in, or say scheme: io if they are types."
)
_BEHIND = (
    "its tags seem to be PER_B and PER_I for PER-B and PER-I. Write a hyphen, or say scheme: io if they are types."
)


def _have_places_behind(types: Collection[str]) -> bool:
    """Whether types without a prefix end with the letter of a place, but without a hyphen before it."""
    ends = [type_ for type_ in types if _PLACE_BEHIND.fullmatch(type_)]
    return len(ends) * 2 >= len(types) and _has_pair(ends, _PLACE_BEHIND)


def _has_pair(types: Collection[str], pattern: re.Pattern[str]) -> bool:
    """Whether one type stands with B and with I, by a pattern of type and letter."""
    ends = {(match[1], match[2].upper()) for type_ in types if (match := pattern.fullmatch(type_))}
    return any((stem, "I") in ends for stem, letter in ends if letter == "B")


def _are_two(tag: str, tags: Collection[str]) -> bool:
    """Whether a tag is two, as B-PER|B-ORG, and not one of a type such as T/B-cell."""
    match = _TWO_TAGS.search(tag)
    if match is None or match[0][0] in "|;,":
        return match is not None
    second = tag[match.start() + 1 :]
    return any(type_of(other) == type_of(second) for other in tags)


def _are_glued(types: Collection[str]) -> bool:
    """Whether types without a prefix are rather prefixes without a hyphen."""
    begun = {type_[1:] for type_ in types if type_.startswith("B")}
    inside = {type_[1:] for type_ in types if type_.startswith("I")}
    return len(types) > 1 and begun >= inside != set() and all(type_[0] in "BIELSU" for type_ in types)


def _with_letters(style: Style, letters: set[str]) -> Coding:
    known_letters = {letter.upper() for letter in letters}
    for one, other in ("EL", "IM", "SU", "SW", "UW"):
        if {one, other} <= known_letters:
            schemes = "IOBES, BILOU or BMEWO"
            return Coding(style, problem=f"its tags have both {one}- and {other}-: {schemes}? Correct the tags.")
    places = {_PLACE[letter] for letter in known_letters}
    return Coding(style, ends_only="E" in places and not places & {"B", "S"})


@lru_cache(maxsize=4096)
def tag_problem(tag: str, coding: Coding) -> str:
    """What is wrong with a tag of a file of this coding, if it would be read as something else; empty if nothing."""
    if problem := unseen_in((tag,)):
        return problem
    if coding.style in ("bare", "named") and _PREFIX.fullmatch(tag):
        return f"{tag[:40]!r} has a prefix, and the tags before are types alone"
    if coding.ends_only and _plain(tag, coding.style)[:2] in ("B-", "S-"):
        return f"{tag[:40]!r} tells where an entity begins, and the tags before only tell where one ends (IOE)"
    return ""


def unseen_in(tags: Iterable[str]) -> str:
    """What is wrong with a tag that begins or ends with what cannot be seen: it would name another type."""
    for tag in tags:
        tag = tag.removesuffix("\ufe0f")  # it makes an emoji of the sign before it
        if tag and invisible((tag[0], tag[-1])):
            at = next(letter for letter in (tag[-1], tag[0]) if invisible((letter,)))
            return f"a tag begins or ends with U+{ord(at):04X}, which cannot be seen, and is another one by it"
    return ""


def is_tag(value: str, coding: Coding) -> bool:
    """Whether a cell holds a tag of this coding."""
    if coding.style == "brackets":
        return _is_bracketed(value)
    if value in _OUTSIDE:
        return True
    pattern = {"prefix": _PREFIX, "suffix": _SUFFIX, "bare": _BARE, "named": _NAMED}.get(coding.style)
    return pattern is not None and pattern.fullmatch(value) is not None


def type_of(tag: str) -> str:
    """The type that a tag with a prefix names; empty for any other."""
    match = _PREFIX.fullmatch(tag)
    return match[2] if match else ""


def plain_tags(tags: Sequence[str], coding: Coding) -> tuple[str, ...]:
    """The tags of a sentence as O, or B-, I-, E- or S- and the type. What is no tag of the coding stays as it is.

    Types that stand bare on every token become I-: as in IOB1, neighbours of one type are one entity.
    """
    if coding.style == "brackets":
        return _unbracketed(tags)
    plain = tuple(_plain(tag, coding.style) for tag in tags)
    return _from_ends(plain) if coding.ends_only else plain


@lru_cache(maxsize=4096)
def _plain(tag: str, style: Style) -> str:
    if tag in _OUTSIDE:
        return "O"
    if style == "prefix" and (match := _PREFIX.fullmatch(tag)):
        return f"{_PLACE[match[1].upper()]}-{match[2]}"
    if style == "suffix" and (match := _SUFFIX.fullmatch(tag)):
        return f"{_PLACE[match[2].upper()]}-{match[1]}"
    bare = {"bare": _BARE, "named": _NAMED}.get(style)
    return f"I-{tag}" if bare is not None and bare.fullmatch(tag) else tag


def _from_ends(tags: Sequence[str]) -> tuple[str, ...]:
    """IOE1 and IOE2 to IOB2: an entity ends with E-, or where its type does."""
    converted, open_type = [], ""
    for tag in tags:
        if tag[:2] not in ("I-", "E-"):
            open_type = ""
            converted.append(tag)
            continue
        converted.append(f"{'I' if open_type == tag[2:] else 'B'}-{tag[2:]}")
        open_type = "" if tag.startswith("E-") else tag[2:]
    return tuple(converted)


def _is_bracketed(tag: str) -> bool:
    return bool(tag) and _BRACKETS.fullmatch(tag) is not None


def _unbracketed(tags: Sequence[str]) -> tuple[str, ...]:
    """(PER* and * and *) to IOB2. A bracket that closes nothing, or opens within another, stays as it is: no tag."""
    converted, open_type = [], ""
    for tag in tags:
        match = _BRACKETS.fullmatch(tag)
        opens, closes = (match[1] or "", bool(match[2])) if match else ("", False)
        if match is None or (opens and open_type) or (closes and not opens and not open_type):
            converted.append(tag)
            continue
        converted.append(f"B-{opens}" if opens else f"I-{open_type}" if open_type else "O")
        open_type = "" if closes else opens or open_type
    return tuple(converted)
