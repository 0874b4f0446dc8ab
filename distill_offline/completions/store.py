"""The store of raw completions: append, look up by digest, survive a kill. SQLite, one file, one writer.

A completion's key is the digest of all that decides it: the rendered messages, the schema, the model's identity, the
sampling and the sample's number. What is stored is never changed, so that a parser can be mended and run again
without the teacher, and a changed prompt can never meet an old answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from distill_offline.completions.tables import (
    FAILURES,
    FORMAT,
    INSERT,
    RENUMBER,
    TABLES,
    Answer,
    Row,
    dump,
    load,
    name_from,
    name_to,
)
from distill_offline.errors import StoreError, os_fault
from distill_offline.schema import Completion, Prompt, canonical_json
from distill_offline.storage.files import check_plain, make_folder, open_in_place
from distill_offline.storage.filesystem import is_network
from distill_offline.storage.lock import Lock

__all__ = ["CompletionStore", "check_format", "check_free", "prompt_digest", "uri_to_look"]


def prompt_digest(prompt: Prompt, recipe: bytes) -> bytes:
    """SHA-256 over messages, schema and sample of a prompt and the recipe's digest (32 bytes)."""
    value = [[[m.role, m.content] for m in prompt.messages], prompt.schema, prompt.sample, recipe.hex()]
    return hashlib.sha256(canonical_json(value)).digest()


def check_free(path: Path) -> None:
    """Raises StoreError if another process has the store at `path` open for writing."""
    if path.parent.is_dir():
        _locked(path, is_shared=is_network(path)).release()


def _locked(path: Path, *, is_shared: bool) -> Lock:
    try:
        return Lock(path, is_shared=is_shared)
    except BlockingIOError as error:
        raise StoreError(
            f"{path}: another process is annotating into this store. Wait for it, or give another -o."
        ) from error


def uri_to_look(path: Path, *, is_shared: bool) -> str:
    """A URI by which SQLite only reads the file, and leaves nothing beside it unless somebody is writing."""
    # Whoever writes has a log open; without one, looking must not leave files beside a sealed store.
    is_written = is_shared or path.with_name(path.name + "-wal").exists()
    return f"{path.resolve().as_uri()}?{'mode=ro' if is_written else 'immutable=1'}"


def check_format(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a store of ours; False where it is empty still. Raises StoreError for any other file."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return False
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT or not {"recipes", "completions", "rows"} <= tables:
        raise StoreError(
            f"{path}: no completion store of format {FORMAT}, which this version reads (its format is "
            f"{version}). Move it away, or give another -o."
        )
    return True


class CompletionStore:
    """Opened by one process at a time; a context manager. `read_only` looks at a store that another may be writing.

    On a filesystem that other machines share (`is_shared`; default: as the mount's type says), SQLite's write-ahead log
    is unsafe: a rollback journal is used there, and a lock file. Raises StoreError if the file is locked by another
    process, is no store of ours, is damaged, or cannot be written, InputError where a link or no plain file has one of
    its names; nothing that is stored is touched by that.
    """

    def __init__(self, path: Path, *, read_only: bool = False, is_shared: bool | None = None) -> None:
        self.path, self._read_only = path, read_only
        self._is_shared = is_network(path) if is_shared is None else is_shared
        self._lock: Lock | None = None
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
            self._lock.release()
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
        wanted, stored = list(digests), set[bytes]()
        with self._guarded():
            for start in range(0, len(wanted), 500):
                batch = wanted[start : start + 500]
                marks = ",".join("?" * len(batch))
                query = f"SELECT digest FROM completions WHERE digest IN ({marks})"
                stored.update(row[0] for row in self._open.execute(query, batch))
        return stored

    def add(self, answers: Iterable[Answer]) -> None:
        """Commit answers together. One already there stays as it is."""
        rows = [(a.digest, a.recipe, name_to(a.sentence_id), name_to(a.document), dump(a.completion)) for a in answers]
        with self.transaction() as connection:
            connection.executemany(f"{INSERT} ON CONFLICT (digest) DO NOTHING", rows)

    def note_failures(self, causes: Mapping[bytes, str]) -> None:
        """Say why prompts could not be answered. That is no answer: they are asked again."""
        with self.transaction() as connection:
            connection.execute(FAILURES)
            connection.executemany("INSERT OR REPLACE INTO failures VALUES (?, ?)", list(causes.items()))

    def failures(self) -> dict[bytes, str]:
        """Why prompts without an answer could not be answered the last time, by digest."""
        with self._guarded():
            if not self._has_failures():
                return {}
            query = "SELECT digest, cause FROM failures WHERE digest NOT IN (SELECT digest FROM completions)"
            return dict(self._open.execute(query).fetchall())

    def _has_failures(self) -> bool:
        return self._open.execute("SELECT 1 FROM sqlite_schema WHERE name = 'failures'").fetchone() is not None

    def set_rows(self, corpus_part: str, start: int, rows: Iterable[Row]) -> None:
        """Say which completion the sentences of a corpus from position `start` on want."""
        numbered = [
            (corpus_part, start + n, name_to(r.sentence_id), name_to(r.document), r.digest) for n, r in enumerate(rows)
        ]
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", numbered)

    def end_rows(self, corpus_part: str, count: int) -> None:
        """Forget the rows of a corpus from position `count` on: it has shrunk."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM rows WHERE part = ? AND position >= ?", (corpus_part, count))

    def rows(self, corpus_part: str) -> Iterator[tuple[str, bytes, Completion | None]]:
        """`(sentence id, digest, completion or None)` of a corpus, in its order."""
        query = """SELECT r.sentence_id, r.digest, c.completion FROM rows r LEFT JOIN completions c USING (digest)
                   WHERE r.part = ? ORDER BY r.position"""
        with self._guarded():
            for id_, digest, text in self._open.execute(query, (corpus_part,)):
                yield name_from(id_), digest, None if text is None else self._load(text)

    def answered_ids(self, corpus_part: str) -> Iterator[str]:
        """The ids of a corpus's sentences whose completion is stored."""
        query = "SELECT r.sentence_id FROM rows r JOIN completions c USING (digest) WHERE r.part = ?"
        with self._guarded():
            for (id_,) in self._open.execute(query, (corpus_part,)):
                yield name_from(id_)

    def recipes_of(self, corpus_part: str) -> set[bytes]:
        """Digests of the recipes by which the answers that a corpus wants were made."""
        query = "SELECT DISTINCT c.recipe FROM rows r JOIN completions c USING (digest) WHERE r.part = ?"
        with self._guarded():
            return {recipe for (recipe,) in self._open.execute(query, (corpus_part,))}

    def progress(self) -> dict[str, tuple[int, int]]:
        """For each corpus, how many of its rows have been reached, and how many of those are answered."""
        query = """SELECT r.part, count(*), count(c.digest) FROM rows r LEFT JOIN completions c USING (digest)
                   GROUP BY r.part ORDER BY r.part"""
        with self._guarded():
            return {corpus_part: (rows, answered) for corpus_part, rows, answered in self._open.execute(query)}

    def count(self) -> int:
        with self._guarded():
            return int(self._open.execute("SELECT count(*) FROM completions").fetchone()[0])

    def forget(self, document: str) -> tuple[int, int]:
        """Delete a document's rows, and every completion that no other document wants: `(rows, completions)`.

        The deleted bytes are overwritten, in the write-ahead log as well. The file stays as it is, to the byte, if
        nothing in it is the document's.
        """
        name = name_to(document)
        with self.transaction() as connection:
            completions = connection.execute(
                """DELETE FROM completions
                   WHERE (document = ?1 OR digest IN (SELECT digest FROM rows WHERE document = ?1))
                   AND digest NOT IN (SELECT digest FROM rows WHERE document <> ?1)""",
                (name,),
            ).rowcount
            renamed = connection.execute(
                """UPDATE completions SET (sentence_id, document) =
                     (SELECT sentence_id, document FROM rows WHERE digest = completions.digest AND document <> ?1)
                   WHERE document = ?1""",
                (name,),
            ).rowcount
            rows = connection.execute("DELETE FROM rows WHERE document = ?", (name,)).rowcount
            if rows and self._has_failures():
                connection.execute("DELETE FROM failures WHERE digest NOT IN (SELECT digest FROM rows)")
            for statement in RENUMBER if rows else ():
                connection.execute(statement)
        if rows or completions or renamed:
            self._scrub()
        return rows, completions

    def answers(self) -> Iterator[tuple[bytes, str, Completion]]:
        """`(digest, sentence id, completion)` of everything that is stored, wanted by a row or not."""
        with self._guarded():
            for digest, id_, text in self._open.execute("SELECT digest, sentence_id, completion FROM completions"):
                yield digest, name_from(id_), self._load(text)

    def forget_answers(self, digests: Collection[bytes]) -> int:
        """Delete these answers, so that they are asked again; gives their number."""
        if not digests:
            return 0
        with self.transaction() as connection:
            before = connection.total_changes
            connection.executemany("DELETE FROM completions WHERE digest = ?", [(digest,) for digest in digests])
            deleted = connection.total_changes - before
        self._scrub()
        return deleted

    def _scrub(self) -> None:
        with self._guarded():
            self._open.execute("VACUUM")
            self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def was_changed(self) -> bool:
        """Whether anything was written since it was opened."""
        return self._open.total_changes > 0

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path}: the completion store is closed.")
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection within BEGIN and COMMIT; rolled back where the block raises."""
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
        make_folder(self.path.parent)
        for beside in ("", "-wal", "-shm", "-journal"):  # SQLite opens them by name, and may follow a link
            check_plain(self.path.with_name(self.path.name + beside))
        self._lock = _locked(self.path, is_shared=self._is_shared)
        if not self.path.exists():
            os.close(open_in_place(self.path))
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        has_tables = check_format(self._connection, self.path)
        # A write-ahead log needs memory that all readers share, which other machines' readers do not.
        self._connection.execute(f"PRAGMA journal_mode={'DELETE' if self._is_shared else 'WAL'}")
        self._connection.execute("PRAGMA synchronous=FULL")  # what was committed outlives a power cut, too
        self._connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
        if not has_tables:
            self._connection.executescript(f"BEGIN IMMEDIATE;{TABLES}PRAGMA user_version={FORMAT};COMMIT;")

    def _look(self) -> None:
        if self.path.exists():
            name = uri_to_look(self.path, is_shared=self._is_shared)
            self._connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
            if check_format(self._connection, self.path):
                return
            self._connection.close()
        # A store that is not there yet, or was just made, is an empty one: in memory.
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(TABLES)

    def _load(self, text: str) -> Completion:
        try:
            return load(text)
        except ValueError as error:
            raise StoreError(
                f"{self.path}: a stored completion is damaged. Move the file away: `distill-offline merge` keeps "
                "what can still be read of it."
            ) from error

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path}: {os_fault(error)}") from error
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: {error}. What was committed is untouched; check disk space and permissions, "
                "or move a damaged file away: `distill-offline merge` keeps what can still be read of it."
            ) from error
