"""How sure a teacher is of a yes: read from the likeliest first tokens of its answer."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Verdict", "alike", "verdict"]

_QUOTES = "\"'`*“”‘’«»„([{:>-"  # what may stand before the word in one token with it


@dataclass(frozen=True, slots=True)
class Verdict:
    """`probability` is p(yes) / (p(yes) + p(no)), 0 to 1.

    Unless `are_both` words in the list, the other counts as likely as the list's last token: it cannot be likelier.
    """

    probability: float
    are_both: bool


def verdict(first_tokens: Sequence[tuple[str, float]], words: tuple[str, str]) -> Verdict | None:
    """What (text, log-probability) of the likeliest first tokens say of the words for yes and no; None if they say
    nothing of either.

    A token counts for a word if it begins it, or is all of it: with or without blanks before it, in capitals or not.
    So a word may have one token or several. The words must begin with other letters (see `alike`).
    """
    yes, no = (sum(math.exp(log) for text, log in first_tokens if _begins(text, word)) for word in map(_plain, words))
    if not yes and not no:
        return None
    least = math.exp(min(log for _, log in first_tokens))
    return Verdict((yes or least) / ((yes or least) + (no or least)), are_both=bool(yes and no))


def alike(words: tuple[str, str]) -> bool:
    """Whether the first letters of two words do not tell them apart, or one of them has no letter to begin with."""
    yes, no = map(_plain, words)
    return not yes or not no or yes[0] == no[0]


def _begins(text: str, word: str) -> bool:
    piece = _plain(text)
    return bool(piece) and word.startswith(piece)


def _plain(text: str) -> str:
    # Tokenizers write a blank as one of these where a server gives tokens as they stand in the vocabulary.
    spaced = text.replace("\u2581", " ").replace("\u0120", " ").strip()
    folded = unicodedata.normalize("NFKC", spaced).casefold()
    return folded.strip().lstrip(_QUOTES).rstrip(".,!;:\"'`*")
