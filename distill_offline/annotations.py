"""The line of annotations.jsonl: one type, one reader, one writer, and one set of checks for whatever says the same."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Annotation, Example, Head, Rejection, Sentence, Span, join_tokens
from distill_offline.storage.files import json_line, read_rows, replacing

__all__ = [
    "BESIDE", "AnnotationLine", "LineValues", "checked_number", "checked_offsets", "checked_span",
    "checked_tokens", "read_lines", "write_lines",
]  # fmt: skip

BESIDE = ("confidence", "agreement", "missed", "weight", "masked", "relabelled")
_POSITIONS = ("masked", "relabelled")
_FIELDS = frozenset(
    (
        "id", "document", "index", "text", "tokens", "offsets", "labels", "spans", "rejected", "students", "no_entity",
        *BESIDE,
    )
)  # fmt: skip
_SPAN_FIELDS = frozenset(Span.__dataclass_fields__)
_ALIGNMENTS = ("exact", "repeated", "normalised", "fuzzy", "tags", "gold", "students")
_HIGHEST = {"confidence": 1.0, "agreement": 1.0, "missed": 1.0, "weight": sys.float_info.max}


@dataclass(frozen=True, slots=True)
class LineValues:
    """What stands beside the labels of a sentence, if it does: numbers, never text.

    `confidence` and `agreement` are a class's, `missed` is the probability of an entity that the labels lack, `weight`
    the sentence's in the loss, `masked` the positions of tokens from which nothing is to be learnt, `relabelled` those
    of tokens that have a student's label instead of a doubtful one. `order` says which of them comes first in a file,
    so that a line that is read and written again keeps its bytes.
    """

    confidence: float | None = None
    agreement: float | None = None
    missed: float | None = None
    weight: float | None = None
    masked: tuple[int, ...] = ()
    relabelled: tuple[int, ...] = ()
    order: tuple[str, ...] = field(default=BESIDE, compare=False)

    @classmethod
    def read(cls, row: Mapping[str, Any], names: Iterable[str] = BESIDE) -> Self:
        """Those of `names` that a row has. Raises ValueError for what is no such number, or no list of positions."""
        present: dict[str, Any] = {name: row[name] for name in names if row.get(name) is not None}
        for name, value in present.items():
            if name not in _POSITIONS:
                checked_number(name, value)
            elif not isinstance(value, (list, tuple)) or not all(map(_is_count, value)):
                raise ValueError(f"`{name}` is not a list of token positions")
            else:
                present[name] = tuple(value)
        return cls(**present)

    def ordered_as(self, row: Mapping[str, Any]) -> Self:
        """The same, written in the order in which a row has them."""
        first = [name for name in row if name in BESIDE]
        return self if not first else replace(self, order=(*first, *(n for n in BESIDE if n not in first)))

    def with_(self, **values: Any) -> Self:
        """With other values; those that were not there stand behind the others in a file."""
        new = [name for name in values if getattr(self, name) in (None, ())]
        return replace(self, order=(*(name for name in self.order if name not in new), *new), **values)

    def as_dict(self) -> dict[str, Any]:
        """Those that are there."""
        values = {name: getattr(self, name) for name in self.order}
        return {name: value for name, value in values.items() if value not in (None, ())}


_NOTHING = LineValues()


@dataclass(frozen=True, slots=True)
class AnnotationLine:
    """A sentence, and what somebody says of it.

    `labels` are those of a kind (label_kinds). Of tags `spans` are those that they make, with what is known of each;
    what is said of a whole text has none. `by_students` are the entities that a student finds who never saw the
    sentence, if one was asked (select.cross_fit); `students` in a file. `no_entity` is for each of `spans` how sure
    that student is that nothing of it belongs to any entity. `strays` counts tags that continued nothing where the line
    was read, and are O here; `unread` are the fields that stood there and that no line has: they are not written again.
    """

    sentence: Sentence
    labels: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    beside: LineValues = _NOTHING
    strays: int = 0
    unread: tuple[str, ...] = ()
    by_students: tuple[Span, ...] | None = None
    no_entity: tuple[float, ...] | None = None

    @classmethod
    def of(cls, sentence: Sentence, annotation: Annotation, beside: LineValues = _NOTHING) -> Self:
        """What an annotation says of its sentence; `beside` is what came with it."""
        if annotation.confidence is not None or annotation.agreement is not None:
            beside = replace(beside, confidence=annotation.confidence, agreement=annotation.agreement)
        return cls(sentence, annotation.labels, annotation.spans, annotation.rejected, beside)

    @property
    def confidence(self) -> float | None:
        """That of its class or of its least confident span, 0 to 1; None if none has any."""
        confidences = (self.beside.confidence, *(span.confidence for span in self.spans))
        return min((value for value in confidences if value is not None), default=None)

    def example(self) -> Example:
        """What there is to learn from it."""
        weight = 1.0 if self.beside.weight is None else float(self.beside.weight)
        return Example(self.sentence, self.labels, "distilled", weight, self.beside.masked)

    def as_line(self) -> str:
        """The line as it stands in a file; spans have `agreement` if several samples voted."""
        sentence = self.sentence
        return json_line(
            {
                "id": sentence.id,
                "document": sentence.document,
                "index": sentence.index,
                "text": sentence.text,
                "tokens": sentence.tokens,
                "offsets": sentence.offsets,
                "labels": self.labels,
                "spans": [_span_row(span) for span in self.spans],
                "rejected": [{"mention": rejection.mention, "reason": rejection.reason} for rejection in self.rejected],
                **self.beside.as_dict(),
                **({} if self.by_students is None else {"students": [_span_row(span) for span in self.by_students]}),
                **({} if self.no_entity is None else {"no_entity": self.no_entity}),
            }
        )


def read_lines(file: Path, head: Head) -> Iterator[AnnotationLine]:
    """The lines of a file of annotations, streamed.

    Raises InputError with file and line for what is none, and where spans and labels contradict each other.
    """
    for number, row in enumerate(read_rows(file), 1):
        try:
            yield _line(row, head)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"{file}:{number}: this is not a line of annotations: {problem}.") from error


def write_lines(file: Path, lines: Iterable[AnnotationLine]) -> int:
    """Write the lines to a file that takes its name when it is whole; gives their number."""
    count = 0
    with replacing(file) as output:
        for line in lines:
            output.write(line.as_line())
            count += 1
    return count


def checked_span(span: Span) -> Span:
    """The span itself. Raises ValueError if what came as one out of a file has fields of other kinds or sizes."""
    if not _is_count(span.start) or not _is_count(span.end):
        raise ValueError("a span's start and end must be positions of tokens")
    if not span.type or not isinstance(span.type, str):
        raise ValueError("a span's type must be a string")
    if span.alignment not in _ALIGNMENTS:  # anything else might be text, and be exported
        raise ValueError(f"a span's alignment must be one of {', '.join(_ALIGNMENTS)}")
    if not all(value is None or _is_number(value, 1.0) for value in (span.confidence, span.agreement, span.verify)):
        raise ValueError("a span's confidence, agreement and verify must be numbers, 0 to 1")
    return span


def checked_number(name: str, value: Any) -> float:
    """One of the numbers of LineValues. Raises ValueError if it is none, or too large or too small."""
    if not _is_number(value, _HIGHEST[name]):
        raise ValueError(f"`{name}` is not a number, 0 {'or more' if name == 'weight' else 'to 1'}")
    return float(value)


def checked_tokens(value: Any) -> tuple[str, ...]:
    """Raises ValueError if `value` is no list of strings with something in each."""
    if not _are_strings(value):
        raise ValueError("`tokens` must be a list of strings")
    if not value or not all(value):
        raise ValueError("`tokens` is empty or holds an empty token")
    return tuple(value)


def checked_offsets(value: Any, tokens: Sequence[str], text: str) -> tuple[tuple[int, int], ...]:
    """Raises ValueError if `value` is no list of ranges that lead to the tokens in the text, in order."""
    if not isinstance(value, (list, tuple)) or len(value) != len(tokens):
        raise ValueError(f"`offsets` must be a list of {len(tokens)} pairs, one a token")
    end_before = 0
    for position, (pair, token) in enumerate(zip(value, tokens, strict=True)):
        # Spelled out, since most of the time that it takes to read a line is spent here.
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or type(pair[0]) is not int
            or type(pair[1]) is not int
        ):
            raise ValueError(f"offset {position} is not a pair of whole numbers")
        if pair[0] < end_before or text[pair[0] : pair[1]] != token:
            raise ValueError(f"offset {position} does not lead to its token in `text`")
        end_before = pair[1]
    return tuple(map(tuple, value))


def _line(row: Mapping[str, Any], head: Head) -> AnnotationLine:
    tokens, labels = checked_tokens(row["tokens"]), row["labels"]
    if not _are_strings(labels):
        raise ValueError("`labels` must be a list of strings")
    spans = [_span(span) for span in _list(row, "spans")] if "spans" in row else None
    beside = LineValues.read(row).ordered_as(row)
    for name in _POSITIONS:
        if any(token >= len(tokens) for token in getattr(beside, name)):
            raise ValueError(f"`{name}` names a token that is not there")
    agreed = kind_of(head).agreed(tokens, tuple(labels), spans)
    rejected = tuple(map(_rejection, _list(row, "rejected"))) if row.get("rejected") is not None else ()
    strays, unread = len(agreed.strays), _unread(row)
    students = _students(row, len(tokens)) if row.get("students") is not None else None
    no_entity = _no_entity(row, len(agreed.spans)) if row.get("no_entity") is not None else None
    sentence = _sentence(row, tokens)
    return AnnotationLine(sentence, agreed.labels, agreed.spans, rejected, beside, strays, unread, students, no_entity)


def _unread(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that no line has, those of its spans as `spans.NAME`."""
    inner = {f"spans.{key}" for span in row.get("spans") or () for key in span if key not in _SPAN_FIELDS}
    return tuple(sorted({key for key in row if key not in _FIELDS} | inner))


def _sentence(row: Mapping[str, Any], tokens: tuple[str, ...]) -> Sentence:
    """The sentence of a row; its tokens joined by blanks if the row has no text."""
    id_, document, index = row["id"], row.get("document", ""), row.get("index", 0)
    if not isinstance(id_, str) and not _is_whole(id_):
        raise ValueError("`id` must be a string or a whole number")
    if not isinstance(document, str) or not _is_whole(index):
        raise ValueError("`document` must be a string, and `index` a whole number")
    if row.get("text") is None or row.get("offsets") is None:
        text, offsets = join_tokens(tokens)
    elif isinstance(text := row["text"], str):
        offsets = checked_offsets(row["offsets"], tokens, text)
    else:
        raise ValueError("`text` must be a string")
    return Sentence(str(id_), document, index, text, tokens, offsets)


def _list(row: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = row[key]
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"`{key}` must be a list of objects")
    return value


def _span(row: Mapping[str, Any]) -> Span:
    values = row["start"], row["end"], row["type"], row.get("confidence"), row.get("alignment") or "tags"
    return checked_span(Span(*values, row.get("agreement"), row.get("verify")))


def _students(row: Mapping[str, Any], tokens: int) -> tuple[Span, ...]:
    found = tuple(_span(span) for span in _list(row, "students"))
    ends = (0, *(span.end for span in found))
    if any(not before <= span.start < span.end <= tokens for before, span in zip(ends, found, strict=False)):
        raise ValueError("`students` must be spans of its tokens, in order and apart from each other")
    return found


def _no_entity(row: Mapping[str, Any], spans: int) -> tuple[float, ...]:
    values = row["no_entity"]
    if not isinstance(values, list) or len(values) != spans or not all(_is_number(value, 1.0) for value in values):
        raise ValueError(f"`no_entity` must be a list of {spans} numbers, 0 to 1, one for each span")
    return tuple(values)


def _span_row(span: Span) -> dict[str, Any]:
    row = {name: getattr(span, name) for name in Span.__dataclass_fields__}
    return {name: value for name, value in row.items() if value is not None or name not in ("agreement", "verify")}


def _rejection(row: Mapping[str, Any]) -> Rejection:
    mention, reason = row["mention"], row["reason"]
    if not isinstance(mention, str) or not isinstance(reason, str):
        raise ValueError("a rejection's mention and reason must be strings")
    return Rejection(mention, reason)


def _are_strings(value: object) -> bool:
    return isinstance(value, (list, tuple)) and set(map(type, value)) <= {str}


def _is_number(value: object, highest: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= highest


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_whole(value) and value >= 0  # type: ignore[operator]
