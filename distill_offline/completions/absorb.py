"""Taking over what another store holds: a shard's, or what can still be read of a damaged one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.completions.store import CompletionStore, check_format, uri_to_look
from distill_offline.completions.tables import INSERT, load
from distill_offline.errors import StoreError
from distill_offline.storage.filesystem import is_network

__all__ = ["Absorbed", "absorb", "check_readable"]

_BATCH = 500


@dataclass(slots=True)
class Absorbed:
    """What was found in another store, in completions.

    `new` were taken over; `duplicate` were here already, word for word; `different` were here with other words, and
    the ones here stay; `unreadable` are no completions. `is_damaged`: pages could not be read, and nobody can say how
    many completions stood there.
    """

    new: int = 0
    duplicate: int = 0
    different: int = 0
    unreadable: int = 0
    is_damaged: bool = False


def check_readable(path: Path) -> None:
    """Raises StoreError if the file at `path` is no completion store that can be opened."""
    try:
        with closing(_opened(path)) as other:
            check_format(other, path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}. Nothing of it can be read.") from error


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(uri_to_look(path, is_shared=is_network(path)), uri=True, isolation_level=None)


def absorb(store: CompletionStore, path: Path) -> Absorbed:
    """Take over the completions of the file at `path` that `store` lacks; of a damaged one, those that can be read.

    What is stored already is never changed, and the other file is only read. Raises StoreError if it is no store,
    or nothing of it can be read.
    """
    absorbed = Absorbed()
    if not path.is_file():
        raise StoreError(f"{path}: no such completion store.")
    try:
        with closing(_opened(path)) as other:
            check_format(other, path)
            recipes = other.execute("SELECT digest, recipe FROM recipes").fetchall()
            with store.transaction() as connection:
                connection.executemany("INSERT OR IGNORE INTO recipes VALUES (?, ?)", recipes)
            seen = set[bytes]()
            # A damaged page ends a scan: what stands behind it is read from the other end.
            for order in ("ASC", "DESC"):
                absorbed.is_damaged = not _scan(store, other, order, seen, absorbed)
                if not absorbed.is_damaged:
                    break
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}. Nothing of it can be read.") from error
    return absorbed


def _scan(store: CompletionStore, other: sqlite3.Connection, order: str, seen: set[bytes], absorbed: Absorbed) -> bool:
    """Take over the completions in one order; whether the scan came to the end."""
    rows = other.execute(f"SELECT * FROM completions ORDER BY digest {order}")
    while True:
        batch: list[tuple[Any, ...]] = []
        is_broken = False
        try:
            for _ in range(_BATCH):
                if (row := rows.fetchone()) is None:
                    break
                batch.append(row)
        except sqlite3.DatabaseError:
            is_broken = True
        with store.transaction() as connection:
            for row in _unseen(batch, seen):
                _take(connection, row, absorbed)
        if is_broken:
            return False
        if len(batch) < _BATCH:
            return True


def _unseen(batch: list[tuple[Any, ...]], seen: set[bytes]) -> Iterator[tuple[Any, ...]]:
    for row in batch:
        # Half of a digest tells a million of them apart, in half the memory.
        if (mark := row[0][:16]) not in seen:
            seen.add(mark)
            yield row


def _said(text: str) -> tuple[str, ...]:
    """What makes two answers the same; tokens taken from a cache, say, do not."""
    completion = load(text)
    return completion.text, completion.thinking, completion.finish_reason


def _take(connection: sqlite3.Connection, row: tuple[Any, ...], absorbed: Absorbed) -> None:
    here = connection.execute("SELECT completion FROM completions WHERE digest = ?", row[:1]).fetchone()
    try:
        said = _said(row[4])
    except ValueError:
        absorbed.unreadable += 1
        return
    if here is not None:
        is_same = _said(here[0]) == said
        absorbed.duplicate += is_same
        absorbed.different += not is_same
        return
    connection.execute(INSERT, row)
    absorbed.new += 1
