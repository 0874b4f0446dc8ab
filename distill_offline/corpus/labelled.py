"""What is written of a sentence: its labels, and what is known beside them, as a row with named fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distill_offline.schema import Sentence, Span
from distill_offline.spans.bio import decode_bio

__all__ = ["Labelled", "in_characters", "known_kind"]

_KINDS = ("plain", "calibrated")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sentence to be written. `labels` are those of its kind (label_kinds), None if it has none.

    `entities` count characters of its text; None if it is not known whether there are any. `confidence` is that of
    its class, 0 to 1; of several classes the least. `confidence_kind` says what the confidences are: `plain` (the
    student's own probability) or `calibrated` (the share that is right among such, measured on gold).
    """

    sentence: Sentence
    labels: tuple[str, ...] | None = None
    entities: tuple[Span, ...] | None = None
    confidence: float | None = None
    confidence_kind: str | None = None

    def row(self) -> dict[str, Any]:
        """The fields of a line of JSONL; those that are not known are left out."""
        sentence = self.sentence
        row: dict[str, Any] = {
            "id": sentence.id,
            "document": sentence.document,
            "index": sentence.index,
            "text": sentence.text,
            "tokens": list(sentence.tokens),
            "offsets": [list(pair) for pair in sentence.offsets],
        }
        if self.labels is not None:
            row["labels"] = list(self.labels) if self._labels_say_all() else None
        if self.entities is not None:
            row["entities"] = [_entity(span, sentence.text) for span in self.entities]
        if self.confidence is not None or (self.confidence_kind is not None and self.entities is None):
            row["confidence"] = self.confidence
        if self.confidence_kind is not None:
            row["confidence_kind"] = self.confidence_kind
        return row

    def _labels_say_all(self) -> bool:
        """Whether the entities are those of the labels, whose confidences a reader of the row will look for."""
        if self.entities is None or self.confidence_kind is not None:
            return True
        if any(entity.confidence is not None for entity in self.entities):
            return False
        said = {(*in_characters(span, self.sentence), span.type) for span in decode_bio(self.labels or ())}
        return said == {(entity.start, entity.end, entity.type) for entity in self.entities}


def known_kind(value: object) -> str | None:
    """A confidence_kind that another tool's file carries; None if it is none."""
    return value if isinstance(value, str) and value in _KINDS else None


def in_characters(span: Span, sentence: Sentence) -> tuple[int, int]:
    """Where a span of tokens begins and ends in the sentence's text."""
    return sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]


def _entity(span: Span, text: str) -> dict[str, Any]:
    entity: dict[str, Any] = {"text": text[span.start : span.end], "start": span.start, "end": span.end}
    entity["type"] = span.type
    return entity if span.confidence is None else {**entity, "confidence": span.confidence}
