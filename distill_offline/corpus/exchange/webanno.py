"""WebAnno TSV 3, as INCEpTION writes it: tokens with offsets in UTF-16, and layers as columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.lines import fault, text_lines
from distill_offline.corpus.lost import Lost

__all__ = ["WebAnno"]

_HEAD = "#FORMAT=WebAnno TSV 3"
_LAYER = "de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity"
_BUILT_IN = "T_SPde.tudarmstadt.ukp.dkpro.core."  # parts of speech, lemmas and the like are no entities
_ESCAPED = re.compile(r"\\(.)")
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "b": "\b"}
_CONTROLS = re.compile(r"[\\\x01-\x1f]")
_RESERVED = re.compile(r"([\\\[\]|_;*]|->)")
_MARK = re.compile(r"(?<!\\)\[(\d+)\]$")


class WebAnno(ToolFormat):
    """The format `webanno`: the layer NamedEntity, else the only one of the project's own; others are counted."""

    holds = ALL - {"class", "classes", "no_class", "confidence", "guess", "document", "mixed"}
    knows_offsets = True

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        layers = list[tuple[str, list[str]]]()
        block: _Block | None = None
        index = 0
        for number, line in text_lines(path, shown):
            if number == 1 and not line.startswith(_HEAD):
                raise fault(shown, number, f"a file of WebAnno TSV 3 begins with {_HEAD}.")
            if line.startswith(("#T_SP=", "#T_CH=", "#T_RL=")) and block is None:
                kind, *columns = line[6:].split("|")
                layers.append((line[1:5] + kind, columns))
            elif line.startswith(("#Text=", "#Sentence.id=")):
                block = block or _Block(number)
                if line.startswith("#Text="):
                    block.text.append(_plain(line[6:]))
                else:
                    block.id = line.partition("=")[2]
            elif not line and block is not None:
                yield from block.rows(layers, path.stem, index, shown)
                block, index = None, index + 1
            elif line and block is not None and not line.startswith("#"):
                block.lines.append((number, line.split("\t")))
        if block is not None:
            yield from block.rows(layers, path.stem, index, shown)

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        begins, mark, is_begun = 0, 0, False
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for number, row in enumerate(rows, 1):
                if not is_begun:
                    layer = f"#T_SP={_LAYER}|identifier|value\n" if "entities" in row else ""
                    file.write(f"{_HEAD}.3\n{layer}\n\n")
                    is_begun = True
                written = _Written(row, begins, number, mark, self)
                file.write(written.text())
                begins, mark = written.behind + 1, written.mark


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: _LETTERS.get(match[1], match[1]), text)


def _escaped(text: str) -> str:
    names = {letter: name for name, letter in _LETTERS.items()}
    return _CONTROLS.sub(lambda match: f"\\{names.get(match[0], match[0])}", text)


def _units(text: str) -> list[int]:
    """Where each character begins in UTF-16, and the end."""
    return list(accumulate((1 + (letter > "\uffff") for letter in text), initial=0))


@dataclass(slots=True)
class _Block:
    """The lines of a sentence."""

    line: int
    id: str | None = None
    text: list[str] = field(default_factory=list)
    lines: list[tuple[int, list[str]]] = field(default_factory=list)

    def rows(
        self, layers: list[tuple[str, list[str]]], document: str, index: int, shown: str
    ) -> Iterator[tuple[int, Any]]:
        text = "\n".join(self.text)
        place = {unit: at for at, unit in enumerate(_units(text))}
        id_ = self.id or f"{document}:{index}"
        chosen, others = _columns(layers, self.line, shown)
        offsets, pieces = list[list[int]](), dict[tuple[str, str], list[tuple[int, int]]]()
        first, lost = None, 0
        for number, cells in self.lines:
            try:
                units = [int(each) for each in cells[1].split("-")]
                first = units[0] if first is None else first
                start, end = (place[unit - first] for unit in units)
                own = cells[2]
            except (KeyError, ValueError, IndexError):
                raise fault(shown, number, "these offsets are none of the sentence's text, in UTF-16.") from None
            if _plain(own) != text[start:end] and own != text[start:end]:
                raise fault(shown, number, "the token is not what its offsets lead to.")
            if "." not in cells[0]:
                offsets.append([start, end])
            lost += sum(cells[column : column + 1] not in (["_"], ["*"], []) for column in others)
            if chosen is not None and len(cells) > chosen:
                for value, mark in _values(cells[chosen]):
                    pieces.setdefault((value, mark or f"{start}-{end}"), []).append((start, end))
        if lost:
            yield self.line, Lost("other_layers", id_, lost)
        if untyped := sum(value == "*" for value, _ in pieces):
            yield self.line, Lost("untyped", id_, untyped)
        row: dict[str, Any] = {"text": text, "tokens": [text[start:end] for start, end in offsets], "offsets": offsets}
        row |= {"document": document, "index": index, **({"id": self.id} if self.id else {})}
        if chosen is not None:
            row["entities"] = [
                {"start": min(p)[0], "end": max(end for _, end in p), "type": _plain(value)}
                for (value, _), p in pieces.items()
                if value != "*"
            ]
        yield self.line, row


def _columns(layers: list[tuple[str, list[str]]], line: int, shown: str) -> tuple[int | None, list[int]]:
    """The column of the entities' types, None if there is none; and those of other layers."""
    spans = [name for name, _ in layers if name.startswith("T_SP")]
    named = [name for name in spans if name.endswith(".NamedEntity")]
    named = named or [name for name in spans if not name.startswith(_BUILT_IN)]
    if len(named) > 1:
        raise fault(shown, line, f"which layer has the entities? There are: {', '.join(name[4:] for name in named)}.")
    chosen, others, column = None, list[int](), 3
    for name, features in layers:
        here = range(column, column + max(1, len(features)))
        column = here.stop
        if name in named:
            chosen = here[features.index("value") if "value" in features else len(here) - 1]
        else:
            others += here
    return chosen, others


def _values(cell: str) -> Iterator[tuple[str, str]]:
    """(value, disambiguation id) of each annotation that is stacked in a cell."""
    if cell == "_":
        return
    for each in re.split(r"(?<!\\)\|", cell):
        mark = _MARK.search(each)
        yield (each[: mark.start()], mark[1]) if mark else (each, "")


class _Written:
    """A sentence as lines; `behind` is where it ends in UTF-16, `mark` the last disambiguation id."""

    def __init__(self, row: Mapping[str, Any], begins: int, number: int, mark: int, tool: ToolFormat) -> None:
        self.row, self.number, self.mark = row, number, mark
        self.cut = row["offsets"][0][0]
        if self.cut:
            tool.lost.note("spacing", row["id"])
        units = _units(row["text"])
        self.unit = [begins + unit - units[self.cut] for unit in units]
        self.behind = self.unit[-1]
        self.cells: dict[tuple[int, int], list[str]] = {}
        entities = row.get("entities", ())
        places = [list(self._pieces(entity)) for entity in entities]
        stacked = [piece for pieces in places for piece in pieces]
        for entity, pieces in zip(entities, places, strict=True):
            if not pieces:
                tool.lost.note("no_token", row["id"])
            value = _RESERVED.sub(r"\\\1", entity["type"]).replace("\t", "\\t").replace("\n", "\\n")
            if len(pieces) > 1 or any(stacked.count(piece) > 1 for piece in pieces):
                self.mark += 1
                value += f"[{self.mark}]"
            for piece in pieces:
                self.cells.setdefault(piece, []).append(value)

    def _pieces(self, entity: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
        for start, end in self.row["offsets"]:
            if start < entity["end"] and end > entity["start"]:
                yield max(start, entity["start"]), min(end, entity["end"])

    def text(self) -> str:
        row = self.row
        lines = [f"#Sentence.id={row['id']}"]
        lines += [f"#Text={_escaped(part)}" for part in row["text"][self.cut :].split("\n")]
        for token, (start, end) in enumerate(row["offsets"], 1):
            lines.append(self._line(f"{self.number}-{token}", start, end))
            inner = sorted(p for p in self.cells if start <= p[0] and p[1] <= end and p != (start, end))
            lines += [self._line(f"{self.number}-{token}.{n}", *piece) for n, piece in enumerate(inner, 1)]
        return "\n".join(lines) + "\n\n"

    def _line(self, name: str, start: int, end: int) -> str:
        cells = [name, f"{self.unit[start]}-{self.unit[end]}", _escaped(self.row["text"][start:end])]
        if "entities" in self.row:
            values = self.cells.get((start, end), [])
            blank = "|".join(f"*{mark[0] if (mark := _MARK.search(value)) else ''}" for value in values)
            cells += [blank or "_", "|".join(values) or "_"]
        return "\t".join(cells) + "\t"
