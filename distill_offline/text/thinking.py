"""What a reasoning model says before its answer, told from the answer: for engines, and for reading what is stored.

Known forms, in any case and also where the prompt has opened the thought or the engine has dropped special tokens:
tags (`<think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>`, `<seed:think>` and their kin),
the channels of gpt-oss ("harmony", also as `analysis...assistantfinal...`) and of Gemma (`<|channel>thought`),
Granite's two headings, the lines that Ollama prints (`Thinking...`, `...done thinking.`), and a `<details>` that says
that it holds reasoning, as chat front ends write it. A tag inside a string of whole JSON, or between quotation marks,
is one that is spoken of.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from distill_offline.text.json_values import json_pieces

__all__ = ["Quoted", "Tags", "answer_part", "ends_within_thought", "is_known", "split_thinking"]

_NAME = (
    r"(?:\w{1,20}:)?(?:inner[ _-]?|internal[ _-]?|self[ _-]?|chain[ _-]?of[ _-]?)?"
    r"(?:ant[ _-]?)?(?:think(?:ing)?|thoughts?|reason(?:ing|s)?|reflect(?:ion|ions|ing)?|scratch[ _-]?pad|analysis"
    r"|monologue|rationale|cot|deliberat(?:e|ion)|plan(?:ning)?|draft|critique|brainstorm(?:ing)?|verification)"
    r"(?:[ _-]?(?:process|trace|steps?|content|text))?"
)
_BEGINS, _ENDS = r"(?:begin|start)(?:[ _-]?of)?[ _-]?", r"(?:end|stop|close)(?:[ _-]?of)?[ _-]?"
_WORD = r"(?:think(?:ing)?|thoughts?|reasoning)"  # square brackets are common in prose: fewer names count in them
_THOUGHT = re.compile(
    rf"""
    (?P<close>
        (?:<|&lt;)[ ]?[|｜]?(?:/[|｜]?[ ]?{_NAME}|{_ENDS}{_NAME}|{_NAME}[ _-]?(?:end|stop))[ ]?[|｜]?[ ]?(?:>|&gt;)
      | \[/[ ]?{_WORD}\]
      | ◁[ ]?/[ ]?{_NAME}[ ]?▷
      | <\|inner_suffix\|>
      | <channel\|> | <unused95>
      | ^[^\w\n]{{0,4}}here\ is\ my\ response[^\w\n\[{{]{{0,4}}$
      | ^[ \t]{{0,4}}(?:\.\.\.|…)[ ]?done\ thinking\.?[ \t\r]{{0,4}}$
    )
  | (?P<open>
        (?:<|&lt;)[ ]?[|｜]?(?:{_BEGINS})?{_NAME}(?:[ _-]?(?:start|begin))?(?:\s[^<>]{{0,200}})?[|｜]?(?:>|&gt;)
      | \[{_WORD}\]
      | ◁[ ]?{_NAME}[ ]?▷
      | <\|inner_prefix\|>
      | <\|channel>[ ]?\w{{0,20}} | <unused94>(?:thought)?
      | ^[^\w\n]{{0,4}}here\ is\ my\ thought\ process[^\w\n]{{0,4}}$
      | ^[ \t]{{0,4}}thinking(?:\.\.\.|…)[ \t\r]{{0,4}}$
    )
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
# `<details>` is a tag for anything that is to be unfolded, and so may hold an answer: what it says of itself decides.
_DETAILS = re.compile(
    r"""
    (?P<open><details\b[^<>]{0,300}>
        (?:\s{0,20}<summary\b[^<>]{0,100}>(?P<summary>[^\n]{0,200}?)</summary\s{0,4}>)?)
  | (?P<close></details\s{0,4}>)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NO_ANSWER = re.compile(r"\btype\s{0,4}=\s{0,4}[\"']?(?:reasoning|tool_calls|code_interpreter)\b", re.IGNORECASE)
_SUMMED_UP = re.compile(
    r"(?:<[^<>]{0,40}>|\W){0,12}(?:(?:click\s+to\s+)?(?:show|view|see|expand|hide)\s+)?(?:(?:the|my|its|model)\s+){0,2}"
    r"(?:thoughts?|thinking|reason(?:ing|ed)|chain[ -]of[ -]thought)\b",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"<\|(start|channel|constrain|message|end|return|call)\|>")
_LINE = re.compile(r"\s*(?:thinking(?:\.\.\.|…)|(?:\.\.\.|…) ?done thinking\.?)\s*", re.IGNORECASE)
_IN_ANALYSIS = re.compile(r"<\|channel\|>\s*analysis\s*<\|message\|>\s*\Z")
_CHANNEL = re.compile(r"\s*(\w+)")
# What is left of harmony where the engine drops special tokens.
_STRIPPED = re.compile(r"\s*(?:analysis|commentary)(?:(?=[^\s:,.;)])|[ \t]*\n)")
_STRIPPED_FINAL, _SPACED_FINAL = re.compile(r"assistantfinal"), re.compile(r"assistant\s{1,3}final\b")
_STRIPPED_GEMMA = re.compile(r"\s*thought\r?\n(?!\s*(?:[\[{]|```))")
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "『": "』"}


@dataclass(frozen=True, slots=True)
class Tags:
    """What a model's own chat template says of thoughts: the tags before and behind one, if they are uncommon (`open`
    may be empty), and whether a prompt ends within a thought, so that an answer begins in it."""

    open: str = ""
    close: str = ""
    is_begun: bool = False


def split_thinking(text: str, tags: Tags | None = None) -> tuple[str, str]:
    """(thinking, answer) of what an engine gave; `tags` are those of the model's own template.

    A thought without an end is all thinking, and no answer, if the text or the prompt begins with it; elsewhere the
    text stays as it is, for whoever reads the answer to judge.
    """
    if tags is not None and tags.close and (split := _by_tags(text, tags)):
        return split
    cuts = _Cuts(text)
    thinking, answer = cuts.split()
    if thinking and not answer.strip() and not cuts.begins_with_thought():
        return "", text
    if cuts.has_thought:
        return thinking.strip(), answer.lstrip()
    # An engine that holds the answer to JSON lets no thought happen.
    return (text.strip(), "") if tags is not None and tags.is_begun and not _is_json(text) else ("", text)


def _is_json(text: str) -> bool:
    first = next(json_pieces(text), None)
    return first is not None and first.kind == "value" and not (text[: first.start] + text[first.end :]).strip()


def answer_part(text: str, asked: str = "") -> str:
    """What of a stored answer is not thinking; empty if it breaks off, or ends, within a thought.

    `asked`: the text that the question was about. It may itself hold such tags: where the answer repeats it, they are
    spoken of.
    """
    return _Cuts(text, asked).split()[1]


def is_known(tag: str) -> bool:
    """Whether a tag, or what a template writes between a thought and an answer, is one of the common forms."""
    return bool(_THOUGHT.search(tag) or _CONTROL.search(tag))


def ends_within_thought(prompt: str) -> bool:
    """Whether the end of a prompt opens a thought that the model is to go on with."""
    tags = list(_THOUGHT.finditer(prompt))
    return bool(tags and tags[-1]["open"]) or bool(_IN_ANALYSIS.search(prompt))


def _by_tags(text: str, tags: Tags) -> tuple[str, str] | None:
    quoted = Quoted(text)
    places = [match.start() for match in re.finditer(re.escape(tags.close), text) if match.start() not in quoted]
    if places:
        thinking, answer = text[: places[-1]], text[places[-1] + len(tags.close) :]
        return thinking.strip().removeprefix(tags.open).strip(), answer.lstrip()
    if tags.open and text.lstrip().startswith(tags.open):
        return text.lstrip().removeprefix(tags.open).strip(), ""
    return None


class Quoted:
    """Places of a text where a tag would only be spoken of: within whole JSON, in quotation marks, in a repetition."""

    def __init__(self, text: str, asked: str = "") -> None:
        self._text = text
        spans = [(piece.start, piece.end) for piece in json_pieces(text) if piece.kind == "value"]
        if asked:
            spans += [(match.start(), match.end()) for match in re.finditer(re.escape(asked), text)]
        self._spans = sorted(spans)
        self._starts = [start for start, _ in self._spans]

    def __contains__(self, position: int) -> bool:
        number = bisect_right(self._starts, position) - 1
        # Values do not overlap, and a repetition of the text overlaps one value at most.
        return any(start <= position < end for start, end in self._spans[max(0, number - 1) : number + 1])

    def tag(self, match: re.Match[str]) -> bool:
        start, end = match.span()
        opening = self._text[start - 1 : start]
        closing = _QUOTES.get(opening)
        if start in self or closing is None or self._text[end : end + 1] != closing:
            return start in self
        # Not if the mark before closes and the one behind opens, as in `"sport"</think>"politics"`.
        before, behind = self._text[max(0, start - 4) : start], self._text[end : end + 3]
        closes_and_opens = before[-2:-1].isalnum() and behind[1:2].isalnum()
        is_between_fences = before.lstrip("\n") == behind == "```" and (start < 4 or before[0] == "\n")
        return not closes_and_opens and not is_between_fences


def _tagged(text: str, asked: str) -> str:
    """The text with `<think>` for each `<details>` that says that it holds reasoning, or what a tool was asked."""
    if "<details" not in text.lower():
        return text
    quoted = Quoted(text, asked)
    tags = [tag for tag in _DETAILS.finditer(text) if not quoted.tag(tag)]
    parts, done, is_sure, outer = list[str](), 0, False, 0
    for number, tag in enumerate(tags):
        is_told = tag["open"] is not None and _NO_ANSWER.search(tag["open"].partition(">")[0]) is not None
        if tag["open"] and tag.start() >= done and (is_told or _SUMMED_UP.match(tag["summary"] or "")):
            end = _end_of_details(tags, number, is_within=outer > 0)
            parts += [text[done : tag.start()], f"<think>{text[tag.end() : end.start() if end else len(text)]}"]
            parts += ["</think>"] if end else []
            done, is_sure = end.end() if end else len(text), is_sure or is_told
        elif tag.start() >= done:
            outer = max(0, outer + (1 if tag["open"] else -1))
    outside = "".join([*parts[::3], text[done:]]) if parts else text
    # What a summary calls thinking may hold the answer, too, if there is nothing else.
    return "".join([*parts, text[done:]]) if is_sure or outside.strip() else text


def _end_of_details(tags: Sequence[re.Match[str]], first: int, *, is_within: bool) -> re.Match[str] | None:
    """What closes a tag. Those that are left over before the next one opens close it, too, since they were spoken of in
    it, unless it is within another one."""
    depth, end = 0, None
    for number in range(first, len(tags)):
        tag = tags[number]
        if end is not None and (tag["open"] or is_within):
            break
        depth += 1 if tag["open"] else -1
        if depth <= 0:
            end = tag
    return end


class _Cuts:
    """A text and where thoughts begin and end in it."""

    def __init__(self, text: str, asked: str = "") -> None:
        self._text = _tagged(text.removeprefix("\ufeff"), asked)
        self._quoted: Quoted | None = None
        self._asked = asked if _THOUGHT.search(asked) or _CONTROL.search(asked) else ""
        self.has_thought = False

    def begins_with_thought(self) -> bool:
        """Whether a tag that opens a thought is the first there is."""
        start = len(self._text) - len(self._text.lstrip("\ufeff \t\r\n"))
        match = _THOUGHT.match(self._text, start) or _CONTROL.match(self._text, start)
        return match is not None or bool(_STRIPPED.match(self._text) or _STRIPPED_GEMMA.match(self._text))

    def split(self) -> tuple[str, str]:
        text = self._text
        if "<|" in text and (control := self._unquoted(_CONTROL)) and any(m[1] == "channel" for m in control):
            self.has_thought = True
            return _harmony(text, control)
        if final := self._unquoted(_STRIPPED_FINAL):
            self.has_thought = True
            return text[: final[-1].start()], text[final[-1].end() :]
        if _STRIPPED.match(text) or _STRIPPED_GEMMA.match(text):
            self.has_thought = True
            late = self._unquoted(_SPACED_FINAL)
            return (text[: late[-1].start()], text[late[-1].end() :]) if late else (text, "")
        tags = _without_lone_lines(text, self._unquoted(_THOUGHT))
        self.has_thought = bool(tags)
        return _outside(text, tags) if tags else ("", text)

    def _unquoted(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        matches = list(pattern.finditer(self._text))
        if not matches:
            return []
        if self._quoted is None:
            self._quoted = Quoted(self._text, self._asked)
        return [match for match in matches if not self._quoted.tag(match)]


def _without_lone_lines(text: str, tags: list[re.Match[str]]) -> list[re.Match[str]]:
    """The tags but for a line `Thinking...` that neither begins the text nor is closed by its own like."""
    lines = [tag for tag in tags if _LINE.fullmatch(tag[0])]
    if not lines or any("done" in tag[0].lower() for tag in lines):
        return tags
    return [tag for tag in tags if tag not in lines or not text[: tag.start()].strip("\ufeff \t\r\n")]


def _harmony(text: str, control: Sequence[re.Match[str]]) -> tuple[str, str]:
    """The last message of the channel `final`, or else the last that has no channel; all else is thinking."""
    said: list[tuple[str, str]] = []
    channel, heading = "", ""
    previous = 0
    kind = "end"
    for match in [*control, None]:
        between = text[previous : match.start() if match else len(text)]
        if kind == "channel":
            name = _CHANNEL.match(between)
            channel = name[1].lower() if name else "?"
            heading = between[name.end() :] if name else ""
            if match is None or match[1] not in ("message", "constrain"):
                said.append((channel, heading))  # <|message|> was left out
        elif kind == "message" or between.strip():
            # What stands before the first of them is a thought that the prompt has opened.
            is_role = kind in ("start", "constrain")
            said += [] if is_role else [(channel if previous else "?", between)]
        if match is None:
            break
        if match[1] in ("end", "return", "call", "start"):
            channel = ""
        kind, previous = match[1], match.end()
    finals = [body for name, body in said if name == "final"] or [body for name, body in said if not name]
    thinking = "\n".join(body.strip() for name, body in said if name not in ("", "final"))
    return thinking, finals[-1] if finals else ""


def _outside(text: str, tags: Sequence[re.Match[str]]) -> tuple[str, str]:
    """What lies outside of thoughts; nothing at all if the last one has no end."""
    if _is_stray(text, tags):
        text, tags = text[: tags[-1].start()], tags[:-1]
    thoughts, answer, done = list[str](), list[str](), 0
    for first, last in _thoughts([tag["open"] is not None for tag in tags]):
        start, inner = tags[first].span() if tags[first]["open"] else (0, 0)
        if tags[last]["open"]:
            return "\n".join([*thoughts, text[inner:]]), ""
        answer.append(text[done:start])
        thoughts.append(text[inner : tags[last].start()])
        done = tags[last].end()
    return "\n".join(thoughts), "\n".join(piece for piece in (*answer, text[done:]) if piece.strip())


def _is_stray(text: str, tags: Sequence[re.Match[str]]) -> bool:
    """Whether the text ends with a closing tag for which no thought is left: one that closes nothing."""
    opened = sum(tag["open"] is not None for tag in tags)
    return bool(opened and tags[-1]["close"] and not text[tags[-1].end() :].strip() and len(tags) > 2 * opened)


def _thoughts(opening: Sequence[bool]) -> list[tuple[int, int]]:
    """Each thought's first and last tag, of tags that open (True) or close one.

    Tags that are well nested are taken at their word. Else a thought lasts from the first tag that opens one to the
    last that closes one before the next is opened: a tag named within a thought neither opens nor closes one.
    """
    if pairs := _nested(opening):
        return pairs
    firsts = [0, *(n for n in range(1, len(opening)) if opening[n] and not opening[n - 1])]
    return list(zip(firsts, [*(n - 1 for n in firsts[1:]), len(opening) - 1], strict=True))


def _nested(opening: Sequence[bool]) -> list[tuple[int, int]]:
    """The outermost pairs of tags, or nothing if they are not well nested."""
    pairs, depth, first = list[tuple[int, int]](), 0, 0
    for number, opens in enumerate(opening):
        if opens:
            first = number if depth == 0 else first
            depth += 1
            continue
        depth -= 1
        if depth < 0:
            return []
        if depth == 0:
            pairs.append((first, number))
    return pairs if depth == 0 else []
