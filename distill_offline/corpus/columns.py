"""CoNLL-like column files: a token a line with its tags, blank lines between sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from distill_offline.corpus.column_lines import (
    DOCUMENT_BORDER,
    border_name,
    cells_of,
    is_blank,
    misc_tag,
    trimmed,
    without_mark,
)
from distill_offline.corpus.layout import Layout, layout_of
from distill_offline.corpus.lines import fault, text_lines
from distill_offline.corpus.record import Record, join_tokens
from distill_offline.corpus.tag_coding import OWN_SCHEME, coding_of, is_tag, plain_tags
from distill_offline.errors import CorpusError
from distill_offline.schema import Sentence

__all__ = ["DOCUMENT_BORDER", "ColumnFile", "are_columns", "looks_like_columns", "unwritable"]

_LINE_ENDS = re.compile("[\\r\v\f\x85\u2028\u2029]")  # what ends a line elsewhere
_FEWEST = 6  # rows that are columns by their O's alone
_LINES = 200  # by which a file without a telling suffix is recognised


@dataclass(slots=True)
class _Block:
    """The rows of one sentence; `document` counts from 0, `name` is its own where the file names it."""

    document: int
    name: str
    line: int
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Word:
    """One token of a sentence, its tag as the file has it, and whether the next one follows without a blank."""

    token: str
    tag: str
    is_glued: bool = False


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """A column file and which of its columns are asked for (from 0; negative: from the end; None: recognised).

    `scheme` is what somebody says of its tags, as coding_of has it.
    """

    path: Path
    shown: str
    token_column: int | None = None
    tag_column: int | None = None
    scheme: str = ""

    def read(self, counts: Counter[str], *, labelled: bool) -> Iterator[Record]:
        """The sentences, with the tags of the tag column if `labelled`, as plain_tags has them.

        Borders between documents number them (FILE-0, FILE-1...) or name them; else the file is one document. `counts`
        gains `unread_layer_tags`: entities' tags in a further column.
        """
        layout = self._layout(labelled=labelled)
        stem, index = self.path.stem, Counter[str]()
        for block in _blocks(self, layout):
            words = _words(block, layout, self.shown, labelled=labelled)
            tokens = tuple(word.token for word in words)
            text, offsets = join_tokens(tokens, frozenset(at for at, word in enumerate(words) if word.is_glued))
            id_ = block.name or (f"{stem}-{block.document}" if layout.numbered else stem)
            sentence = Sentence(f"{id_}:{index[id_]}", id_, index[id_], text, tokens, offsets)
            index[id_] += 1
            tags = _tags(words, block, layout, self.shown) if labelled else None
            for column in layout.unread if labelled else ():
                if further := sum(row[column] not in ("O", "o") for row in block.rows):
                    counts["unread_layer_tags"] += further
            step = 0 if layout.kind == "conllu" else 1
            yield Record(
                sentence,
                tags,
                self.shown,
                block.line,
                step=step,
                scheme=OWN_SCHEME.get(layout.coding.style),
                document_position=block.document,
                has_text=layout.kind == "conllu",
            )

    def tags(self) -> Iterator[tuple[str, ...]]:
        """The tags of each sentence alone: a cheap first pass to detect the scheme."""
        layout = self._layout(labelled=True)
        for block in _blocks(self, layout):
            yield _tags(_words(block, layout, self.shown, labelled=True), block, layout, self.shown)

    def has_tags(self) -> bool:
        """Whether there is a column besides that of the tokens, or CoNLL-U names entities."""
        layout = self._layout(labelled=False)
        return (
            layout.tag is not None
            and layout.tag != layout.token
            and (layout.kind != "conllu" or layout.coding.style != "unknown")
        )

    def _layout(self, *, labelled: bool) -> Layout:
        try:
            status = self.path.stat()
        except OSError as error:
            raise CorpusError(f"{self.shown}: cannot be read ({error.strerror}).") from error
        return _layout(self, status.st_mtime_ns, status.st_size, labelled=labelled)


@lru_cache(maxsize=64)
def _layout(file: ColumnFile, _changed: int, _size: int, *, labelled: bool) -> Layout:
    return layout_of(file.path, file.shown, file.token_column, file.tag_column, labelled=labelled, scheme=file.scheme)


def looks_like_columns(path: Path, tag_column: int | None) -> bool:
    """Whether most of the first lines are rows of one width whose last (or tag) column holds tags, or CoNLL-U's rows.

    Most, so that a faulty row is reported as one. A single line is not enough, as prose may end with a capital O.
    """
    with path.open("rb") as file:
        raw = list(islice(iter(lambda: file.readline(65536), b""), _LINES))
    return are_columns(b"".join(raw).decode("utf-8", "replace"), tag_column)


def are_columns(text: str, tag_column: int | None = None) -> bool:
    """`looks_like_columns` of the beginning of a text."""
    lines = [line for line in re.split(r"[\r\n]", text.lstrip("\ufeff"), maxsplit=4 * _LINES)[:_LINES] if line.strip()]
    if lines and (lines[0].startswith(DOCUMENT_BORDER) or (lines[0].startswith("#") and border_name(lines[0]))):
        return True
    kept = [line for line in lines if border_name(line) is None and not is_blank(line)]
    plain = [line for line in kept if not line.startswith("#")] or kept
    tabbed = sum("\t" in line for line in plain) * 2 > len(plain)
    rows = [trimmed(cells_of(line, tabbed=tabbed)) for line in plain]
    if len(rows) < 2:
        return False
    width, share = Counter(map(len, rows)).most_common(1)[0]
    even = [row for row in rows if len(row) == width]
    if width == 10 and tabbed and all(row[0][:1].isdigit() for row in even):
        return True
    if tabbed and width > 1 and share * 10 >= 9 * len(rows) and _are_words(even):
        return True
    columns = {-1} | ({tag_column} if tag_column is not None and -width <= tag_column < width else set())
    tagged = max(_tagged(Counter(row[column] for row in even)) for column in columns)
    return width > 1 and min(share, tagged) * 2 > len(rows)


def _are_words(rows: Sequence[Sequence[str]]) -> bool:
    """Whether each row has a word and, mostly, an O in its last cell: types may be spelt in any way."""
    outside = sum(row[-1] == "O" for row in rows)
    return len(rows) >= _FEWEST and outside * 2 >= len(rows) and not any(" " in row[0] for row in rows)


def _tagged(values: Counter[str]) -> int:
    """How many of a column's cells are tags."""
    coding = coding_of(values)
    return sum(count for value, count in values.items() if is_tag(value, coding))


def unwritable(token: str, *, tagged: bool) -> str:
    """Why a token cannot stand in a column file that we write, in a few words; empty if it can.

    What is allowed is what the reader gives back: a token may hold blanks where a tag follows it behind a tab.
    """
    if not token:
        return "is empty"
    if any(letter in token for letter in "\t\r\n\0"):
        return "holds a tab, a line end or a NUL"
    if token != token.strip(" "):
        return "begins or ends with a blank"
    if token.removeprefix("\ufeff").startswith(DOCUMENT_BORDER):
        return "looks like a border between documents"
    if not tagged and (" " in token or token.startswith("#")):
        return "holds a blank, or begins with #, and no tag stands behind it"
    return ""


def _blocks(file: ColumnFile, layout: Layout) -> Iterator[_Block]:
    document, name, has_begun = 0, "", False
    block: _Block | None = None
    for number, line in text_lines(file.path, file.shown):
        line = without_mark(line)
        cells: list[str] | None = None
        border: str | None = None
        if line.startswith(("#", DOCUMENT_BORDER)):
            cells, border = _special(line, number, layout, file.shown, at_head=block is None)
            if cells is None and border is None:
                continue
        elif number == layout.header:
            continue
        elif not is_blank(line):
            cells = _row(line, layout)
        if block is not None and (cells is None or _is_of_another(block, cells, layout)):
            yield block
            block = None
        if cells is None:
            if border is not None:
                document, name, has_begun = document + has_begun, border, True
            continue
        if block is None:
            block, has_begun = _Block(document, name, number), True
        if len(cells) != layout.width or _LINE_ENDS.search(line) or not cells[layout.token]:
            _check(cells, layout, number, file.shown, block)
        block.rows.append(cells)
    if block is not None:
        yield block


def _is_of_another(block: _Block, cells: Sequence[str], layout: Layout) -> bool:
    """Whether a row is of another sentence than those before it, as its columns say. An empty cell says nothing."""
    for column in layout.groups:
        said = cells[column] if column < len(cells) else ""
        if said and next((row[column] for row in reversed(block.rows) if row[column]), "") != said:
            return True
    return False


def _special(
    line: str, number: int, layout: Layout, shown: str, *, at_head: bool
) -> tuple[list[str] | None, str | None]:
    """The cells of a line that may be a comment or a border, or the border's name; neither for a comment."""
    border = border_name(line)
    if not line.startswith("#") or not layout.width or number == layout.header:
        return None, border
    cells = _row(line, layout)
    role = layout.is_comment(line, cells, at_head=at_head)
    if role is None and len(cells) == layout.width:
        raise fault(shown, number, _COMMENT_OR_TOKEN)
    if border is not None and (role or layout.width == 1):
        return None, border
    return (None, None) if role else (cells, None)


_COMMENT_OR_TOKEN = (
    "a comment within a sentence, or a token # without a tag: it could be either. Move the comment before the "
    "sentence, or correct the tag."
)


def _row(line: str, layout: Layout) -> list[str]:
    cells = cells_of(line, tabbed=layout.tabbed)
    if len(cells) == layout.width:
        return cells
    cells_left = trimmed(cells)
    return cells_left if len(cells_left) >= layout.width else cells[: layout.width]


def _check(cells: list[str], layout: Layout, number: int, shown: str, block: _Block) -> None:
    """Raises CorpusError for a row that is none of its file, or of its sentence where each has its own width."""
    width, first = layout.width, layout.first
    if not width:
        width, first = (len(block.rows[0]), block.line) if block.rows else (len(cells), number)
    if any("\r" in cell for cell in cells):
        raise fault(
            shown, number, "a lone carriage return: line ends are mixed. Convert them, with dos2unix or mac2unix."
        )
    for place, cell in enumerate(cells):
        # A token may hold one, and so may the blanks that MISC tells; elsewhere it would join two lines.
        if place != layout.token and not layout.in_misc and (end := _LINE_ENDS.search(cell)):
            raise fault(
                shown, number, f"U+{ord(end[0]):04X} stands in a cell that is no token. Only a line feed ends a line: "
                "if it is meant to end one, too, convert it."
            )  # fmt: skip
    if len(cells) != width:
        raise fault(
            shown, number, f"the number of columns is {len(cells)} here and {width} in line {first}. Make them agree."
        )
    if not cells[layout.token]:
        raise fault(shown, number, "the token is empty. Remove the line or give the token.")


def _words(block: _Block, layout: Layout, shown: str, *, labelled: bool) -> list[_Word]:
    if layout.kind != "conllu":
        tag = layout.token if layout.tag is None else layout.tag
        return [_Word(row[layout.token], row[tag]) for row in block.rows]
    return list(_surface_words(block, layout, shown, labelled=labelled))


def _surface_words(block: _Block, layout: Layout, shown: str, *, labelled: bool) -> Iterator[_Word]:
    """The words as they are written: a multiword token (1-2) instead of its parts, no empty nodes (1.1).

    A multiword token has a tag of its own, or else that of its parts.
    """
    rows = [row for row in block.rows if "." not in row[0]]
    while rows:
        row, *rows = rows
        tag, (_, dash, end) = _tag_of(row, layout), row[0].partition("-")
        if dash:
            parts = [row for row in rows if row[0].isdigit() and int(row[0]) <= int(end)]
            rows = rows[len(parts) :]
            if labelled and tag in ("O", "_", "") and parts:
                tag = _joined([_tag_of(part, layout) for part in parts], block, layout, shown)
        yield _Word(row[layout.token], tag, any("SpaceAfter=No" in cell.split("|") for cell in row))


def _tag_of(row: list[str], layout: Layout) -> str:
    if layout.tag is None:
        return ""
    return misc_tag(row[layout.tag]) if layout.in_misc else row[layout.tag]


def _joined(parts: list[str], block: _Block, layout: Layout, shown: str) -> str:
    """The tag of a multiword token out of those of its parts. Raises CorpusError if only some are in an entity."""
    tags = plain_tags(parts, layout.coding)
    if len({tag[2:] for tag in tags}) > 1 or "B" in {tag[:1] for tag in tags[1:]}:
        raise fault(
            shown, block.line, "the parts of a multiword token of this sentence have tags of different entities. "
            "Give the multiword token a tag of its own."
        )  # fmt: skip
    return parts[0]


def _tags(words: list[_Word], block: _Block, layout: Layout, shown: str) -> tuple[str, ...]:
    if layout.tag is None:
        raise fault(shown, block.line, f"column {layout.token} is the token itself, not a tag. Set tag_column.")
    if layout.coding.problem:
        raise fault(shown, block.line, f"{layout.coding.problem}")
    if layout.kind == "conllu" and layout.tag == layout.width - 1 and layout.coding.style == "unknown":
        raise fault(
            shown, block.line, "there are no BIO tags in MISC (as NER=B-PER), nor in a column of their own. "
            "Add them, or set tag_column."
        )  # fmt: skip
    return plain_tags([word.tag for word in words], layout.coding)
