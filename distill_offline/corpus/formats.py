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
    "TOOL_SUFFIXES",
    "Format",
    "format_named",
    "format_of_suffix",
    "is_folder_format",
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
_EXCHANGE = "distill_offline.corpus.exchange"
FORMATS = {
    "jsonl": "distill_offline.corpus.jsonl:JsonLines",
    "parquet": "distill_offline.corpus.parquet:Parquet",
    "brat": f"{_EXCHANGE}.brat:Brat",
    "conll2012": f"{_EXCHANGE}.conllu:Conll2012",
    "conllu": f"{_EXCHANGE}.conllu:ConllU",
    "csv_spans": f"{_EXCHANGE}.span_table:CsvSpans",
    "doccano": f"{_EXCHANGE}.doccano:Doccano",
    "gliner": f"{_EXCHANGE}.gliner:Gliner",
    "hugging_face": f"{_EXCHANGE}.hugging_face:HuggingFace",
    "label_studio": f"{_EXCHANGE}.label_studio:LabelStudio",
    "prodigy": f"{_EXCHANGE}.prodigy:Prodigy",
    "spacy": f"{_EXCHANGE}.spacy_docs:SpacyDocs",
    "tsv_spans": f"{_EXCHANGE}.span_table:TsvSpans",
    "webanno": f"{_EXCHANGE}.webanno:WebAnno",
    "xlsx": f"{_EXCHANGE}.span_table:Xlsx",
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
# Suffixes of other tools; an installed format of that name goes before.
TOOL_SUFFIXES = {
    ".ann": "brat",
    ".csv": "csv_spans",
    ".json": "label_studio",
    ".spacy": "spacy",
    ".xlsx": "xlsx",
}
_FOREIGN = {
    ".xml": "XML",
    ".html": "HTML",
    ".htm": "HTML",
    ".xls": "an Excel workbook",
    ".docx": "a Word document",
    ".doc": "a Word document",
    ".pdf": "PDF",
    ".rtf": "RTF",
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
_KNOWN = (
    ".conll, .tsv, .iob, .bio, .jsonl, .parquet, .txt, a folder of .txt files, and those of other tools: .json "
    "(Label Studio), .csv, .xlsx, .spacy, .ann (brat)"
)
_KEY, _GROUP = "format", "formats"


def format_of_suffix(path: Path) -> str | None:
    """The format that the file's suffix names, ours or an installed distribution's; None if it names none."""
    suffix = path.suffix.lower()
    if suffix in _OURS:
        return _SUFFIXES.get(suffix)
    return suffix[1:] if suffix and registry.is_offered(_GROUP, suffix[1:]) else TOOL_SUFFIXES.get(suffix)


def format_named(name: str) -> Format:
    """The format of rows of that name: of the table, an installed distribution's, or `package.module:Name`.

    Raises ConfigError if there is none.
    """
    kind = registry.load(_KEY, name, {COLUMNS: "", TEXT: "", **FORMATS}, group=_GROUP)  # all that a source may name
    return cast(Format, kind() if name in FORMATS else GuardedFormat(registry.spelled(name, _GROUP), kind))


def unknown_format(path: Path, shown: str) -> CorpusError:
    """The error of a file whose suffix names no format, with what it probably is."""
    suffix = path.suffix.lower()
    what = f" ({_FOREIGN[suffix]})" if suffix in _FOREIGN else ""
    return CorpusError(f"{shown}: the format {suffix or 'without a suffix'} is unknown{what}. Known: {_KNOWN}.")


def is_folder_format(name: str) -> bool:
    """Whether the format is one of ours that is a folder of files."""
    return name in FORMATS and getattr(format_named(name), "is_folder", False)


def is_ours(path: Path) -> bool:
    """Whether the suffix is one of this package's, which none from outside replaces."""
    return path.suffix.lower() in _OURS


def is_foreign(path: Path) -> bool:
    """Whether the suffix is that of a known format that is not read."""
    return path.suffix.lower() in _FOREIGN
