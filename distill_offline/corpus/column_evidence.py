"""One pass over a column file that counts what its columns hold, in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

from distill_offline.corpus.column_lines import (
    DOCUMENT_BORDER,
    MISC,
    border_name,
    cells_of,
    is_blank,
    trimmed,
    without_mark,
)
from distill_offline.corpus.lines import fault, text_lines

__all__ = [
    "CONLLU_WIDTH",
    "DOCUMENT_NAMES",
    "MISC_COLUMN",
    "SENTENCE_NAMES",
    "TAG_NAMES",
    "TOKEN_NAMES",
    "Evidence",
    "is_tabbed",
    "look",
]

TOKEN_NAMES = frozenset({"token", "tokens", "word", "words", "form"})
TAG_NAMES = frozenset({
    "tag", "tags", "ner", "ne", "label", "labels", "ner_tag", "ner_tags", "nertag", "bio", "iob", "entity",
})  # fmt: skip
SENTENCE_NAMES = frozenset({
    "sentence", "sentence#", "sentenceid", "sentenceidx", "sentenceindex", "sentenceno", "sentencenr", "sentencenum",
    "sentencenumber", "sent", "sent#", "sentid", "sentidx", "sentno", "sentnum", "sid",
})  # fmt: skip
DOCUMENT_NAMES = frozenset({"document", "doc", "docid", "documentid", "textid", "tweetid"})
CONLLU_WIDTH, MISC_COLUMN = 10, 9

_OTHER_NAMES = SENTENCE_NAMES | DOCUMENT_NAMES | {
    "id", "index", "idx", "pos", "upos", "xpos", "lemma", "chunk", "feats", "head", "deprel", "deps", "misc", "start",
    "end",
}  # fmt: skip
_LAYERS = ("ne-", "nel-", "ner-")  # HIPE's NE-COARSE-LIT and the like
_ID = re.compile(r"\d+(?:[-.]\d+)?")
_GLOBAL = re.compile(r"# *global\.columns *= *(?P<names>.+)")
_JOINED = re.compile(r"[^,;|\xa0]+(?:[,;|\xa0][^,;|\xa0]+)*?([,;|\xa0])(?:[Oo]|[BIELSUMW]-[^\s,;|\xa0]+)")
_DIGIT = re.compile(r"\d")
_GROUPING = 4  # columns of which it is counted how often they repeat themselves
_DISTINCT = 2000  # values of a column that are counted; one with more holds no tags
_MOST = 500_000  # lines that one pass looks at
_TOGETHER = 4096  # rows that are counted at once
_COLUMNS = 64  # that are counted
_LOOK = 1000  # lines that say whether tabs separate


@dataclass(slots=True)
class Evidence:
    """What one pass over a file sees."""

    widths: Counter[int] = field(default_factory=Counter)
    lines: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, list[list[str]]] = field(default_factory=dict)
    columns: list[Counter[str] | None] = field(default_factory=list)
    rows: int = 0
    long_cells: int = 0
    longest: int = 0
    numbering: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("from 0", "from 1", "running", "restarting", "ids"), 0)
    )
    before: int = -2
    first_cell: str = ""
    repeated: int = 0  # rows whose first cell is empty, or that of the row before
    empty_first: int = 0
    is_worded: bool = False  # a first cell has no digit, and is not empty: the column numbers nothing
    is_named: bool = False  # a first cell is more than a number, as `Sentence: 1`
    counted_on: int = 0  # rows whose first cell is that of the row before, or the next number
    repeats: Counter[int] = field(default_factory=Counter)  # by column: rows that have the cell of the row before
    in_block: int = 0
    header: int = 0
    names: list[str] = field(default_factory=list)
    is_2012: bool = False
    numbered: bool = False
    misc: Counter[str] = field(default_factory=Counter)
    joined: Counter[str] = field(default_factory=Counter)  # what stands before a tag in rows of a single cell

    def add(self, number: int, cells: list[str]) -> None:
        if not self.rows and not self.header and _is_header(cells):
            self.header, self.names = number, [_named(cell) for cell in cells]
            return
        self.rows += 1
        self.in_block += 1
        width = len(cells)
        if width not in self.waiting:
            self.lines[width], self.waiting[width] = number, []
        self.waiting[width].append(cells)
        if len(self.waiting[width]) == _TOGETHER:
            self._count(width)
        if not self.is_worded:
            self._group(cells[0])
        if cells[0][:1].isdigit() and cells[0].isascii():
            self._number(cells[0])

    def _group(self, cell: str) -> None:
        """What tells whether the first column says which sentence a row is of."""
        if not cell or cell == self.first_cell:
            self.repeated += 1
            self.counted_on += 1
            self.empty_first += not cell
            return
        self.is_worded = _DIGIT.search(cell) is None
        before = self.first_cell
        self.is_named = self.is_named or not cell.isdecimal()
        if not self.is_named and max(len(cell), len(before)) < 20:
            self.counted_on += not before or int(cell) == int(before) + 1
        self.first_cell = cell

    def _count(self, width: int) -> None:
        """Count the rows of a width that wait: many at once, which is much faster than each by itself."""
        rows, self.waiting[width] = self.waiting[width], []
        self.widths[width] += len(rows)
        self.long_cells += sum(" " in row[0] or (width > 1 and " " in row[1]) for row in rows)
        for position in range(1, 1 if self.is_worded else min(width, _GROUPING)):
            self.repeats[position] += sum(one[position] == other[position] for one, other in pairwise(rows))
        for position, values in enumerate(zip(*(row[:_COLUMNS] for row in rows), strict=True)):
            if position == len(self.columns):
                self.columns.append(Counter())
            counter = self.columns[position]
            if counter is not None:
                counter.update(values)
                if len(counter) > _DISTINCT:
                    self.columns[position] = None
        if width == 1:
            self.joined.update(match[1] for row in rows if (match := _JOINED.fullmatch(row[0])))
        if width == CONLLU_WIDTH:
            self.misc.update(match["value"] for row in rows if (match := MISC.search(row[MISC_COLUMN])))

    def end_block(self) -> None:
        self.longest = max(self.longest, self.in_block)
        self.in_block = 0

    def end(self) -> None:
        self.end_block()
        for width in self.waiting:
            self._count(width)

    def _number(self, value: str) -> None:
        """How far the first column counts the rows of each sentence, or of the file."""
        position = self.in_block - 1
        self.numbering["from 0"] += value == str(position)
        self.numbering["from 1"] += value == str(position + 1)
        follows = value.isdigit() and len(value) < 20 and int(value) == self.before + 1
        self.numbering["running"] += self.rows == 1 or follows
        self.numbering["restarting"] += value in ("0", "1") or (follows and self.rows > 1)
        self.numbering["ids"] += _ID.fullmatch(value) is not None
        self.before = int(value) if value.isdigit() and len(value) < 20 else -2


def is_tabbed(path: Path, shown: str) -> bool:
    """Whether tabs separate the cells of most rows; lines that begin with # count if there are no others."""
    tabs, rows = Counter[bool](), Counter[bool]()
    for _, line in text_lines(path, shown, strict=False):
        if is_blank(line) or line.startswith(DOCUMENT_BORDER):
            continue
        has_hash = line.startswith("#")
        rows[has_hash] += 1
        tabs[has_hash] += "\t" in line.rstrip("\t ")
        if rows[False] == _LOOK:
            break
    has_hash = not rows[False]
    return tabs[has_hash] * 2 > rows[has_hash]


def look(path: Path, shown: str, *, tabbed: bool, hashes: bool) -> Evidence:
    """One pass; lines that begin with # are evidence only if `hashes`: where no others are rows."""
    seen = Evidence()
    for number, line in islice(text_lines(path, shown, strict=False), _MOST):
        line = without_mark(line)
        if is_blank(line):
            seen.end_block()
            continue
        border = border_name(line)
        if border is not None and not (hashes and line.startswith("#")):
            seen.end_block()
            seen.numbered = seen.numbered or not border
            seen.is_2012 = seen.is_2012 or line.startswith("#begin document")
            continue
        if line.startswith("#") and not hashes:
            _refuse_webanno(line, shown, number)
            if not seen.rows and (match := _GLOBAL.fullmatch(line)):
                seen.header, seen.names = number, match["names"].lower().split()
            continue
        seen.add(number, trimmed(cells_of(line, tabbed=tabbed)))
    seen.end()
    return seen


def _refuse_webanno(line: str, shown: str, number: int) -> None:
    if line.startswith("#FORMAT=WebAnno"):
        raise fault(
            shown,
            number,
            "this is WebAnno TSV, which is read only if you say so: format: webanno, or --input-format webanno.",
        )


def _named(cell: str) -> str:
    """A column's name as it is known, however it is spelt: `sent_id` of `Sent ID`, say."""
    name = cell.lower()
    plain = re.sub(r"[ _-]", "", name)
    return plain if plain in SENTENCE_NAMES | DOCUMENT_NAMES else name


def _is_header(cells: Sequence[str]) -> bool:
    names = [_named(cell) for cell in cells]
    known = TOKEN_NAMES | TAG_NAMES | _OTHER_NAMES
    if len(names) < 2 or TOKEN_NAMES.isdisjoint(names):
        return False
    return all(name in known or name.startswith(_LAYERS) for name in names)
