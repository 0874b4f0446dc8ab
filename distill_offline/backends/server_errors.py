"""What a server says when it does not answer: found in whatever shape, understood, and free of the prompt's words."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from distill_offline.schema import Prompt

__all__ = ["Fault", "fault_in", "seconds_to_wait", "without_echo"]

_SHOWN = 160  # characters of a server's message
_READ = 4000  # characters of it that are looked at
_KINDS = ("type", "code", "error_type", "status", "name")
_WORDS = ("message", "error", "detail", "msg", "errors", "error_message", "description", "title", "reason")
_TELLING = ("message", "detail", "msg", "errors", "error_message")
_TOO_LONG_KINDS = re.compile(
    r"exceed_?context|context_?(length|window|size)_?exceed|(prompt|input|string)_?(is_?)?(too_?long|above_max)", re.I
)
# As vLLM, SGLang, TGI, llama.cpp and its Python binding, LM Studio, Ollama, LMDeploy, TensorRT-LLM, TabbyAPI, LiteLLM,
# OpenAI, Anthropic, Mistral, Cohere, Google and DashScope say it.
_MOST = r"(context|max(imum)?[ _]?(model|input|prompt|seq|sequence|session|context|total|number of( input)? tokens)|max_\w*len\w*|maximum (allowed )?(length|tokens)|session_len)"  # noqa: E501
_TOO_LONG = re.compile(
    "|".join(
        (
            r"maximum context length",
            rf"\b(exceed\w*|(longer|greater|larger|more|bigger) than|over|beyond|overflow\w*|reached|(too|so) \w+ for)\b[^.]{{0,60}}?\b{_MOST}",  # noqa: E501
            r"\bcontext([ _-](length|window|size|limit))?\b[^.]{0,60}\b(exceed\w*|overflow\w*|is (too small|only))",
            r"\b(prompt|inputs?|messages?|text|sequence|conversation|tokens)\b[^.]{0,40}\btoo (long|large|big)\b",
            r"\brequest (is )?too (long|large)\b|\brequest entity too large|\bpayload too large",
            r"\b(prompt|input|sequence|context) length\b[^.]{0,30}\bexceeds?\b|contextwindowexceeded|n_keep\b.*n_ctx",
            r"\btoo many( input| prompt)? tokens\b",
            r"\b(inputs?|prompt)`?( \w+)? tokens?\b[^.]{0,40}\b(exceed|must be (<|less)|limit)",
            r"\bmust have less than \d+ tokens",
            r"\b(longer|greater|larger|more) than( the)?( \w+){0,3} \d+ tokens",
            r"\btokens? (count|number)?[^.]{0,30}exceeds",
            r"\breduce (the|your) (length|size|prompt|input|messages|number of( \w+)? tokens)",
            r"\brange of input length\b",
            r"超长|超出.{0,8}长度|超过.{0,12}(长度|最大|限制)",
        )
    )
)
_NO_MODEL_KINDS = re.compile(r"model_?not_?found|(unknown|invalid)_?model\b", re.I)
_NO_MODEL = re.compile(
    r"\bmodel\b.{0,200}?\b(not found|does not exist|doesn't exist|not exist|not loaded|not available|is unknown)"
    r"|\b(invalid|unknown) model( name)?\b|\bno models? (is |are )?loaded|\bno such model"
)
_FILTER_KINDS = re.compile(r"content_?(filter|policy)|responsible_?ai|prompt_?blocked|data_?inspection|guardrail", re.I)
_FILTER = re.compile(r"content (management|policy|filter)\w*|\bguardrails?\b.{0,40}\b(block|interven|violat)\w*")
_VALUE_FAULT = re.compile(r"input should be|at most \d+ completion tokens|max_tokens.{0,20}(positive|at least)")
# Words that servers say of anything: in a message they are no echo, although prompts have them, too.
_SAID_OF_ANYTHING = """
a an and api are argument array as at available backend bad be body bytes call can cannot chat choices client code
completion completions connection constraint contains content context cuda current decode decoder decoding did does
engine error errors exceed exceeded exceeds exception expected failed failure field fields for format found from gpu
grammar greater guided has have header host http if in input inputs internal invalid is it its json key large larger
later length less limit list load loaded loading long longer many max max_tokens maximum memory message messages
method missing model more must name no not null number object of on one only or out output parameter parse prompt
provided rate reached reason request requests required response response_format role running schema server service
set should size string structured support supported system temporarily than that the this time timeout timed to
token tokens too try type unable unavailable unexpected unknown unsupported upstream url use user value was were
while with worker you your
"""
_PLAIN_WORDS = frozenset(_SAID_OF_ANYTHING.split())
_WORD = re.compile(r"\w+")
_NUMBERS = re.compile(r"\d+(?:\s*,\s*\d+){2,}")
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]{0,500}>", re.I | re.S)
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,300}?)</title", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a server gave no answer, in its own words. `code` is the HTTP status that it names inside, or 0.

    `message` may quote the prompt: only `without_echo` makes it fit to be shown.
    """

    message: str = ""
    kind: str = ""
    code: int = 0
    prompt_tokens: int = 0

    def is_too_long(self, status: int) -> bool:
        """Whether the prompt is what does not fit."""
        said = self.message.lower()
        if status == 413 or _TOO_LONG_KINDS.search(self.kind):
            return True
        return _TOO_LONG.search(said) is not None and _VALUE_FAULT.search(said) is None

    def is_unknown_model(self, status: int) -> bool:
        """Whether the server has no model of the name that it was asked for."""
        if not 400 <= status < 500 or status == 429:
            return False
        return bool(_NO_MODEL.search(self.message.lower()) or _NO_MODEL_KINDS.search(self.kind))

    def is_withheld(self, status: int) -> bool:
        """Whether a filter of the server's stands between the prompt and an answer."""
        return status < 500 and bool(_FILTER_KINDS.search(self.kind) or _FILTER.search(self.message.lower()))

    def in_words(self, prompt: Prompt) -> str:
        """` (BadRequestError): what it said`, as much of that as there is, without anything of the prompt."""
        kind = self.kind if re.fullmatch(r"[A-Za-z][\w.-]{0,60}", self.kind) else ""
        kind = "" if without_echo(kind, prompt) != kind else kind
        said = without_echo(self.message, prompt)
        return (f" ({kind})" if kind else "") + (f": {said}" if said else "")


def fault_in(body: bytes, *, is_refusal: bool) -> Fault | None:
    """The fault that a reply's body tells of. `is_refusal`: its status is one, so that any words are the fault's.

    Without that, only a body that calls itself an error, or has one, is one; None for all others.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Fault(_plain_text(body)) if is_refusal else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Mapping):
        return Fault(_plain_text(body)) if is_refusal else None
    if not is_refusal and not (value.get("error") or value.get("object") == "error" or _has_only_words(value)):
        return None
    inner = next((value[key] for key in ("error", "detail") if isinstance(value.get(key), Mapping)), value)
    kinds = [str(fields[key]) for fields in (inner, value) for key in _KINDS if isinstance(fields.get(key), str)]
    numbers = [fields[key] for fields in (inner, value) for key in ("code", "status", "status_code") if key in fields]
    tokens = inner.get("n_prompt_tokens")
    return Fault(
        next(_messages(value), "")[:_READ],
        next((kind for kind in kinds if kind != "error"), ""),
        next((code for code in map(_status, numbers) if code), 0),
        tokens if isinstance(tokens, int) and 0 < tokens < 10**9 else 0,
    )


def without_echo(message: str, prompt: Prompt) -> str:
    """The message in one short line, without any word that holds one of the prompt's, its system turn left out.

    Servers like to quote what they could not read. Words that every server says are left, and numbers that the prompt
    has not; lists of numbers, which may be its tokens, and long strings without a blank go.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in message[:_READ]).split())
    short = line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"
    said = _Said(prompt)
    scrubbed = _WORD.sub(
        lambda match: "…" if said.has_any_of(match[0].casefold()) else match[0], _NUMBERS.sub("…", short)
    )
    return re.sub(r"…(?:\W*…)+", "…", scrubbed)


class _Said:
    """What a prompt says outside its system turn, as it is and as JSON escapes it."""

    def __init__(self, prompt: Prompt) -> None:
        turns = [message.content for message in prompt.messages if message.role != "system"]
        self._text = "\n".join(f"{turn}\n{json.dumps(turn)}" for turn in turns).casefold()
        self._words = set(_WORD.findall(self._text)) - _PLAIN_WORDS
        self._long = {word for word in self._words if len(word) > 3}

    def has_any_of(self, word: str) -> bool:
        """Whether a word of a message is one of the prompt's, a part of one, or has one inside."""
        if word in _PLAIN_WORDS:
            return False
        if word.isascii() and len(word) < 3:
            return word in self._words
        if len(word) > 40 or word in self._text or any(long_word in word for long_word in self._long):
            return True
        # Scripts without blanks: a word of theirs is whatever lies between two stops.
        return not word.isascii() and any(word[n : n + 2] in self._text for n in range(len(word) - 1))


def seconds_to_wait(retry_after: str, most: float) -> float | None:
    """What a Retry-After header asks for, at most `most` seconds; None if it is none. RFC 9110, section 10.2.3."""
    text = retry_after.strip()
    if re.fullmatch(r"\d{1,12}(\.\d{0,6})?", text):
        return min(float(text), most)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), most)


def _has_only_words(value: Mapping[str, Any]) -> bool:
    if value.get("choices"):
        return False
    return value.get("success") is False or any(isinstance(value.get(key), str | list) for key in _TELLING)


def _messages(value: Any, depth: int = 0) -> Iterator[str]:
    """Every sentence in an error's body, the likeliest first."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, list) and depth < 4:
        for item in value[:3]:
            yield from _messages(item, depth + 1)
    elif isinstance(value, Mapping) and depth < 4:
        where = value.get("loc") or value.get("param")
        location = ".".join(map(str, where)) if isinstance(where, list) else where if isinstance(where, str) else ""
        for key in _WORDS:
            for said in _messages(value.get(key), depth + 1):
                yield f"{location}: {said}" if location and location not in said else said


def _status(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else 0


def _plain_text(body: bytes) -> str:
    """The words of an HTML page, or of anything else."""
    text = body[: 4 * _READ].decode("utf-8", "replace")
    if "<" in text:
        title = _TITLE.search(text)
        text = title[1] if title and title[1].strip() else _TAGS.sub(" ", text)
        text = html.unescape(text)
    return " ".join(text.split())[:_READ]
