"""How servers of other makes say the same things: why an answer ended, what it holds, what it cost, what went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["content_of", "count", "error_of", "finish_of", "is_too_long", "without_words_of"]

_STOPPED = frozenset(
    {
        *("stop", "stop_criteria", "stop_sequence", "stop_str", "stop_string", "stop_token"),
        *("end", "end_of_turn", "end_turn", "eos", "eos_token", "eos_token_id"),
        *("complete", "completed", "done", "finish", "finished", "normal", "success"),
    }
)
_CUT_OFF = frozenset(
    {
        *("length", "limit", "max_length", "token_limit", "model_length", "context_length", "incomplete", "truncated"),
        *("max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens"),
        "model_context_window_exceeded",
    }
)
_PREFIX = re.compile(r"^(finish_?reason|stop_?reason|reason)[._:]?")
_TEXT_PARTS = ("text", "output_text", "input_text")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_text", "thought", "redacted_thinking")
_LONGEST_BODY = 100_000  # characters of an error's body that are looked at
_DEEPEST = 4  # lists of parts in parts

_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window|limit)"
    r"|max[a-z]*[ _](model|context|sequence|input|prompt|total)[ _]?\w*[ _]?len"
    r"|max_model_len|max_seq_len|max_input_(length|tokens)"
    r"|(prompt|input|inputs|request|message|messages|sequence|text)\b[^.]{0,40}\b(too (long|large|many tokens)|exceed)"
    r"|too many (input |prompt )?tokens|input too long|payload too large|entity too large"
    r"|exceed\w*[^.]{0,60}\b(tokens?|context|n_ctx|sequence)\b"
    r"|longer than[^.]{0,40}\b(model|maximum|limit|context|n_ctx)"
    r"|inputs?\b[^.]{0,60}\bmust (be|have)\b[^.]{0,20}(<|less|fewer|at most)"
    r"|reduce (the|your) (length|prompt|input|messages)|string_above_max_length",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "in", "is", "it", "its", "no", "not"),
        *("of", "on", "or", "than", "that", "the", "this", "to", "was"),
    }
)


def finish_of(reason: object, *, spent: int = 0, most: int = 0) -> str:
    """`stop`, `length`, or `error: ...`: why an answer ended, in whatever words the server says so.

    Many servers give none, or null. Then an answer that spent its `most` tokens was cut off, and any other ended.
    """
    if reason is None or reason == "":
        return "length" if most and spent >= most else "stop"
    word = _PREFIX.sub("", str(reason).strip().lower().replace("-", "_").replace(" ", "_"))
    if word in _STOPPED:
        return "stop"
    if word in _CUT_OFF:
        return "length"
    shown = word[:40] if re.fullmatch(r"\w{1,40}", word) else "a reason that is no word"
    return f"error: the server ended the answer with {shown}"


def content_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """(thinking, text) of a message. Content may be text, null, a list of parts or one part.

    Parts that are no text (images, calls of tools) count for nothing. Raises TypeError for any other content.
    """
    thoughts: list[str] = []
    texts: list[str] = []
    _gather(message.get("content"), thoughts, texts, _DEEPEST)
    # Servers that split the thinking off themselves name it in one of several ways.
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(said := message.get(name), str):
            thoughts.append(said)
            break
    return "\n".join(filter(None, thoughts)), "".join(texts)


def _gather(content: object, thoughts: list[str], texts: list[str], deepest: int) -> None:
    if content is None:
        return
    if isinstance(content, str):
        texts.append(content)
    elif deepest and isinstance(content, Sequence):
        for part in content:
            _gather(part, thoughts, texts, deepest - 1)
    elif deepest and isinstance(content, Mapping):
        kind = content.get("type", "text")
        if kind in _TEXT_PARTS:
            said = content.get("text")
            _gather(said.get("value") if isinstance(said, Mapping) else said, thoughts, texts, deepest - 1)
        elif kind in _THOUGHT_PARTS:
            said = next((content[name] for name in ("thinking", "reasoning", "thought", "text") if name in content), "")
            _gather(said, thoughts, thoughts, deepest - 1)
    else:
        raise TypeError("content")


def count(value: object) -> int:
    """A number of tokens; 0 if the server gives none, or something that is no count."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 <= value < 1e12 else 0


def error_of(data: object) -> Mapping[str, Any]:
    """What a body says of an error, as `message`, `type` and more; empty if it says nothing. Bytes are read as JSON.

    Knows OpenAI's `{"error": {...}}`, a mere string there, `{"object": "error", "message": ...}` of older vLLM,
    `detail` of FastAPI (a string, or a list of objects with `msg`), `errors`, `message`, and bodies that are no JSON.
    """
    if isinstance(data, bytes):
        text = data[:_LONGEST_BODY].decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            is_page = text.lstrip()[:1] == "<"
            return {"message": re.sub(r"<[^<>]*>", " ", text).strip() if is_page else text.strip()}
    for _ in range(_DEEPEST):
        if isinstance(data, str):
            return {"message": data}
        if isinstance(data, list) and data:
            data = data[0]
            continue
        if not isinstance(data, Mapping):
            return {}
        inner = next((data[key] for key in ("error", "errors", "detail") if data.get(key)), None)
        if inner is None:
            said = next((data[key] for key in ("message", "msg", "title") if isinstance(data.get(key), str)), "")
            return {**data, "message": said} if said or data.get("type") or data.get("code") else {}
        if isinstance(inner, str) and isinstance(data.get("message"), str):
            return {**data, "message": f"{inner}: {data['message']}"}
        data = {**data, "error": None, **inner} if isinstance(inner, Mapping) and "error" not in inner else inner
    return {}


def is_too_long(status: int, error: Mapping[str, Any]) -> bool:
    """Whether a refused request was longer than the server's context, or than it takes at all."""
    if status == 413:
        return True
    words = " ".join(str(error.get(key, "")) for key in ("message", "type", "code", "error_type"))[:4_000]
    return _TOO_LONG.search(words) is not None


def without_words_of(said: str, texts: Iterable[str], longest: int = 160) -> str:
    """One line of what a server said, in which words that occur in `texts` are left out: it may quote them.

    The commonest words stay: they tell nothing of a text.
    """
    quoted = {word.casefold() for text in texts for word in _WORD.findall(text)}
    line = " ".join(said.split())[: 4 * longest]

    def shown(match: re.Match[str]) -> str:
        word = match[0]
        return word if word in _COMMON or word.casefold() not in quoted else "…"

    line = re.sub(r"…(\W*…)+", "…", _WORD.sub(shown, "".join(c if c.isprintable() else " " for c in line)))
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"
