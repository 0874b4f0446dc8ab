"""doccano's JSONL: a text a line, with spans as triples or objects, or with the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.exchange.json_records import as_id, json_records, not_one_of, write_json_lines
from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import Lost

__all__ = ["Doccano"]


class Doccano(ToolFormat):
    """The format `doccano`: `label` or `labels` of triples or names, or `entities` with `start_offset`."""

    holds = ALL - {"tokens", "confidence"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        of_texts = _are_of_texts(path, shown)
        for line, record in json_records(path, shown):
            text = record.get(self.text_field or ("text" if "text" in record else "data"))
            if not isinstance(text, str):
                raise not_one_of("doccano", record, "it has no `text`", shown, line)
            row = {key: record[key] for key in ("id", "document", "index") if record.get(key) is not None}
            row["text"], id_ = text, as_id(record.get("id")) or str(line)
            if relations := record.get("relations"):
                yield line, Lost("relations", id_, len(relations))
            given = next((record[key] for key in ("entities", "label", "labels") if record.get(key) is not None), None)
            if isinstance(given, str):
                given = [given]
            if given is not None and not isinstance(given, list):
                raise fault(shown, line, "`label` must be a list.")
            if given is not None and of_texts:
                row["labels"] = given
            elif given is not None:
                row["spans"] = [_span(each, shown, line) for each in given]
            yield line, row

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write_json_lines(path, map(_record, rows))


def _are_of_texts(path: Path, shown: str) -> bool:
    """Whether labels are classes of the whole text: as the first one that is there says."""
    for _, record in json_records(path, shown):
        for key in ("entities", "label", "labels"):
            if isinstance(record.get(key), str):
                return True
            if isinstance(record.get(key), list) and record[key]:
                return isinstance(record[key][0], str)
    return False


def _span(value: Any, shown: str, line: int) -> dict[str, Any]:
    if isinstance(value, Mapping) and "start_offset" in value:
        return {"start": value["start_offset"], "end": value.get("end_offset"), "type": value.get("label")}
    if isinstance(value, list) and len(value) >= 3:
        return {"start": value[0], "end": value[1], "type": value[2]}
    raise fault(shown, line, "a label must be [start, end, type], or have start_offset, end_offset and label.")


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    record = {key: row[key] for key in ("id", "text", "document", "index")}
    if "entities" in row:
        record["label"] = [[entity["start"], entity["end"], entity["type"]] for entity in row["entities"]]
    elif row.get("labels") is not None:
        record["label"] = list(row["labels"])
    return record
