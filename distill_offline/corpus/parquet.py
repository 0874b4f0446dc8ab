"""Parquet: the fields of a JSONL row as columns, read and written batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from distill_offline.corpus.foreign_rows import FOREIGN_FIELDS
from distill_offline.corpus.rows import FIELDS
from distill_offline.errors import CorpusError

__all__ = ["Parquet"]

_BATCH = 1024


class Parquet:
    """The format `parquet`."""

    def read(self, path: Path, shown: str) -> Iterator[tuple[int, object]]:
        return _rows(path, shown)

    def write(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        _write(path, rows)


def _rows(path: Path, shown: str) -> Iterator[tuple[int, object]]:
    """(row from 1, fields) of the columns that mean something here."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [name for name in names if name in FIELDS or name in FOREIGN_FIELDS]
            if {"tokenized_text", "data", *FIELDS}.isdisjoint(columns):
                raise CorpusError(f"{shown}: none of its columns is known here. Name them {', '.join(FIELDS)}.")
            batches = file.iter_batches(batch_size=_BATCH, columns=columns)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(f"{shown}: not a Parquet file that can be read ({type(error).__name__}).") from error


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows, a batch in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    remaining = iter(rows)
    batch = list(islice(remaining, _BATCH))
    text, number = pyarrow.string(), pyarrow.int64()
    fields = [("id", text), ("document", text), ("index", number), ("text", text), ("tokens", pyarrow.list_(text))]
    fields.append(("offsets", pyarrow.list_(pyarrow.list_(number))))
    entity = [("text", text), ("start", number), ("end", number), ("type", text), ("confidence", pyarrow.float64())]
    more = {"labels": pyarrow.list_(text), "entities": pyarrow.list_(pyarrow.struct(entity))}
    more |= {"confidence": pyarrow.float64(), "confidence_kind": text}
    fields += more.items()  # all of them: what a later batch has is not known yet
    schema = pyarrow.schema(fields)
    with parquet.ParquetWriter(path, schema) as writer:
        while batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            batch = list(islice(remaining, _BATCH))
