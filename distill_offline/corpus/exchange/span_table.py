"""Tables of spans: a row an entity with start and end, or a row a text with its class. As CSV, TSV and xlsx."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.lines import fault, text_lines
from distill_offline.corpus.lost import Lost
from distill_offline.errors import CorpusError, MissingPackage

__all__ = ["CsvSpans", "TsvSpans", "Xlsx"]

_NAMES = {
    "id": ("id", "sentence_id", "row_id"),
    "document": ("document", "doc", "doc_id", "document_id"),
    "index": ("index",),
    "text": ("text", "sentence"),
    "start": ("start", "begin", "start_offset", "start_char"),
    "end": ("end", "stop", "end_offset", "end_char"),
    "type": ("type", "label", "entity", "tag", "class"),
    "mention": ("mention", "entity_text", "surface", "span"),
    "confidence": ("confidence", "score"),
}
_HEADER = ("id", "document", "index", "text", "start", "end", "type", "mention", "confidence")
_CLASS_HEADER = ("id", "document", "index", "text", "class", "confidence")
_INSTEAD = (";", "\t")
_Table = Iterable[tuple[int, Sequence[str]]]


def rows_of_table(table: _Table, shown: str, text_field: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """A row for each text: lines that follow each other with the same id (or, without ids, the same text) are one."""
    lines = iter(table)
    line, header = next(((number, row) for number, row in lines if any(row)), (1, ()))
    columns = _columns(header, text_field, shown, line)
    cells = ((number, _cells(row, columns, len(header), shown, number)) for number, row in lines if any(row))
    seen: dict[int, int] = {}
    for _, group in groupby(cells, key=lambda item: item[1].get("id") or item[1]["text"]):
        block = list(group)
        number, first = block[0]
        row: dict[str, Any] = {key: first[key] for key in ("id", "document", "text") if first.get(key)}
        if first.get("index"):
            row["index"] = _number(first["index"], int, "index", shown, number)
        if not first["text"]:
            raise fault(
                shown, number, "a row without a text. Of merged cells only the first has one: fill in the others."
            )
        if any(each["text"] != first["text"] for _, each in block):
            raise fault(shown, number, "lines of the same id have different texts.")
        if "id" not in columns and "start" in columns:
            before = seen.setdefault(hash(first["text"]), number)
            if before != number:
                raise fault(
                    shown, number, f"the same text as in line {before}, and others between. Sort them, or add `id`."
                )
        if "start" in columns:
            row["spans"] = [_span(each, shown, at) for at, each in block if each.get("start") or each.get("end")]
        elif first.get("type"):
            row["labels"] = [each["type"] for _, each in block]
            if "id" not in columns and len(set(row["labels"])) < len(block):
                raise fault(shown, block[1][0], "the same text with the same class as above. Remove it, or add `id`.")
            sure = [
                _number(each["confidence"], float, "confidence", shown, at)
                for at, each in block
                if each.get("confidence")
            ]
            if sure:
                row["confidence"] = min(sure)  # of several classes the least
        yield number, row


def _columns(header: Sequence[str], text_field: str | None, shown: str, line: int) -> dict[str, int]:
    found = {}
    names = [name.strip().lower() for name in header]
    for key, known in _NAMES.items():
        wanted = (text_field.lower(),) if key == "text" and text_field else known
        if place := [names.index(name) for name in wanted if name in names]:
            found[key] = place[0]
            if names.count(names[place[0]]) > 1:
                raise fault(shown, line, f"two columns are called {names[place[0]]!r}. Rename one.")
    if "text" not in found or ("start" in found) != ("end" in found) or ("start" in found and "type" not in found):
        raise fault(shown, line, "a table of spans has a header with text, start, end and type, or text and class.")
    return found


def _cells(row: Sequence[str], columns: Mapping[str, int], width: int, shown: str, line: int) -> dict[str, str]:
    if any(row[width:]):
        raise fault(shown, line, f"there are more cells than the header's {width}. Is a text with a comma not quoted?")
    return {key: row[column] if column < len(row) else "" for key, column in columns.items()}


def _span(cells: Mapping[str, str], shown: str, line: int) -> dict[str, Any]:
    span: dict[str, Any] = {key: _number(cells[key], int, key, shown, line) for key in ("start", "end")}
    span["type"] = cells["type"]
    if not cells["type"]:
        raise fault(shown, line, "an entity without a type.")
    if cells.get("mention"):
        span["text"] = cells["mention"]
    if cells.get("confidence"):
        span["confidence"] = _number(cells["confidence"], float, "confidence", shown, line)
    return span


def _number(cell: str, kind: Any, name: str, shown: str, line: int) -> Any:
    try:
        return kind(float(cell)) if kind is int and re.fullmatch(r"\d+\.0+", cell) else kind(cell)
    except ValueError:
        raise fault(shown, line, f"`{name}` is no number: {cell[:20]!r}.") from None


def table_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """(id of the row, cells) of each line, the header first; what is unlabelled has a text alone."""
    is_begun = False
    for row in rows:
        of_texts = "entities" not in row and row.get("labels") is not None
        if not is_begun:
            yield "", list(_CLASS_HEADER if of_texts else _HEADER if "entities" in row else _HEADER[:4])
            is_begun = True
        first = [row["id"], row["document"], str(row["index"]), row["text"]]
        if of_texts:
            sure = "" if row.get("confidence") is None else repr(row["confidence"])
            for label in row["labels"] or [""]:
                yield row["id"], [*first, label, sure]
        elif "entities" not in row:
            yield row["id"], first
        elif not row["entities"]:
            yield row["id"], [*first, "", "", "", "", ""]
        for entity in row.get("entities", ()):
            sure = "" if entity.get("confidence") is None else repr(entity["confidence"])
            own = [str(entity["start"]), str(entity["end"]), entity["type"], entity["text"], sure]
            yield row["id"], [*first, *own]


def _parted(header: str, given: str) -> str:
    """What parts the cells: `given`, or what spreadsheets write in its place where that alone makes the header one."""
    for delimiter in (given, *_INSTEAD):
        try:
            _columns(next(csv.reader([header], delimiter=delimiter)), None, "", 1)
        except (CorpusError, StopIteration, csv.Error):
            continue
        return delimiter
    return given


class CsvSpans(ToolFormat):
    """The format `csv_spans`: commas, quotes, a header. Read with semicolons or tabs, too, as the header shows."""

    holds = ALL - {"tokens", "no_class", "guess", "mixed"}
    delimiter = ","

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        return rows_of_table(self._lines(path, shown), shown, self.text_field)

    def _lines(self, path: Path, shown: str) -> _Table:
        header = ""
        for number, line in text_lines(path, shown):  # what is no text is refused with its line
            header = line if number == 1 else header
        delimiter = self.delimiter if self.text_field else _parted(header, self.delimiter)
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file, delimiter=delimiter, strict=True)
            before = 1
            try:
                for row in table:
                    yield before, row
                    before = table.line_num + 1
            except csv.Error as error:
                raise fault(shown, before, f"not a table that can be read: {error}.") from error

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter=self.delimiter, lineterminator="\n")
            table.writerows(cells for _, cells in table_of(rows))


class TsvSpans(CsvSpans):
    """The format `tsv_spans`: the same with tabs."""

    delimiter = "\t"


class Xlsx(ToolFormat):
    """The format `xlsx`: the first sheet of a workbook; others that hold anything are counted. Formulas are refused."""

    holds = ALL - {"tokens", "no_class", "guess", "mixed"}
    longest = 32_767  # characters of a cell, as Excel has it

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        openpyxl = _openpyxl(shown)
        with path.open("rb") as file:
            try:
                first, *others = openpyxl.load_workbook(file, read_only=True).worksheets
                filled = [each.title for each in others if any(map(any, each.iter_rows(values_only=True)))]
            except Exception as error:  # zip, XML and openpyxl have errors of their own
                raise CorpusError(f"{shown}: not a workbook that can be read ({type(error).__name__}).") from error
            yield from ((1, Lost("other_sheets", title)) for title in filled)
            yield from rows_of_table(self._lines(first, shown), shown, self.text_field)

    def _lines(self, sheet: Any, shown: str) -> _Table:
        for number, row in enumerate(sheet.iter_rows(), 1):
            for cell in row:
                if (cell.data_type, cell.value is None) in (("f", False), ("e", False)):
                    raise fault(shown, number, "a cell is a formula or an error. Paste its value in its place.")
            yield number, ["" if cell.value is None else _plain(str(cell.value)) for cell in row]

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        openpyxl = _openpyxl(str(path))
        # All of them before the first is written: a sheet that is given up leaves its text in a temporary file.
        lines = [[self._escaped(text, id_, path) for text in cells] for id_, cells in table_of(rows)]
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("spans")
        for line in lines:
            sheet.append([_text_cell(sheet, text) for text in line])
        book.save(path)

    def _escaped(self, text: str, id_: str, path: Path) -> str:
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        escaped = _CARRIAGE.sub(lambda match: f"_x{ord(match[0]):04X}_", text)
        if len(escaped) > self.longest:
            raise CorpusError(f"{path}: {id_} is longer than the {self.longest} characters of a cell. Write .csv.")
        if ILLEGAL_CHARACTERS_RE.search(escaped):
            raise CorpusError(f"{path}: {id_} has a control character that a workbook cannot hold. Write .csv.")
        return escaped


def _text_cell(sheet: Any, text: str) -> Any:
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, value=text)
    cell.data_type = "s"  # = at the beginning makes no formula
    return cell


_CARRIAGE = re.compile(r"\r|_(?=x[0-9A-Fa-f]{4}_)")  # which XML, or a reader of workbooks, would change


def _plain(text: str) -> str:
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)


def _openpyxl(shown: str) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise MissingPackage(
            f"{shown}: the format xlsx needs openpyxl. Install it: pip install 'distill_offline[xlsx]'."
        ) from error
    return openpyxl
