"""Which head a labelled source's labels are for, told by the labels themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill_offline.corpus.foreign_rows import foreign_row
from distill_offline.corpus.formats import COLUMNS, TEXT, format_named
from distill_offline.corpus.lines import fault
from distill_offline.corpus.record import Head
from distill_offline.corpus.source import FOLDER, AnySource, as_source, existing, format_of
from distill_offline.corpus.standoff import read_header
from distill_offline.corpus.tag_coding import PREFIXED, is_tag

__all__ = ["head_of"]


def head_of(source: AnySource) -> Head:
    """`sequence-classification` where each text has one class, else `token-classification`.

    A folder of plain text has classes, a column file has tags. Of rows the first that leaves no doubt decides; one
    label for one token could be either, and is a tag where it looks like one. What has no labels at all counts as
    token-classification, whose reader then says what is missing. Raises CorpusError for what cannot be read.
    """
    given = as_source(source, None, "auto")
    if given.labels is not None:
        return read_header(existing(given.labels), given.labels).task
    path = existing(given.path)
    kind = format_of(path, given, labelled=True)
    if kind in (FOLDER, COLUMNS, TEXT):
        return "sequence-classification" if kind == FOLDER else "token-classification"
    could_be_tags = True
    for line, row in format_named(kind).read(path, given.path):
        if whose := foreign_row(row):
            raise fault(given.path, line, whose)
        found = _head_of_row(row) if isinstance(row, Mapping) else None
        if found is not None:
            return found
        could_be_tags = could_be_tags and _could_be_tags(row)
    return "token-classification" if could_be_tags else "sequence-classification"


def _head_of_row(row: Mapping[str, Any]) -> Head | None:
    labels, tokens = row.get("labels"), row.get("tokens")
    if isinstance(labels, list):
        if len(labels) != 1:
            return "token-classification"
        return None if isinstance(tokens, list) and len(tokens) == 1 else "sequence-classification"
    if isinstance(labels, str) or row.get("label") is not None:
        return "sequence-classification"
    return "token-classification" if row.get("spans") is not None else None


def _could_be_tags(row: object) -> bool:
    labels = row.get("labels") if isinstance(row, Mapping) else None
    return not isinstance(labels, list) or all(isinstance(label, str) and is_tag(label, PREFIXED) for label in labels)
