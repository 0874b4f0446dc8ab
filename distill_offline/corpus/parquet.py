"""Parquet: the fields of a JSONL row as columns, read and written batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from distill_offline.corpus.foreign_rows import FOREIGN_FIELDS
from distill_offline.corpus.rows import FIELDS
from distill_offline.errors import CorpusError

__all__ = ["parquet_rows", "write_parquet"]

_BATCH = 1024


def parquet_rows(path: Path, shown: str) -> Iterator[tuple[int, object]]:
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


def write_parquet(file: IO[bytes], rows: Iterable[Mapping[str, Any]], *, labelled: bool) -> None:
    """Write the rows, a batch in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.int64()
    fields = [("id", text), ("document", text), ("index", number), ("text", text), ("tokens", pyarrow.list_(text))]
    fields.append(("offsets", pyarrow.list_(pyarrow.list_(number))))
    if labelled:
        fields.append(("labels", pyarrow.list_(text)))
    schema = pyarrow.schema(fields)
    with parquet.ParquetWriter(file, schema) as writer:
        remaining = iter(rows)
        while batch := list(islice(remaining, _BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
