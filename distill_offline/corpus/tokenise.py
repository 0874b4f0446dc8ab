"""Sentences and tokens of raw text by syntok, as exact character ranges."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from syntok import segmenter
from syntok.tokenizer import Token, Tokenizer

__all__ = ["Offsets", "Range", "has_tokens", "sentence_offsets", "split_at", "token_offsets"]

Range = tuple[int, int]
Offsets = tuple[Range, ...]

_PARAGRAPH_BORDER = re.compile(r"\n\s*\n")
_RUN = re.compile(r"[^\s\u200b]+")


def sentence_offsets(text: str) -> Iterator[Offsets]:
    """The tokens of each sentence as half-open character ranges of `text`.

    Blank lines end a sentence. Every character that is not white space lies in exactly one token.
    """
    start = 0
    for border in chain(_PARAGRAPH_BORDER.finditer(text), [None]):
        end = border.start() if border else len(text)
        # Paragraphs are tokenised from 0 and shifted here: syntok's own base offset pads with blanks, which is
        # quadratic in the length of a document.
        yield from _paragraph(text[start:end], start)
        start = border.end() if border else end


def token_offsets(text: str) -> Offsets:
    """The tokens of the whole text, however many sentences it has."""
    return tuple(chain.from_iterable(sentence_offsets(text)))


def has_tokens(text: str) -> bool:
    """Whether there is any token in the text, told without tokenising it."""
    return _RUN.search(text) is not None


def split_at(offsets: Iterable[Range], borders: Iterable[int]) -> Offsets:
    """The ranges cut wherever a border falls inside one."""
    cuts = sorted(set(borders))
    pieces: list[Range] = []
    for start, end in offsets:
        inner = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]
        pieces.extend(pairwise([start, *inner, end]))
    return tuple(pieces)


def _paragraph(paragraph: str, shift: int) -> Iterator[Offsets]:
    tokenizer = Tokenizer(emit_hyphen_or_underscore_sep=True, replace_not_contraction=False)
    done = 0
    for sentence in segmenter.segment(tokenizer.tokenize(paragraph)):
        ranges: list[Range] = []
        for start, end in _exact(paragraph, sentence, done):
            ranges.extend(_runs(paragraph, done, start))
            ranges.append((start, end))
            done = end
        if ranges:
            yield tuple((start + shift, end + shift) for start, end in _rejoin(paragraph, ranges))
    rest = tuple((start + shift, end + shift) for start, end in _runs(paragraph, done, len(paragraph)))
    if rest:
        yield rest


def _exact(paragraph: str, tokens: Iterable[Token], done: int) -> Iterator[Range]:
    """The tokens that stand in the text as syntok gives them; the others are left to be found as runs."""
    for token in tokens:
        start, end = token.offset, token.offset + len(token.value)
        if token.value and start >= done and paragraph[start:end] == token.value:
            yield start, end
            done = end


def _runs(text: str, start: int, end: int) -> Iterator[Range]:
    return (run.span() for run in _RUN.finditer(text, start, end))


def _rejoin(text: str, ranges: Iterable[Range]) -> Iterator[Range]:
    """syntok cuts where a lower-case letter meets an upper-case one; names such as eBay or McDonald stay whole here."""
    held: Range | None = None
    for start, end in ranges:
        if held and held[1] == start and text[start - 1].islower() and text[start].isupper():
            held = (held[0], end)
            continue
        if held:
            yield held
        held = (start, end)
    if held:
        yield held
