"""The corpus and its stand-off labels, joined again sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from distill_offline.corpus.lines import fault
from distill_offline.corpus.record import Record
from distill_offline.corpus.standoff import StandoffLabels, content_prefix, read_header, read_standoff
from distill_offline.label_kinds import widest
from distill_offline.schema import Head
from distill_offline.spans.bio import encode_bio

__all__ = ["with_standoff"]


def with_standoff(records: Iterable[Record], path: Path, shown: str, head: Head) -> Iterator[Record]:
    """All `records` of a corpus, those that the stand-off file at `path` names with its labels; streams.

    `shown` is how the file is called in messages. Raises CorpusError, naming file, line and the sentence's position,
    where the labels are of another sentence, where the corpus ends before them, or where they do not fit the sentence
    or the task.
    """
    task = read_header(path, shown).task
    if widest(task, head) != head:
        raise fault(shown, 1, f"these are labels for {task}, and the task needs {head}.")
    rows = read_standoff(path, shown)
    row, count = next(rows, None), 0
    for count, record in enumerate(records, start=1):
        if row is None or row.position >= count:
            yield record
            continue
        yield _joined(record, row)
        row = next(rows, None)
    if row is not None:
        raise fault(
            shown,
            row.line,
            f"these are labels for sentence {row.position} (from 0), and the corpus has only {count}. Name the corpus "
            "that they were made in, the whole of it.",
        )


def _joined(record: Record, row: StandoffLabels) -> Record:
    where = f"sentence {row.position} (from 0; {record.shown}:{record.line})"
    if content_prefix(record.sentence) != row.content:
        raise fault(
            row.shown,
            row.line,
            f"{where} has other tokens than the one that was labelled. Name the very corpus that the labels were made "
            "in, unchanged and in its order.",
        )
    if row.labels is not None:
        return replace(record, labels=row.labels, standoff=row)
    try:
        labels = encode_bio(row.spans, length := len(record.sentence.tokens))
        for name, positions in (("masked", row.beside.masked), ("relabelled", row.beside.relabelled)):
            if any(token >= length for token in positions):
                raise ValueError(f"`{name}` is out of range: there are {length} tokens")
    except ValueError as error:
        raise fault(row.shown, row.line, f"{where}: {error}.") from error
    return replace(record, labels=labels, scheme="iob2", standoff=row)
