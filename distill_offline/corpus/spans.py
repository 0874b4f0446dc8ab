"""The spans that a row lists: read as what they count, compared with their own text, and put on tokens."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill_offline.corpus.offset_units import IN_WORDS, OFFSETS, OffsetUnit, in_characters
from distill_offline.corpus.tokenise import Offsets, Range
from distill_offline.schema import Sentence, Span

__all__ = [
    "OWN_TEXT", "ListedSpan", "SpanFault", "SpanReader", "agrees", "check_own_text", "listed_spans", "on_tokens",
]  # fmt: skip

OWN_TEXT = ("text", "surface", "value", "mention", "word", "surface_form", "span_text", "string")
_MOST = 0.5  # of the spans that a unit makes a difference to: more of them cut words, so they count something else
_NEARLY_ALL = 0.9  # of those fit as the other unit: it is named
_ENOUGH = 10  # spans, of which most cut words though no unit explains it
_EARLY = 100  # spans after which a file is judged for the first time


class SpanFault(ValueError):
    """What is wrong with the spans of a row or a file. `line` is that of an earlier row, where it is one's."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True, slots=True)
class ListedSpan:
    """A span as a row lists it: start and end count whatever they count. `own_text` is the text that it says it has."""

    span: Span
    own_text: str | None = None


def listed_spans(value: object) -> list[ListedSpan]:
    """Raises SpanFault if `value` is no list of spans."""
    if not isinstance(value, list):
        raise SpanFault("`spans` must be a list.")
    listed = []
    for position, span in enumerate(value):
        if not isinstance(span, Mapping) or not (_is_int(span.get("start")) and _is_int(span.get("end"))):
            raise SpanFault(f"span {position} needs whole numbers `start` and `end`.")
        if not isinstance(span.get("type"), str) or not span["type"]:
            raise SpanFault(f"span {position} needs a `type`.")
        read = Span(span["start"], span["end"], span["type"], span.get("confidence"), agreement=span.get("agreement"))
        listed.append(ListedSpan(replace(read, alignment=span.get("alignment") or "tags"), _own_text(span)))
    return listed


def _own_text(span: Mapping[str, Any]) -> str | None:
    texts = (span[key] for key in OWN_TEXT if isinstance(span.get(key), str))
    return next((text for text in texts if _folded(text) and text != span["type"]), None)


def on_tokens(span: Range, offsets: Offsets) -> Range | None:
    """The tokens that the characters take in; None if a border lies inside a token, or there is no token.

    Blanks, and what is in no token, make no difference at either end.
    """
    start, end = span
    first = bisect_right(offsets, start, key=lambda token: token[1])
    last = bisect_left(offsets, end, key=lambda token: token[0])
    if first >= last or offsets[first][0] < start or offsets[last - 1][1] > end:
        return None
    return first, last


def check_own_text(spans: Sequence[ListedSpan], sentence: Sentence, *, has_text: bool) -> None:
    """Raises SpanFault if a span that counts tokens says that it has another text than its tokens."""
    for position, listed in enumerate(spans):
        start, end = listed.span.start, listed.span.end
        if agrees(listed.own_text, "".join(sentence.tokens[max(start, 0) : max(end, 0)])):
            continue
        counts = "tokens, as spans do beside `tokens`"
        if has_text and agrees(listed.own_text, sentence.text[max(start, 0) : max(end, 0)]):
            raise SpanFault(
                f"span {position} counts characters, but beside `tokens` spans count tokens. Leave `tokens` out, or "
                "count them."
            )
        hint = (
            " If the end is the last token, make it one more."
            if agrees(listed.own_text, "".join(sentence.tokens[max(start, 0) : end + 1]))
            else ""
        )
        raise SpanFault(f"span {position} ({start} to {end}) has another text of its own than those {counts}.{hint}")


@dataclass(slots=True)
class SpanReader:
    """Reads the spans of a file's rows, and notices where they count something else than `unit`.

    A span's own text must agree with what it covers. Spans without one are judged together: where more than half of
    those that another unit would place elsewhere cut words, and nearly all of them cut none when read so, the file is
    refused with that unit named; also where most of ten or more spans cut words and nothing explains it.
    """

    unit: OffsetUnit = "characters"
    judged: int = 0
    cutting: int = 0
    first_line: int | None = None
    _differ: Counter[OffsetUnit] = field(default_factory=Counter)
    _cut_there: Counter[OffsetUnit] = field(default_factory=Counter)
    _borders: Counter[OffsetUnit] = field(default_factory=Counter)
    _fit: Counter[OffsetUnit] = field(default_factory=Counter)

    def read(self, spans: Sequence[ListedSpan], text: str, line: int) -> list[Span]:
        """The spans counted in characters. Raises SpanFault if one lies, or lies outside the text."""
        read = in_characters(self.unit, text) or _plainly(text)
        others = {unit: reader for unit in OFFSETS if unit != self.unit and (reader := _reader(unit, text))}
        read_spans = []
        for position, listed in enumerate(spans):
            span = listed.span
            range_ = read(span.start, span.end)
            if range_ is None or not agrees(listed.own_text, text[slice(*range_)]):
                raise SpanFault(self._lie(position, spans, text, others, is_outside=range_ is None))
            if listed.own_text is None:
                self._judge(span, range_, text, others, line)
            read_spans.append(replace(span, start=range_[0], end=range_[1]))
        if self.judged - len(spans) < _EARLY <= self.judged:
            self.finish()
        return read_spans

    def finish(self) -> None:
        """Raises SpanFault if the spans so far, taken together, lie."""
        likely = [unit for unit in OFFSETS if self._is_likely(unit)]
        if likely:
            unit = max(likely, key=lambda unit: (self._cut_there[unit], self._fit[unit] / self._differ[unit]))
            cut, differ, fit = self._cut_there[unit], self._differ[unit], self._fit[unit]
            raise SpanFault(
                f"here or from here on {cut} of {differ} spans begin or end within a word, or at a blank, if they "
                f"count {IN_WORDS[self.unit]}; if they count {IN_WORDS[unit]}, {fit} fit. {_remedy(unit)}",
                self.first_line,
            )
        if self.judged >= _ENOUGH and self.cutting > _MOST * self.judged:
            raise SpanFault(
                f"here or from here on {self.cutting} of {self.judged} spans begin or end within a word, or at a "
                f"blank. They do not count {IN_WORDS[self.unit]} of this `text`, nor {_known()}. Correct them.",
                self.first_line,
            )

    def _is_likely(self, unit: OffsetUnit) -> bool:
        differ = self._differ[unit]
        is_shift = unit in ("from_1", "inclusive", "from_1_inclusive")
        return (
            self._cut_there[unit] > _MOST * differ
            and self._fit[unit] >= _NEARLY_ALL * differ
            and self._borders[unit] > is_shift  # one border that one letter would mend may be an ending: Hamburg's
        )

    def _judge(
        self,
        span: Span,
        range_: Range,
        text: str,
        others: Mapping[OffsetUnit, Callable[[int, int], Range | None]],
        line: int,
    ) -> None:
        wrong = _wrong_borders(range_, text)
        self.judged += 1
        self.cutting += wrong > 0
        if wrong and self.first_line is None:
            self.first_line = line
        for unit, read in others.items():
            other = read(span.start, span.end)
            if other == range_:
                continue
            self._differ[unit] += 1
            self._cut_there[unit] += wrong > 0
            self._borders[unit] += wrong
            self._fit[unit] += other is not None and not _wrong_borders(other, text)

    def _lie(
        self,
        position: int,
        spans: Sequence[ListedSpan],
        text: str,
        others: Mapping[OffsetUnit, Callable[[int, int], Range | None]],
        *,
        is_outside: bool,
    ) -> str:
        span = spans[position].span
        where = f"span {position} ({span.start} to {span.end})"
        problem = (
            f"{where} does not lie in the {len(text)} characters of `text`"
            if is_outside
            else f"{where} has another text than what is there"
        )
        for unit, read in others.items():
            places = [read(span.span.start, span.span.end) for span in spans]
            if places[position] is not None and all(
                range_ is not None and _is_right(range_, span, text) for range_, span in zip(places, spans, strict=True)
            ):
                return f"{problem}. If it counts {IN_WORDS[unit]}, all is right. {_remedy(unit)}"
        return f"{problem}, whether it counts {IN_WORDS[self.unit]} or {_known()}. Correct it."


def _reader(unit: OffsetUnit, text: str) -> Callable[[int, int], Range | None] | None:
    return _plainly(text) if unit == "characters" else in_characters(unit, text)


def _plainly(text: str) -> Callable[[int, int], Range | None]:
    return lambda start, end: (start, end) if 0 <= start < end <= len(text) else None


def _is_right(range_: Range, listed: ListedSpan, text: str) -> bool:
    if listed.own_text is not None:
        return agrees(listed.own_text, text[slice(*range_)])
    return not _wrong_borders(range_, text)


def agrees(own_text: str | None, piece: str) -> bool:
    """Whether a span's own text, if it has one, is the piece, as exporters may have changed it."""
    return own_text is None or own_text == piece or _folded(own_text) == _folded(piece)


def _folded(text: str) -> str:
    """White space, letter case and forms of one character aside: exporters change these."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _wrong_borders(range_: Range, text: str) -> int:
    """How many ends of the span are within a word of a script with blanks, before a mark of a letter, or at a blank."""
    start, end = range_
    return (_parts_a_word(text, start) or text[start].isspace()) + (_parts_a_word(text, end) or text[end - 1].isspace())


def _parts_a_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    before, behind = text[at - 1], text[at]
    if unicodedata.category(behind).startswith("M"):
        return True
    if before.isdigit() and behind.isdigit():
        return True
    return before.isalpha() and behind.isalpha() and not (_is_unspaced(before) or _is_unspaced(behind))


def _is_unspaced(letter: str) -> bool:
    """Whether the letter is of a script that has no blanks between words, or particles and prefixes without one."""
    return (
        "\u0590" <= letter < "\u0900"
        or "\u0e00" <= letter < "\u10a0"
        or "\u1780" <= letter < "\u1800"
        or (letter >= "\u2e80")
    )


def _known() -> str:
    return "anything else that corpus.offsets knows"


def _remedy(unit: OffsetUnit) -> str:
    return f"Set corpus.offsets: {unit} (evaluate: --offsets or --input-offsets {unit}), or correct the offsets."


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
