"""Rows with named fields, as JSONL and Parquet hold them, to records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar

from distill_offline.annotations import LineValues, checked_offsets, checked_tokens
from distill_offline.corpus.foreign_rows import entities_elsewhere, foreign_row
from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import kept
from distill_offline.corpus.offset_units import OffsetUnit
from distill_offline.corpus.record import Record, join_tokens
from distill_offline.corpus.spans import ListedSpan, SpanFault, SpanReader, check_own_text, listed_spans, on_tokens
from distill_offline.corpus.tokenise import Offsets
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import LabelKind, kind_of
from distill_offline.schema import Head, Sentence, Span
from distill_offline.spans.bio import encode_bio

__all__ = ["FIELDS", "has_entities", "read_rows"]

_Value = TypeVar("_Value")
_CARRIED = ("confidence", "agreement", "missed", "confidence_kind")
FIELDS = (
    *("id", "document", "index", "text", "tokens", "offsets", "labels", "label", "spans", "weight", "masked"),
    "entities",
    *_CARRIED,
)
_KNOWN = {*FIELDS, "rejected"}  # of a line of annotations; what was rejected is none of the labels


class _LineValues(TypedDict):
    """What stands beside a row's labels."""

    weight: float
    masked: tuple[int, ...]
    spans: tuple[Span, ...]
    carried: Mapping[str, Any]
    unheld: tuple[Span, ...]
    entities: tuple[Span, ...] | None


class _RowError(ValueError):
    """What is wrong with a row; it becomes a CorpusError with file and line."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """How rows are read."""

    kind: LabelKind
    labelled: bool
    tokenise: Callable[[str], Offsets]
    spans: SpanReader
    keep_overlaps: bool


def read_rows(
    rows: Iterable[tuple[int, object]],
    shown: str,
    stem: str,
    head: Head,
    *,
    labelled: bool,
    language: str | None = None,
    offsets: OffsetUnit = "characters",
    keep_overlaps: bool = False,
    counts: Counter[str] | None = None,
) -> Iterator[Record]:
    """A record a row; `rows` are (line, fields).

    `tokens` (with `text` and `offsets` where known) or `text` alone, which is tokenised as `language` says, whatever
    its labels are, and kept as one sentence. Labels for token classification: `labels`, a BIO tag a token, else `spans`
    of `start`, `end`, `type`, which count tokens where `tokens` are given and characters of `text` where not, or what
    `offsets` names; else `entities` with the same fields, which count characters in any case. A span that begins or
    ends inside a token is not among the labels: it is one of `unheld`, and its tokens are masked. Spans must not lie
    (spans.SpanReader). Labels of whole texts: `label` or `labels`, as their kind
    reads them. A labelled row may have a `weight` in the loss and, for tokens, the positions of those that
    are `masked` from it; beside a span there may be its `confidence`, `alignment` and `agreement`, beside a class its
    `confidence` and `agreement`. `document` defaults to the file's stem, `index` to the row's position, `id` to
    `document:index`. With `keep_overlaps` spans may overlap: the labels have those that flat_spans leaves. `counts`
    gains what the format's reader could not say (lost.Lost among the rows).
    """
    # 64-bit hashes instead of the ids themselves: about 60 bytes a row that has an id of its own.
    seen: set[int] = set()
    rules = _Rules(kind_of(head), labelled, tokeniser(language), SpanReader(offsets), keep_overlaps)
    for position, (line, row) in enumerate(kept(rows, Counter() if counts is None else counts)):
        try:
            record = _record(row, position, shown, line, stem, rules)
        except SpanFault as error:
            raise fault(shown, error.line or line, str(error)) from error
        except _RowError as error:
            raise fault(shown, line, str(error)) from error
        if isinstance(row, Mapping) and row.get("id") is not None:
            if hash(record.sentence.id) in seen:
                raise _repeated(shown, line)
            seen.add(hash(record.sentence.id))
        if labelled and isinstance(row, Mapping) and (unread := row.keys() - _KNOWN):
            record = replace(record, unread=tuple(sorted(map(str, unread))))
        yield record if isinstance(row, Mapping) and row.get("text") is not None else replace(record, has_text=False)
    try:
        rules.spans.finish()
    except SpanFault as error:
        raise fault(shown, error.line or 1, str(error)) from error


def _repeated(shown: str, line: int) -> CorpusError:
    return fault(
        shown, line, "`id` repeats that of an earlier row. Make ids unique, or leave them out (document:index serves)."
    )


def _record(row: object, position: int, shown: str, line: int, stem: str, rules: _Rules) -> Record:
    if not isinstance(row, Mapping):
        raise _RowError(foreign_row(row) or "a row must be an object with fields such as `tokens` or `text`.")
    fields = {key: value for key, value in row.items() if value is not None}
    if (rules.labelled or not _is_text(fields)) and (whose := foreign_row(row)):
        raise _RowError(whose)
    text, tokens, offsets = _text(fields, rules.tokenise)
    document = _name(fields, "document", stem)
    index = fields.get("index", position)
    if not _is_int(index):
        raise _RowError("`index` must be a whole number.")
    id_ = _name(fields, "id", f"{document}:{index}")
    sentence = Sentence(id_, document, index, text, tokens, offsets)
    if not rules.labelled:
        return Record(sentence, None, shown, line)
    carried = {key: fields[key] for key in _CARRIED if key in fields}
    said = _checked(LineValues.read, fields, ("weight", "masked"))
    weight = 1.0 if said.weight is None else float(said.weight)
    labels = _checked(rules.kind.read, fields, len(tokens))
    if not rules.kind.per_token:
        if {"label", "labels"} <= fields.keys() and _classes(fields["label"]) != _classes(fields["labels"]):
            raise _RowError("`label` and `labels` contradict each other. Leave out the one that is wrong.")
        return Record(sentence, labels, shown, line, weight=weight, carried=carried)
    spans, unheld, entities = _spans(fields, sentence, line, rules.spans)
    if rules.keep_overlaps and spans:
        spans = flat_spans(spans)
    if any(token >= len(tokens) for token in said.masked):
        raise _RowError(f"`masked` must be a list of token positions, 0 to {len(tokens) - 1}.")
    masked = sorted({*said.masked, *(at for span in unheld for at in _touched(span, offsets))})
    beside: _LineValues = {
        "weight": weight,
        "masked": tuple(masked),
        "spans": tuple(spans or ()),
        "carried": carried,
        "unheld": unheld,
        "entities": entities,
    }
    if labels is not None:
        return Record(sentence, labels, shown, line, **beside)
    if spans is None:
        return Record(sentence, None, shown, line)
    try:
        labels = encode_bio(spans, len(tokens))
    except ValueError as error:
        raise _RowError(f"`spans`: {error}.") from error
    return Record(sentence, labels, shown, line, scheme="iob2", **beside)


def _is_text(fields: Mapping[str, Any]) -> bool:
    """Whether the row can be read as mere text, whoever wrote it."""
    tokens = fields.get("tokens")
    if isinstance(tokens, list):
        return all(isinstance(token, str) for token in tokens)
    return isinstance(fields.get("text"), str)


def _spans(
    fields: Mapping[str, Any], sentence: Sentence, line: int, reader: SpanReader
) -> tuple[list[Span] | None, tuple[Span, ...], tuple[Span, ...] | None]:
    """The row's spans counted in tokens; those, in characters, that no tokens can hold; and all, in characters."""
    if "spans" not in fields and not has_entities(fields):
        _check_elsewhere(fields)
        return None, (), None
    listed = listed_spans(fields["spans" if "spans" in fields else "entities"])
    if "tokens" in fields and "spans" in fields:
        check_own_text(listed, sentence, has_text="text" in fields)
        return [span.span for span in listed], (), _by_tokens(listed, sentence)
    held: list[Span] = []
    unheld: list[Span] = []
    in_text = tuple(reader.read(listed, sentence.text, line))
    for span in in_text:
        tokens_of_span = on_tokens((span.start, span.end), sentence.offsets)
        if tokens_of_span is not None:
            held.append(replace(span, start=tokens_of_span[0], end=tokens_of_span[1]))
        elif _touched(span, sentence.offsets):
            unheld.append(span)
        else:
            raise _RowError(f"span {span.start} to {span.end} covers no token.")
    return held, tuple(unheld), in_text


def _check_elsewhere(fields: Mapping[str, Any]) -> None:
    """Raises _RowError if a row without labels of ours lists entities in another way: they would be lost."""
    field = "" if {"labels", "label"} & fields.keys() else entities_elsewhere(fields)
    if field == "entities":
        raise _RowError("each of `entities` needs `start`, `end` and `type`, in characters of `text`. Name them so.")
    if field:
        raise _RowError(
            f"`{field}` lists what look like entities. They are read as `entities`, each with `start`, `end` and "
            "`type`, in characters of `text`. Name them so, or take the field away."
        )


def _by_tokens(listed: Sequence[ListedSpan], sentence: Sentence) -> tuple[Span, ...] | None:
    """Spans of tokens in characters; None if one is not within the sentence, which is told of its labels."""
    spans = [each.span for each in listed]
    if not all(0 <= span.start < span.end <= len(sentence.tokens) for span in spans):
        return None
    places = [(sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]) for span in spans]
    return tuple(replace(span, start=start, end=end) for span, (start, end) in zip(spans, places, strict=True))


def flat_spans(spans: Sequence[Span]) -> list[Span]:
    """Those that are left where of two that overlap the longer one stays, else the first."""
    chosen: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start - each.end, each.start)):
        if all(span.end <= other.start or other.end <= span.start for other in chosen):
            chosen.append(span)
    return [span for span in spans if any(span is each for each in chosen)]


def has_entities(fields: Mapping[str, Any]) -> bool:
    """Whether the row lists entities as we write them: in characters of `text`.

    Beside labels they are ours only if it says what their confidences are; other tools have a field of that name, too.
    """
    entities = fields.get("entities")
    return (
        isinstance(fields.get("text"), str)
        and ("labels" not in fields or "confidence_kind" in fields)
        and isinstance(entities, list)
        and all(isinstance(entity, Mapping) and {"start", "end", "type"} <= entity.keys() for entity in entities)
    )


def _touched(span: Span, offsets: Offsets) -> list[int]:
    """The tokens of which some character is in the span."""
    return [at for at, (start, end) in enumerate(offsets) if start < span.end and end > span.start]


def _text(fields: Mapping[str, Any], tokenise: Callable[[str], Offsets]) -> tuple[str, tuple[str, ...], Offsets]:
    """(text, tokens, offsets), the missing ones derived."""
    text = fields.get("text")
    if text is not None and not isinstance(text, str):
        raise _RowError("`text` must be a string.")
    if "tokens" not in fields:
        if text is None:
            raise _RowError("neither `tokens` nor `text` is given.")
        offsets = tokenise(text)
        if not offsets:
            raise _RowError("`text` is empty. Remove the row.")
        return text, tuple(text[start:end] for start, end in offsets), offsets
    tokens = _checked(checked_tokens, fields["tokens"])
    if text is None:
        if "offsets" in fields:
            raise _RowError("`offsets` are given without the `text` that they count.")
        joined, joined_offsets = join_tokens(tokens)
        return joined, tokens, joined_offsets
    if "offsets" not in fields:
        return text, tokens, _search(tokens, text)
    return text, tokens, _checked(checked_offsets, fields["offsets"], tokens, text)


def _search(tokens: Sequence[str], text: str) -> Offsets:
    offsets = []
    end = 0
    for position, token in enumerate(tokens):
        start = text.find(token, end)
        if start < 0:
            raise _RowError(f"token {position} is not in `text` after the one before it.")
        end = start + len(token)
        offsets.append((start, end))
    return tuple(offsets)


def _checked(check: Callable[..., _Value], *values: Any) -> _Value:
    """What a check of the annotations gives, with its ValueError as a fault of the row."""
    try:
        return check(*values)
    except ValueError as error:
        raise _RowError(f"{error}.") from error


def _classes(value: Any) -> list[str]:
    return sorted(map(str, value)) if isinstance(value, list) else [str(value)]


def _name(fields: Mapping[str, Any], key: str, default: str) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str) and not _is_int(value):
        raise _RowError(f"`{key}` must be a string or a whole number.")
    return str(value)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
