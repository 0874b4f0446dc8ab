"""The sentences of a source with all that it says of them, to be written in another format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from distill_offline.corpus.examples import labels_of, spans_of, unlike
from distill_offline.corpus.labelled import Labelled, in_characters, known_kind
from distill_offline.corpus.lost import Losses
from distill_offline.corpus.record import Head, Record
from distill_offline.corpus.source import AnySource, TagReading, as_source, is_plain_text, read_records, tag_reading
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Sentence, Span

__all__ = ["read_with_entities"]


def read_with_entities(
    source: AnySource, *, head: Head = "token-classification", counts: Losses | None = None
) -> Iterator[Labelled]:
    """The sentences of a source with all that it says of them, to be written in another format; streamed.

    Entities are those that it lists, in its own characters, with confidences, even where they overlap or cut tokens;
    labels hold what tags can of these. What a student predicted stays told from what people said. What has no labels
    comes without. Tags that continue nothing become O, counted as `stray_tags`. `counts` gains what the format
    could not say.
    """
    given = as_source(source, None, "auto")
    found = Losses() if counts is None else counts
    kind = kind_of(head)
    own: TagReading | None = None
    how: dict[str, Any] = {"labelled": not is_plain_text(given), "on_bad_file": given.on_bad_file, "counts": found}
    for record in read_records(given, head=head, keep_overlaps=True, **how):
        sentence, confidence = record.sentence, record.carried.get("confidence")
        if not all(map(_is_confidence, (confidence, *(entity.confidence for entity in record.entities or ())))):
            raise record.fault("a confidence is no number from 0 to 1. Correct it, or leave it out.")
        how_sure = known_kind(record.carried.get("confidence_kind"))
        for reason in _unkept(record):
            found.note(reason, sentence.id)
        if record.labels is None:
            yield Labelled(sentence)
        elif not kind.per_token:
            yield Labelled(sentence, record.labels, confidence=confidence, confidence_kind=how_sure)
        else:
            if record.scheme is None and own is None:
                own = tag_reading(given, "distilled")
            labels, stray = labels_of(record, own, "distilled")
            found.note("stray_tags", sentence.id, len(stray))
            said_otherwise = unlike(record, labels)
            found.note("spans_unlike_labels", sentence.id, said_otherwise)
            entities = None if said_otherwise else record.entities
            if not entities:
                entities = _in_characters(spans_of(record, labels), sentence)
            yield Labelled(sentence, labels, entities, confidence_kind=how_sure)


def _is_confidence(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1)


def _in_characters(spans: Sequence[Span], sentence: Sentence) -> tuple[Span, ...]:
    places = [in_characters(span, sentence) for span in spans]
    return tuple(replace(span, start=start, end=end) for span, (start, end) in zip(spans, places, strict=True))


def _unkept(record: Record) -> Iterator[str]:
    """What a row says that no Labelled has."""
    if record.weight != 1.0:
        yield "weight"
    if record.masked and not record.unheld:
        yield "masked"
    if any(name in record.carried for name in ("agreement", "missed")):
        yield "agreement"
    kind = record.carried.get("confidence_kind")
    if record.unread or known_kind(kind) != kind:
        yield "other_fields"
