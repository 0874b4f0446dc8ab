"""Which of the things that a teacher said is its answer: behind its thoughts, the last one that is whole.

The rules, in order:

1. Thoughts are split off (text/thinking.py).
2. If answers are wrapped (`<answer>`, `<|begin_of_solution|>`, `\\boxed{`), what is wrapped counts. If a code fence
   holds JSON, what comes before the first such fence is talk.
3. What is said of other texts than the one that was asked about is left out: a teacher may repeat the examples, or go
   on with texts of its own.
4. An answer behind `not`, `instead of` or `for example` is none, nor is a list with the heading `Excluded`, nor an
   empty one with the heading `Other entities`. Of several different answers that are left the last one counts if words
   between them say so: words of correction (`wait`, `wrong`, `rather`), or a heading (`final answer`, `so:`) that the
   earlier one has not. Else, and if other words may call the last one wrong (`a wrong answer would be`, `[...]? No`) or
   an addition (`I missed one:`), they contradict each other, and none is believed.
5. An answer that words behind it take back, by saying another one ("no entities", "Final answer: none", the name of
   another class), or by thinking again about something in it ("Wait, a day is no person"), is not believed either.
6. What breaks off is never searched for a part that does not: that could be an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from distill_offline.errors import UnusableAnswer
from distill_offline.schema import Completion
from distill_offline.tasks.deciding_words import DecidingWords, said_last
from distill_offline.tasks.taken_back import (
    adds,
    asks_for_more,
    is_denied,
    is_left_out,
    may_be_wrong,
    speaks_of_more,
    thinks_again,
)
from distill_offline.text.json_values import Pairs, Piece, json_pieces
from distill_offline.text.thinking import Quoted, answer_part

__all__ = ["Read", "answer_text", "read_answer"]

Answer = TypeVar("Answer")
_LONGEST_ANSWER = 1_000_000  # characters; more than any max_tokens in use can give
_MOST_PIECES = 20_000  # lists and objects one after another


@dataclass(frozen=True, slots=True)
class Read(Generic[Answer]):
    """What a teacher answered, and the `source`: the text that says so."""

    answer: Answer
    source: str


def answer_text(completion: Completion, asked: str = "") -> str:
    """What a completion says besides thinking, without tags around it; `asked` is the text that it was asked about.

    Raises UnusableAnswer with the reasons that the quarantine counts: `truncated`, `prompt_too_long`, `content_filter`,
    `engine_error`, `empty`, `only_thinking` (it ends within a thought, or behind it), `not_json` (absurdly long).
    """
    if completion.finish_reason == "length":
        raise UnusableAnswer("truncated", "cut off by max_tokens")
    if completion.finish_reason == "prompt_too_long":
        raise UnusableAnswer("prompt_too_long")
    if completion.finish_reason == "content_filter":
        raise UnusableAnswer("content_filter", "withheld by the server or the model")
    if completion.finish_reason != "stop":
        raise UnusableAnswer("engine_error", completion.finish_reason)
    if not completion.text.strip():
        raise UnusableAnswer("only_thinking" if completion.thinking.strip() else "empty")
    if len(completion.text) > _LONGEST_ANSWER:
        raise UnusableAnswer("not_json", "absurdly long")
    text = answer_part(completion.text, asked).strip()
    if not text:
        raise UnusableAnswer("only_thinking")
    return _unwrapped(text).strip()


def read_answer(
    completion: Completion,
    understand: Callable[[Any], Answer | None],
    *,
    alike: Callable[[Answer], object] = lambda answer: answer,
    joined: Callable[[list[Any]], Any | None] = lambda values: None,
    in_words: Callable[[str, bool], Answer | None] = lambda words, concludes: None,
    mentions: Callable[[Answer], Collection[str]] = lambda answer: (),
    asked: str = "",
    question: str = "",
) -> Read[Answer]:
    """The answer that a completion gives; of many forms, see this module's head.

    `understand` makes an answer of a JSON value, or None of a value that is no answer; two agree if `alike` makes the
    same of them. `joined` makes one value of several that follow each other with nothing between them (an entity a
    line), or None if they are no such parts. `in_words` makes an answer of a few words behind it, or None of those that
    are none; it is told whether their sentence concludes or corrects something. `mentions` are the words of
    the text that an answer names. `question` is how the prompt introduces a text.

    Raises UnusableAnswer: answer_text's reasons, and `not_json`, `wrong_shape` (JSON that is no answer, or a key that
    stands twice in one object), `contradicting_answers`.
    """
    text = _fenced(answer_text(completion, asked))
    own_text = _own(text, asked, question)
    reply = _Part(own_text, understand, joined, alike, mentions)
    if own_text != text and not reply.answers:
        reply = _Part(text, understand, joined, alike, mentions)
    return reply.chosen(in_words)


@dataclass(frozen=True, slots=True)
class _Candidate(Generic[Answer]):
    start: int
    end: int
    answer: Answer


class _Part(Generic[Answer]):
    """A text with its answers, and whatever else it holds in brackets."""

    def __init__(
        self,
        text: str,
        understand: Callable[[Any], Answer | None],
        joined: Callable[[list[Any]], Any | None],
        alike: Callable[[Answer], object],
        mentions: Callable[[Answer], Collection[str]],
    ) -> None:
        self._text, self._alike, self._mentions = text, alike, mentions
        self._words = DecidingWords(text)
        self.answers: list[_Candidate[Answer]] = []
        self._others: list[Piece] = []
        for group in _grouped(text, joined):
            value = group[0].value if len(group) == 1 else joined([piece.value for piece in group])
            answer = understand(value) if group[0].kind == "value" else None
            if answer is None and len(group) == 1 and (one := joined([value])) is not None:
                answer = understand(one)
            if answer is None:
                self._others += group
            else:
                self.answers.append(_Candidate(group[0].start, group[-1].end, answer))
        self._numbers = {answer.start: number for number, answer in enumerate(self.answers)}

    def chosen(self, in_words: Callable[[str, bool], Answer | None]) -> Read[Answer]:
        """The answer. Raises UnusableAnswer."""
        if any(piece.kind == "broken" and _BEGUN.match(self._text, piece.start) for piece in self._others):
            raise UnusableAnswer("not_json", "it breaks off")
        counted = self._counted()
        if not counted:
            is_json = any(piece.kind == "value" for piece in self._others)
            raise UnusableAnswer("wrong_shape" if is_json else "not_json", "no answer in it")
        last = counted[-1]
        meant = self._alike(last.answer)
        differing = next((answer for answer in reversed(counted) if self._alike(answer.answer) != meant), None)
        if differing is not None and not self._replaces(last, differing):
            raise UnusableAnswer("contradicting_answers")
        self._check_others(last)
        behind, is_said_again = self._text[last.end :], False
        for words, concludes in said_last(behind):
            said = in_words(words, concludes)
            if said is not None and self._alike(said) != meant:
                raise UnusableAnswer("contradicting_answers", "words behind it say something else")
            is_said_again = is_said_again or said is not None
        if not is_said_again and self._is_taken_back(last):
            raise UnusableAnswer("contradicting_answers", "words behind it take it back")
        return Read(last.answer, self._text[last.start : last.end])

    def _counted(self) -> list[_Candidate[Answer]]:
        """The answers without those that are only spoken of: `not [...]`, a list with the heading `Excluded`, an empty
        list of what else there is, or one amid a sentence. Raises UnusableAnswer if all of them are excluded."""
        meant = [answer for answer in self.answers if not _SET_ASIDE.search(self._before(answer, 40))] or self.answers
        upheld = [answer for answer in meant if not is_left_out(self._words_before(answer))]
        if meant and not upheld:
            raise UnusableAnswer("contradicting_answers", "all that it lists is what it leaves out")
        meant = [answer for n, answer in enumerate(upheld) if not (n and self._asks_in_vain(answer))]
        if not meant or not meant[-1].answer:
            return meant
        return [answer for answer in meant if answer.answer or not self._is_amid_words(answer)]

    def _asks_in_vain(self, answer: _Candidate[Answer]) -> bool:
        return not answer.answer and asks_for_more(self._words_before(answer))

    def _replaces(self, last: _Candidate[Answer], earlier: _Candidate[Answer]) -> bool:
        """Whether the last answer counts, and not the earlier one, nor both together. One that may be called wrong does
        not; nor is the earlier one believed then, since the words can mean either."""
        before = self._words_before(last)
        if not last.answer and speaks_of_more(before):
            return False
        if not self._words.decide(earlier, last.start) or may_be_wrong(before) or is_denied(self._behind(last)):
            return False
        return not adds(before) or _holds(last.answer, earlier.answer)

    def _is_taken_back(self, last: _Candidate[Answer]) -> bool:
        behind = self._behind(last)
        return is_denied(behind) or thinks_again(behind, self._mentions(last.answer))

    def _words_before(self, answer: _Candidate[Answer]) -> str:
        """What stands before an answer, from the end of the one before it."""
        number = self._numbers[answer.start]
        return self._text[self.answers[number - 1].end if number else 0 : answer.start]

    def _behind(self, answer: _Candidate[Answer]) -> str:
        """What stands behind an answer, up to the next one."""
        number = self._numbers[answer.start] + 1
        return self._text[answer.end : self.answers[number].start if number < len(self.answers) else len(self._text)]

    def _is_amid_words(self, empty: _Candidate[Answer]) -> bool:
        line = self._before(empty, 60).rpartition("\n")[2]
        return self._text[empty.start] == "[" and bool(line.strip()) and not self._words.introduce(line)

    def _before(self, answer: _Candidate[Answer], length: int) -> str:
        return self._text[max(0, answer.start - length) : answer.start]

    def _check_others(self, last: _Candidate[Answer]) -> None:
        """Raises UnusableAnswer if what is no answer may have been meant as one, rather than the last answer."""
        for piece in self._others:
            if piece.start > last.start:
                if _is_list_like(self._text, piece) and self._words.decide(last, piece.start):
                    raise UnusableAnswer("wrong_shape" if piece.kind == "value" else "not_json", "a later one is none")
            elif not last.answer and piece.kind != "broken" and not self._words.decide(piece, last.start):
                raise UnusableAnswer("not_json", "an empty answer behind one that cannot be read")


def _grouped(text: str, joined: Callable[[list[Any]], Any | None]) -> list[list[Piece]]:
    """The text's pieces, with those together that are parts of one answer."""
    groups: list[list[Piece]] = []
    is_part = False
    for number, piece in enumerate(json_pieces(text, objects=_object)):
        if number == _MOST_PIECES:
            raise UnusableAnswer("not_json", "absurdly many brackets")
        was_part, is_part = is_part, piece.kind == "value" and joined([piece.value, piece.value]) is not None
        if was_part and is_part and _BETWEEN_PARTS.fullmatch(text, groups[-1][-1].end, piece.start):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _object(pairs: Pairs) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise UnusableAnswer("wrong_shape", "a key occurs twice in one object")
    return value


def _holds(answer: object, other: object) -> bool:
    """Whether an answer has all that another one has."""
    return isinstance(answer, list | tuple) and isinstance(other, list | tuple) and all(x in answer for x in other)


def _is_list_like(text: str, piece: Piece) -> bool:
    """Whether a bracket may be meant as an answer: words with commas between them; more than numbers."""
    if piece.kind == "value":
        return isinstance(piece.value, dict) or any(isinstance(item, str | list | dict) for item in piece.value)
    return "," in text[piece.start : piece.end]


def _unwrapped(text: str) -> str:
    """The text from where the first wrapped answer begins to where the last one ends, without the tags."""
    tags = list(_WRAPPER.finditer(text))
    if not tags:
        return text
    quoted = Quoted(text)
    tags = [tag for tag in tags if not quoted.tag(tag)]
    first = next((tag for tag in tags if tag["open"]), None)
    if first is None:
        return text
    end = len(text) if tags[-1]["open"] else tags[-1].start()
    parts, done = list[str](), first.end()
    for tag in tags:
        if tag.start() >= done:
            parts.append(text[done : tag.start()])
            done = tag.end()
    return "\n".join([*parts, text[done:end]])


def _fenced(text: str) -> str:
    """The text from its first code fence that holds JSON on; all of it where it begins with JSON."""
    fence = None if text[:1] in ("[", "{") else _FENCED_JSON.search(text)
    return text[fence.start() :] if fence else text


def _own(text: str, asked: str, question: str) -> str:
    """The text without what is said of other texts than the one that was asked about.

    A teacher may repeat examples before it answers, or go on with texts of its own behind its answer.
    """
    heads = list(_HEADED.finditer(text))
    if question:
        heads += re.finditer(re.escape(question), text)
        heads.sort(key=lambda head: head.start())
    if len(heads) > _MOST_HEADS:
        return text
    wanted, kept, done = _squeezed(asked)[:_ALIKE], list[str](), 0
    for number, head in enumerate(heads):
        if head.start() < done:
            continue
        end = heads[number + 1].start() if number + 1 < len(heads) else len(text)
        is_own = bool(wanted) and _squeezed(text[head.end() : head.end() + 4 * _ALIKE]).startswith(wanted)
        # What speaks of a final answer belongs to the answer, whatever its line begins with.
        if not is_own and not _CONCLUDING.search(text, head.end(), end):
            kept.append(text[done : head.start()])
            done = end
    return "\n".join([*kept, text[done:]])


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


_MOST_HEADS = 2_000  # texts that a teacher speaks of
_ALIKE = 40  # characters by which a repeated text is known again
_BEGUN = re.compile(r"""[\[{]\s*(?:[\[{"']|\Z)""")
_BETWEEN_PARTS = re.compile(r"[\s,;]*(?:[-*•]|\d{1,4}[.)])?[\s,;]*")
_FENCED_JSON = re.compile(r"```\w{0,20}\s*(?=[\[{])")
_WRAPPER = re.compile(
    r"""
    (?P<open>
        <(?:final[ _-]?)?(?:answers?|response|output|result|solution|final)(?:\s[^<>]{0,100})?>
      | <\|(?:begin_of_|start_of_|start_|begin_)(?:solution|response|answer|box|output)\|>
      | \\(?:boxed|fbox)\{
    )
  | (?P<close>
        </(?:final[ _-]?)?(?:answers?|response|output|result|solution|final)>
      | <\|(?:end_of_|end_)(?:solution|response|answer|box|output)\|>
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SPECIAL_TURN = (
    r"<\|im_start\|>user|<\|user\|>|<start_of_turn>user|<\|start_header_id\|>user|\[INST\]|###\s?Instruction"
)
_OTHER = r"(?:(?:next|another|new|other|further|second)[ \t])"
_HEADED = re.compile(
    rf"(?:^[ \t>#*_\d.)-]{{0,12}}(?:{_OTHER}{{0,1}}(?:text|sentence|input|user|human|passage|satz|eingabe|phrase|"
    rf"texte)|{_OTHER}example|example[ \t]\d)[ \t*_\d]{{0,6}}:|"
    rf"{_SPECIAL_TURN})",
    re.IGNORECASE | re.MULTILINE,
)
_CONCLUDING = re.compile(r"\b(?:final|correct(?:ed|ion)|revis(?:ed|ion)|amended)\b", re.IGNORECASE)
_SET_ASIDE = re.compile(
    r"(?:\b(?:not|never|instead of|rather than|unlike|e\.g\.|for example|for instance|such as|"
    r"(?:format|form|draft|example|template)(?: is| was| would be)?)[\s:,(`\"'*]{0,6})\Z",
    re.IGNORECASE,
)
