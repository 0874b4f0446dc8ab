"""The settings of `corpus`: which files are read, which part of each, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

from distill_offline.config.values import STRICT, Count, Number, TagScheme

__all__ = ["OFFSETS", "CorpusSettings", "OffsetUnit", "OriginalSettings", "Source"]

# What the start and end of a span count; corpus/offset_units.py reads them.
OffsetUnit = Literal[
    "characters", "utf16", "bytes", "crlf_as_one", "lf_as_two", "from_1", "inclusive", "from_1_inclusive"
]

OFFSETS: tuple[OffsetUnit, ...] = get_args(OffsetUnit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A corpus file or folder, and which part of it is read. In YAML, a plain string is `path`.

    The parts apply in this order: `documents`, `max_documents`, `shuffle`, `skip`, `limit`. Two sources over one file
    with the same `shuffle` and with `skip` and `limit` that do not overlap therefore share no sentence.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    path: str
    """The file or the folder; `package:demo/...` is the corpus that comes with the package."""
    labels: str | None = None
    """A file of `export-labels`: labels for the sentences at `path`. Sentences without labels are left out."""
    token_column: int | None = None
    """[column] The column of the tokens in a column file, from 0, or from the end if negative; empty: recognised."""
    tag_column: int | None = None
    """[column] The column of the tags in a column file, from 0, or from the end if negative; empty: recognised."""
    scheme: TagScheme | None = None
    """How entities are written as tags; empty: as `corpus.scheme` says."""
    format: str | None = None
    """The format: `columns`, `text`, `jsonl`, `parquet`, another tool's (docs/formats.md), one that is installed, or
    `package.module:Name`; empty: what the suffix says."""
    documents: Literal["all", "even", "odd"] = "all"
    """Which documents are read, by their position in the file, from 0."""
    max_documents: Count | None = None
    """[documents] Read only the first so many documents."""
    shuffle: int | None = None
    """[seed] Shuffle the sentences by this seed before `skip` and `limit`; empty: the order of the file."""
    skip: Number = 0
    """[sentences] Leave out the first so many sentences."""
    limit: Number | None = None
    """[sentences] Read at most so many sentences."""
    language: str | None = None
    """As `corpus.language`, for this source alone."""
    offsets: OffsetUnit | None = None
    """As `corpus.offsets`, for this source alone."""
    text_field: str | None = None
    """The field, or column, that holds the text, in a format of another tool that leaves it open."""
    on_bad_file: Literal["error", "skip"] = "error"
    """What to do with a file of a folder that is empty or not UTF-8 text: stop, or skip it and count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalSettings:
    """Human-labelled data, in three splits that share no sentence."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    train: str | Source | None = None
    """Students learn from it; the teacher's demonstrations come from it, and its confidences are calibrated on it."""
    dev: str | Source | None = None
    """Chooses each student's best update. Nothing is trained on it."""
    test: str | Source | None = None
    """What students are scored on. It chooses nothing, and nothing is trained on it."""
    reviewed: str | Source | None = None
    """What `review import` made: added to `train`, where it takes the place of the same text; such sentences are no
    longer learnt from with the teacher's labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSettings:
    """All the text: human-labelled, labelled by a teacher elsewhere, and not labelled yet."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    original: OriginalSettings = field(default_factory=OriginalSettings)
    """The human-labelled data."""
    unlabelled: str | Source | None = None
    """The text that the teacher labels."""
    distilled: str | Source | None = None
    """Labels that a teacher made elsewhere; they are used beside those of `annotate`."""
    token_column: int | None = None
    """[column] The column of the tokens in column files, from 0, or from the end if negative; empty: recognised."""
    tag_column: int | None = None
    """[column] The column of the tags in column files, from 0, or from the end if negative; empty: recognised."""
    scheme: TagScheme = "auto"
    """How entities are written as tags in column files; `auto` finds out."""
    language: str | None = None
    """Cut raw text into the words of this language (`de`, `ja`; `xx` for any) by spaCy; empty: by our own rules."""
    offsets: OffsetUnit = "characters"
    """What the start and end of a span count, in rows with a `text`."""
    on_overlap: Literal["error", "drop"] = "error"
    """What to do with a training sentence that also occurs in dev or test: stop, or drop it and count it."""

    def read_as(self, source: str | Source) -> Source:
        """The source with the token column, the language and the offsets of this section, unless it has its own."""
        source_settings = source if isinstance(source, Source) else Source(path=source)
        return replace(
            source_settings,
            token_column=self.token_column if source_settings.token_column is None else source_settings.token_column,
            language=source_settings.language or self.language,
            offsets=source_settings.offsets or self.offsets,
        )
