"""What a format can hold of a row, and what is left out of rows for one that cannot hold it: counted, with ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_offline.corpus.lost import Losses
from distill_offline.corpus.tokenise import token_offsets
from distill_offline.errors import CorpusError
from distill_offline.schema import join_tokens
from distill_offline.spans.bio import InvalidTags, decode_bio

__all__ = [
    "ALL",
    "COLUMNS_HOLD",
    "HOLDS",
    "ToolFormat",
    "entities_of",
    "evenly",
    "fitted",
    "flat",
    "on_borders",
    "tags_of",
]

HOLDS = {
    "entities": "entities",
    "class": "a class of the text",
    "classes": "several classes of the text",
    "no_class": "a text that is in none of the classes",
    "unlabelled": "a text without labels",
    "mixed": "texts without labels among texts with labels",
    "text": "the text itself, with its spacing",
    "tokens": "the tokens",
    "pieces": "entities that begin or end inside a token",
    "overlaps": "entities that overlap",
    "confidence": "confidences",
    "guess": "that a student labelled a text, and no person",
    "id": "the sentence's id",
    "document": "the document's id",
}
ALL = frozenset(HOLDS)
COLUMNS_HOLD = frozenset({"entities", "tokens", "document"})  # our own .conll
_Row = Mapping[str, Any]


class ToolFormat:
    """A format of another tool; `holds` are keys of HOLDS, `lost` what this one could not write although it holds such.

    Rows that are given to `write` hold no more than `holds`. Those with `entities` have labels of tokens, those with
    `labels` alone classes, those with neither none. `is_folder`: it is a folder of files. `knows_offsets`: its rows
    count characters whatever its files do, so that a source may not say what they count.
    """

    holds: frozenset[str] = ALL
    is_folder = False
    knows_offsets = False
    offsets_are_told = False  # somebody says what they count, so that the format is not to find it out
    text_field: str | None = None  # the field that holds the text, where the format leaves that open

    def __init__(self) -> None:
        self.lost = Losses()


def fitted(row: dict[str, Any], holds: frozenset[str], lost: Losses, path: Path) -> dict[str, Any]:
    """The row without what the format cannot hold. Raises CorpusError if that is all its labels."""
    id_ = row["id"]
    entities = entities_of(row)
    if entities is not None:
        if "entities" not in holds:
            raise CorpusError(f"{path}: {id_} has entities, which this format cannot hold. Write .jsonl.")
        row["entities"] = _entities(entities, row, holds, lost)
    elif row.get("labels") == [] and "no_class" not in holds:
        lost.note("no_class", id_)
        del row["labels"]
    elif row.get("labels") and ("class" if len(row["labels"]) == 1 else "classes") not in holds:
        what = "a class" if len(row["labels"]) == 1 else "several classes"
        raise CorpusError(f"{path}: {id_} has {what}, which this format cannot hold. Write .jsonl.")
    if row.get("confidence") is not None and "confidence" not in holds:
        lost.note("confidence", id_)
        del row["confidence"]
    if row.get("confidence_kind") is not None and "guess" not in holds:
        lost.note("guess", id_)
        del row["confidence_kind"]
    if "id" not in holds and id_ != f"{row['document']}:{row['index']}":
        lost.note("id", id_)
    if "document" not in holds:
        lost.note("document", id_)
    if "text" not in holds and row["text"] != join_tokens(tuple(row["tokens"]))[0]:
        lost.note("spacing", id_)
    if "tokens" not in holds and [tuple(pair) for pair in row["offsets"]] != list(token_offsets(row["text"])):
        lost.note("tokens", id_)
    return row


def evenly(rows: Iterable[dict[str, Any]], holds: frozenset[str], path: Path) -> Iterator[dict[str, Any]]:
    """The rows. Raises CorpusError for one without labels where the format would say that there is nothing in it."""
    is_labelled: bool | None = None
    for row in rows:
        has_labels = row.get("labels") is not None or row.get("entities") is not None
        is_labelled = has_labels if is_labelled is None else is_labelled
        if not has_labels and "unlabelled" not in holds:
            raise CorpusError(f"{path}: {row['id']} has no labels, which this format cannot say. Write .jsonl.")
        if has_labels != is_labelled and "mixed" not in holds:
            raise CorpusError(
                f"{path}: {row['id']} is {'' if has_labels else 'un'}labelled and those before it are not, which this "
                "format cannot say. Write .jsonl, or both apart."
            )
        yield row


def entities_of(row: _Row) -> list[dict[str, Any]] | None:
    """The row's entities in characters: those that it lists, or those of its tags; None where its labels are none."""
    if row.get("entities") is not None:
        return list(row["entities"])
    labels = row.get("labels")
    if labels is None or len(labels) != len(row["tokens"]):
        return None
    try:
        spans = decode_bio(labels)
    except InvalidTags:
        return None
    places = [(row["offsets"][span.start][0], row["offsets"][span.end - 1][1], span.type) for span in spans]
    return [{"text": row["text"][start:end], "start": start, "end": end, "type": type_} for start, end, type_ in places]


def on_borders(entity: _Row, offsets: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """The tokens [first, behind) that an entity takes in; None if it begins or ends within one, or holds none."""
    inside = [at for at, (start, end) in enumerate(offsets) if start < entity["end"] and end > entity["start"]]
    if not inside or offsets[inside[0]][0] < entity["start"] or offsets[inside[-1]][1] > entity["end"]:
        return None
    return inside[0], inside[-1] + 1


def flat(entities: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Those that are left where of two that overlap the longer one stays, else the first; and how many are not."""
    chosen: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda e: (e["start"] - e["end"], e["start"])):
        if all(entity["end"] <= other["start"] or other["end"] <= entity["start"] for other in chosen):
            chosen.append(entity)
    return [entity for entity in entities if any(entity is each for each in chosen)], len(entities) - len(chosen)


def tags_of(row: _Row) -> list[str] | None:
    """A BIO tag a token of a row whose entities neither overlap nor cut tokens; None if it has no entities."""
    if "entities" not in row:
        return None
    tags = ["O"] * len(row["tokens"])
    for entity in row["entities"]:
        place = on_borders(entity, row["offsets"])
        assert place is not None
        tags[place[0] : place[1]] = [f"B-{entity['type']}"] + [f"I-{entity['type']}"] * (place[1] - place[0] - 1)
    return tags


def _entities(entities: list[dict[str, Any]], row: _Row, holds: frozenset[str], lost: Losses) -> list[dict[str, Any]]:
    id_ = row["id"]
    if "pieces" not in holds:
        whole = [entity for entity in entities if on_borders(entity, row["offsets"])]
        lost.note("inside_token", id_, len(entities) - len(whole))
        entities = whole
    if "overlaps" not in holds:
        entities, number = flat(entities)
        lost.note("overlapping", id_, number)
    if "confidence" not in holds:
        lost.note("confidence", id_, sum(entity.get("confidence") is not None for entity in entities))
        entities = [{key: value for key, value in entity.items() if key != "confidence"} for entity in entities]
    return list(_ordered(entities))


def _ordered(entities: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from sorted(entities, key=lambda entity: (entity["start"], entity["end"]))
