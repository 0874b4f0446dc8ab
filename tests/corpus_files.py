"""Small corpus files for tests, and what reading them gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_offline import corpus
from distill_offline.config.settings import Source
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Sentence

__all__ = ["assert_offsets_are_exact", "examples_of", "fault_of", "write_file", "write_jsonl"]


def write_file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_jsonl(folder: Path, *rows: object) -> Path:
    return write_file(folder, "in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def examples_of(source: str | Path | Source, **options: Any) -> list[Example]:
    return list(corpus.read_examples(source, **{"origin": "original", **options}))


def fault_of(source: str | Path | Source, **options: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        examples_of(source, **options)
    return str(caught.value)


def assert_offsets_are_exact(sentence: Sentence) -> None:
    assert tuple(sentence.text[start:end] for start, end in sentence.offsets) == sentence.tokens
