"""Where sentences begin in running text of any script, and the tokens of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import chain, pairwise

import regex
from syntok import segmenter
from syntok.tokenizer import Tokenizer

from distill_offline.corpus.tokenise import Offsets, token_offsets

__all__ = ["LONGEST", "sentence_offsets"]

LONGEST = 500  # tokens of a sentence; what goes on longer is cut, if there is a line end or a blank if there is one

_PARAGRAPH_BORDER = regex.compile(r"\n\s*\n|\r\s*\r|\u2029\s*")
# Marks that end a sentence whether or not a blank follows: of Chinese, Japanese, Hindi, Arabic, Urdu, Burmese, Khmer...
_FULL_STOP = regex.compile(
    r"(?:[。！？｡।॥؟۔။។៕።፧։᙮]|[!?](?=[\p{Han}\p{Hiragana}\p{Katakana}]))++"
    r"(?:(?P<closed>[\p{Pe}\p{Pf}\"'])++(?!\s*[\p{Hiragana}、，,]))?+(?![\p{Pe}\p{Pf}\"'\p{M}])"
)


def sentence_offsets(text: str, tokenise: Callable[[str], Offsets] = token_offsets) -> Iterator[Offsets]:
    """The tokens of each sentence as half-open character ranges of `text`, as `tokenise` makes them.

    Blank lines end a sentence. No sentence has more than LONGEST tokens.
    """
    start = 0
    for border in chain(_PARAGRAPH_BORDER.finditer(text), [None]):
        end = border.start() if border else len(text)
        # A paragraph by itself: syntok pads with blanks for offsets that do not begin at 0, which is quadratic.
        yield from _paragraph(text[start:end], start, tokenise)
        start = border.end() if border else end


def _paragraph(paragraph: str, shift: int, tokenise: Callable[[str], Offsets]) -> Iterator[Offsets]:
    offsets = tokenise(paragraph)
    firsts = sorted({bisect_left(offsets, (border, 0)) for border in _borders(paragraph)} - {0, len(offsets)})
    for first, last in pairwise((0, *firsts, len(offsets))):
        for part in _parts(paragraph, offsets[first:last]):
            yield tuple((start + shift, end + shift) for start, end in part)


def _borders(paragraph: str) -> Iterator[int]:
    for match in _FULL_STOP.finditer(paragraph):
        yield match.end()
    tokenizer = Tokenizer(emit_hyphen_or_underscore_sep=True, replace_not_contraction=False)
    for sentence in segmenter.segment(tokenizer.tokenize(paragraph)):
        start = sentence[0].offset if sentence else 0
        # Not within what stands between two blanks: a piece of a token would have other tokens by itself.
        if start and paragraph[start - 1].isspace():
            yield start


def _parts(text: str, offsets: Offsets) -> Iterator[Offsets]:
    """The sentence, cut where it is too long."""
    first = 0
    while len(offsets) - first > LONGEST:
        places = range(first + LONGEST, first + LONGEST // 2, -1)
        cut = max(places, key=lambda position: (_rank(text[offsets[position - 1][1] : offsets[position][0]]), position))
        yield offsets[first:cut]
        first = cut
    if first < len(offsets):
        yield offsets[first:]


def _rank(gap: str) -> int:
    """How well a sentence can be cut at what stands between two tokens."""
    return 2 if "\n" in gap or "\r" in gap else bool(gap)
