"""doccano's JSONL: a text a line, with spans as triples or objects, or with the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.exchange.json_records import as_id, json_records, listed, not_one_of, write_json_lines
from distill_offline.corpus.holding import ALL, ToolFormat
from distill_offline.corpus.lines import fault
from distill_offline.corpus.lost import Lost

__all__ = ["Doccano"]


class Doccano(ToolFormat):
    """The format `doccano`: `label` or `labels` of triples or names, or `entities` with `start_offset`;
    classes beside entities (`cats`) are counted."""

    holds = ALL - {"tokens", "confidence", "guess"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        of_texts = _are_of_texts(path, shown)
        for line, record in json_records(path, shown):
            text = record.get(self.text_field or ("text" if "text" in record else "data"))
            if not isinstance(text, str):
                raise not_one_of("doccano", record, "it has no `text`", shown, line)
            row = {key: record[key] for key in ("id", "document", "index") if record.get(key) is not None}
            row["text"], id_ = text, as_id(record.get("id")) or str(line)
            if relations := listed(record, "relations", shown, line):
                yield line, Lost("relations", id_, len(relations))
            classes, spans = _split(record, shown, line)
            if of_texts and spans:
                raise fault(shown, line, "a text with entities among texts with classes. Put them into files apart.")
            if classes is not None and of_texts:
                row["labels"] = classes
            elif classes or spans is not None:
                yield from ([(line, Lost("classes_beside", id_, len(classes)))] if classes else [])
                if spans is None:
                    raise fault(
                        shown, line, "a text with classes among texts with entities. Put them into files apart."
                    )
                row["spans"] = [_span(each, shown, line) for each in spans]
            elif classes is not None:
                row["spans"] = []
            yield line, row

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write_json_lines(path, map(_record, rows))


_LABELS = ("entities", "label", "labels", "cats", "annotations")


def _split(record: Mapping[str, Any], shown: str, line: int) -> tuple[list[str] | None, list[Any] | None]:
    """The classes of a record and its spans; each None if there is no list of such."""
    classes: list[str] | None = None
    spans: list[Any] | None = None
    for key in _LABELS:
        if isinstance(record.get(key), str) and key in ("label", "labels"):
            classes = [*(classes or []), record[key]]
            continue
        given = listed(record, key, shown, line)
        names = [each for each in given if isinstance(each, str)]
        if names and len(names) < len(given):
            raise fault(shown, line, f"`{key}` holds names and spans.")
        if names or (record.get(key) == [] and key == "cats"):
            classes = [*(classes or []), *names]
        elif given or (record.get(key) == [] and key == "entities"):
            spans = [*(spans or []), *given]
        elif record.get(key) == [] and classes is None:
            classes = []  # of either kind
    return classes, spans


def _are_of_texts(path: Path, shown: str) -> bool:
    """Whether labels are classes of the whole text: as the first one that is there says."""
    for _, record in json_records(path, shown):
        kinds = [isinstance(each, str) for key in _LABELS for each in _as_list(record.get(key))]
        if kinds:
            return all(kinds)
    return False


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _span(value: Any, shown: str, line: int) -> dict[str, Any]:
    if isinstance(value, Mapping) and "start_offset" in value:
        if not isinstance(value.get("label"), str):
            raise fault(shown, line, "labels are numbers here, without their names. Export with names (text labels).")
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
