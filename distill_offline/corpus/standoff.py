"""Stand-off labels: a file that says what stands where in a corpus, and holds none of the corpus's text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from distill_offline.annotations import LineValues, checked_span
from distill_offline.corpus.jsonl import jsonl_rows
from distill_offline.corpus.lines import fault
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import KINDS, LabelKind, kind_of
from distill_offline.schema import Head, Sentence, Span, canonical_json, tokens_digest
from distill_offline.storage.files import replacing

__all__ = [
    "Header", "StandoffLabels", "content_prefix", "read_header", "read_standoff", "write_standoff",
]  # fmt: skip

_FORMAT, _VERSION = "distill_offline stand-off labels", 1
_DIGITS = 12  # of the digest of its tokens: enough that another sentence agrees once in 10^14


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: what is labelled, with which types, and the corpus (`name`, `sentences`) it was labelled in."""

    task: Head
    types: tuple[str, ...]
    sentences: int
    corpus: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StandoffLabels:
    """The labels of the `position`-th sentence of a corpus, counted from 0 in the order in which it is read.

    `content` proves that they meet their sentence: the first 12 hex digits of the digest of its tokens. Spans count
    tokens; `labels` are those of a whole text. `beside` is what came with the labels. `shown` and
    `line` (from 1) are where they stand.
    """

    position: int
    content: str
    spans: tuple[Span, ...] = ()
    labels: tuple[str, ...] | None = None
    beside: LineValues = field(default_factory=LineValues)
    shown: str = ""
    line: int = 0


def content_prefix(sentence: Sentence) -> str:
    """What a stand-off file has of a sentence."""
    return tokens_digest(sentence.tokens)[:_DIGITS]


def write_standoff(path: Path, task: Head, rows: Iterable[StandoffLabels], corpus: Mapping[str, Any]) -> Header:
    """Write the labels in order of their positions, as a file of mode 0600: equal labels give equal bytes."""
    ordered = sorted(rows, key=lambda row: row.position)
    types = {span.type for row in ordered for span in row.spans}
    types |= {name for row in ordered for _, name in kind_of(task).names(row.labels or ())}
    header = Header(task, tuple(sorted(types)), len(ordered), corpus)
    first = {"format": _FORMAT, "version": _VERSION, "task": task, "types": header.types, "sentences": len(ordered)}
    try:
        with replacing(path) as file:
            for value in ({**first, "corpus": corpus}, *(_plain(row, kind_of(task)) for row in ordered)):
                file.write(canonical_json(value).decode() + "\n")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written ({error.strerror}).") from error
    return header


def read_header(path: Path, shown: str) -> Header:
    """The first line of a stand-off file. Raises CorpusError if it is none of this version."""
    first = next(jsonl_rows(path, shown), None)
    return _header(first[1] if first else None, shown)


def read_standoff(path: Path, shown: str) -> Iterator[StandoffLabels]:
    """The labels, in order of their positions, streamed.

    Raises CorpusError with file and line for what is no stand-off label, for positions out of order, and at the end
    where the file holds another number of sentences than its header says.
    """
    lines = jsonl_rows(path, shown)
    _, first = next(lines, (1, None))
    header, count, line, before = _header(first, shown), 0, 1, -1
    for line, value in lines:
        row = _row(value, shown, line, header.task)
        if row.position <= before:
            raise fault(shown, line, f"sentence {row.position} comes after {before}: positions must increase.")
        before, count = row.position, count + 1
        yield row
    if count != header.sentences:
        raise fault(
            shown, line, f"the file ends after {count} sentences of {header.sentences}. Copy or export it again."
        )


def _plain(row: StandoffLabels, kind: LabelKind) -> dict[str, Any]:
    plain: dict[str, Any] = {"n": row.position, "content": row.content, **row.beside.as_dict()}
    if row.labels is not None:
        return {**plain, **kind.written(row.labels)}
    return {**plain, "spans": [_plain_span(span) for span in row.spans]}


def _plain_span(span: Span) -> list[Any]:
    """In the order of Span's fields; the agreement of samples only if there is one."""
    plain = [span.start, span.end, span.type, span.confidence, span.alignment]
    return plain if span.agreement is None else [*plain, span.agreement]


def _header(value: object, shown: str) -> Header:
    if not isinstance(value, Mapping) or value.get("format") != _FORMAT:
        raise fault(shown, 1, "these are not stand-off labels. Make such a file by distill-offline export-labels.")
    if value.get("version") != _VERSION:
        raise fault(shown, 1, f"stand-off labels of version {value.get('version')!r}; this one reads {_VERSION}.")
    task, types, count, corpus = (value.get(key) for key in ("task", "types", "sentences", "corpus"))
    is_whole = isinstance(types, list) and _is_count(count) and isinstance(corpus, Mapping)
    if task not in KINDS or not is_whole:
        raise fault(shown, 1, "the header lacks task, types, sentences or corpus, or they make no sense.")
    return Header(
        cast(str, task), tuple(map(str, cast(list[str], types))), cast(int, count), cast(dict[str, Any], corpus)
    )


def _row(value: object, shown: str, line: int, task: Head) -> StandoffLabels:
    if not isinstance(value, Mapping) or not _is_count(value.get("n")) or not isinstance(value.get("content"), str):
        raise fault(shown, line, "a line needs `n`, a sentence's position, and `content`, 12 digits of its digest.")
    try:
        beside = LineValues.read(value)
    except ValueError as error:
        raise fault(shown, line, f"{error}.") from error
    spans = value.get("spans")
    if not kind_of(task).per_token:
        try:
            labels = kind_of(task).read(value, 0)
        except ValueError as error:
            raise fault(shown, line, f"{error}.") from error
        if labels is None:
            raise fault(shown, line, "`label` is missing.")
        return StandoffLabels(value["n"], value["content"], (), labels, beside, shown, line)
    if not isinstance(spans, list):
        raise fault(shown, line, "`spans` are missing.")
    spans_ = tuple(_span(span, shown, line) for span in spans)
    return StandoffLabels(value["n"], value["content"], spans_, None, beside, shown, line)


def _span(value: object, shown: str, line: int) -> Span:
    fields = [*value, None][:6] if isinstance(value, list) and len(value) in (5, 6) else []
    try:
        return checked_span(Span(*fields))
    except (TypeError, ValueError) as error:
        form = "a span is [start, end, type, confidence or null, alignment]"
        raise fault(shown, line, f"{form}, with a confidence of 0 to 1, not {_shortened(value)}.") from error


def _shortened(value: object) -> str:
    return json.dumps(value)[:60]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
