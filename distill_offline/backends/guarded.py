"""A backend from outside this package, run in this process: what it gives is checked, its errors name key and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from distill_offline.backends.base import Backend
from distill_offline.errors import ConfigError
from distill_offline.registry import check_has, theirs
from distill_offline.schema import Completion, Prompt, Sampling, canonical_json

__all__ = ["GuardedBackend", "check_backend"]

_KEY = "backend.name"
_WANTED = ("needs_model", "speed_only", "identity", "complete", "close")


def check_backend(name: str, kind: Any) -> None:
    """Raises ConfigError if a user's backend is no class, or lacks what backends.base.Backend asks for."""
    if not isinstance(kind, type):
        raise ConfigError(f"{_KEY}: {name} is not a class.")
    check_has(_KEY, name, kind, _WANTED)


class GuardedBackend:
    """A user's backend behind the same interface. Raises ConfigError if it fails, or gives what is no answer."""

    needs_model: ClassVar[bool] = False
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, kind: Any, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._name = name
        with theirs(_KEY, name, "made with model, sampling and options"):
            self._backend = cast(Backend, kind(model, sampling, options))

    def identity(self) -> Mapping[str, Any]:
        with theirs(_KEY, self._name, "identity()"):
            identity = dict(self._backend.identity())
            canonical_json(identity)
        return identity

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        with theirs(_KEY, self._name, "complete()", may_quote=True):
            answers = iter(self._backend.complete(prompts))
        while True:
            with theirs(_KEY, self._name, "complete()", may_quote=True):
                answer = next(answers, None)
            if answer is None:
                return
            if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], Completion):
                raise ConfigError(f"{_KEY}: {self._name}, complete(): it must yield (position, Completion).")
            if problem := _problem(answer[1]):
                raise ConfigError(f"{_KEY}: {self._name}, complete(): a Completion's {problem}.")
            yield answer

    def close(self) -> None:
        with theirs(_KEY, self._name, "close()"):
            self._backend.close()


def _problem(completion: Completion) -> str:
    """What of a completion could not be stored, or not be read; empty if nothing."""
    for name in ("text", "finish_reason", "thinking"):
        if not isinstance(getattr(completion, name), str):
            return f"{name} must be a text"
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "sample"):
        value = getattr(completion, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return f"{name} must be a number, 0 or more"
    if not _are(str, completion.token_texts) or not _are((int, float), completion.token_logprobs):
        return "token_texts must be texts, and token_logprobs numbers"
    return ""


def _are(kind: type | tuple[type, ...], values: object) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, kind) for value in values)
