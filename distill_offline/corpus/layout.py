"""What the columns of a file are, told from the whole of it before anything of it is believed.

Which column is the token, which the tag, and which lines are comments must not depend on whether labels are wanted: so
one pass over the file decides for all reads of it. What the file itself leaves open is refused with its line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

from distill_offline.corpus.column_evidence import (
    CONLLU_WIDTH,
    DOCUMENT_NAMES,
    MISC_COLUMN,
    SENTENCE_NAMES,
    TAG_NAMES,
    TOKEN_NAMES,
    Evidence,
    is_tabbed,
    look,
)
from distill_offline.corpus.lines import fault
from distill_offline.corpus.tag_coding import Coding, coding_of, is_tag, type_of, unseen_in

__all__ = ["Kind", "Layout", "layout_of"]

Kind = Literal["plain", "indexed", "conllu", "conll2012"]

_DIRECTIVE = re.compile(r"#(?:\s|$|#|begin\b|end\b|[\w.:-]+\s*=)")
_KEY = re.compile(r"#\s*[\w.:-]+\s*=")
_CHUNKS = frozenset({
    "NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "NC", "VC", "PC", "AC", "ADVC",
})  # fmt: skip
_NER_2012, _TOKEN_2012 = 10, 3


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file, counted from 0.

    `width` is that of most rows and `first` the first line that has it (0: each sentence has its own width). `tag` is
    None if there is no column but the token's; `in_misc`: it is CoNLL-U's MISC, where NER=... is the tag. `known`
    are the tag column's values. `unread` are further columns with entities that are not read. `header` is the line that
    names the columns, 0 for none. `numbered`: whether there are document borders without a name. `groups` are columns
    that say which sentence a row is of, and which document: another value begins another sentence.
    """

    kind: Kind
    tabbed: bool
    width: int
    first: int
    token: int
    tag: int | None
    coding: Coding
    known: frozenset[str] = frozenset()
    unread: tuple[int, ...] = ()
    header: int = 0
    numbered: bool = False
    in_misc: bool = False
    groups: tuple[int, ...] = ()

    def is_comment(self, line: str, cells: Sequence[str], *, at_head: bool) -> bool | None:
        """Whether a line that begins with # is a comment and no row; None if it could be either.

        `at_head`: no row of a sentence stands right before it. A row has the file's width and, in its tag column, a
        tag (or what occurs there elsewhere); it may not look like `# key = value` unless tabs separate. A comment
        stands before a sentence, and has a blank after its #, or is `#key=...`.
        """
        if self.kind != "plain":
            return True
        if len(cells) != self.width:
            return True if at_head and _DIRECTIVE.match(line) else None
        if self.width == 1:
            return False
        value = cells[-1 if self.tag is None else self.tag]
        is_row = value in self.known or (self.coding.style != "unknown" and is_tag(value, self.coding))
        if is_row:
            return not self.tabbed and at_head and _KEY.match(line) is not None
        if cells[0] != "#" and not _DIRECTIVE.match(line):
            return False  # a hashtag, whose tag is faulty
        return True if at_head else None


def layout_of(
    path: Path,
    shown: str,
    token_column: int | None = None,
    tag_column: int | None = None,
    *,
    labelled: bool = True,
    scheme: str = "",
) -> Layout:
    """The layout of a column file; a `tag_column` that is not there matters only where `labelled`.

    Raises CorpusError with the line for a file that cannot be told, or that is in another format.
    """
    tabbed = is_tabbed(path, shown)
    seen = look(path, shown, tabbed=tabbed, hashes=False)
    if not seen.rows:
        seen = look(path, shown, tabbed=tabbed, hashes=True)
    if not seen.rows:
        return Layout("plain", tabbed, 0, 0, 0, None, Coding("unknown"), numbered=seen.numbered)
    width = 0 if seen.is_2012 and min(seen.widths) > _NER_2012 else _width(seen)
    first = seen.lines[width] if width else min(seen.lines.values())
    if width == 1 and sum(seen.joined.values()) * 2 > seen.rows:
        separator = _SEPARATORS[seen.joined.most_common(1)[0][0]]
        raise fault(
            shown, first, f"{separator} separate the columns; tabs and blanks are read. Put tabs in their place."
        )
    groups = () if seen.is_2012 else _groups(seen, width, token_column)
    kind = _kind(seen, width, shown, first, is_asked=0 in groups or token_column is not None)
    kind = "plain" if 0 in groups and kind == "indexed" else kind
    if kind in ("plain", "indexed") and token_column is None and _is_table(seen, width, tabbed=tabbed):
        raise fault(
            shown, first, "the rows hold whole texts, not tokens: this is a table. Write JSONL, an object a line: "
            '{"id": "1", "text": "...", "label": "..."}, or {"tokens": [...], "labels": [...]}.',
        )  # fmt: skip
    token = _token(seen, kind, width, token_column, groups, shown, first)
    asked = tag_column
    if not labelled and asked is not None and not -(least := width or min(seen.widths)) <= asked < least:
        asked = None
    if not labelled and asked is not None and asked % (width or min(seen.widths)) == token:
        asked = None
    tag, unread = _tag(seen, kind, width, token, asked, shown, first)
    in_misc = kind == "conllu" and width == CONLLU_WIDTH and tag == MISC_COLUMN and bool(seen.misc)
    known = seen.misc + Counter({"O": 1}) if in_misc else _values(seen, kind, tag)
    coding = coding_of(known, scheme)
    if labelled and kind != "conllu" and (problem := unseen_in(known)):
        coding = replace(coding, problem=f"{problem}. Remove it.")
    return Layout(
        kind=kind,
        tabbed=tabbed,
        width=width,
        first=first,
        token=token,
        tag=tag,
        coding=coding,
        known=frozenset(known),
        unread=unread,
        header=seen.header,
        numbered=seen.numbered,
        in_misc=in_misc,
        groups=groups if kind in ("plain", "indexed") else (),
    )


def _width(seen: Evidence) -> int:
    most = max(seen.widths.values())
    return min((width for width, count in seen.widths.items() if count == most), key=lambda width: seen.lines[width])


def _is_table(seen: Evidence, width: int, *, tabbed: bool) -> bool:
    """Whether most rows hold several words in a cell, and no tag."""
    return tabbed and width > 1 and seen.long_cells * 2 > seen.rows and not _are_tags(seen, width - 1)


def _kind(seen: Evidence, width: int, shown: str, first: int, *, is_asked: bool) -> Kind:
    if not width:
        return "conll2012"
    counted = max(seen.numbering[numbering] for numbering in ("from 0", "from 1", "running"))
    if seen.names and seen.names[0] in ("id", "index", "idx"):
        if "form" not in seen.names and seen.numbering["restarting"] == seen.rows > counted:
            raise fault(shown, first, _NO_BORDERS)
        return "conllu" if "form" in seen.names else "indexed"
    if width == CONLLU_WIDTH and seen.numbering["ids"] * 10 >= seen.rows * 9:
        return "conllu"
    if seen.longest < 2 or width < 2 or (width == 2 and _are_tags(seen, 1)):
        return "plain"
    if counted == seen.rows:
        return "indexed"
    if (
        not is_asked
        and seen.numbering["ids"] == seen.rows
        and (
            counted * 10 >= seen.rows * 9
            or (width > 2 and not seen.names and seen.rows in (seen.numbering["restarting"], seen.counted_on))
        )
    ):
        raise fault(shown, first, _NO_BORDERS)
    return "plain"


_SEPARATORS = {",": "commas", ";": "semicolons", "|": "vertical bars", "\xa0": "no-break spaces (U+00A0)"}
_NO_BORDERS = (
    "the first column looks like the rows' numbers, but they do not count on everywhere. Correct them, put a blank "
    "line between sentences where there is none, or set token_column."
)


def _groups(seen: Evidence, width: int, token_column: int | None) -> tuple[int, ...]:
    """The columns that say which sentence a row is of, and of which document; empty if there is none.

    A header names them. Or it is the first column, if its values are numbers or have one inside, and it repeats them at
    the rows of a sentence, or leaves it empty there; and those behind it that repeat as well.
    """
    named = tuple(position for position, name in enumerate(seen.names) if name in SENTENCE_NAMES)
    if named:
        return (*named, *(position for position, name in enumerate(seen.names) if name in DOCUMENT_NAMES))
    if seen.names or width < 3 or token_column in (0, -width) or seen.is_worded or not seen.repeated:
        return ()
    if not (seen.repeated * 3 >= seen.rows >= 4 or (seen.empty_first and seen.is_named)):
        return ()
    more = (column for column in range(1, min(width - 1, 4)) if column != token_column)
    return (0, *takewhile(lambda column: seen.repeats[column] * 3 >= seen.rows and not _are_tags(seen, column), more))


def _words_behind(seen: Evidence, width: int, groups: Sequence[int]) -> int | None:
    """The column of the tokens in a file whose first ones say which sentence a row is of: of those that are neither
    numbers nor tags the one with the most values. None if there is none."""
    left = [column for column in range(width) if column not in groups and not _are_numbers(seen, column)]
    words = [column for column in left if not _are_tags(seen, column)]
    last = width - 1
    words = words if words == [last] else [column for column in words if column != last]
    return max(words, key=lambda column: _distinct(seen, column), default=None)


def _distinct(seen: Evidence, column: int) -> float:
    values = seen.columns[column] if column < len(seen.columns) else None
    return float("inf") if values is None else len(values)


def _are_numbers(seen: Evidence, column: int) -> bool:
    """Whether each cell has a digit: numbers, and ids of words."""
    values = seen.columns[column] if column < len(seen.columns) else None
    return bool(values) and all(any(map(str.isdigit, value)) for value in values or ())


def _are_tags(seen: Evidence, column: int) -> bool:
    values = seen.columns[column] if column < len(seen.columns) else None
    if not values:
        return False
    coding = coding_of(values)
    return coding.style != "unknown" and all(is_tag(value, coding) for value in values)


def _token(
    seen: Evidence, kind: Kind, width: int, asked: int | None, groups: Sequence[int], shown: str, line: int
) -> int:
    if asked is not None:
        return _resolved(asked, width or min(seen.widths), "token_column", shown, line)
    named = [position for position, name in enumerate(seen.names) if name in TOKEN_NAMES]
    if named:
        return named[0]
    if 0 in groups and kind == "plain":
        words = _words_behind(seen, width, groups)
        if words is None:
            raise fault(
                shown, line, "the first column numbers the sentences, and no other one holds words. Set token_column."
            )
        return words
    tags_first = kind == "plain" and width > 1 and _are_tags(seen, 0) and not _are_tags(seen, width - 1)
    if tags_first and set(seen.columns[0] or ()) - {"O"}:
        if width == 2:
            return 1
        raise fault(shown, line, "the tags are in column 0, so the token is elsewhere. Set token_column.")
    return {"plain": 0, "indexed": 1, "conllu": 1, "conll2012": _TOKEN_2012}[kind]


def _tag(
    seen: Evidence, kind: Kind, width: int, token: int, asked: int | None, shown: str, line: int
) -> tuple[int | None, tuple[int, ...]]:
    """The tag column, and others that hold entities, too. None if there is no column but the token's."""
    if asked is not None:
        column = _resolved(asked, width or min(seen.widths), "tag_column", shown, line)
        if column == token:
            raise fault(shown, line, f"column {asked} of {width} is the token itself, not a tag. Set tag_column.")
        return column, ()
    named = [position for position, name in enumerate(seen.names) if name.rpartition(":")[2] in TAG_NAMES]
    layered = [position for position, name in enumerate(seen.names) if name.startswith("ne-")]
    if named or layered:
        return (named[-1], ()) if named else (layered[0], tuple(n for n in layered[1:] if _is_layer(seen, n)))
    if kind == "conll2012":
        return (_NER_2012, ()) if min(seen.widths) > _NER_2012 else (None, ())
    layers = [column for column in range(width) if column != token and _is_layer(seen, column)]
    if kind == "indexed" and width > 3 and token == 1 and layers == list(range(2, width)):
        return 2, tuple(layers[1:])  # GermEval: the outer entities; the columns behind have those within them
    last = width - 1 if width - 1 != token else 0
    if width == 1 or (kind == "indexed" and last == 0):
        return None, ()
    return last, tuple(column for column in layers if column != last) if kind != "conllu" else ()


def _is_layer(seen: Evidence, column: int) -> bool:
    """Whether a column holds tags of entities, and not of chunks."""
    types = {type_of(tag) for tag in (seen.columns[column] if column < len(seen.columns) else None) or ()} - {""}
    return _are_tags(seen, column) and not (types and types <= _CHUNKS)


def _values(seen: Evidence, kind: Kind, tag: int | None) -> Counter[str]:
    if kind == "conll2012":
        return Counter({"*": 1}) if tag == _NER_2012 else Counter()
    values = seen.columns[tag] if tag is not None and tag < len(seen.columns) else None
    return values or Counter()


def _resolved(column: int, width: int, key: str, shown: str, line: int) -> int:
    if not -width <= column < width:
        raise fault(shown, line, f"there is no column {column}: the file has {width}, counted from 0. Set {key}.")
    return column % width
