"""OpenAI's chat-completion shape, which llama.cpp and every compatible server answer in."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

from distill_offline.schema import Completion, Prompt
from distill_offline.thinking import Tags, split_thinking

__all__ = ["failed", "read_chat_completion", "refused"]


def read_chat_completion(response: Mapping[str, Any], prompt: Prompt, tags: Tags | None = None) -> Completion:
    """The first choice of a response; `tags` are what the model's own template says of thoughts.

    Raises LookupError, TypeError or ValueError where it has another shape.
    """
    choice, usage = response["choices"][0], response.get("usage") or {}
    message = choice["message"]
    content = message.get("content") or ""
    thinking, text = split_thinking(content, tags)
    tokens = (choice.get("logprobs") or {}).get("content") or []
    texts = _token_texts(tokens)
    spelt = "".join(texts)
    # The end-of-turn token is no part of the answer. llama.cpp lists it without bytes, vLLM with those of its name.
    if choice["finish_reason"] == "stop" and texts and not (texts[-1] and content and spelt.endswith(content)):
        texts.pop()
    return Completion(
        text=text,
        finish_reason=str(choice["finish_reason"]),
        # Servers that split the thinking off themselves name it in one of two ways.
        thinking=thinking or message.get("reasoning_content") or message.get("reasoning") or "",
        token_texts=tuple(texts),
        token_logprobs=tuple(float(token["logprob"]) for token in tokens[: len(texts)]),
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        completion_tokens=int(usage.get("completion_tokens", 0)),
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        sample=prompt.sample,
    )


def _token_texts(tokens: Sequence[Mapping[str, Any]]) -> list[str]:
    """By bytes, since a token may end in the middle of a character; so joined texts are the raw answer.

    A character that several tokens share is given to the last of them. (vLLM gives all its bytes there itself.)
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes(token.get("bytes") or ())) for token in tokens]


def refused(prompt: Prompt, tokens: int = 0) -> Completion:
    """A prompt that is longer than the engine's context."""
    return Completion(text="", finish_reason="prompt_too_long", prompt_tokens=tokens, sample=prompt.sample)


def failed(prompt: Prompt, message: str) -> Completion:
    """A prompt that failed alone, with the first line of what the engine said."""
    first_line = message.strip().partition("\n")[0][:200]
    return Completion(text="", finish_reason=f"error: {first_line}", sample=prompt.sample)
