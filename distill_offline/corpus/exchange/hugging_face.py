"""Rows of Hugging Face data sets: Parquet with integer tags or classes, whose names are in the file's own features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_offline.corpus.holding import ALL, ToolFormat, tags_of
from distill_offline.corpus.lines import fault
from distill_offline.errors import CorpusError

__all__ = ["HuggingFace"]

_KEY = b"huggingface"
_TAGS = ("ner_tags", "tags", "labels")
_OF_TOKENS = _TAGS[:2]  # `labels` may be classes, too
_CLASS = ("label", "labels")
_BATCH = 1024


class HuggingFace(ToolFormat):
    """The format `hugging_face`: `tokens` and `ner_tags`, or `text` and `label`."""

    holds = ALL - {"pieces", "overlaps", "confidence", "guess", "classes", "no_class", "mixed"}

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, Any]]:
        import pyarrow
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(path) as file:
                names = _names((file.schema_arrow.metadata or {}).get(_KEY))
                number = 0
                for batch in file.iter_batches(batch_size=_BATCH):
                    for record in batch.to_pylist():
                        number += 1
                        yield number, _row(record, names, self.text_field or "text", shown, number)
        except (pyarrow.ArrowException, OSError) as error:
            raise CorpusError(f"{shown}: not a Parquet file that can be read ({type(error).__name__}).") from error

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        import pyarrow
        from pyarrow import parquet

        given = list(rows)  # all of them: the names of all tags stand before the first row
        text, number = pyarrow.string(), pyarrow.int64()
        columns: dict[str, Any] = {"id": text, "document": text, "index": number, "text": text}
        columns |= {"tokens": pyarrow.list_(text), "offsets": pyarrow.list_(pyarrow.list_(number))}
        features: dict[str, Any] = {"id": _value("string"), "document": _value("string"), "index": _value("int64")}
        features |= {
            "text": _value("string"),
            "tokens": _list(_value("string")),
            "offsets": _list(_list(_value("int64"))),
        }
        records = [{key: row[key] for key in columns} for row in given]
        if any("entities" in row for row in given):
            tags = [tags_of(row) or [] for row in given]
            types = sorted({tag[2:] for row in tags for tag in row if tag != "O"})
            known = ["O", *(f"{letter}-{type_}" for type_ in types for letter in "BI")]
            columns["ner_tags"], features["ner_tags"] = pyarrow.list_(number), _list(_classes(known))
            records = [{**r, "ner_tags": [known.index(t) for t in row]} for r, row in zip(records, tags, strict=True)]
        elif any(row.get("labels") for row in given):
            known = sorted({label for row in given for label in row.get("labels") or ()})
            columns["label"], features["label"] = number, _classes(known)
            said = [known.index(row["labels"][0]) if row.get("labels") else -1 for row in given]
            records = [{**record, "label": label} for record, label in zip(records, said, strict=True)]
        metadata = {_KEY: json.dumps({"info": {"features": features}})}
        schema = pyarrow.schema(list(columns.items()), metadata=metadata)
        parquet.write_table(pyarrow.Table.from_pylist(records, schema=schema), path)


def _value(kind: str) -> dict[str, Any]:
    return {"dtype": kind, "_type": "Value"}


def _list(feature: dict[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "Sequence"}


def _classes(names: list[str]) -> dict[str, Any]:
    return {"names": names, "_type": "ClassLabel"}


def _names(metadata: bytes | None) -> dict[str, list[str]]:
    """The names that a column's numbers stand for."""
    try:
        features = json.loads(metadata or b"{}").get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) and feature else feature
        inner = inner.get("feature", inner) if isinstance(inner, Mapping) else {}
        if isinstance(inner, Mapping) and isinstance(inner.get("names"), list):
            found[column] = [str(name) for name in inner["names"]]
    return found


def _row(
    record: Mapping[str, Any], names: Mapping[str, list[str]], text_field: str, shown: str, number: int
) -> dict[str, Any]:
    row = {key: record[key] for key in ("id", "document", "index", "tokens") if record.get(key) is not None}
    if isinstance(record.get(text_field), str):
        row["text"] = record[text_field]
    if "text" in row and record.get("offsets") is not None:
        row["offsets"] = record["offsets"]
    column = next((key for key in _TAGS if isinstance(record.get(key), list)), None)
    if column is None or "tokens" not in row:
        column = next((key for key in _CLASS if record.get(key) is not None), None)
    if column is None:
        return row
    given = record[column] if isinstance(record[column], list) else [record[column]]
    if given == [-1]:  # not labelled, by the convention of the Hub
        return row
    if column in _OF_TOKENS and "tokens" in row and len(given) != len(row["tokens"]):
        raise fault(shown, number, f"`{column}` holds {len(given)} tags for {len(row['tokens'])} tokens.")
    row["labels"] = [_name(value, column, names, shown, number) for value in given]
    return row


def _name(value: Any, column: str, names: Mapping[str, list[str]], shown: str, number: int) -> str:
    if isinstance(value, str):
        return value
    known = names.get(column)
    if known is None:
        raise fault(
            shown, number, f"the file does not say what the numbers in `{column}` mean. Write it by `datasets`."
        )
    if not isinstance(value, int) or not 0 <= value < len(known):
        raise fault(shown, number, f"`{column}` holds {value!r}, and there are {len(known)} names.")
    return known[value]
