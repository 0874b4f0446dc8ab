"""GLiNER's JSON: tokens, and entities whose end is their last token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.exchange.json_records import json_records, listed, not_one_of, write_json_list
from distill_offline.corpus.holding import ALL, ToolFormat, on_borders
from distill_offline.corpus.lines import fault

__all__ = ["Gliner"]


class Gliner(ToolFormat):
    """The format `gliner`: `tokenized_text` and `ner`, a list of [first token, last token, type]."""

    holds = ALL - {"class", "classes", "no_class", "pieces", "confidence", "guess"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        for number, record in json_records(path, shown):
            if not isinstance(record.get("tokenized_text"), list):
                raise not_one_of("GLiNER", record, "it has no `tokenized_text`", shown, number)
            row = {key: record[key] for key in ("id", "document", "index", "text") if record.get(key) is not None}
            row["tokens"] = record["tokenized_text"]
            if record.get("ner") is not None:
                row["spans"] = [
                    _span(each, len(row["tokens"]), shown, number) for each in listed(record, "ner", shown, number)
                ]
            yield number, row

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        write_json_list(path, map(_record, rows))


def _span(value: Any, tokens: int, shown: str, number: int) -> dict[str, Any]:
    is_triple = isinstance(value, list) and len(value) >= 3 and isinstance(value[0], int) and isinstance(value[1], int)
    if not is_triple or not 0 <= value[0] <= value[1] < tokens:
        raise fault(shown, number, f"an entity must be [first token, last token, type] of {tokens} tokens.")
    return {"start": value[0], "end": value[1] + 1, "type": value[2]}


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    record = {"tokenized_text": row["tokens"], **{key: row[key] for key in ("id", "document", "index", "text")}}
    if "entities" in row:
        places = [(on_borders(entity, row["offsets"]), entity["type"]) for entity in row["entities"]]
        record["ner"] = [[place[0], place[1] - 1, type_] for place, type_ in places if place]
    return record
