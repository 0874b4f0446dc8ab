"""The text that an encoder learns: sentences without labels, none of them in dev or test, as subwords."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill_offline.config.settings import PretrainSettings, Settings, Source
from distill_offline.corpus import read_sentences
from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.refine import refined
from distill_offline.errors import ConfigError, Interrupted
from distill_offline.label_kinds import kind_of
from distill_offline.pretrain.masking import SPECIAL, Windows
from distill_offline.schema import Example, Head, Progress, Sentence, Watch, content_digest

__all__ = ["Encoded", "Text", "encode", "held_out_sources", "read_text", "text_sources"]

_MEASURED = 2000  # windows of the held-out part that a loss is measured on
_CHUNK = 1024  # sentences made into subwords at once: seconds until a stop is heeded


def text_sources(settings: Settings, pretrain: PretrainSettings) -> list[Source]:
    """What is read, in this order. Raises ConfigError if there is nothing."""
    corpus = settings.corpus
    original = corpus.original
    usual = [corpus.unlabelled, corpus.distilled, original.train, original.reviewed]
    named = [pretrain.text] if pretrain.text else usual
    # Stand-off labels go with a text that is read here anyway.
    sources = [replace(corpus.read_as(source), labels=None) for source in named if source]
    if not sources:
        raise ConfigError(f"{settings.name}: pretrain.text is missing, and the corpus names no text to learn.")
    return sources


def held_out_sources(settings: Settings, pretrain: PretrainSettings) -> list[Source]:
    """Dev, test, and what `never` names."""
    original = settings.corpus.original
    return [settings.corpus.read_as(source) for source in (original.dev, original.test, *pretrain.never) if source]


def read_text(settings: Settings, pretrain: PretrainSettings, head: Head, counts: Counter[str]) -> Iterator[Sentence]:
    """The sentences to learn from, each text once, none of which is in dev or test, however it is spaced or cut.

    `counts` gains what was read and what was left out, and why.
    """
    held_out = _read(settings, held_out_sources(settings, pretrain), head, Counter())
    never = {content_digest(sentence) for sentence in held_out}
    seen = set[bytes]()
    for sentence in _read(settings, text_sources(settings, pretrain), head, counts):
        content = content_digest(sentence)
        short = bytes.fromhex(content)
        counts["sentences_read"] += 1
        if content in never:
            counts["dropped_as_in_dev_or_test"] += 1
        elif short in seen:
            counts["dropped_as_repeated"] += 1
        else:
            seen.add(short)
            yield sentence


def _read(settings: Settings, sources: Iterable[Source], head: Head, counts: Counter[str]) -> Iterator[Sentence]:
    corpus = settings.corpus
    for source in sources:
        yield from read_sentences(source, tag_column=corpus.tag_column, scheme=corpus.scheme, head=head, counts=counts)


class Text(NamedTuple):
    """What is learnt from, and what is measured on; no sentence is in both."""

    learnt: Windows
    held_out: Windows

    @classmethod
    def of(cls, encoded: Encoded, share: float) -> Text:
        """Divided by the sentences' content, so that a text stays on its side whatever else is read."""
        of_window = np.array(cls.is_out(encoded.contents, share), np.bool_)[encoded.sentences]
        sides = [np.flatnonzero(~of_window), np.flatnonzero(of_window)[:_MEASURED]]
        return cls(*(encoded.windows.only(numbers) for numbers in sides))

    @staticmethod
    def is_out(contents: Iterable[str], share: float) -> list[bool]:
        """Whether each sentence, of these content digests, is held out."""
        return [int(content[:8], 16) < share * 2**32 for content in contents]


class Encoded(NamedTuple):
    """Windows, the number of each one's sentence, and the sentences' content digests."""

    windows: Windows
    sentences: NDArray[np.int64]
    contents: list[str]


def encode(
    sentences: Iterable[Sentence],
    tokenizer: Any,
    window: int,
    head: Head,
    language: str | None,
    *,
    watch: Watch = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Encoded:
    """The sentences as windows of at most `window` subwords, cut into tokens as a student learns them.

    Raises Interrupted when `stop()` turns true.
    """
    ids, words, lengths = list[NDArray[np.int32]](), list[NDArray[np.int32]](), [0]
    numbers, contents = list[int](), list[str]()
    tokenise, waiting = tokeniser(language), iter(sentences)
    while chunk := list(islice(waiting, _CHUNK)):
        if stop():
            raise Interrupted("pretrain: stopped while the text is read. Run the same command again to go on.")
        if kind_of(head).per_token:
            plain = [Example(sentence, ("O",) * len(sentence.tokens), "distilled") for sentence in chunk]
            chunk = [refined(example, tokenise).sentence for example in plain]
        batch = tokenizer(
            [[_whole(token) for token in sentence.tokens] for sentence in chunk],
            is_split_into_words=True,
            truncation=True,
            max_length=window,
            stride=0,
            return_overflowing_tokens=True,
        )
        for row, subwords in enumerate(batch["input_ids"]):
            ids.append(np.asarray(subwords, np.int32))
            words.append(np.asarray(_numbered(batch.word_ids(row)), np.int32))
            lengths.append(len(subwords))
            numbers.append(len(contents) + batch["overflow_to_sample_mapping"][row])
        contents += [content_digest(sentence) for sentence in chunk]
        watch(Progress("pretrain: reading", len(contents), 0))
    flat_ids, flat_words = (np.concatenate(arrays) if arrays else np.zeros(0, np.int32) for arrays in (ids, words))
    return Encoded(Windows(flat_ids, flat_words, np.cumsum(lengths)), np.asarray(numbers, np.int64), contents)


def _numbered(words: Sequence[int | None]) -> list[int]:
    return [SPECIAL if word is None else word for word in words]


def _whole(token: str) -> str:
    """The token, with `?` for half a character (a lone surrogate), which JSON escapes can smuggle in."""
    return token.encode("utf-8", "replace").decode()
