"""Prompt templates that a site can edit, and the JSON in a completion; what any task needs of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Completion
from distill_offline.settings import TaskSettings

__all__ = ["PromptTemplate", "json_answer"]

_LONGEST_ANSWER = 1_000_000  # characters; more than any max_tokens in use can give


class PromptTemplate:
    """A Jinja file with the blocks `system` and `user` and the variable `answer`, the form of the answer it asks for.

    `task.prompt` is a name among the package's own prompts or the path of a file. `system` sees types and guidelines,
    `user` sees text. Raises ConfigError with the file and line of a template's mistake.
    """

    def __init__(self, settings: TaskSettings, known: Sequence[str]) -> None:
        self.name = settings.prompt
        self._source = _read(settings.prompt)
        environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
        values = {"types": settings.types, "guidelines": _guidelines(settings.guidelines)}
        try:
            template = environment.from_string(self._source)
            if missing := {"system", "user"} - set(template.blocks):
                raise ConfigError(f"task.prompt: {self.name} has no block {sorted(missing)[0]!r}.")
            self.answer = str(getattr(template.make_module({**values, "text": ""}), "answer", ""))
            self.system = "".join(template.blocks["system"](template.new_context(values))).strip()
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigError(f"task.prompt: {self.name}{f':{line}' if line else ''}: {error}") from error
        if self.answer not in known:
            raise ConfigError(f"task.prompt: {self.name} must set answer to one of {', '.join(known)}.")
        self._template = template

    def user(self, text: str) -> str:
        """The user's turn for one text."""
        try:
            return "".join(self._template.blocks["user"](self._template.new_context({"text": text}))).strip()
        except jinja2.TemplateError as error:
            raise ConfigError(f"task.prompt: {self.name}, block user: {error}") from error

    def identity(self) -> dict[str, str]:
        return {
            "prompt": hashlib.sha256(self._source.encode()).hexdigest(),
            "system": hashlib.sha256(self.system.encode()).hexdigest(),
        }


def _read(prompt: str) -> str:
    own = resources.files("distill_offline.tasks") / "prompts" / f"{prompt}.jinja"
    if "/" not in prompt and own.is_file():
        return own.read_text("utf-8")
    try:
        return Path(prompt).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = sorted(p.name.removesuffix(".jinja") for p in own.parent.iterdir() if p.name.endswith(".jinja"))  # type: ignore[attr-defined]
        raise ConfigError(
            f"task.prompt: {prompt!r} is neither a readable file nor one of {', '.join(names)}."
        ) from error


def _guidelines(text_or_path: str) -> str:
    """Guidelines as given, or out of the file that a value ending in .txt or .md names."""
    if not text_or_path.endswith((".txt", ".md")):
        return text_or_path.strip()
    try:
        return Path(text_or_path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"task.guidelines: {text_or_path} cannot be read ({error}).") from error


def json_answer(completion: Completion) -> Any:
    """The JSON value that a completion is, or that stands first in its text (in a code fence, behind a preamble).

    Raises UnusableAnswer with the reasons that the quarantine counts: `truncated`, `prompt_too_long`, `engine_error`,
    `empty`, `not_json`.
    """
    if completion.finish_reason == "length":
        raise UnusableAnswer("truncated", "cut off by max_tokens")
    if completion.finish_reason == "prompt_too_long":
        raise UnusableAnswer("prompt_too_long")
    if completion.finish_reason.startswith("error"):
        raise UnusableAnswer("engine_error", completion.finish_reason)
    text = completion.text.strip()
    if not text:
        raise UnusableAnswer("empty")
    if len(text) > _LONGEST_ANSWER:
        raise UnusableAnswer("not_json", "absurdly long")
    decoder = json.JSONDecoder()
    starts = [position for position in (text.find("["), text.find("{")) if position >= 0]
    for start in sorted(starts):
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise UnusableAnswer("not_json")
