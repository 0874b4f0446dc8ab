"""Which tokeniser corpus.language means: the rules for every script, or the words of one language by spaCy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import regex

from distill_offline.corpus.tokenise import RULES, Offsets, Range, token_offsets
from distill_offline.errors import ConfigError

__all__ = ["LANGUAGES", "tokenisation", "tokeniser"]

# Those that spaCy 3.8 has a tokeniser for; xx is one for all languages with blanks.
_CODES = """
af am ar az bg bn bo ca cs da de dsb el en es et eu fa fi fo fr ga gd grc gu he hi hr hsb ht hu hy id is it ja kmr kn ko
ky la lb lg lij lt lv mk ml mr ms nb ne nl nn pl pt ro ru sa si sk sl sq sr sv ta te th ti tl tn tr tt uk ur vi xx yo zh
"""
LANGUAGES = tuple(_CODES.split())

# What spaCy needs beside itself; Chinese by single characters, as spaCy has it by default, needs nothing.
_NEEDS = {"ja": "sudachipy sudachidict-core", "th": "pythainlp", "vi": "pyvi", "ko": "natto-py"}


def tokenisation(language: str | None) -> str:
    """A name for how raw text is tokenised, for fingerprints: changes wherever tokens might."""
    if language is None:
        return f"rules {RULES}"
    tokeniser(language)
    return f"{language}, spaCy {_spacy().__version__}"


@lru_cache(maxsize=8)
def tokeniser(language: str | None) -> Callable[[str], Offsets]:
    """What gives the tokens of a text as ranges. `language`: a language of spaCy's (de, ja, xx), None for the rules.

    Raises ConfigError if it is unknown, naming the known ones, or where what it needs is not installed.
    """
    if language is None:
        return token_offsets
    if language not in LANGUAGES:
        code = language.lower().replace("_", "-").partition("-")[0]
        near = [code] if code in LANGUAGES else get_close_matches(language, LANGUAGES, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"corpus.language: {language!r} is unknown.{hint} Known: {', '.join(LANGUAGES)}.")
    try:
        words = _spacy().blank(language).tokenizer
        words("a")
    except (ImportError, OSError, ValueError) as error:
        needs = _NEEDS.get(language, "more than spaCy itself")
        raise ConfigError(
            f"corpus.language: {language} needs {needs}, which does not load. Install it, or leave corpus.language out."
        ) from error
    return lambda text: tuple(_of_spacy(words, text))


def _spacy() -> Any:
    try:
        import spacy
    except ImportError as error:
        raise ConfigError(
            "corpus.language needs spaCy: pip install 'distill_offline[languages]'. Without it, leave it out: the "
            "rules for every script hold then."
        ) from error
    return spacy


def _of_spacy(words: Callable[[str], Any], text: str) -> Iterator[Range]:
    """spaCy's tokens without blanks, and none that ends within a character and its marks."""
    inside = {at for cluster in regex.finditer(r"\X", text) for at in range(cluster.start() + 1, cluster.end())}
    held: Range | None = None
    for token in words(text):
        start, end = token.idx, token.idx + len(token.text)
        if held is not None and start in inside:
            held = held[0], end
            continue
        if held is not None:
            yield from _shown(text, *held)
        held = start, end
    if held is not None:
        yield from _shown(text, *held)


_PRINTED = regex.compile(r"[^\s\p{Cc}\p{Cf}](?:\S*[^\s\p{Cc}\p{Cf}])?")


def _shown(text: str, start: int, end: int) -> Iterator[Range]:
    """The pieces of a token between blanks, without what shows nothing at their edges."""
    return (piece.span() for piece in _PRINTED.finditer(text, start, end))
