"""The sentences around a sentence, for a teacher that is to see them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from distill_offline.corpus.record import Record

__all__ = ["with_context"]


def with_context(records: Iterable[Record], width: int) -> Iterator[Record]:
    """Each record, its sentence with up to `width` sentences of its own document on either side; in order, streams.

    A document's sentences must follow one another, as every corpus format gives them; so this comes before any part
    of a corpus is chosen. Those whose `index` does not go on by one stood apart (in a file of chosen sentences), and
    are no neighbours. No more than `width` sentences are read ahead.
    """
    before: deque[Record] = deque(maxlen=min(width, sys.maxsize))
    ahead: deque[Record] = deque()
    last: Record | None = None
    for record in records:
        if last is not None and not _follows(record, last):
            yield from _drained(before, ahead)
            before.clear()
        last = record
        ahead.append(record)
        if len(ahead) > width:
            yield _in_context(before, ahead)
    yield from _drained(before, ahead)


def _follows(record: Record, other: Record) -> bool:
    return record.document == other.document and record.sentence.index == other.sentence.index + 1


def _drained(before: deque[Record], ahead: deque[Record]) -> Iterator[Record]:
    while ahead:
        yield _in_context(before, ahead)


def _in_context(before: deque[Record], ahead: deque[Record]) -> Record:
    """The first that is ahead; it stands before the others from now on."""
    first = ahead.popleft()
    in_context = replace(first, sentence=replace(first.sentence, before=_joined(before), after=_joined(ahead)))
    before.append(first)
    return in_context


def _joined(records: Iterable[Record]) -> str:
    return " ".join(record.sentence.text for record in records)
