"""Corpus formats: which there are, in one table, which suffix names which, and which are refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from distill_offline import registry
from distill_offline.corpus.guarded import GuardedFormat
from distill_offline.errors import CorpusError

__all__ = [
    "COLUMNS",
    "FORMATS",
    "TEXT",
    "Format",
    "format_named",
    "format_of_suffix",
    "is_foreign",
    "is_ours",
    "unknown_format",
]


class Format(Protocol):
    """A format of rows with named fields (rows.FIELDS); constructed without arguments. One of the two will do."""

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        """(line, row) of each row; `shown` is how the user wrote the path, for CorpusError("file:line: what")."""
        ...

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows to the file, which is there and empty; `labels` is in all of them or in none."""
        ...


COLUMNS, TEXT = "columns", "text"  # no rows: a column file's tags and comments, and running text, have readers apart
FORMATS = {
    "jsonl": "distill_offline.corpus.jsonl:JsonLines",
    "parquet": "distill_offline.corpus.parquet:Parquet",
}
_SUFFIXES = {
    **dict.fromkeys((
        ".conll", ".iob", ".iob1", ".iob2", ".iobes", ".bio", ".bioes", ".bieos", ".bmes", ".bilou", ".tsv", ".conllu",
        ".conllup", ".conll2002", ".conll2003", ".conll2012", ".v4_gold_conll", ".v4_auto_conll",
    ), COLUMNS),
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}  # fmt: skip
_OURS = frozenset({*_SUFFIXES, ".txt"})
_FOREIGN = {
    ".csv": "a CSV table",
    ".ann": "brat's stand-off format",
    ".json": "one JSON value",
    ".xml": "XML",
    ".html": "HTML",
    ".htm": "HTML",
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".docx": "a Word document",
    ".doc": "a Word document",
    ".pdf": "PDF",
    ".rtf": "RTF",
    ".spacy": "spaCy's binary format",
    ".arrow": "an Arrow file",
    ".feather": "a Feather file",
    ".gz": "a gzip file",
    ".bz2": "a bzip2 file",
    ".xz": "an xz file",
    ".zst": "a Zstandard file",
    ".zip": "a zip archive",
    ".yaml": "YAML",
    ".yml": "YAML",
}
_KNOWN = ".conll, .tsv, .iob, .bio, .jsonl, .parquet, .txt, or a folder of .txt files"
_KEY, _GROUP = "format", "formats"


def format_of_suffix(path: Path) -> str | None:
    """The format that the file's suffix names, ours or an installed distribution's; None where it names none."""
    suffix = path.suffix.lower()
    if suffix in _OURS:
        return _SUFFIXES.get(suffix)
    return suffix[1:] if suffix and registry.is_offered(_GROUP, suffix[1:]) else None


def format_named(name: str) -> Format:
    """The format of rows of that name: of the table, an installed distribution's, or `package.module:Name`.

    Raises ConfigError where there is none.
    """
    kind = registry.load(_KEY, name, {COLUMNS: "", TEXT: "", **FORMATS}, group=_GROUP)  # all that a source may name
    return cast(Format, kind() if name in FORMATS else GuardedFormat(registry.spelled(name, _GROUP), kind))


def unknown_format(path: Path, shown: str) -> CorpusError:
    """The error of a file whose suffix names no format, with what it probably is."""
    suffix = path.suffix.lower()
    what = f" ({_FOREIGN[suffix]})" if suffix in _FOREIGN else ""
    return CorpusError(f"{shown}: the format {suffix or 'without a suffix'} is unknown{what}. Known: {_KNOWN}.")


def is_ours(path: Path) -> bool:
    """Whether the suffix is one of this package's, which none from outside replaces."""
    return path.suffix.lower() in _OURS


def is_foreign(path: Path) -> bool:
    """Whether the suffix is that of a known format that is not read."""
    return path.suffix.lower() in _FOREIGN
