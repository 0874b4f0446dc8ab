"""brat's stand-off files: a folder with a .txt and an .ann for each document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.lines import fault, read_text
from distill_offline.corpus.lost import Lost
from distill_offline.corpus.offset_units import OffsetUnit, in_characters
from distill_offline.corpus.sentences import sentence_offsets
from distill_offline.errors import CorpusError

__all__ = ["Brat"]

_BETWEEN = "\n\n"  # two sentences of a document
_KINDS = {"R": "relations", "E": "relations", "*": "relations", "A": "attributes", "M": "attributes"}
_KINDS |= {"N": "attributes", "#": "attributes"}
_TYPE = re.compile(r"[^\s;|]+")
_Entity = tuple[int, int, str, str, bool]  # start, end, type, name, and whether its own text is known to be there
_Reader = Callable[[int, int], tuple[int, int] | None]
_UNITS: tuple[OffsetUnit, ...] = ("utf16", "bytes", "crlf_as_one", "lf_as_two")  # of tools that write brat's files, too


class Brat(ToolFormat):
    """The format `brat`: a folder, or one .ann file with its .txt beside it.

    A document is cut into sentences as plain text is. Entities in several pieces, and those that cross the border of a
    sentence, are counted; pieces that a line end alone parts are one. Where the entities' own text is right only so,
    offsets count UTF-16 units, bytes, or line ends of another length.
    """

    holds = ALL - {"class", "classes", "no_class", "tokens", "confidence", "guess", "id", "mixed"}
    is_folder = True
    knows_offsets = True

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        files = sorted(path.rglob("*.ann")) if path.is_dir() else [path]
        if not files:
            raise CorpusError(f"{shown}: there is no .ann file in this folder.")
        if path.is_dir():
            left = sorted(each for each in path.rglob("*.txt") if not each.with_suffix(".ann").exists())
            yield from ((1, Lost("unannotated", each.relative_to(path).as_posix())) for each in left)
        for file in files:
            name = f"{shown.rstrip('/')}/{file.relative_to(path).as_posix()}" if path.is_dir() else shown
            document = file.relative_to(path).with_suffix("").as_posix() if path.is_dir() else file.stem
            if not file.with_suffix(".txt").is_file():
                raise CorpusError(f"{name}: its text is not there: {file.stem}.txt must be beside it.")
            text = read_text(file.with_suffix(".txt"), name.removesuffix(file.suffix) + ".txt")
            yield from _rows(text, list(_annotations(file, name, text, document)), document)

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        taken: set[str] = set()
        for document, group in groupby(rows, key=lambda row: row["document"]):
            name = re.sub(r"[^\w.-]+", "_", document).strip(".") or "document"
            while name in taken:
                name += "_"
            taken.add(name)
            if name != document:
                self.lost.note("document", document)
            self._write(path, name, list(group))

    def _write(self, folder: Path, name: str, rows: list[Mapping[str, Any]]) -> None:
        lines, begins = list[str](), 0
        for row in rows:
            for entity in row.get("entities", ()):
                if not _TYPE.fullmatch(entity["type"]):
                    raise CorpusError(f"{folder}: {row['id']}: brat's types hold no blank: {entity['type'][:60]!r}.")
                place = _pieces(entity["text"], begins + entity["start"])
                shown = re.sub(r"[\r\n]+", " ", entity["text"])
                lines.append(f"T{len(lines) + 1}\t{entity['type']} {place}\t{shown}\n")
            begins += len(row["text"]) + len(_BETWEEN)
        text = _BETWEEN.join(row["text"] for row in rows)
        (folder / f"{name}.txt").write_bytes(text.encode())
        if any("entities" in row for row in rows):
            (folder / f"{name}.ann").write_bytes("".join(lines).encode())


def _pieces(text: str, start: int) -> str:
    """`start end`, or those of each line: brat's entities hold no line end."""
    return ";".join(f"{start + match.start()} {start + match.end()}" for match in re.finditer(r"[^\r\n]+", text))


@dataclass(frozen=True, slots=True)
class _Line:
    """An entity of an .ann file as it stands there: its `pieces` count whatever the file's other entities count."""

    number: int
    name: str
    type: str
    pieces: tuple[tuple[int, int], ...]
    own: str


def _annotations(file: Path, shown: str, text: str, document: str) -> Iterator[_Entity | Lost]:
    lines = [*_lines(file, shown, document)]
    read = _reader([line for line in lines if isinstance(line, _Line)], text)
    for line in lines:
        if isinstance(line, Lost):
            yield line
            continue
        pieces = [place for start, end in line.pieces if (place := read(start, end))]
        if len(pieces) < len(line.pieces):
            raise fault(shown, line.number, f"this is no entity within the {len(text)} characters of its .txt.")
        gaps = [text[end:start] for (_, end), (start, _) in pairwise(pieces)]
        if any(gap.strip("\r\n") or not gap for gap in gaps):
            yield Lost("discontinuous", document)
            continue
        start, end = pieces[0][0], pieces[-1][1]
        if line.own and line.own.split() != text[start:end].split():
            raise fault(
                shown, line.number, f"{line.name} has another text than what is at {start} to {end} of its .txt."
            )
        yield start, end, line.type, line.name, bool(line.own)


def _lines(file: Path, shown: str, document: str) -> Iterator[_Line | Lost]:
    for number, line in enumerate(read_text(file, shown).replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        if line[0] in _KINDS:
            yield Lost(_KINDS[line[0]], document)
            continue
        name, _, rest = line.partition("\t")
        place, _, own = rest.partition("\t")
        type_, _, ranges = place.partition(" ")
        try:
            pieces = tuple(
                (int(start), int(end)) for start, _, end in (each.partition(" ") for each in ranges.split(";"))
            )
        except ValueError:
            pieces = ()
        if name[:1] != "T" or not type_ or not pieces:
            raise fault(
                shown, number, "an entity must be: T1, a tab, its type, start and end, a tab, its text."
            )  # fmt: skip
        yield _Line(number, name, type_, pieces, own)


def _reader(lines: Sequence[_Line], text: str) -> _Reader:
    """What reads offsets as characters: another unit only where each entity has its own text, and it is right so."""
    readers: list[_Reader] = [lambda start, end: (start, end) if 0 <= start < end <= len(text) else None]
    readers += [reader for unit in _UNITS if (reader := in_characters(unit, text)) is not None]
    fits = (reader for reader in readers if all(_fits(line, reader, text) for line in lines))
    return next(fits, readers[0])


def _fits(line: _Line, read: _Reader, text: str) -> bool:
    pieces = [read(start, end) for start, end in line.pieces]
    return bool(line.own) and line.own.split() == " ".join(text[p[0] : p[1]] for p in pieces if p).split()


def _rows(text: str, found: list[_Entity | Lost], document: str) -> Iterator[tuple[int, Any]]:
    yield from ((1, each) for each in found if isinstance(each, Lost))
    entities = [each for each in found if not isinstance(each, Lost)]
    placed = set[str]()
    index = 0
    for offsets in sentence_offsets(text):
        if not offsets:
            continue
        begins, behind = offsets[0][0], offsets[-1][1]
        inside = [each for each in entities if begins <= each[0] and each[1] <= behind]
        placed |= {name for *_, name, _ in inside}
        spans = [
            {
                "start": start - begins,
                "end": end - begins,
                "type": type_,
                **({"text": text[start:end]} if has_own else {}),
            }
            for start, end, type_, _, has_own in inside
        ]
        row = {"text": text[begins:behind], "document": document, "index": index, "spans": spans}
        yield text.count("\n", 0, begins) + 1, row
        index += 1
    if lost := sum(name not in placed for *_, name, _ in entities):
        yield 1, Lost("crossing", document, lost)
