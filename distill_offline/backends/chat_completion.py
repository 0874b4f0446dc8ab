"""OpenAI's chat-completion shape, in the dialects that llama.cpp and compatible servers speak."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from distill_offline.schema import Completion, Prompt
from distill_offline.text.thinking import Tags, split_thinking

__all__ = ["failed", "fault_among", "finish_of", "join_events", "read_chat_completion", "refused", "withheld"]

# In capitals or not, with FINISH_REASON_ before it or not.
_STOP = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed", "done", "end"}
_FINISHES = (
    ("content_filter", re.compile(r"filter|safety|refus|recitation|block|prohibit|toxic|guardrail|spii")),
    ("length", re.compile(r"length|max|limit|trunc|incomplete|exceed|window")),
    ("error: the server broke off the answer", re.compile(r"error|abort|cancel|time_?out|fail|insufficient|malformed")),
)
_TEXT_PARTS = {"text", "output_text", "input_text"}
_THOUGHT_PARTS = {"thinking", "reasoning", "reasoning_content", "reasoning_text", "thought", "redacted_thinking"}
_OTHER_PARTS = {"image_url", "image", "audio", "input_audio", "file", "tool_use", "tool_call", "refusal", "citation"}
_NAMED_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_MOST_TOKENS = 10**9


def read_chat_completion(
    response: Mapping[str, Any], prompt: Prompt, tags: Tags | None = None, *, max_tokens: int = 0
) -> Completion:
    """The first choice of a response, whatever can be left out of it.

    `tags` are what the model's own template says of thoughts. `max_tokens`: how long the answer could be; one that does
    not say why it ended was cut off if it has as many tokens. An answer without log-probabilities that can be read, or
    without counts, is one all the same. Thinking that the server has split off is the completion's thinking, also where
    there is nothing else: it never becomes the answer. Raises LookupError, TypeError or ValueError if there is no
    answer in it.
    """
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise LookupError("it has no choices")
    choice, usage = choices[0], _mapping(response.get("usage"))
    counted = _count(usage, "completion_tokens", "output_tokens")
    finish = finish_of(choice.get("finish_reason"), is_full=0 < max_tokens <= counted)
    message = _message_of(choice, finish)
    content, thoughts = _content_of(message.get("content"))
    thinking, text = split_thinking(content, tags)
    # Servers that split the thinking off themselves name it in one of several ways.
    named = next((message[key] for key in _NAMED_THOUGHTS if _is_said(message.get(key))), "")
    if finish == "stop" and _is_said(message.get("refusal")):
        finish = "content_filter"
    texts, logprobs = _tokens_of(choice.get("logprobs"), content, ended=finish == "stop")
    return Completion(
        text=text,
        finish_reason=finish,
        thinking=thinking or named or thoughts,
        token_texts=texts,
        token_logprobs=logprobs,
        prompt_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        completion_tokens=counted,
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
        sample=prompt.sample,
        first_tokens=_first_tokens(choice.get("logprobs")) if prompt.first_tokens else (),
    )


def finish_of(said: Any, *, is_full: bool = False) -> str:
    """`stop`, `length`, `content_filter`, or `error: ...` for what a server gives as its reason.

    Where it gives none, or one that nobody knows, an answer that `is_full` was cut off, and any other was ended: a
    parser still asks for a whole one.
    """
    if isinstance(said, Mapping):
        said = said.get("type", said.get("reason"))
    word = str(said or "").strip().lower().removeprefix("finish_reason_")
    if word in _STOP:
        return "stop"
    return next((finish for finish, words in _FINISHES if words.search(word)), "length" if is_full else "stop")


def fault_among(body: bytes) -> bytes:
    """The error that a stream of events tells of, as a body of its own; the body itself if it tells of none."""
    is_error = False
    for line in body.splitlines() if _is_stream(body) else ():
        name, _, said = line.partition(b":")
        if name == b"event":
            is_error = said.strip() == b"error"
        elif name == b"data":
            try:
                event = json.loads(said)
            except (ValueError, RecursionError):
                continue
            if is_error or (isinstance(event, Mapping) and (event.get("error") or event.get("object") == "error")):
                return json.dumps(event if isinstance(event, Mapping) else {"error": event}).encode()
    return body


def join_events(body: bytes) -> Mapping[str, Any] | None:
    """The response that a stream of server-sent events adds up to; None if the body is none, or breaks off.

    Some proxies stream whatever is asked of them.
    """
    if not _is_stream(body):
        return None
    data = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    said: dict[str, str] = {"content": "", "reasoning_content": ""}
    finish, usage, has_ended = None, None, b"[DONE]" in data
    for event in (json.loads(payload) for payload in data if payload and payload != b"[DONE]"):
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or choice.get("message") or {}
            content, thoughts = _content_of(delta.get("content"))
            said["content"] += content
            said["reasoning_content"] += delta.get("reasoning_content") or delta.get("reasoning") or thoughts
            finish = choice.get("finish_reason") or finish
    if not has_ended and finish is None:
        return None
    return {"choices": [{"message": said, "finish_reason": finish}], "usage": usage}


def _is_stream(body: bytes) -> bool:
    return body.lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


def _message_of(choice: Mapping[str, Any], finish: str) -> Mapping[str, Any]:
    """The message of a choice; of completions that are no chat, a text. One that was withheld may have neither."""
    for key in ("message", "delta", "text"):
        value = choice.get(key)
        if isinstance(value, Mapping):
            return value
        if isinstance(value, str):
            return {"content": value}
    if finish == "content_filter":
        return {}
    raise LookupError("it has no message")


def _content_of(content: Any) -> tuple[str, str]:
    """(what was said, what was thought) of a message's content: text, parts, or an answer that is JSON already."""
    if content is None or isinstance(content, str):
        return content or "", ""
    parts = [content] if isinstance(content, Mapping) else content
    if isinstance(content, Mapping) and isinstance(content.get("parts"), list):
        parts = content["parts"]
    if not isinstance(parts, list) or not (all(map(_is_part, parts)) or any(map(_is_text_part, parts))):
        return json.dumps(content, ensure_ascii=False), ""
    said, thought = [], []
    for part in parts:
        if isinstance(part, str):
            said.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, Mapping) else "unknown"
        if kind in _TEXT_PARTS:
            inner = part.get("text")
            inner = inner.get("value") if isinstance(inner, Mapping) else inner
            said.append(inner if isinstance(inner, str) else "")
        elif kind in _THOUGHT_PARTS:
            inner = next((part[key] for key in (*sorted(_THOUGHT_PARTS), "text") if part.get(key)), "")
            thought.append(_content_of(inner)[0])
    return "".join(said), "".join(thought)


def _is_part(value: Any) -> bool:
    """Whether it is a piece of a message, and not of an answer that the server has parsed: those have other types."""
    if isinstance(value, Mapping):
        return value.get("type") in _TEXT_PARTS | _THOUGHT_PARTS | _OTHER_PARTS or set(value) == {"text"}
    return isinstance(value, str)


def _is_text_part(value: Any) -> bool:
    """Whether it can only be a piece of a message, so that others beside it are pieces, too, of kinds to come."""
    return isinstance(value, Mapping) and value.get("type") in _TEXT_PARTS and isinstance(value.get("text"), str)


def _tokens_of(logprobs: Any, content: str, *, ended: bool) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The answer's tokens and their log-probabilities; none at all where one of them is no number."""
    tokens = _mapping(logprobs).get("content")
    if not isinstance(tokens, list) or not all(isinstance(token, Mapping) for token in tokens):
        return (), ()
    try:
        texts, logs = _token_texts(tokens), [float(token["logprob"]) for token in tokens]
    except (LookupError, TypeError, ValueError, OverflowError):
        return (), ()
    if not all(math.isfinite(log) and log <= 1e-3 for log in logs):
        return (), ()
    spelt = "".join(texts)
    # The end-of-turn token is no part of the answer. llama.cpp lists it without bytes, vLLM with those of its name.
    if ended and texts and not (texts[-1] and content and spelt.endswith(content)):
        texts.pop()
    return tuple(texts), tuple(logs[: len(texts)])


def _first_tokens(logprobs: Any) -> tuple[tuple[str, float], ...]:
    """(text, logarithm) of the likeliest first tokens, the likeliest first; none where one of them is no number."""
    tokens = _mapping(logprobs).get("content")
    first = _mapping(tokens[0]).get("top_logprobs") if isinstance(tokens, list) and tokens else None
    if not isinstance(first, list):
        return ()
    try:
        listed = [(str(token["token"]), float(token["logprob"])) for token in first]
    except (LookupError, TypeError, ValueError, OverflowError):
        return ()
    if any(math.isnan(log) or log > 1e-3 for _, log in listed):
        return ()
    return tuple(sorted((each for each in listed if math.isfinite(each[1])), key=lambda each: -each[1]))


def _token_texts(tokens: Sequence[Mapping[str, Any]]) -> list[str]:
    """By bytes, since a token may end in the middle of a character; so joined texts are the raw answer.

    A character that several tokens share is given to the last of them. (vLLM gives all its bytes there itself.)
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes(list(token.get("bytes") or ()))) for token in tokens]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _count(usage: Mapping[str, Any], *names: str) -> int:
    """The first of these counts that is one, in digits or not; 0 if none is."""
    for name in names:
        value = usage.get(name)
        try:
            number = 0 if isinstance(value, bool) else int(float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if 0 < number < _MOST_TOKENS:
            return number
    return 0


def refused(prompt: Prompt, tokens: int = 0) -> Completion:
    """A prompt that is longer than the engine's context."""
    return Completion(text="", finish_reason="prompt_too_long", prompt_tokens=tokens, sample=prompt.sample)


def withheld(prompt: Prompt) -> Completion:
    """A prompt that the server answers by its filter alone."""
    return Completion(text="", finish_reason="content_filter", sample=prompt.sample)


def failed(prompt: Prompt, message: str) -> Completion:
    """A prompt that failed alone, with the first line of what the engine said."""
    first_line = message.strip().partition("\n")[0][:_LONGEST_CAUSE]
    return Completion(text="", finish_reason=f"error: {first_line}", sample=prompt.sample)


_LONGEST_CAUSE = 300
