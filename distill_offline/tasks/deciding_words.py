"""What words around a teacher's answers say of them: that a later one counts, or that there is another in words."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Protocol

__all__ = ["DecidingWords", "said_last"]


class _Place(Protocol):
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class DecidingWords:
    """Where a text says that a later answer counts rather than an earlier one."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _places(self) -> list[list[int]]:
        return [[match.start() for match in words.finditer(self._text)] for words in (_HEADING, _FINAL, _CORRECTING)]

    def decide(self, earlier: _Place, start: int) -> bool:
        """Whether what begins at `start` counts rather than what is `earlier`.

        Words of correction between them say so, and so does a heading, unless the earlier one has as good a one.
        """
        headings, finals, corrections = self._places
        if _any_within(corrections, earlier.end, start):
            return True
        if _any_within(finals, earlier.end, start):
            return not _any_within(finals, 0, earlier.start)
        return _any_within(headings, earlier.end, start) and not (
            _any_within(headings, 0, earlier.start) or _any_within(finals, 0, earlier.start)
        )

    @staticmethod
    def introduce(words: str) -> bool:
        """Whether words are those before an answer that counts."""
        return _HEADING.search(words) is not None or _FINAL.search(words) is not None


def said_last(text: str) -> Iterator[tuple[str, bool]]:
    """The last clause of each sentence behind an answer, and whether the sentence concludes or corrects something."""
    for match in islice(_SENTENCE.finditer(text), _MOST_SENTENCES):
        words = match[0]
        clause = _LEADING.sub("", _CLAUSE_END.split(words.strip(_AROUND))[-1].strip(_AROUND)).strip(_AROUND)
        if clause:
            yield clause, any(each.search(words) for each in (_HEADING, _FINAL, _CORRECTING, _DENYING))


def _any_within(places: Sequence[int], start: int, end: int) -> bool:
    return bisect_left(places, start) < bisect_left(places, end)


_AROUND = " \t\"'`*_()[]<>~。"
_MOST_SENTENCES = 200  # behind an answer
_SENTENCE = re.compile(r"[^.!?\n。！？]{1,400}")
_CLAUSE_END = re.compile(r"[,:;：，；]|\s[-–—]\s|[-=]>|→")
_LEADING = re.compile(
    r"\A(?:(?:and|but|so|thus|hence|therefore|then|actually|rather|just|simply|it|there|this|that|the|my|our|is|are|be|"
    r"must|should|will|would|final(?:ly)?|correct(?:ed)?|true|actual|answer|result|output|list|class|label|"
    r"sentence|text|passage)\b[\s*_`]*)+",
    re.IGNORECASE,
)
_DENYING = re.compile(r"(?:\A|[\s,;:])(?:no|nope|nein|non|нет)\s*(?:\Z|[,;:–—-])", re.IGNORECASE)
_HEADING = re.compile(
    r"\b(?:answer|result|output|solution|so|antwort|ergebnis|réponse|résultat|respuesta|resultado|risposta|risultato|"
    r"resposta|antwoord|resultaat|ответ)[ *_]{0,4}:|\b(?:the|my)\s(?:answer|result|output)\s(?:is|becomes)\b|"
    r"答え\s?[:：は]|回答\s?[:：は]|答案\s?[:：是为]|결과\s?:|答\s?[:：]",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"\b(?:final(?:ly|ised|ized|e)?|endgültig\w{0,3}|definitiv[aeo]?|définitive?|conclu(?:de|sion)|окончательн\w{1,3}|"
    r"therefore|thus|hence|in\s(?:the\send|conclusion)|so\s(?:the|my|we\shave|it\sis))\b|最終|最终|したがって|因此|所以|결론|최종",
    re.IGNORECASE,
)
_CORRECTING = re.compile(
    r"\b(?:corrected|correction|the\scorrect|revis(?:ed|ion|ing)|amended|updated|instead|rather|actually|wait|hold\son|"
    r"on\ssecond\sthought|correct\s(?:that|this|it|my)|edit(?=\s?:)|hmm+,?\sno|oops|sorry|apologi\w{1,5}|wrong|incorrect|mistake\w?|scratch\sthat|reconsider\w{0,3}|"
    r"after\sall|korrigiert\w{0,2}|korrektur|falsch|stattdessen|corrigée?s?|plutôt|faux|corregid[ao]s?|corrett[aoei]|"
    r"incorrect[ao]s?)\b|訂正|修正|更正|不对|いや|정정",
    re.IGNORECASE,
)
