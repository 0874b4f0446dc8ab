"""Which suffix names which format, and which are refused by name."""

from __future__ import annotations

__all__ = ["COLUMNS", "FOREIGN", "JSONL", "KNOWN"]

COLUMNS = frozenset({
    ".conll", ".iob", ".iob1", ".iob2", ".iobes", ".bio", ".bioes", ".bieos", ".bmes", ".bilou", ".tsv", ".conllu",
    ".conllup", ".conll2002", ".conll2003", ".conll2012", ".v4_gold_conll", ".v4_auto_conll",
})  # fmt: skip
FOREIGN = {
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
JSONL = frozenset({".jsonl", ".ndjson"})
KNOWN = ".conll, .tsv, .iob, .bio, .jsonl, .parquet, .txt, or a folder of .txt files"
