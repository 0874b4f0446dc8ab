"""Sentences and labelled examples out of any source, their digest, and the leak check."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest

from distill_offline.annotations import AnnotationLine, LineValues, checked_span
from distill_offline.config.settings import Source
from distill_offline.corpus.plain_text import OnBadFile
from distill_offline.corpus.record import Head, Record
from distill_offline.corpus.source import (
    AnyScheme,
    AnySource,
    TagReading,
    as_source,
    read_records,
    tag_reading,
)
from distill_offline.corpus.tag_coding import PREFIXED, plain_tags, tag_problem
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import LabelKind, kind_of
from distill_offline.schema import Example, Origin, Sentence, Span, canonical_json, content_digest
from distill_offline.spans.bio import InvalidTags, bridged, decode_bio, repair, to_iob2
from distill_offline.text.visible import invisible, squeezed

__all__ = [
    "check_same_text",
    "digest",
    "labels_of",
    "overlap",
    "read_annotations",
    "read_examples",
    "read_sentences",
    "spans_of",
    "unlike",
]


def read_sentences(
    source: AnySource,
    *,
    token_column: int | None = None,
    tag_column: int | None = None,
    scheme: AnyScheme = "auto",
    head: Head = "token-classification",
    on_bad_file: OnBadFile | None = None,
    counts: Counter[str] | None = None,
    context: int = 0,
) -> Iterator[Sentence]:
    """The sentences of a source, streamed; labels are neither needed nor looked at.

    With a `head` for whole texts a plain text is one sentence as a whole. `on_bad_file` is what the source says
    where none is given; `counts` gains `bad_file` (where that is skip) and `ignored_file`. `context`: how many
    neighbours of its document a sentence has on either side, `before` and `after`. Raises CorpusError with file and
    line.
    """
    opened = as_source(source, tag_column, scheme, token_column)
    if opened.labels is not None:
        raise CorpusError(
            f"{opened.labels}: stand-off labels go with corpus.distilled alone, not with text to be read."
        )
    counter = Counter[str]() if counts is None else counts
    bad = on_bad_file or opened.on_bad_file
    for record in read_records(opened, labelled=False, head=head, on_bad_file=bad, counts=counter, context=context):
        yield record.sentence


def read_examples(
    source: AnySource,
    *,
    origin: Origin,
    token_column: int | None = None,
    tag_column: int | None = None,
    scheme: AnyScheme = "auto",
    head: Head = "token-classification",
    types: Collection[str] | None = None,
    counts: Counter[str] | None = None,
    on_bad_file: OnBadFile | None = None,
    context: int = 0,
    strays: list[str] | None = None,
) -> Iterator[Example]:
    """The labelled sentences of a source, streamed; BIO tags come out as IOB2.

    An invalid tag sequence raises CorpusError if the origin is `original`; where it is `distilled`, tags that
    continue nothing become O and are counted as `stray_tags`; `strays` gains their places. Spans that begin or end
    inside a token are counted as `unheld`, and an Example's own. `types` are the entity types or classes that are
    allowed. `scheme` `auto` reads a column file's tags once before. `token_column` is recognised where it is not given.
    `on_bad_file` and `context` as in read_sentences.
    """
    counter = Counter[str]() if counts is None else counts
    opened = as_source(source, tag_column, scheme, token_column)
    for record, labels in _labelled(opened, origin, head, types, counter, on_bad_file, context, strays):
        weight, masked = record.weight, record.masked
        if record.standoff is not None:
            beside = record.standoff.beside
            weight, masked = weight if beside.weight is None else beside.weight, beside.masked
        if record.unheld:
            counter["unheld"] += len(record.unheld)
        yield Example(record.sentence, labels, origin, float(weight), tuple(masked), record.unheld)


def unlike(record: Record, labels: tuple[str, ...]) -> int:
    """How many entities the labels have and the listed spans have not, or the other way round.

    Of spans that overlap, labels hold one; of masked tokens they say nothing; an empty list is none. Labels that were
    made of the list are as it is.
    """
    if record.scheme is not None or not (record.entities or record.spans):
        return 0
    hidden = set(record.masked)
    said = {_place(span) for span in decode_bio(labels)}
    listed = {_place(span) for span in record.spans if hidden.isdisjoint(range(span.start, span.end))}
    said = {place for place in said if hidden.isdisjoint(range(*place[:2]))}
    lacking = [one for one in listed - said if not any(one[0] < end and start < one[1] for start, end, _ in said)]
    return len(said - listed) + len(lacking)


def read_annotations(
    source: AnySource,
    *,
    token_column: int | None = None,
    tag_column: int | None = None,
    scheme: AnyScheme = "auto",
    head: Head = "token-classification",
    types: Collection[str] | None = None,
    counts: Counter[str] | None = None,
) -> Iterator[AnnotationLine]:
    """The sentences of a source of distilled labels, each with what is said of it.

    Spans out of a stand-off file, and those that a row lists, have the confidence, alignment and agreement that stand
    there; those that tags alone make have none, and the alignment `tags`. Where a row has tags, spans that these do not
    make are left out; `counts` gains `spans_unlike_labels`. Else as read_examples.
    """
    counted = Counter[str]() if counts is None else counts
    opened = as_source(source, tag_column, scheme, token_column)
    for record, labels in _labelled(opened, "distilled", head, types, counted, None):
        sentence, standoff = record.sentence, record.standoff
        if standoff is not None:
            yield AnnotationLine(sentence, labels, standoff.spans, beside=standoff.beside, unread=record.unread)
            continue
        try:
            spans = spans_of(record, labels) if kind_of(head).per_token else ()
            weight = {"weight": record.weight} if record.weight != 1.0 else {}
            beside = LineValues.read({**record.carried, **weight, "masked": record.masked})
        except ValueError as error:
            raise record.fault(f"{error}. Correct it, or leave it out.") from error
        if record.unheld:
            counted["unheld"] += len(record.unheld)
        if unlike := {_place(span) for span in record.spans} - {_place(span) for span in spans}:
            counted["spans_unlike_labels"] += len(unlike)
        yield AnnotationLine(sentence, labels, spans, beside=beside, unread=record.unread)


def spans_of(record: Record, labels: tuple[str, ...]) -> tuple[Span, ...]:
    """The spans of the labels, with what the row says of those among them that it lists."""
    listed = {_place(span): span for span in record.spans}
    spans = [listed.get(_place(span), replace(span, alignment="tags")) for span in decode_bio(labels)]
    return tuple(checked_span(span) for span in spans)


def _place(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.type


def _labelled(
    source: Source,
    origin: Origin,
    head: Head,
    types: Collection[str] | None,
    counts: Counter[str] | None,
    on_bad_file: OnBadFile | None,
    context: int = 0,
    strays: list[str] | None = None,
) -> Iterator[tuple[Record, tuple[str, ...]]]:
    """The records of a source with their labels as they are meant: checked, and IOB2."""
    if source.labels is not None and origin == "original":
        raise CorpusError(f"{source.labels}: stand-off labels are a teacher's. They go with corpus.distilled alone.")
    counter = Counter[str]() if counts is None else counts
    kind = kind_of(head)
    own = tag_reading(source, origin) if kind.per_token else None
    known = None if types is None else frozenset(types)
    bad = on_bad_file or source.on_bad_file
    for record in read_records(source, labelled=True, head=head, on_bad_file=bad, counts=counter, context=context):
        if record.labels is None:
            raise record.fault(f"there are no labels; needed: {kind.fields}.")
        labels = record.labels
        if kind.per_token:
            labels, stray = labels_of(record, own, origin)
            if stray:
                counter["stray_tags"] += len(stray)
            if origin == "original" and unlike(record, labels):
                raise record.fault(
                    "its `labels` and the entities beside them say different things. Correct one, or leave it out."
                )
            if strays is not None:
                strays += [f"{record.shown}:{record.line + record.step * position}" for position in stray]
        if known is not None:
            _check_types(record, kind, labels, known)
        yield record, labels


def digest(examples: Iterable[Example]) -> str:
    """Hex SHA-256 over ids, tokens and labels in order: what a Report is `on`."""
    total = hashlib.sha256()
    for example in examples:
        unheld = [[[span.start, span.end, span.type] for span in example.unheld]] if example.unheld else []
        total.update(canonical_json([example.sentence.id, example.sentence.tokens, example.labels, *unheld]) + b"\n")
    return total.hexdigest()


def overlap(train: Iterable[Example], held_out: Iterable[Example]) -> set[str]:
    """The content digests of sentences that occur in both: by their text, however each is cut into tokens."""
    held = {content_digest(example.sentence) for example in held_out}
    return held.intersection(content_digest(example.sentence) for example in train)


def check_same_text(left: AnySource, right: AnySource, *, head: Head = "token-classification") -> None:
    """Raise CorpusError at the first sentence in which two sources differ, naming both places.

    They must have the same tokens, but for what cannot be seen in them; or the same text, where one of them has more of
    it than its tokens.
    """
    pairs = zip_longest(_unlabelled(left, head), _unlabelled(right, head))
    for one, other in pairs:
        if one is None or other is None:
            more = one or other
            raise more.fault(
                "this sentence has no counterpart: the other file ends before. Compare files of one corpus."
            )
        mine, theirs = one.sentence.tokens, other.sentence.tokens
        has_text = one.has_text or other.has_text
        if mine != theirs and not _looks_the_same(one, other):
            token = next(
                (at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
            )
            location = f"{other.shown}:{other.line + other.step * token}"
            texts = ", and so do the texts" if has_text else ""
            if has_text and not (one.step or other.step) and one.sentence.id != other.sentence.id:
                texts += f"; the ids here are {one.sentence.id} and {other.sentence.id}: the order must be the same"
            raise one.fault(
                f"the tokens differ from those of {location}, from token {token} of the sentence on{texts}.", token
            )


def _looks_the_same(one: Record, other: Record) -> bool:
    if one.has_text or other.has_text:
        return squeezed(one.sentence.text) == squeezed(other.sentence.text)
    return list(map(squeezed, one.sentence.tokens)) == list(map(squeezed, other.sentence.tokens))


def _unlabelled(source: AnySource, head: Head) -> Iterator[Record]:
    opened = as_source(source, None, "auto")
    return read_records(opened, labelled=False, head=head, on_bad_file=opened.on_bad_file, counts=Counter())


def labels_of(record: Record, own: TagReading | None, origin: Origin) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The labels, and the positions of stray tags, which gold must not have. `own` is the source's; a record may know
    the scheme of its tags itself."""
    scheme = record.scheme or (own.scheme if own else "iob2")
    coding = own.coding if own and record.scheme is None else PREFIXED
    labels = record.labels or ()
    if any(tag_problem(tag, coding) for tag in set(labels)):
        position = next(at for at, tag in enumerate(labels) if tag_problem(tag, coding))
        problem = tag_problem(labels[position], coding)
        raise record.fault(f"tag {position} of the sentence: {problem}. Correct it.", position)
    tags = plain_tags(labels, coding)
    try:
        if origin == "original":
            return to_iob2(tags, scheme), ()
        return repair(bridged(tags, scheme, invisible(record.sentence.tokens)), scheme)
    except InvalidTags as error:
        remedy = "Correct it, or set tag_column or scheme."
        raise record.fault(
            f"tag {error.position} of the sentence: {error} (scheme {scheme}). {remedy}", error.position
        ) from error


def _check_types(record: Record, kind: LabelKind, labels: tuple[str, ...], known: frozenset[str]) -> None:
    for position, name in kind.names(labels):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            what = "type" if kind.per_token else "class"
            raise record.fault(f"{what} {name[:60]!r} is unknown.{hint} Known: {', '.join(sorted(known))}.", position)
