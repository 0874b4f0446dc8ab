"""Which file a Source means, in which format, and which part of it."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from distill_offline.config.settings import Source
from distill_offline.config.values import TagScheme
from distill_offline.corpus.columns import ColumnFile, looks_like_columns
from distill_offline.corpus.context import with_context
from distill_offline.corpus.formats import (
    COLUMNS,
    FORMATS,
    TEXT,
    Format,
    format_named,
    format_of_suffix,
    is_folder_format,
    is_foreign,
    unknown_format,
)
from distill_offline.corpus.holding import ToolFormat
from distill_offline.corpus.lines import fault
from distill_offline.corpus.plain_text import OnBadFile, read_folder, read_text_file, text_files
from distill_offline.corpus.record import Head, Record
from distill_offline.corpus.rows import read_rows
from distill_offline.corpus.standoff_join import with_standoff
from distill_offline.corpus.tag_coding import OWN_SCHEME, PREFIXED, Coding, coding_of, plain_tags
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Origin
from distill_offline.spans.bio import Scheme, detect_scheme

__all__ = [
    "FOLDER", "AnyScheme", "AnySource", "TagReading", "as_source", "existing", "format_of", "is_plain_text",
    "may_be_raw", "open_format", "read_records", "resolve_path", "scheme_of", "tag_reading", "tagged_rows",
]  # fmt: skip

AnyScheme = TagScheme
AnySource = str | Path | Source

# Letters are read as those of IOBES, IOE tags as IOB2, and types alone as IOB1, whatever they are said to be of.
_READ_AS: dict[AnyScheme, Scheme] = {
    "bilou": "iobes",
    "bmewo": "iobes",
    "ioe1": "iob2",
    "ioe2": "iob2",
    "io": "iob1",
    "iob1": "iob1",
    "iob2": "iob2",
    "iobes": "iobes",
}
FOLDER = "folder"  # of plain text; what format_of calls it
_PACKAGE = "package:"
_TELLING = 10_000  # rows that are read for their scheme
_NO_TAGS = (
    "this reads as plain text, which has no labels. "
    "A column file has a BIO tag in its last column (or set tag_column), or ends in .conll."
)


def as_source(source: AnySource, tag_column: int | None, scheme: AnyScheme, token_column: int | None = None) -> Source:
    """One Source whatever was given; what a Source says of itself goes before the other arguments."""
    opened = source if isinstance(source, Source) else Source(path=str(source))
    wanted = opened.scheme or scheme
    return replace(
        opened,
        token_column=token_column if opened.token_column is None else opened.token_column,
        tag_column=tag_column if opened.tag_column is None else opened.tag_column,
        scheme=wanted,
    )


def resolve_path(path: str | Path) -> Path:
    """The file that a path means; `package:NAME` is one that is installed with this package.

    `package:configs/NAME` falls back to the configs folder of an editable checkout. Raises CorpusError if a
    `package:` file is not there; other paths are not looked at.
    """
    text = str(path)
    if not text.startswith(_PACKAGE):
        return Path(text).expanduser()
    name = Path(text.removeprefix(_PACKAGE))
    if name.is_absolute() or ".." in name.parts:
        raise CorpusError(f"{text}: must name a file inside the package.")
    package = Path(str(resources.files("distill_offline")))
    path_ = package / "data" / name
    if not path_.exists() and name.parts[:1] == ("configs",):
        path_ = package.parent / name
    if not path_.exists():
        raise CorpusError(f"{text}: this package holds no such file.")
    return path_


@dataclass(frozen=True, slots=True)
class TagReading:
    """How a source's tags are read: first as `coding` has them, then as those of `scheme`."""

    scheme: Scheme
    coding: Coding = PREFIXED


def scheme_of(source: Source, origin: Origin = "original") -> Scheme:
    """The scheme of the source's tags, as tag_reading tells it."""
    return tag_reading(source, origin).scheme


def tag_reading(source: Source, origin: Origin = "original") -> TagReading:
    """How the source's tags are read; `auto` reads a column file once, and of rows the first 10,000.

    Of tags that a machine may have made, one alone that begins with I- is stray and no IOB1: the same in every format.
    Of gold only a column file is taken for IOB1 unasked. A column file gives its tags as PREFIXED whatever they are.
    Raises CorpusError if rows have letters of two schemes.
    """
    if source.labels is not None:
        return TagReading("iob2")
    told = _READ_AS.get(source.scheme or "auto")
    path = existing(source.path)
    name = format_of(path, source, labelled=True)
    if name == COLUMNS:
        return TagReading(told or detect_scheme(_columns(path, source).tags(), least=1 if origin == "original" else 2))
    if name in (FOLDER, TEXT):
        return TagReading(told or "iob2")
    tags = [labels for labels, _ in tagged_rows(name, source)]
    coding = coding_of(Counter(chain.from_iterable(tags)), source.scheme or "")
    if coding.problem:
        raise CorpusError(f"{source.path}: {coding.problem}")
    if coding.style == "unknown":
        coding = PREFIXED  # the first row that is none says so
    told = OWN_SCHEME.get(coding.style, told)
    if told is None:
        told = detect_scheme((plain_tags(each, coding) for each in tags), least=2)
        told = "iob2" if told == "iob1" and origin == "original" else told
    return TagReading(told, coding)


def tagged_rows(name: str, source: Source) -> Iterator[tuple[list[str], object]]:
    """The labels of the first rows that have a list of them, and their tokens; what is wrong with a row is said when it
    is read."""
    with suppress(CorpusError):
        for _, row in islice(open_format(name, source).read(existing(source.path), source.path), _TELLING):
            labels = row.get("labels") if isinstance(row, Mapping) else None
            if isinstance(row, Mapping) and isinstance(labels, list) and all(isinstance(x, str) for x in labels):
                yield labels, row.get("tokens")


def read_records(
    source: Source,
    *,
    labelled: bool,
    head: Head,
    on_bad_file: OnBadFile,
    counts: Counter[str],
    context: int = 0,
    keep_overlaps: bool = False,
) -> Iterator[Record]:
    """The part of the file or folder that the source names, streamed unless it is shuffled.

    Each sentence has `context` neighbours on either side: those of its document, whether or not they are in the part.
    Raises CorpusError if the file is empty, or the part is. With `source.labels`, those of its sentences that have
    labels there.
    """
    if source.skip < 0 or (source.limit or 0) < 0:
        raise CorpusError(f"{source.path}: skip and limit must not be negative.")
    path = existing(source.path)
    if source.labels is not None and labelled:
        text = _read(source, labelled=False, head=head, on_bad_file=on_bad_file, counts=counts)
        yield from _labelled_by(source.labels, with_context(text, context) if context else text, source, head)
        return
    if path.is_dir() and not kind_of(head).per_token:
        # A file is one text here: only those that are chosen are tokenised, which is what takes the time.
        for text_file in _part(text_files(path, source.path, on_bad_file=on_bad_file, counts=counts), source):
            yield from text_file.read(head, source.language)
        return
    how: dict[str, Any] = {"on_bad_file": on_bad_file, "counts": counts, "keep_overlaps": keep_overlaps}
    records = _read(source, labelled=labelled, head=head, **how)
    yield from _part(with_context(records, context) if context else records, source)


def _labelled_by(labels: str, text: Iterator[Record], source: Source, head: Head) -> Iterator[Record]:
    """The sentences of the part that the stand-off file names.

    Its positions are of the whole file and parts are of its sentences: so labels come first, then the part is taken,
    and only then is left out what has no labels. Sources with disjoint parts stay disjoint.
    """
    is_empty = source.limit != 0
    for record in _part(with_standoff(text, existing(labels), labels, head), source):
        if record.standoff is not None:
            is_empty = False
            yield record
    if is_empty:
        raise CorpusError(f"{labels}: it has no labels for the chosen part of {source.path}.")


class _Placed(Protocol):
    """A record, or a file that will become one."""

    @property
    def document(self) -> str: ...
    @property
    def document_position(self) -> int | None: ...


_Item = TypeVar("_Item", bound=_Placed)


def _part(items: Iterable[_Item], source: Source) -> Iterator[_Item]:
    chosen = _documents(_not_empty(items, source), source)
    if source.shuffle is not None:
        everything = list(chosen)
        random.Random(source.shuffle).shuffle(everything)
        chosen = iter(everything)
    end = None if source.limit is None else source.skip + source.limit
    is_empty = source.limit != 0
    for item in islice(chosen, source.skip, end):
        is_empty = False
        yield item
    if is_empty:
        raise CorpusError(f"{source.path}: the part that documents, skip and limit name holds no sentence.")


def _read(
    source: Source,
    *,
    labelled: bool,
    head: Head,
    on_bad_file: OnBadFile,
    counts: Counter[str],
    keep_overlaps: bool = False,
) -> Iterator[Record]:
    path, shown = existing(source.path), source.path
    name = format_of(path, source, labelled=labelled)
    if name == FOLDER:
        return read_folder(path, shown, head, on_bad_file=on_bad_file, counts=counts, language=source.language)
    if name == TEXT:
        if labelled and kind_of(head).per_token:
            raise fault(shown, 1, _NO_TAGS)
        return read_text_file(path, shown, head, source.language)
    if name == COLUMNS:
        if labelled and not kind_of(head).per_token:
            raise fault(shown, 1, "a column file has a tag a token, not a class a text. Use JSONL, Parquet or folders.")
        return _columns(path, source).read(counts, labelled=labelled)
    rows = open_format(name, source).read(path, shown)
    how: dict[str, Any] = {"language": source.language, "offsets": source.offsets or "characters"}
    how |= {"keep_overlaps": keep_overlaps, "counts": counts}
    return read_rows(rows, shown, path.stem, head, labelled=labelled, **how)


def open_format(name: str, source: Source) -> Format:
    """The format of rows of that name, told which field of the source holds the text."""
    found = format_named(name)
    if source.text_field is not None:
        if not isinstance(found, ToolFormat):
            raise CorpusError(f"{source.path}: text_field is for the formats of other tools, and {name} is none.")
        found.text_field = source.text_field
    if source.offsets not in (None, "characters") and isinstance(found, ToolFormat):
        if found.knows_offsets:
            raise CorpusError(
                f"{source.path}: offsets is {source.offsets}, but {name} shows itself what its offsets count. Leave it "
                "out for this source."
            )
        found.offsets_are_told = True
    return found


def _columns(path: Path, source: Source) -> ColumnFile:
    return ColumnFile(path, source.path, source.token_column, source.tag_column, source.scheme or "")


def existing(shown: str) -> Path:
    """The path that `shown` means. Raises CorpusError if nothing is there, or nothing that may be read."""
    path = resolve_path(shown)
    if not path.exists():
        raise CorpusError(f"{shown}: there is no such file or folder. Paths are relative to where the command runs.")
    if not os.access(path, os.R_OK):
        raise CorpusError(f"{shown}: may not be read. Check its permissions.")
    return path


def format_of(path: Path, source: Source, *, labelled: bool) -> str:
    """FOLDER, COLUMNS, TEXT, or a name that formats.format_named knows. Raises CorpusError for another format."""
    if path.is_dir() and source.format in (None, TEXT):
        return FOLDER
    if source.format is not None:
        if path.is_dir() and source.format in (COLUMNS, *FORMATS) and not is_folder_format(source.format):
            raise CorpusError(f"{source.path}: is a folder, and {source.format} is a format of files.")
        return source.format
    if named := format_of_suffix(path):
        return named
    if is_foreign(path):
        raise unknown_format(path, source.path)
    if looks_like_columns(path, source.tag_column):
        return COLUMNS
    if path.suffix.lower() == ".txt":
        # Whoever names a tag column wants to hear what is wrong with the columns.
        return COLUMNS if source.token_column is not None or (labelled and source.tag_column is not None) else TEXT
    raise unknown_format(path, source.path)


def is_plain_text(source: Source) -> bool:
    """Whether it is text without labels: running text, or a column file without a tag column."""
    path = existing(source.path)
    name = format_of(path, source, labelled=True)
    if name == COLUMNS:
        return not _columns(path, source).has_tags()
    return name == TEXT or (name == FOLDER and not any(each.is_dir() for each in path.iterdir()))


def may_be_raw(path: Path, source: Source) -> bool:
    """Whether it may be text that we tokenise; not known for certain without reading it."""
    if path.is_dir():
        return True
    named = source.format or format_of_suffix(path)
    return path.suffix.lower() == ".txt" if named is None else named != COLUMNS


def _not_empty(items: Iterable[_Item], source: Source) -> Iterator[_Item]:
    is_empty = True
    for item in items:
        is_empty = False
        yield item
    if is_empty:
        raise fault(source.path, 1, "there is no sentence in it.")


def _documents(items: Iterable[_Item], source: Source) -> Iterator[_Item]:
    """The even or odd documents, by the format's borders or else by first appearance; the first of them."""
    if source.documents == "all" and source.max_documents is None:
        yield from items
        return
    positions: dict[str, int] = {}
    taken: set[int] = set()
    for item in items:
        position = item.document_position
        if position is None:
            position = positions.setdefault(item.document, len(positions))
        if source.documents != "all" and position % 2 != (source.documents == "odd"):
            continue
        taken.add(position)
        if source.max_documents is not None and len(taken) > source.max_documents:
            return  # documents are contiguous, so nothing further can belong to the first ones
        yield item
