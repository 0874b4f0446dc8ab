"""Read and write corpora of every format, streaming; what is wrong is named by file and line."""

from __future__ import annotations

from distill_offline.corpus.examples import (
    check_same_text,
    digest,
    overlap,
    read_annotations,
    read_examples,
    read_sentences,
)
from distill_offline.corpus.head import head_of
from distill_offline.corpus.labelled import Labelled
from distill_offline.corpus.languages import tokenisation
from distill_offline.corpus.plain_text import OnBadFile
from distill_offline.corpus.source import AnyScheme, AnySource, may_be_raw, resolve_path
from distill_offline.corpus.with_entities import read_with_entities
from distill_offline.corpus.write import check_writable, write_examples, write_labelled, write_sentences

__all__ = [
    "AnyScheme",
    "AnySource",
    "Labelled",
    "OnBadFile",
    "check_same_text",
    "check_writable",
    "digest",
    "head_of",
    "may_be_raw",
    "overlap",
    "read_annotations",
    "read_examples",
    "read_sentences",
    "read_with_entities",
    "resolve_path",
    "tokenisation",
    "write_examples",
    "write_labelled",
    "write_sentences",
]
