"""Tokens of raw text as exact character ranges, by rules that hold for every script; the text alone decides them.

What cannot be parted is a grapheme cluster (Unicode Annex #29): a letter with its marks and joiners, an emoji with all
that belongs to it. Letters of one script form a word; punctuation and symbols stand alone; a number keeps its decimals.
Scripts that are written without blanks, and Hangul, have a token a cluster, so that a name can end before a particle.
Prefixes of one letter in Arabic and Hebrew are tokens by themselves wherever enough of the word is left, whether or not
they are prefixes there: a span may take in both tokens, but could never begin inside one.

What shows nothing by itself (zero-width spaces, marks of direction, soft hyphens at a word's edge) is in no token.
No rule looks across a blank: what stands between two blanks has the same tokens in every text.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import regex

__all__ = ["RULES", "Offsets", "Range", "has_tokens", "token_offsets"]

Range = tuple[int, int]
Offsets = tuple[Range, ...]

RULES = 2  # grows with every change of a token border; what was made of raw text before is made again then

# What a character keeps: marks (variation selectors are some), joiners, the colours of skin and the tags of emoji.
_ON = r"[\p{M}\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*+"
# What shows nothing, and parts nothing between two letters: soft hyphens, word joiners, marks of direction.
_HIDDEN = r"\u00ad\u034f\u061c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_ALONE_NOTHING = rf"\s\p{{Cc}}\u200b-\u200d\ufe00-\ufe0f\U000e0000-\U000e0fff{_HIDDEN}"
# Written without blanks or, Hangul, with particles right behind a name; and the marks of length and repetition.
_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Yi}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Javanese}\p{Balinese}\u3005-\u3007\u30fc\uff70\uff9e\uff9f"
)
_COMMON = r"\u00aa\u00b5\u00ba\u02b0-\u02c1\u0640"  # letters of no script of their own
_APOSTROPHE = r"['’ʼ＇]"
_END = r"(?![\p{L}\p{M}])"
# Words that lose their vowel before another word in French, Italian and Catalan.
_ELIDED = (
    r"(?i:[cdjlmnstv]|(?:jus|lors|puis|quoi|quel|pres)?qu|ch|un|d?agl|d?all|[dns]?ell|[dns]?egl|su?gl|sull|coll?|gl"
    r"|quest|quell|bell|sant|tutt|mezz|grand|dov|cos|com|anch|entr)"
)
_ENDING = rf"(?i:s|t|d|m|ll|re|ve){_END}"


def _letter(script: str) -> str:
    return rf"[[\p{{{script}}}&&[\p{{L}}\p{{Nl}}]]||[{_COMMON}]]"


def _word(letter: str) -> str:
    return rf"{letter}{_ON}(?:[{_HIDDEN}]*{letter}{_ON})*+"


_OTHER = rf"(?:(?![{_UNSPACED}\p{{Latin}}\p{{Cyrillic}}\p{{Greek}}\p{{Arabic}}\p{{Hebrew}}])[\p{{L}}\p{{Nl}}])"
_CASED = rf"[\p{{Lu}}\p{{Ll}}]{_ON}"
_DIGIT = rf"\p{{Nd}}{_ON}"

_TOKEN = regex.compile(
    r"(?!\s)(?:"  # before all else: of no blank need every rule be asked
    + "|".join(
        (
            # What most tokens are, found here in a third of the time: plain words before what no rule below looks at.
            r"[A-Za-z]{2,}+(?=[\s.,;:!?)/\-]|\Z)|[A-Za-z](?=[\s,;]|\Z)|[,;:()](?=[\sA-Za-z]|\Z)",
            # Consonants that stand one below the other in Khmer and Burmese are not always one cluster to the annex.
            r"[\p{Khmer}\p{Myanmar}](?<=\p{L})\p{M}*+(?:(?<=[\u17d2\u1039])\p{L}\p{M}*+)*+",
            rf"(?=[{_UNSPACED}])\X",
            # Marks of HTML, as text off the web keeps them: <br>, &nbsp;
            r"</?(?i:br|p|b|i|u|em|strong|div|span|li|ul|ol|td|tr|th|hr|sup|sub|h[1-6])/?>",
            r"&(?:[A-Za-z]{2,6}|\#[0-9]{1,6}|\#x[0-9A-Fa-f]{1,6});",
            rf"(?:{_CASED}\.){{2,}}+(?:{_CASED}{_END})?",  # U.S., e.g., U.S.A
            rf"\p{{Latin}}+(?=[Nn]{_APOSTROPHE}[Tt]{_END})|[Nn]{_APOSTROPHE}[Tt]{_END}",  # did n't
            rf"O{_APOSTROPHE}(?=\p{{Lu}})[\p{{Latin}}\p{{M}}]++",  # O'Brien
            rf"{_ELIDED}{_APOSTROPHE}(?=\p{{L}})(?!{_ENDING})",  # l' Oréal
            rf"(?<![^\s\p{{L}}\p{{M}}\p{{N}}.]){_APOSTROPHE}{_ENDING}(?!{_APOSTROPHE})",  # Oslo 's
            rf"(?:\p{{Lu}}{{1,4}}|\p{{Latin}}{{1,2}})\p{{Nd}}[[\p{{Latin}}\p{{Nd}}]&&\p{{ASCII}}]*+{_END}",  # H5N1
            *(_word(_letter(script)) for script in ("Latin", "Cyrillic", "Greek")),
            rf"(?P<arabic>{_word(_letter('Arabic'))})",
            rf"(?P<hebrew>{_word(_letter('Hebrew'))})",
            rf"[0-9]++(?:(?i:st|nd|rd|th)|(?<=[0-9]{{4}})s){_END}",  # 9th, 1990s
            rf"{_DIGIT}(?:{_DIGIT})*+(?:[.,٫٬]{_DIGIT}(?:{_DIGIT})*+)*+",  # 50, 3.5, 1,000
            _word(_OTHER),
            r"\.{2,}+|-{2,}+|_{2,}+|={2,}+|\*{2,}+|~{2,}+|\#{2,}+",
            rf"(?![{_ALONE_NOTHING}])\X",
        )
    )
    + ")",
    regex.VERSION1,
)

# Letters that are one with the next word: in this order, each at most once, while so many letters are left.
_PREFIXES = {"arabic": (("وف", "بكل"), 3), "hebrew": (("ו", "ש", "בכלמ", "ה"), 2)}
_ARTICLE = "ال"
_NOT_ARABIC = frozenset("پچژگکیٹڈڑںےہھۓۂۀەێۆۇڕڵ")  # Persian, Urdu and Kurdish have no such prefixes


def token_offsets(text: str) -> Offsets:
    """The tokens of the text; time is linear in its length."""
    return tuple(_ranges(text))


def has_tokens(text: str) -> bool:
    """Whether there is any token in the text, told without tokenising it."""
    return _TOKEN.search(text) is not None


def _ranges(text: str) -> Iterator[Range]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            yield match.span()
        else:
            start, end = match.span()
            yield from pairwise((start, *_cuts(text, start, end, match.lastgroup), end))


def _cuts(text: str, start: int, end: int, script: str) -> Iterator[int]:
    """Where prefixes end in the word."""
    letters = [at for at in range(start, end) if text[at].isalpha() and text[at] != "ـ"]
    if any(text[at] in _NOT_ARABIC for at in letters):
        return
    groups, least = _PREFIXES[script]
    at, last = 0, ""
    for group in groups:
        if len(letters) - at > least and text[letters[at]] in group:
            last, at = text[letters[at]], at + 1
            yield letters[at]
    if script == "arabic":
        article = _ARTICLE if last != "ل" else _ARTICLE[1]  # written as لل behind the preposition
        size = len(article)
        if len(letters) - at >= size + least and all(text[letters[at + n]] == article[n] for n in range(size)):
            yield letters[at + size]
