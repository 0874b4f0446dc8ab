"""Rows that other tools write: refused by the tool's name, rather than read as something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FOREIGN_FIELDS", "entities_elsewhere", "foreign_row", "whose_row"]

FOREIGN_FIELDS = frozenset({
    "tokenized_text", "ner", "ner_tags", "tags", "entities", "ents", "relations", "data", "annotations", "completions",
    "predictions", "_input_hash", "_task_hash", "answer", "_view_id",
})  # fmt: skip

_WRITE = (
    'Write an object a line: {"text": ..., "spans": [{"start", "end", "type"}]}, spans counted in characters, or '
    '{"tokens": [...], "labels": [...]}, a tag a token.'
)
_Row = Mapping[str, Any]


def foreign_row(row: object) -> str:
    """Whose row this is, and what to do; empty if it looks like none that is known.

    The tool is told by what it alone writes, so that our own rows with further fields stay ours.
    """
    if isinstance(row, list):
        return f"this is a row of spaCy's training data, which is not read. {_WRITE}" if _is_spacy_pair(row) else ""
    if not isinstance(row, Mapping):
        return ""
    for is_one, whose, remedy in _MAKERS:
        if is_one(row):
            return f"this is a row of {whose}, which is read only if you say so. {remedy}"
    return ""


def whose_row(row: _Row) -> str:
    """The tool that writes such rows; empty if it is none that is known."""
    return next((whose for is_one, whose, _ in _MAKERS if is_one(row)), "")


def entities_elsewhere(row: _Row) -> str:
    """The field of a row that lists what look like entities, by names that are not ours; empty if there is none."""
    return next((key for key in row if isinstance(key, str) and _lists(row, key, _is_entity)), "")


def _is_entity(value: object) -> bool:
    """A type with a start or an end, or a triple of them in any order."""
    if isinstance(value, Mapping):
        places = [value[key] for key in _PLACES if key in value]
        return bool(places) and any(isinstance(value.get(key), str) for key in _TYPES)
    if not isinstance(value, (list, tuple)) or len(value) < 3:
        return False
    return sum(map(_is_number, value)) >= 2 and any(isinstance(part, str) for part in value)


_PLACES = ("start", "end", "begin", "start_offset", "end_offset", "offset", "offsets", "start_char", "end_char", "span")
_TYPES = ("type", "label", "tag", "entity", "entity_group", "entity_type", "category", "class", "name")


def _say(name: str) -> str:
    return f"Name the format: `format: {name}` in a configuration, --format or --input-format {name} of a command."


def _is_prodigy(row: _Row) -> bool:
    if any(key in row for key in ("_input_hash", "_task_hash", "_view_id")):
        return True
    if row.get("answer") in ("accept", "reject", "ignore") and isinstance(row.get("text"), str):
        return "label" in row or _lists(row, "spans", _is_labelled_span)
    return _lists(row, "spans", lambda span: isinstance(span, Mapping) and "token_start" in span)


def _is_doccano(row: _Row) -> bool:
    if any(_lists(row, key, _is_triple) for key in ("label", "labels")):
        return True
    return _lists(row, "entities", lambda entity: isinstance(entity, Mapping) and "start_offset" in entity)


def _is_gliner(row: _Row) -> bool:
    return isinstance(row.get("tokenized_text"), list)


def _is_hugging_face(row: _Row) -> bool:
    return any(isinstance(row.get(key), list) for key in ("ner_tags", "tags")) and not isinstance(
        row.get("labels"), list
    )


def _is_label_studio(row: _Row) -> bool:
    parts = [row.get(key) for key in ("annotations", "completions", "predictions")]
    return isinstance(row.get("data"), Mapping) or any(
        isinstance(result, Mapping) and "result" in result
        for part in parts
        if isinstance(part, list)
        for result in part
    )


def _is_spacy(row: _Row) -> bool:
    if _lists(row, "entities", _is_triple):
        return True
    return _lists(row, "ents", lambda entity: isinstance(entity, Mapping) and "label" in entity)


def _is_spacy_pair(row: list[Any]) -> bool:
    return len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], Mapping) and "entities" in row[1]


_MAKERS: tuple[tuple[Callable[[_Row], bool], str, str], ...] = (
    (_is_prodigy, "Prodigy", _say("prodigy")),
    (_is_doccano, "doccano", _say("doccano")),
    (_is_gliner, "GLiNER", _say("gliner")),
    (
        _is_hugging_face,
        "a Hugging Face data set",
        f"{_say('hugging_face')} It reads Parquet, which has the tags' names. Or: {_WRITE}",
    ),
    (_is_label_studio, "Label Studio", _say("label_studio")),
    (_is_spacy, "spaCy", f"Write a .spacy file. Or: {_WRITE}"),
)


def _lists(row: _Row, key: str, is_one: Callable[[Any], bool]) -> bool:
    value = row.get(key)
    return isinstance(value, list) and bool(value) and all(map(is_one, value))


def _is_triple(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) < 3:
        return False
    return _is_number(value[0]) and _is_number(value[1]) and isinstance(value[2], str)


def _is_labelled_span(value: object) -> bool:
    return isinstance(value, Mapping) and "label" in value and "type" not in value


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
