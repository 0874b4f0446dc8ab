"""What a file could not say, or could not hold: counted by reason, with the ids of the rows that it was in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["LOST_IN_READING", "REASONS", "Losses", "Lost", "kept"]

_SHOWN = 5  # ids

REASONS = {
    # of what was read
    "cancelled": "annotations that were cancelled",
    "rejected": "rows that an annotator rejected",
    "ignored": "rows that an annotator ignored",
    "further_annotators": "annotations by a further annotator of the same text that say something else",
    "discontinuous": "entities in several pieces",
    "crossing": "entities that cross the border of a sentence",
    "unannotated": "texts without an .ann beside them",
    "relations": "relations, events and links between entities",
    "attributes": "attributes, notes and normalisations of entities",
    "other_layers": "annotations of other layers",
    "other_results": "results that are neither entities nor classes",
    "other_sheets": "sheets after the first one",
    "classes_beside": "classes of a text that has entities, too",
    "untyped": "entities without a type",
    "unread_layer_tags": "tags of a further column of entities",
    "weight": "weights of sentences in the loss",
    "masked": "sentences with tokens that are masked from the loss",
    "agreement": "agreements between samples, or shares of what was missed",
    "other_fields": "rows with fields that are not known here",
    "spans_unlike_labels": "entities that only the tags of a row have, or only its list; the tags count",
    "stray_tags": "tags that continue nothing",
    "bad_file": "files that are empty or not UTF-8",
    "ignored_file": "files that are no documents",
    # of what was written
    "overlapping": "entities that overlap a longer one",
    "inside_token": "entities that begin or end inside a token",
    "no_token": "entities that hold no token",
    "no_class": "texts without any class, which are read as unlabelled",
    "confidence": "confidences",
    "guess": "texts that a student labelled, which are read as annotated by people",
    "id": "ids of sentences",
    "document": "document ids",
    "spacing": "texts whose spacing is not that of tokens with one blank between them",
    "tokens": "texts with tokens of their own, which are made anew by rule",
}

# Of what another tool's file says; bad files and stray tags are told otherwise.
LOST_IN_READING = tuple(REASONS)[: tuple(REASONS).index("stray_tags")]


@dataclass(frozen=True, slots=True)
class Lost:
    """What a reader leaves out, among the rows that it yields: `number` of what REASONS calls `reason`, in row `id`."""

    reason: str
    id: str
    number: int = 1


class Losses(Counter[str]):
    """How much was lost by reason, and in which rows: the first ids of each reason."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, list[str]] = {}

    def note(self, reason: str, id_: str, number: int = 1) -> None:
        """Count what was lost in a row."""
        if not number:
            return
        self[reason] += number
        ids = self.ids.setdefault(reason, [])
        if len(ids) <= _SHOWN and id_ not in ids:
            ids.append(id_)

    def merge(self, other: Losses) -> None:
        """Count what another one has counted, too."""
        for reason, number in other.items():
            self[reason] += number
            self.ids.setdefault(reason, []).extend(other.ids.get(reason, ()))

    def lines(self, reasons: Collection[str] | None = None) -> Iterator[str]:
        """A line a reason, or one of `reasons`, in words."""
        for reason, number in self.items():
            if reasons is not None and reason not in reasons:
                continue
            ids = self.ids.get(reason, [])
            more = ", ..." if len(ids) > _SHOWN else ""
            rows = f" (rows {', '.join(ids[:_SHOWN])}{more})" if ids else ""
            yield f"{number} {REASONS.get(reason, reason)}{rows}"


def kept(rows: Iterable[tuple[int, Any]], counts: Counter[str]) -> Iterator[tuple[int, Any]]:
    """The rows alone; what was lost between them is counted."""
    for line, row in rows:
        if not isinstance(row, Lost):
            yield line, row
        elif isinstance(counts, Losses):
            counts.note(row.reason, row.id, row.number)
        else:
            counts[f"lost_{row.reason}"] += row.number
