"""What single lines of a column file are: cells, borders between documents, tags in CoNLL-U's MISC."""

from __future__ import annotations

import re

__all__ = ["DOCUMENT_BORDER", "MISC", "border_name", "cells_of", "is_blank", "misc_tag", "trimmed", "without_mark"]

DOCUMENT_BORDER = "-DOCSTART-"
MISC = re.compile(r"(?:^|\|)(?P<key>NER|NE|Entity|ner|ne|entity|name)=(?P<value>[^|]*)")

_CELL = re.compile(r"[^ \t]+")
_NAMING = re.compile(r"# *[\w.:-]+ *=")
_BORDERS = (
    re.compile(r"#begin document \(?(?P<name>[^);]*)\)?(?:; *part *(?P<part>\w+))?\s*"),
    re.compile(r"###MEDLINE: *(?P<name>\S+)\s*"),
    re.compile(r"# *newdoc(?: +id *= *(?P<name>\S.*?))?\s*"),
)


def without_mark(line: str) -> str:
    """The line; of one that names a document or a sentence, without the byte order mark that a file had before it,
    when it still was one of its own."""
    if line.startswith("\ufeff") and (border_name(line[1:]) is not None or _NAMING.match(line, 1)):
        return line[1:]
    return line


def is_blank(line: str) -> bool:
    """Whether a line separates sentences: other white space than blanks and tabs can be a token."""
    return not line.strip(" \t\r\n")


def cells_of(line: str, *, tabbed: bool) -> list[str]:
    """In a tab-separated file a token may hold blanks; elsewhere runs of blanks and tabs separate."""
    if tabbed:
        cells = line.split("\t")
        return [cell.strip(" ") for cell in cells] if " " in line else cells
    cells = line.split(" ")  # many times faster than the pattern, and nearly always enough
    return _CELL.findall(line) if "" in cells or "\t" in line else cells


def trimmed(cells: list[str]) -> list[str]:
    """The cells without empty ones at the end."""
    while len(cells) > 1 and not cells[-1]:
        cells = cells[:-1]
    return cells


def border_name(line: str) -> str | None:
    """The name of the document that a line begins; empty if it has none, None if it begins none."""
    if not line.startswith(("#", DOCUMENT_BORDER)):
        return None
    if line.startswith(DOCUMENT_BORDER):
        return ""
    for pattern in _BORDERS:
        if match := pattern.fullmatch(line):
            part = match.groupdict().get("part")
            return (match["name"] or "") + (f".{part}" if part else "")
    return None


def misc_tag(cell: str) -> str:
    """The tag in a MISC cell of CoNLL-U; O if there is none."""
    match = MISC.search(cell)
    return match["value"] if match else "O"
