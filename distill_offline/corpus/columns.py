"""CoNLL-like column files: a token a line with its tags, blank lines between sentences."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from distill_offline.corpus.lines import fault, text_lines
from distill_offline.corpus.record import Record, join_tokens
from distill_offline.schema import Sentence

__all__ = ["DOCUMENT_BORDER", "looks_like_columns", "read_columns", "read_tags"]

DOCUMENT_BORDER = "-DOCSTART-"

_CELL = re.compile(r"[^ \t]+")
_TAG = re.compile(r"O|[BIES]-\S+")


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of one sentence."""

    document: int
    line: int
    rows: list[list[str]]


def read_columns(path: Path, shown: str, tag_column: int | None, *, labelled: bool) -> Iterator[Record]:
    """The sentences, with the raw tags of `tag_column` (from 0; negative: from the end; default: last) if `labelled`.

    `-DOCSTART-` borders documents, which are then called FILE-0, FILE-1...; else the file is one document.
    """
    name = _document_name(path)
    document, index = -1, 0
    for block in _blocks(path, shown):
        index = index + 1 if block.document == document else 0
        document = block.document
        tokens = tuple(row[0] for row in block.rows)
        text, offsets = join_tokens(tokens)
        id_ = name.format(document)
        sentence = Sentence(f"{id_}:{index}", id_, index, text, tokens, offsets)
        tags = _tags(block, shown, tag_column) if labelled else None
        yield Record(sentence, tags, shown, block.line, step=1, document_position=document, has_text=False)


def read_tags(path: Path, shown: str, tag_column: int | None) -> Iterator[tuple[str, ...]]:
    """The raw tags of each sentence alone: a cheap first pass to detect the scheme."""
    for block in _blocks(path, shown):
        yield _tags(block, shown, tag_column)


def looks_like_columns(path: Path, tag_column: int | None, *, lines: int = 20) -> bool:
    """Whether most of the first lines are rows of one width whose last (or tag) column holds tags.

    Most, so that a faulty row is reported as one. A single line is not enough, as prose may end with a capital O.
    """
    with path.open("rb") as file:
        raw = islice((line for line in iter(lambda: file.readline(65536), b"") if line.strip()), lines)
        sample = [line.decode("utf-8", "replace").strip("\r\n\ufeff") for line in raw]
    if sample and sample[0].startswith(DOCUMENT_BORDER):
        return True
    rows = [_cells(line, tabbed="\t" in sample[0]) for line in sample if not line.startswith(DOCUMENT_BORDER)]
    if len(rows) < 2:
        return False
    width, share = Counter(map(len, rows)).most_common(1)[0]
    columns = {-1} | ({tag_column} if tag_column is not None and -width <= tag_column < width else set())
    even = [row for row in rows if len(row) == width]
    tagged = max(sum(_TAG.fullmatch(row[column]) is not None for row in even) for column in columns)
    return width > 1 and min(share, tagged) * 2 > len(rows)


def _blocks(path: Path, shown: str) -> Iterator[_Block]:
    rows: list[list[str]] = []
    document = width = first = start = 0
    tabbed = has_begun = False
    for number, line in text_lines(path, shown):
        border = line.startswith(DOCUMENT_BORDER)
        if border or not line.strip():
            if rows:
                yield _Block(document, start, rows)
                rows = []
            document += border and has_begun
            has_begun = has_begun or border
            continue
        if not width:
            tabbed = "\t" in line
        cells = _cells(line, tabbed=tabbed)
        if not width:
            width, first = len(cells), number
        if len(cells) != width:
            raise fault(
                shown,
                number,
                f"the number of columns is {len(cells)} here and {width} in line {first}. Make them agree.",
            )
        if not cells[0]:
            raise fault(shown, number, "the token is empty. Remove the line or give the token.")
        if not rows:
            start = number
        rows.append(cells)
        has_begun = True
    if rows:
        yield _Block(document, start, rows)


def _cells(line: str, *, tabbed: bool) -> list[str]:
    """In a tab-separated file a token may hold blanks; elsewhere runs of blanks and tabs separate."""
    return [cell.strip(" ") for cell in line.split("\t")] if tabbed else _CELL.findall(line)


def _tags(block: _Block, shown: str, tag_column: int | None) -> tuple[str, ...]:
    width = len(block.rows[0])
    column = -1 if tag_column is None else tag_column
    if not -width <= column < width:
        raise fault(
            shown, block.line, f"there is no column {column}: the file has {width}, counted from 0. Set tag_column."
        )
    if column % width == 0:
        raise fault(shown, block.line, f"column {column} of {width} is the token itself, not a tag. Set tag_column.")
    return tuple(row[column] for row in block.rows)


def _document_name(path: Path) -> str:
    """A format for document ids: numbered if there is any border, also where the first document lacks one."""
    stem = path.stem.replace("{", "{{").replace("}", "}}")
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return stem
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            border = DOCUMENT_BORDER.encode()
            has_borders = (
                content[:16].removeprefix(b"\xef\xbb\xbf").startswith(border) or content.find(b"\n" + border) >= 0
            )
    return stem + "-{}" if has_borders else stem
