"""Sentences and examples for tests, from words with tags."""

from __future__ import annotations

from distill_offline.corpus.record import join_tokens
from distill_offline.schema import Example, Sentence

__all__ = ["example", "sentence"]


def sentence(words: str, id_: str = "") -> Sentence:
    """A sentence of space-separated tokens; its id is its text unless one is given."""
    tokens = tuple(words.split(" "))
    text, offsets = join_tokens(tokens)
    return Sentence(id_ or text, "doc", 0, text, tokens, offsets)


def example(tagged: str, id_: str = "") -> Example:
    """`EU/B-ORG rejects` → a labelled sentence; a word without a tag is O."""
    pairs = [word.rpartition("/") if "/" in word else (word, "", "O") for word in tagged.split(" ")]
    return Example(sentence(" ".join(word for word, _, _ in pairs), id_), tuple(tag for _, _, tag in pairs), "original")
