"""What words right around one of a teacher's answers say of it: that it is none, that it adds to an earlier one, or
that the teacher thinks again."""

from __future__ import annotations

import re

__all__ = [
    "adds",
    "asks_for_more",
    "is_denied",
    "is_named_earlier",
    "is_named_wrong",
    "may_be_named_wrong",
    "thinks_again",
]

_NEAR = 160  # characters


def is_named_wrong(before: str) -> bool:
    """Whether words before an answer say that it is wrong, or left out: `Excluded: [...]`.

    Not those that say what is no longer in it: `With days removed: [...]`, `Without the wrong entities: [...]`.
    """
    near = before[-_NEAR:]
    return _TAKEN_AWAY.search(near) is None and any(words.search(near) for words in _NAMED_WRONG)


def is_named_earlier(before: str) -> bool:
    """Whether they say that it was the answer before: `My previous answer: [...]`."""
    near = before[-_NEAR:]
    return _TAKEN_AWAY.search(near) is None and any(words.search(near) for words in _NAMED_EARLIER)


def may_be_named_wrong(before: str) -> bool:
    """Whether they can be read so or the other way round: `My first answer was wrong: [...]`."""
    return _PERHAPS_WRONG.search(before[-_NEAR:]) is not None


def is_denied(behind: str) -> bool:
    """Whether words right behind an answer, before the next one, say that it is wrong: `[...]? No`."""
    return any(words.match(behind[:_NEAR]) for words in _DENIED)


def adds(before: str) -> bool:
    """Whether the sentence in which an answer stands says that it adds to an earlier one: `I missed one: [...]`."""
    return _ADDING.search(_clause(before)) is not None or asks_for_more(before)


def asks_for_more(before: str) -> bool:
    """Whether it asks for more than an earlier one: `Other entities: []`."""
    return _MORE.search(_clause(before)) is not None


def thinks_again(behind: str) -> bool:
    """Whether a teacher takes its answer back in words behind it, and does not come back to it."""
    again = next((match for words in _THINKING_AGAIN if (match := words.search(behind[: 4 * _NEAR]))), None)
    return again is not None and _KEEPING.search(behind, again.start()) is None


def _clause(before: str) -> str:
    """The sentence that an answer stands in, up to it."""
    return re.split(r"[.!\n。！]", before[-_NEAR:])[-1]


_MARKS = r"[\s:：*_\"'(（\[<>-]{0,8}(?:`{1,3}(?:\w{1,10}\s)?\s*)?\Z"
_START = r"(?:\A|[.!?\n。！？(])[\s>*_#\"'`-]{0,8}"
_SAID = r"(?:answer|say|give|writ|output|includ|add|label|return|list)\w{0,4}"
_IS = r"(?:\s+(?:is|was|are|were|(?:would|could|might|may)\s+(?:be|have\s+been)|like))?"
_WRONG = (
    r"(?:wrong|incorrect|false|mistaken|erroneous|invalid|falsch\w{0,2}|faux|fausse|incorrect[ao]s?|equivocad[ao]s?)"
)
_LEFT_OUT = (
    r"(?:excluded|rejected|discarded|removed|dropped|omitted|ignored|left\s+out|ruled\s+out|ausgeschlossen|verworfen|"
    r"entfernt|weggelassen|exclue?s?|rejet[ée]e?s?|excluid[ao]s?|descartad[ao]s?|esclus[aoei]|исключен\w{1,2})"
)
_ANSWERS = (
    r"(?:answers?|drafts?|attempts?|versions?|guess(?:es)?|thoughts?|ideas?|results?|outputs?|responses?|labels?)"
)
_THINGS = rf"(?:{_ANSWERS}|entit(?:y|ies)|candidates?|lists?|class(?:es)?|mentions?|spans?|names?|items?|ones?)"
_NAMED_EARLIER = [
    re.compile(words + _MARKS, re.IGNORECASE)
    for words in (
        rf"\b(?:earlier|previous|prior|old|original|initial|first|preliminary)\s+(?:\w+\s+)?{_ANSWERS}{_IS}",
        rf"{_START}(?:the\s+|my\s+)?(?:original|previous(?:ly)?|earlier|before|old)\s*[:：]",
        r"\b(?:corrected|changed|revised)\s+from",
    )
]
_NAMING_WRONG = (
    rf"\b(?:{_WRONG}|{_LEFT_OUT})\s+{_THINGS}{_IS}",
    rf"\b(?:{_WRONG}|a\s+mistake|an\s+error)\s+to\s+{_SAID}",
    rf"\b(?:mistake|error)s?\s+(?:of|in)\s+{_SAID}",
    rf"{_START}(?:an?\s+|the\s+)?(?:common|frequent|typical|usual|likely|possible)\s+(?:mistakes?|errors?){_IS}",
    rf"{_START}(?:mistakes|errors|false\s+positives?|fehler)(?:\s+(?:found|made|here))?{_IS}",
    rf"{_START}(?:the\s+|my\s+)?{_LEFT_OUT}",
    r"(?:\bnot|n't)\s+(?:include|count|label|mark|list|tag|add|take|choose|keep)(?:\s+the)?",
    r"\b(?:than|whereas|unlike)",
    r"\bnot\s+(?:an?|the|any)\s+[^.!?\n:]{1,30}[:：]",
    r"(?:排除|除外|削除|誤り|错误)(?:的|した)?",
)
_NAMED_WRONG = [
    re.compile(words, re.IGNORECASE)
    for words in (
        # Not before a colon, behind which may be what is left: with the days removed: [...]
        rf"\b{_LEFT_OUT}(?:\s+the)?[\s*_\"'(`]{{0,6}}\Z",
        *(words + _MARKS for words in _NAMING_WRONG),
    )
]
_TAKEN_AWAY = re.compile(
    r"\b(?:without|after|once|remov(?:e|ed|ing)|excluding|correcting|fixing|replacing|instead\s+of)\s+(?:\S+\s+){1,5}\S*\Z",
    re.IGNORECASE,
)
_PERHAPS_WRONG = re.compile(
    rf"(?:{_START}(?:{_WRONG}|mistake|error|fehler)\s*[:：]"
    rf"|\b(?:earlier|previous|prior|old|original|initial|first)\s+(?:\w+\s+)?{_ANSWERS}\s+(?:was|is)\s+"
    rf"(?:\w+\s+)?(?:{_WRONG}|a\s+mistake|an\s+error)\s*[:：]){_MARKS}",
    re.IGNORECASE,
)
_CLOSED = r"[\"'`)\]*_.}]{0,4}"
_DENIED = [
    re.compile(rf"{_CLOSED}{words}", re.IGNORECASE)
    for words in (
        r"[^.!?\n。！？]{0,40}[?？][\s\"')\]*]{0,4}(?:(?:no|nope|nein|non|нет|i\s+think\s+not|(?:probably|rather|certainly)\s+not)\b|いいえ|いや|不[,，。是]|否)",
        r"[ \t,;–—-]{0,4}(?:but\s+)?(?:(?:that|this|it|which|these|those)\s+)?"
        r"(?:is|was|were|are|would\s+be|would\s+have\s+been|seems|has\s+been|had\s+been)\s+(?:\w+\s+){0,2}?"
        rf"(?:{_WRONG}|{_LEFT_OUT}|a\s+mistake|an\s+error|not\s+(?:correct|right|valid))\b",
    )
]
_ADDING = re.compile(
    r"\b(?:missed|missing|forgot|forgotten|also|add|added|adding|addition|additionally|another|plus|auch|noch|aussi|"
    r"también|anche)\b|また|还有|另外",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"\b(?:others?|further|additional|remaining|else|weitere\w?|andere\w?|autres?|otr[ao]s?|altr[aoie]|"
    r"(?:for|any|some|no)\s+more|more\s+(?:entities|names|of|candidates|spans|mentions)|"
    r"(?:missed|missing|forgotten)(?:\s+\w+)?\s*[:：])|その他|其他",
    re.IGNORECASE,
)
_IT = r"\b(?:(?:that|this)(?:\s+(?:answer|entry|entity|label|one))?|it|which|(?:the|my)\s+answer|(?:the\s+)?above)"
_THINKING_AGAIN = [
    re.compile(words, re.IGNORECASE)
    for words in (
        rf"{_START}(?:wait|hold\s+on|h+m+|oops|on\s+(?:second\s+thought|reflection|closer)|correction|scratch\s+that|"
        r"sorry|actually|moment|halt|korrektur|attende[zr]|espera|aspetta)\b",
        rf"{_START}(?:no|nope|nein|non|нет)\s*(?:[,.:;!–—-]|\Z)",
        rf"{_START}(?:等等|等一下|不对|不，|いや|待って|訂正)",
        rf"{_IT}(?:'s|\s+(?:is|was|seems|looks))\s+(?:\w+\s+)?(?:{_WRONG}|a\s+mistake|an\s+error|not\s+(?:correct|right))\b",
        rf"{_IT}\s+(?:must|should|has\s+to|needs\s+to)\s+be\s+{_LEFT_OUT}\b",
        r"\b(?:ignore|disregard|discard|forget)\s+(?:the\s+above|that|this|my|what)\b",
        r"\bdas\s+(?:ist|war)\s+falsch\b|\bc'est\s+faux\b",
    )
]
_KEEPING = re.compile(
    r"\b(?:yes|ja|oui|sí|(?:is|are|looks?|seems)\s+(?:correct|right|fine|good)|stands?|keep(?:ing)?|unchanged|confirm\w{0,3}|"
    r"all\s+good|richtig|stimmt)\b",
    re.IGNORECASE,
)
