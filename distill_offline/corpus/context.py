"""The sentences around a sentence, for a teacher that is to see them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from distill_offline.schema import Sentence

__all__ = ["with_context"]


def with_context(sentences: Iterable[Sentence], width: int) -> Iterator[Sentence]:
    """Each sentence with up to `width` sentences of its own document on either side of it, in order; streams.

    A document's sentences must follow one another, as every corpus format gives them.
    """
    before: deque[Sentence] = deque(maxlen=min(width, sys.maxsize))
    ahead: deque[Sentence] = deque()
    for sentence in sentences:
        if ahead and ahead[0].document != sentence.document:
            yield from _drained(before, ahead)
            before.clear()
        ahead.append(sentence)
        if len(ahead) > width:
            yield _in_context(before, ahead)
    yield from _drained(before, ahead)


def _drained(before: deque[Sentence], ahead: deque[Sentence]) -> Iterator[Sentence]:
    while ahead:
        yield _in_context(before, ahead)


def _in_context(before: deque[Sentence], ahead: deque[Sentence]) -> Sentence:
    """The first that is ahead; it stands before the others from now on."""
    first = ahead.popleft()
    found = replace(first, before=_joined(before), after=_joined(ahead))
    before.append(first)
    return found


def _joined(sentences: Iterable[Sentence]) -> str:
    return " ".join(sentence.text for sentence in sentences)
