"""Sentences in many languages with their names marked, written for this project: see multilingual.tsv."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Marked", "marked_sentences"]

_MARK = re.compile(r"\{([A-Z]+)\|([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Marked:
    """A text and its names as (start, end, type), in characters."""

    language: str
    text: str
    spans: tuple[tuple[int, int, str], ...]


def marked_sentences() -> Iterator[Marked]:
    """Every sentence of the file: a language, a tab, and text in which {TYPE|name} stands for a name."""
    for line in Path(__file__).with_name("multilingual.tsv").read_text("utf-8").splitlines():
        language, marked = line.split("\t")
        text, spans, done = "", [], 0
        for mark in _MARK.finditer(marked):
            text += marked[done : mark.start()]
            spans.append((len(text), len(text) + len(mark[2]), mark[1]))
            text, done = text + mark[2], mark.end()
        yield Marked(language, text + marked[done:], tuple(spans))
