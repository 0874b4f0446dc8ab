"""The store's tables, what a row of them holds, and how a completion is written into one."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import NamedTuple

from distill_offline.schema import Completion, canonical_json

__all__ = [
    "FAILURES",
    "FORMAT",
    "INSERT",
    "RENUMBER",
    "TABLES",
    "Answer",
    "Row",
    "dump",
    "load",
    "name_from",
    "name_to",
]

FORMAT = 2
INSERT = "INSERT INTO completions VALUES (?, ?, ?, ?, ?)"
TABLES = """
CREATE TABLE IF NOT EXISTS recipes (
    digest BLOB PRIMARY KEY,      -- of the JSON beside it
    recipe TEXT NOT NULL          -- model identity, sampling: what all its completions share
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS completions (
    digest BLOB PRIMARY KEY,      -- prompt_digest
    recipe BLOB NOT NULL,
    sentence_id TEXT NOT NULL,    -- the first sentence that asked; identical prompts are asked once
    document TEXT NOT NULL,       -- whose sentence that is
    completion TEXT NOT NULL      -- schema.Completion as JSON
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    part TEXT NOT NULL,           -- which corpus: unlabelled, dev, test
    position INTEGER NOT NULL,
    sentence_id TEXT NOT NULL,
    document TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (part, position)
) WITHOUT ROWID;
"""

# Made when it is first needed: stores of older versions have none.
FAILURES = """
CREATE TABLE IF NOT EXISTS failures (
    digest BLOB PRIMARY KEY,      -- of a prompt that an engine could not answer, and that is asked again
    cause TEXT NOT NULL           -- the last time; it holds no text of the corpus
) WITHOUT ROWID
"""

RENUMBER = (
    """CREATE TEMP TABLE kept AS SELECT part, row_number() OVER (PARTITION BY part ORDER BY position) - 1,
       sentence_id, document, digest FROM rows""",
    "DELETE FROM rows",
    "INSERT INTO rows SELECT * FROM kept",
    "DROP TABLE kept",
)  # positions without gaps, after rows were deleted


class Row(NamedTuple):
    """A sentence of a corpus, and the digest of the prompt whose answer it wants."""

    sentence_id: str
    document: str
    digest: bytes


class Answer(NamedTuple):
    """A completion with its key, the digest of its recipe, and the sentence that asked for it."""

    digest: bytes
    recipe: bytes
    sentence_id: str
    document: str
    completion: Completion


_FIELDS = tuple(field.name for field in fields(Completion))


def dump(completion: Completion) -> str:
    """JSON of the fields that say something."""
    value = {name: item for name in _FIELDS if (item := getattr(completion, name)) not in ("", 0, ())}
    return canonical_json(value).decode()


def load(text: str) -> Completion:
    """The completion again. Raises ValueError if the text is none."""
    try:
        value = {"text": "", "finish_reason": "", **json.loads(text)}
        for key in ("token_texts", "token_logprobs"):
            if key in value:
                value[key] = tuple(value[key])
        if "first_tokens" in value:
            value["first_tokens"] = tuple((str(text), float(log)) for text, log in value["first_tokens"])
        return Completion(**value)
    except (TypeError, RecursionError) as error:
        raise ValueError("not a completion") from error


def name_to(name: str) -> str | bytes:
    """A sentence's or document's id as SQLite can hold it: bytes where it has half a character (a lone surrogate)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")
    return name


def name_from(stored: str | bytes) -> str:
    return stored.decode("utf-8", "surrogatepass") if isinstance(stored, bytes) else stored
