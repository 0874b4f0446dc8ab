"""The store of raw completions: append, look up by digest, survive a kill. SQLite, one file, one writer.

A completion's key is the digest of all that decides it: the rendered messages, the schema, the model's identity, the
sampling and the sample's number. What is stored is never changed, so that a parser can be mended and run again
without the teacher, and a changed prompt can never meet an old answer.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from distill_offline.errors import StoreError
from distill_offline.schema import Completion, Prompt, canonical_json

__all__ = ["CompletionStore", "prompt_digest"]

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS recipes (
    digest BLOB PRIMARY KEY,      -- of the JSON beside it
    recipe TEXT NOT NULL          -- model identity, sampling: what all its completions share
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS completions (
    digest BLOB PRIMARY KEY,      -- prompt_digest
    recipe BLOB NOT NULL,
    sentence_id TEXT NOT NULL,    -- the first sentence that asked; identical prompts are asked once
    completion TEXT NOT NULL      -- schema.Completion as JSON
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    part TEXT NOT NULL,           -- which corpus: unlabelled, dev, test
    position INTEGER NOT NULL,
    sentence_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (part, position)
) WITHOUT ROWID;
"""


def prompt_digest(prompt: Prompt, recipe: bytes) -> bytes:
    """SHA-256 over messages, schema and sample of a prompt and the recipe's digest (32 bytes)."""
    value = [[[m.role, m.content] for m in prompt.messages], prompt.schema, prompt.sample, recipe.hex()]
    return hashlib.sha256(canonical_json(value)).digest()


class CompletionStore:
    """Opened by one process at a time; a context manager. `read_only` looks at a store that another may be writing.

    Raises StoreError where the file is locked by another process, is no store of ours, is damaged, or cannot be
    written; nothing that is stored is touched by that.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self._read_only = path, read_only
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            with self._guarded():
                if self._read_only:
                    self._look()
                else:
                    self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold the write-ahead log into the one file and let the next process in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add_recipe(self, recipe: Mapping[str, Any]) -> bytes:
        """Record what a set of completions shares; gives its digest."""
        text = canonical_json(recipe)
        digest = hashlib.sha256(text).digest()
        if self._read_only:
            return digest
        with self._guarded():
            self._open.execute("INSERT OR IGNORE INTO recipes VALUES (?, ?)", (digest, text.decode()))
        return digest

    def recipes(self) -> dict[bytes, dict[str, Any]]:
        """Every recipe that completions were made by, by digest."""
        with self._guarded():
            rows = self._open.execute("SELECT digest, recipe FROM recipes").fetchall()
        return {digest: json.loads(text) for digest, text in rows}

    def get(self, digest: bytes) -> Completion | None:
        with self._guarded():
            row = self._open.execute("SELECT completion FROM completions WHERE digest = ?", (digest,)).fetchone()
        return self._load(row[0]) if row else None

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Those of `digests` that are stored."""
        wanted, found = list(digests), set[bytes]()
        with self._guarded():
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT digest FROM completions WHERE digest IN ({marks})"
                found.update(row[0] for row in self._open.execute(query, part))
        return found

    def add(self, completions: Iterable[tuple[bytes, bytes, str, Completion]]) -> None:
        """Commit `(digest, recipe, sentence id, completion)` together. One already there stays as it is."""
        rows = [(digest, recipe, _id(id_), _dump(completion)) for digest, recipe, id_, completion in completions]
        with self._transaction() as connection:
            connection.executemany("INSERT INTO completions VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING", rows)

    def set_rows(self, part: str, start: int, rows: Iterable[tuple[str, bytes]]) -> None:
        """Say which completion the sentences of a corpus from position `start` on want: `(sentence id, digest)`."""
        numbered = [(part, start + n, _id(id_), digest) for n, (id_, digest) in enumerate(rows)]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", numbered)

    def end_rows(self, part: str, count: int) -> None:
        """Forget the rows of a corpus from position `count` on: it has shrunk."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM rows WHERE part = ? AND position >= ?", (part, count))

    def rows(self, part: str) -> Iterator[tuple[str, bytes, Completion | None]]:
        """`(sentence id, digest, completion or None)` of a corpus, in its order."""
        query = """SELECT r.sentence_id, r.digest, c.completion FROM rows r LEFT JOIN completions c USING (digest)
                   WHERE r.part = ? ORDER BY r.position"""
        with self._guarded():
            for id_, digest, text in self._open.execute(query, (part,)):
                name = id_.decode("utf-8", "surrogatepass") if isinstance(id_, bytes) else id_
                yield name, digest, None if text is None else self._load(text)

    def progress(self) -> dict[str, tuple[int, int]]:
        """For each corpus, how many of its rows have been reached, and how many of those are answered."""
        query = """SELECT r.part, count(*), count(c.digest) FROM rows r LEFT JOIN completions c USING (digest)
                   GROUP BY r.part ORDER BY r.part"""
        with self._guarded():
            return {part: (rows, answered) for part, rows, answered in self._open.execute(query)}

    def count(self) -> int:
        with self._guarded():
            return int(self._open.execute("SELECT count(*) FROM completions").fetchone()[0])

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path}: the completion store is closed.")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded():
            connection = self._open
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back on a full disk
                    connection.execute("ROLLBACK")
                raise

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._acquire()
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        has_tables = self._check_format(self._connection)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")  # what was committed outlives a power cut, too
        if not has_tables:
            self._connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={_FORMAT};COMMIT;")

    def _look(self) -> None:
        if self.path.exists():
            name = f"{self.path.resolve().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
            if self._check_format(self._connection):
                return
            self._connection.close()
        # A store that is not there yet, or was just made, is an empty one: in memory.
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_TABLES)

    def _acquire(self) -> None:
        # The folder itself is locked: no lock file is left behind, and readers of the database are not shut out.
        self._lock = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            self._lock = None
            raise StoreError(
                f"{self.path}: another process is annotating into this store. Wait for it, or give another -o."
            ) from error

    def _check_format(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is a store of ours; False where it is empty still. Raises StoreError for any other file."""
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables:
            return False
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _FORMAT or not {"recipes", "completions", "rows"} <= tables:
            raise StoreError(
                f"{self.path}: no completion store of format {_FORMAT}, which this version reads (its format is "
                f"{version}). Move it away, or give another -o."
            )
        return True

    def _load(self, text: str) -> Completion:
        try:
            value = {"text": "", "finish_reason": "", **json.loads(text)}
            for key in ("token_texts", "token_logprobs"):
                if key in value:
                    value[key] = tuple(value[key])
            return Completion(**value)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{self.path}: a stored completion is damaged. Move the file away and run again."
            ) from error

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: {error}. What was committed is untouched; check disk space and permissions, "
                "or move a damaged file away and run again."
            ) from error


def _dump(completion: Completion) -> str:
    value = {key: item for key, item in asdict(completion).items() if item not in ("", 0, (), [])}
    return canonical_json(value).decode()


def _id(sentence_id: str) -> str | bytes:
    """As SQLite can hold it: text, or bytes where a corpus's own id has half a character (a lone surrogate)."""
    try:
        sentence_id.encode()
    except UnicodeEncodeError:
        return sentence_id.encode("utf-8", "surrogatepass")
    return sentence_id
