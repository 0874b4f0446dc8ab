"""What words right around one of a teacher's answers say of it: that it is none, that it adds to an earlier one, or
that the teacher thinks again.

Words mean one thing or the other. So only a heading of its own (`Excluded: [...]`) takes an answer out of the count;
all else that speaks against the one that would count leaves none believed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

__all__ = ["adds", "asks_for_more", "is_denied", "is_left_out", "may_be_wrong", "speaks_of_more", "thinks_again"]

_NEAR = 160  # characters
_MOST_SENTENCES = 200  # behind an answer


def is_left_out(before: str) -> bool:
    """Whether a list has a heading that says that it is of what was left out: `Excluded: [...]`."""
    return _LEFT_OUT_HEADING.search(before[-_NEAR:]) is not None


def asks_for_more(before: str) -> bool:
    """Whether nothing but a heading stands between two lists, which asks for more than the first has: `Others: []`."""
    return _MORE_HEADING.fullmatch(before) is not None


def may_be_wrong(before: str) -> bool:
    """Whether words before an answer may call it wrong, an earlier one, or left out."""
    return any(words.search(before[-_NEAR:]) for words in _PERHAPS_WRONG)


def is_denied(behind: str) -> bool:
    """Whether words right behind an answer, before the next one, say that it is wrong: `[...]? No`."""
    return any(words.match(behind[:_NEAR]) for words in _DENIED)


def speaks_of_more(before: str) -> bool:
    """Whether the sentence in which an answer stands speaks of what there is besides: `Are there others? []`."""
    return _MORE.search(re.split(r"[.!\n。！]", before[-_NEAR:])[-1]) is not None


def adds(before: str) -> bool:
    """Whether the sentence in which an answer stands says that it adds to an earlier one: `I missed one: [...]`."""
    return _ADDING.search(re.split(r"[.!?\n。！？]", before[-_NEAR:])[-1]) is not None


def thinks_again(behind: str, mentions: Collection[str]) -> bool:
    """Whether a teacher takes its answer back in words behind it, and does not come back to it.

    `mentions` are what the answer names: second thoughts are about the answer if they name one of these.
    """
    named = [mention.casefold() for mention in mentions if mention.strip()]
    begun, is_back = 0, False  # sentences since one that began to think again
    for sentence in islice(_SENTENCE.finditer(behind), _MOST_SENTENCES):
        words = sentence[0].strip(_AROUND)
        if _KEEPING.search(words):
            return False
        if is_back:
            continue
        begun = 1 if _AGAIN.match(words) else begun and begun + 1
        is_about = any(mention in words.casefold() for mention in named)
        is_about = is_about or (begun == 1 and _THAT.match(words) is not None)
        is_back = bool(
            _TAKING_BACK.match(words)
            or _DISREGARD.search(words)
            or (is_about and (1 <= begun <= 2 or _NOT_TO_BE_THERE.search(words)))
        )
    return is_back


_AROUND = " \t\"'`*_#>()[]<>~。-,;:"
_SENTENCE = re.compile(r"(?:[^.!?\n。！？]|[.](?=\w)){1,400}")
_MARKS = r"[\s:：*_\"'(（\[<>-]{0,8}(?:`{1,3}(?:\w{1,10}\s)?\s*)?\Z"
_START = r"(?:\A|[.!?\n。！？(])[\s>*_#\"'`-]{0,8}"
_SAID = r"(?:answer|say|give|writ|output|includ|add|label|return|list)\w{0,4}"
_IS = r"(?:\s+(?:is|was|are|were|(?:would|could|might|may)\s+(?:be|have\s+been)|like|wäre|sería|serait))?"
_WRONG = (
    r"(?:wrong|incorrect|false|mistaken|erroneous|invalid|falsch\w{0,2}|faux|fausse|incorrect[ao]s?|equivocad[ao]s?|"
    r"неправильн\w{1,3})"
)
_LEFT_OUT = (
    r"(?:excluded|rejected|discarded|removed|dropped|deleted|omitted|ignored|left\s+out|ruled\s+out|ausgeschlossen|"
    r"verworfen|entfernt|weggelassen|exclue?s?|rejet[ée]e?s?|excluid[ao]s?|descartad[ao]s?|esclus[aoei]|исключен\w{1,2})"
)
_ANSWERS = (
    r"(?:answers?|drafts?|attempts?|versions?|guess(?:es)?|thoughts?|ideas?|results?|outputs?|responses?|labels?)"
)
_THINGS = rf"(?:{_ANSWERS}|entit(?:y|ies)|candidates?|lists?|class(?:es)?|mentions?|spans?|names?|items?|ones?)"
_LEFT_OUT_HEADING = re.compile(
    rf"{_START}(?:{_LEFT_OUT}(?:\s+{_THINGS})?|{_WRONG}\s+(?:entities|candidates|mentions|names|items|spans)|mistakes(?:\s+found)?|errors(?:\s+found)?|false\s+positives?)"
    rf"(?:\s*\*{{1,2}})?\s*[:：]{_MARKS}",
    re.IGNORECASE,
)
_MORE_HEADING = re.compile(
    r"[\s>*_#\"'`.-]{0,8}(?:any\s+)?(?:other|further|additional|more|missed|missing|weitere|andere|autres|otr[ao]s)"
    rf"(?:\s+{_THINGS})?(?:\s+found)?(?:\s*\*{{1,2}})?\s*[:：]{_MARKS}",
    re.IGNORECASE,
)
_PERHAPS_WRONG = [
    re.compile(words + _MARKS, re.IGNORECASE)
    for words in (
        rf"(?<!is )(?<!was )(?<!'s )\b(?:{_WRONG}|{_LEFT_OUT})(?:\s+{_THINGS})?{_IS}",
        rf"\b(?:earlier|previous|prior|old|original|initial|first|preliminary)\s+(?:\w+\s+)?{_ANSWERS}{_IS}",
        rf"{_START}(?:the\s+|my\s+)?(?:original|previous(?:ly)?|earlier|before|old)\s*[:：]",
        rf"\b{_ANSWERS}\s+(?:was|is)\s+(?:\w+\s+)?(?:{_WRONG}|a\s+mistake|an\s+error)\s*[:：]",
        r"\b(?:corrected|changed|revised)\s+(?:this\s+)?from",
        rf"\b(?:{_WRONG}|a\s+mistake|an\s+error)\s+to\s+{_SAID}",
        rf"\b(?:mistake|error)s?\s+(?:of|in)\s+{_SAID}",
        rf"\b(?:mistakes?|errors?|fehler){_IS}",
        rf"{_LEFT_OUT}\s+the",
        r"(?:\bnot|n't|never|cannot)(?:\s+\w+){0,2}",
        r"\b(?:reject|than|whereas|unlike|maybe|perhaps|were|might\s+say|could\s+say|it\s+was)(?:\s+the)?",
        r"\bnot\s+(?:an?|the|any)\s+[^.!?\n:]{1,30}[:：]",
        r"(?:排除|除外|削除|誤り|错误|錯誤)(?:的|した)?(?:答案)?|[更訂]正前",
    )
]
_MORE = re.compile(
    r"\b(?:others?|further|additional|else|weitere\w?|andere\w?|autres?|otr[ao]s?|altr[aoie]|missed|missing|forgotten|"
    r"(?:for|any|some|no)\s+more|more\s+(?:entities|names|of|candidates|spans|mentions))\b|その他|其他",
    re.IGNORECASE,
)
_CLOSED = r"[ \t\"'`)\]*_.}]{0,6}"
_DENIED = [
    re.compile(rf"{_CLOSED}{words}", re.IGNORECASE)
    for words in (
        r"(?:right|correct|ok(?:ay)?|true|richtig)?[ \t]*[?？][\s\"')\]*]{0,4}"
        r"(?:(?:no|nope|nein|non|нет|i\s+think\s+not|i\s+doubt|(?:probably|rather|certainly)\s+not)\b|いいえ|いや|不[,，。是]|否)",
        r"[,;–—-]?[ \t]*(?:but\s+)?(?:(?:that|this|it|which|these|those)\s+)?"
        r"(?:(?:is|was|were|are|seems|would|can|could|must|should|may|has|had|have|to|be|been)\s+){1,4}"
        rf"(?:\w+\s+)?(?:{_WRONG}|{_LEFT_OUT}|a\s+mistake|an\s+error|out)\b",
        r"[,;–—-]?[ \t]*(?:but\s+)?(?:(?:that|this|it|which)\s+)?"
        r"(?:(?:is|was|are|would|can|could|should|does|do|has)\s*(?:not|n't)|cannot|can't|won't)\s+(?:\w+\s+){0,2}?(?:correct|right|valid|hold|included?|the\s+answer|true)\b",
        r"[ \t]*(?:contains|has)\s+(?:an?\s+|some\s+)?(?:errors?|mistakes?)\b",
    )
]
_ADDING = re.compile(
    r"\b(?:missed|missing|forgot|forgotten|also|add|added|adding|addition|additionally|another|plus|auch|noch|aussi|"
    r"también|anche)\b|また|还有|另外",
    re.IGNORECASE,
)
_BUT = r"(?:(?:but|oh|ah|no|well|note|x)[\s,:]+){0,2}"
_AGAIN = re.compile(
    rf"{_BUT}(?:wait|hold\s+on|h+m+|oops|on\s+(?:second\s+thought|reflection|closer)|correction|scratch\s+that|strike\s+that|"
    r"sorry|actually|oh\s+no|let\s+me\s+(?:reconsider|correct)|my\s+mistake|i\s+(?:made|take)\b|moment|halt|warte|korrektur|"
    r"fehler|erreur|attend[sze]\w?|espera|perdón|aspetta|подожди\w{0,2}|(?:no|nope|nein|non|нет)(?=\s*(?:[,:;!–—-]|\Z)))"
    r"(?!\w)|等等|等一下|不对|不，|いや|待って|訂正|잠깐",
    re.IGNORECASE,
)
_THAT = re.compile(  # second thoughts of the whole
    rf"{_BUT}(?:wait|hold\s+on|oops|correction|moment|halt|warte|korrektur|attends|espera|aspetta|нет|nein|non)[\s,:]+"
    r"(?:(?:that|this|it)(?:'s|\s+(?:is|was))|das\s+(?:ist|war)|c'est|это|es\s+ist)\b|(?:等等|等一下|不对|いや|待って).?(?:那|这|これ|それ)",
    re.IGNORECASE,
)
_TAKING_BACK = re.compile(
    rf"{_BUT}(?:wait|hmm+|actually|on\s+(?:second\s+thought|reflection)|sorry|no)?[\s,:]*"
    r"(?:(?:that|this)(?:\s+(?:answer|entry|entity|label|one))?|it|(?:the|my)\s+(?:last\s+)?answer|(?:the\s+)?above)"
    rf"(?:'s|\s+(?:is|was|seems|looks))\s+(?:(?:clearly|simply|just|all|also)\s+)?(?:{_WRONG}|a\s+mistake|an\s+error|"
    r"not\s+(?:quite\s+)?(?:correct|right))\s*(?:\Z|[,:;]|because|since)|das\s+(?:ist|war)\s+falsch|c'est\s+faux|"
    r"i\s+take\s+(?:that|it)\s+back|strike\s+that|(?:the|this|my)\s+answer\s+(?:contains|has)\s+(?:an?\s+)?(?:error|mistake)",
    re.IGNORECASE,
)
_DISREGARD = re.compile(
    r"\b(?:ignore|disregard|discard|forget)\s+(?:the\s+above|that|this|my|what\s+i)\b", re.IGNORECASE
)
_NOT_TO_BE_THERE = re.compile(
    rf"\b(?:must|should|has\s+to|have\s+to|needs?\s+to)\s+(?:be\s+{_LEFT_OUT}|go\b)|\b(?:not|n't)\s+(?:have\s+)?"
    rf"(?:be(?:en)?\s+)?(?:included|labelled|labeled|listed|there)\b|\bby\s+mistake\b|\b(?:is|was|ist)\s+{_WRONG}\b",
    re.IGNORECASE,
)
_KEEPING = re.compile(
    r"\b(?:i(?:'ll|\s+will)?\s+keep\s+(?:it|(?:my|the)\s+(?:first\s+|original\s+)?answer)|(?:my|the|first)\s+answer\s+(?:stands|"
    r"is\s+(?:right|correct))|(?:this|that|it|all)\s+(?:is|are|looks?)\s+(?:right|correct|fine)(?!\s+to))\b",
    re.IGNORECASE,
)
