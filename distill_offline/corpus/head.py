"""Which kind of labels a labelled source has, told by the labels themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from distill_offline.config.settings import Source
from distill_offline.corpus.foreign_rows import foreign_row
from distill_offline.corpus.formats import COLUMNS, TEXT
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import kept
from distill_offline.corpus.rows import has_entities
from distill_offline.corpus.source import FOLDER, AnySource, as_source, existing, format_of, open_format, tagged_rows
from distill_offline.corpus.standoff import read_header
from distill_offline.corpus.tag_coding import PREFIXED, Coding, coding_of, is_tag
from distill_offline.label_kinds import Shape, all_kinds
from distill_offline.schema import Head

__all__ = ["head_of"]


def head_of(source: AnySource) -> Head:
    """The kind of labels of a source, as label_kinds has them.

    A folder of plain text has a class for each text, a column file tags. Of rows the first that leaves no doubt
    decides; labels that all could be of several kinds are of the table's first one. What has no labels at all counts as
    the very first, whose reader then says what is missing. Raises CorpusError for what cannot be read.
    """
    opened = as_source(source, None, "auto")
    if opened.labels is not None:
        return read_header(existing(opened.labels), opened.labels).task
    path, kinds = existing(opened.path), all_kinds()
    name = format_of(path, opened, labelled=True)
    if name in (FOLDER, COLUMNS, TEXT):
        return next(kind.head for kind in kinds if kind.per_token != (name == FOLDER))
    left, spelt = kinds, _Spelling(name, opened)
    for line, row in kept(open_format(name, opened).read(path, opened.path), Counter()):
        if whose := foreign_row(row):
            raise fault(opened.path, line, whose)
        if not isinstance(row, Mapping):
            continue
        told = {kind: kind.tells(_shape(row, spelt)) for kind in kinds}
        if sure := [kind for kind in kinds if told[kind] == "yes"]:
            return sure[0].head
        left = tuple(kind for kind in left if told[kind] == "maybe") or left
    return left[0].head


class _Spelling:
    """How a file spells its tags, if they are tags; found out when a row asks."""

    def __init__(self, name: str, source: Source) -> None:
        self._name, self._source = name, source
        self._coding: Coding | None = None

    def holds(self, labels: Sequence[str]) -> bool:
        """Whether labels, as many as tokens, are tags."""
        if self._coding is None:
            self._coding = self._told()
        return all(is_tag(label, self._coding) for label in labels)

    def _told(self) -> Coding:
        """PREFIXED if some of the first rows have another number of labels than tokens, or one token each."""
        tags, most = Counter[str](), 0
        for labels, tokens in tagged_rows(self._name, self._source):
            if isinstance(tokens, list):
                if len(labels) != len(tokens):
                    return PREFIXED
                tags.update(labels)
                most = max(most, len(tokens))
        coding = coding_of(tags)
        return coding if most > 1 and coding.style != "unknown" and not coding.problem else PREFIXED


def _shape(row: Mapping[str, Any], spelt: _Spelling) -> Shape:
    labels, tokens = row.get("labels"), row.get("tokens")
    if not isinstance(labels, (list, str)):
        labels = row.get("label")
    labels = labels if labels is None or isinstance(labels, (list, str)) else str(labels)
    has_spans = row.get("spans") is not None or has_entities(row)
    could_be = isinstance(labels, list) and all(isinstance(label, str) and is_tag(label, PREFIXED) for label in labels)
    if not could_be and isinstance(labels, list) and isinstance(tokens, list) and len(labels) == len(tokens):
        could_be = spelt.holds([str(label) for label in labels])
    return Shape(labels, len(tokens) if isinstance(tokens, list) else None, could_be, has_spans)
