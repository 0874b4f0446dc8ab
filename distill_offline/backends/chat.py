"""A prompt as token ids by a Hugging Face tokenizer's chat template, and token ids as texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from distill_offline.backends.chat_template import ChatTemplate
from distill_offline.backends.thinking_tags import thinking_tags
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Message
from distill_offline.text.template_limits import LimitReached
from distill_offline.text.thinking import split_thinking

__all__ = ["Chat", "fold_system", "token_texts"]

_PROBE = "distill-offline-probe"


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without a system turn: its text is put before that of the first user turn."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    if not system:
        return tuple(rest)
    for position, message in enumerate(rest):
        if message.role == "user":
            rest[position] = Message("user", f"{system}\n\n{message.content}")
            return tuple(rest)
    return (Message("user", system), *rest)


class Chat:
    """Renders messages with the tokenizer's own chat template, or with `template` (Jinja) instead.

    Some templates raise at a system turn (Gemma, early Mistral), others drop it in silence: both are found out once,
    by a probe, and such a model gets the system text folded into its first user turn. `thinking` is handed to the
    template as `enable_thinking`. `template_sha256` is the digest of the template in use.

    A template has limits in steps, time, size and depth. Raises ConfigError if there is none, BackendError where it
    cannot render even a plain user turn, or not within the limits.
    """

    def __init__(self, tokenizer: Any, *, thinking: bool = False, template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._thinking = thinking
        try:
            source: str = template or tokenizer.get_chat_template()
        except ValueError as error:
            raise ConfigError(
                "backend.model: the tokenizer has no chat template. "
                "Name a Jinja file as backend.options.chat_template, or use an instruction-tuned model."
            ) from error
        self.template_sha256 = hashlib.sha256(source.encode()).hexdigest()
        try:
            self._template = ChatTemplate(source)
            self._tags = thinking_tags(source, thinking=thinking)
            self._folds = not self._knows_system()
        except TemplateError as error:
            raise BackendError(f"backend.model: the chat template does not render ({error}).") from error

    def split(self, text: str, ids: Sequence[int]) -> tuple[str, str]:
        """(thinking, answer) of what was generated: `text` without special tokens, and all its token ids.

        The tags around a thought may be special tokens, of which the text holds nothing.
        """
        special = {*self._tokenizer.all_special_ids}
        if special.intersection(ids):
            whole = self._tokenizer.decode(ids, skip_special_tokens=False)
            thinking, answer = split_thinking(whole, self._tags)
            if (thinking, answer) != ("", whole):
                for token in self._tokenizer.all_special_tokens:
                    thinking, answer = thinking.replace(token, ""), answer.replace(token, "")
                return thinking.strip(), answer.strip()
        return split_thinking(text, self._tags)

    def token_ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, ready for the assistant's answer. Raises jinja2.TemplateError."""
        return list(self._tokenizer(self.render(messages), add_special_tokens=False)["input_ids"])

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text, special tokens included. Raises jinja2.TemplateError."""
        return self._apply(fold_system(messages) if self._folds else messages)

    def _apply(self, messages: Sequence[Message]) -> str:
        # The values that the tokenizer's own apply_chat_template hands to a template; test_chat_template compares.
        return self._template.render(
            **self._tokenizer.special_tokens_map,
            messages=[{"role": message.role, "content": message.content} for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            enable_thinking=self._thinking,
        )

    def _knows_system(self) -> bool:
        user = Message("user", "Hello")
        try:
            return _PROBE in self._apply((Message("system", _PROBE), user))
        except LimitReached:
            raise
        except TemplateError:
            self._apply((user,))
            return False


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """What each token adds to the decoded text; joined, they are that text. Special tokens add nothing.

    A character that several tokens share is given to the last of them.
    """
    texts: list[str] = []
    start = done = 0
    for end in range(1, len(ids) + 1):
        before = tokenizer.decode(ids[start:done], skip_special_tokens=True)
        after = tokenizer.decode(ids[start:end], skip_special_tokens=True)
        if after.endswith("\ufffd") and end < len(ids):
            texts.append("")
            continue
        texts.append(after[len(before) :])
        # Decoding along with the piece before keeps this linear; alone, a token could lose its leading space.
        start, done = done, end
    return tuple(texts)
