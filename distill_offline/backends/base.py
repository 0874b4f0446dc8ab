"""What an engine must do: stream completions, and say exactly what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from distill_offline.schema import Completion, Message, Prompt, Sampling

__all__ = ["Backend", "PromptCounter"]


class PromptCounter(Protocol):
    """A model's tokenizer and chat template without its engine.

    A backend may offer one as a static method `counter(model: Path, options: Mapping[str, Any]) -> PromptCounter`.
    """

    limit: int  # prompts of so many tokens or more are refused

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of a rendered chat."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine with one model loaded.

    Constructed as `Class(model: Path, sampling: Sampling, options: Mapping[str, Any])`; unknown options raise
    ConfigError naming `backend.options.<key>`, a model that cannot be loaded raises BackendError. `needs_model` is
    False where none is loaded; `speed_only` names the options that change no answer but only how fast it comes. A class
    whose `lists_first_tokens` is True fills Completion.first_tokens for prompts that ask for them.
    """

    needs_model: ClassVar[bool]
    speed_only: ClassVar[frozenset[str]]

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None: ...

    def identity(self) -> Mapping[str, Any]:
        """What can change an answer besides prompt, sampling and weights (JSON): chat template, precision, limits.

        It is part of every completion's key, so it holds no path, no host name and no speed-only option.
        """
        ...

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """Take prompts as there is room and yield `(position, completion)` as each finishes, in any order.

        `position` counts the prompts taken, from 0. A prompt that fails alone yields a Completion whose
        finish_reason is `prompt_too_long` or starts with `error:`; only a dead engine raises BackendError.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory. Calling it twice is harmless."""
        ...
