"""OpenAI's chat-completion shape, which llama.cpp and every compatible server answer in."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

from distill_offline.backends.dialects import content_of, count, error_of, finish_of, without_words_of
from distill_offline.schema import Completion, Prompt
from distill_offline.thinking import Tags, split_thinking

__all__ = ["cause_of", "failed", "read_chat_completion", "refused"]


def read_chat_completion(
    response: Mapping[str, Any], prompt: Prompt, tags: Tags | None = None, *, most: int = 0
) -> Completion:
    """The first choice of a response; `tags` are what the model's own template says of thoughts.

    `most` is how many tokens the answer might have: a server that does not say why it ended cut it off there.
    Raises LookupError, TypeError or ValueError where it has another shape.
    """
    choices = response.get("choices")
    if not choices:
        problem = _problem_of(response, prompt)
        return failed(prompt, problem or "the server's answer holds no choices")
    choice, usage = choices[0], response.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    message = choice.get("message")
    if message is None:  # the shape of plain completions
        message = {"content": choice["text"]}
    own_thinking, content = content_of(message)
    thinking, text = split_thinking(content, tags)
    spent = count(usage.get("completion_tokens"))
    finish = finish_of(choice.get("finish_reason"), spent=spent, most=most)
    texts, logprobs = _tokens(choice.get("logprobs"), content, has_end=finish == "stop")
    details = usage.get("prompt_tokens_details")
    return Completion(
        text=text,
        finish_reason=finish,
        thinking=thinking or own_thinking,
        token_texts=texts,
        token_logprobs=logprobs,
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=spent,
        cached_tokens=count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
        sample=prompt.sample,
    )


def _problem_of(response: Mapping[str, Any], prompt: Prompt) -> str:
    """What an answer says that is an error, although its status says that all is well."""
    error = error_of(response)
    return f"the server answers with an error{cause_of(error, prompt)}" if error else ""


def cause_of(error: Mapping[str, Any], prompt: Prompt) -> str:
    """` (KIND: what the server said)`, without the words of the prompt; nothing if it said nothing."""
    texts = [message.content for message in prompt.messages]
    kind = str(error.get("type") or error.get("code") or "")
    said = without_words_of(str(error.get("message") or ""), texts)
    parts = [kind if kind.isidentifier() and len(kind) <= 60 else "", said]
    shown = ": ".join(part for part in parts if part)
    return f" ({shown})" if shown else ""


def _tokens(logprobs: object, content: str, *, has_end: bool) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The answer's tokens and their log-probabilities; none if the server gives none, or in a shape of its own."""
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(tokens, list):
        return (), ()
    try:
        texts = _token_texts(tokens)
        values = tuple(float(token["logprob"]) for token in tokens)
    except (LookupError, TypeError, ValueError, AttributeError):
        return (), ()
    # The end-of-turn token is no part of the answer. llama.cpp lists it without bytes, vLLM with those of its name.
    if has_end and texts and not (texts[-1] and content and "".join(texts).endswith(content)):
        texts.pop()
    return tuple(texts), values[: len(texts)]


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
