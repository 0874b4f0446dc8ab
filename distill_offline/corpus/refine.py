"""Labelled tokens of any origin, cut finer where raw text has token borders inside them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from distill_offline.corpus.tokenise import Offsets
from distill_offline.schema import Example

__all__ = ["refined"]


def refined(example: Example, tokenise: Callable[[str], Offsets]) -> Example:
    """The example with tokens as fine as those that `tokenise` makes of its text, and its labels on them.

    A corpus has `U.N.-led` as one token where raw text has three. Whoever learns from the one is to label the other:
    the pieces of an entity's token continue it, those of a masked token are masked. The example itself, where no border
    falls inside one of its tokens.
    """
    sentence = example.sentence
    token_borders = {border for token in sentence.offsets for border in token}
    borders = sorted({border for token in tokenise(sentence.text) for border in token} - token_borders)
    if not borders:
        return example
    offsets, labels, masked = list[tuple[int, int]](), list[str](), list[int]()
    hidden = frozenset(example.masked)
    for number, ((start, end), label) in enumerate(zip(sentence.offsets, example.labels, strict=True)):
        inner = borders[bisect_right(borders, start) : bisect_left(borders, end)]
        pieces = list(pairwise((start, *inner, end)))
        if number in hidden:
            masked += range(len(offsets), len(offsets) + len(pieces))
        offsets += pieces
        labels += [label, *[f"I-{label[2:]}" if label != "O" else label] * len(inner)]
    if len(offsets) == len(sentence.offsets):
        return example
    tokens = tuple(sentence.text[start:end] for start, end in offsets)
    finer = replace(sentence, tokens=tokens, offsets=tuple(offsets))
    return replace(example, sentence=finer, labels=tuple(labels), masked=tuple(masked))
