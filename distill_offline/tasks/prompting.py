"""Prompt templates that a site can edit, and the JSON in a completion; what any task needs of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from pathlib import Path
from traceback import walk_tb
from typing import Any

import jinja2
from jinja2 import meta

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError
from distill_offline.schema import Example, Message, Sentence
from distill_offline.text.encoding import NotUTF8, read_utf8
from distill_offline.text.template_limits import BoundedEnvironment, LimitReached, bounded

__all__ = ["PromptTemplate", "Turns", "first_clause", "guidelines_text", "prompt_source"]

_KEPT = 5000  # demonstrations whose turns are kept rendered
_SHORTEST_QUESTION = 5  # characters
_PROBE = "distill-offline-probe"


class PromptTemplate:
    """A Jinja file with the blocks `system` and `user` and the variable `answer`, the form of the answer it asks for.

    `task.prompt` is a name among the task's own prompts or the path of a file. Both blocks see types and guidelines;
    `user` sees text as well, and what stands `before` and `after` it (task.context). Raises ConfigError with the file
    and line of a template's mistake.
    """

    def __init__(self, settings: TaskSettings, known: Sequence[str]) -> None:
        self.name = settings.prompt
        self._source = prompt_source(settings)
        self._values = {"types": settings.types, "guidelines": guidelines_text(settings.guidelines)}
        self._environment, self._template = self._compiled()
        if missing := {"system", "user"} - set(self._template.blocks):
            raise ConfigError(f"task.prompt: {self.name} has no block {sorted(missing)[0]!r}.")
        values = {**self._values, "text": "", "before": "", "after": ""}
        with self._mistakes(self._values):
            context = self._template.new_context(values)
            self._environment.pieces(self._template.root_render_func(context))
        self._set = context.get_exported()  # what the template sets outside its blocks
        self.answer = str(self._set.get("answer", ""))
        if self.answer not in known:
            raise ConfigError(f"task.prompt: {self.name} must set answer to one of {', '.join(known)}.")
        self.system = self._block("system", self._values)
        self.user("")  # a mistake in it shows now, and not when the engine has been loaded
        if settings.context and not {"before", "after"} & meta.find_undeclared_variables(
            self._environment.parse(self._source)
        ):
            raise ConfigError(f"task.context: {self.name} shows neither `before` nor `after`; use them in block user.")

    def _compiled(self) -> tuple[BoundedEnvironment, jinja2.Template]:
        try:
            return _template(self._source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"task.prompt: {self.name}:{error.lineno}: {error}") from error
        except LimitReached as error:
            raise ConfigError(f"task.prompt: {self.name}: it is nested too deeply.") from error
        except SyntaxError as error:  # Python's own limits: too many blocks in blocks
            raise ConfigError(f"task.prompt: {self.name}: {error.msg}.") from error

    def user(self, text: str, before: str = "", after: str = "") -> str:
        """The user's turn for one text, with the text around it."""
        return self._block("user", {**self._values, "text": text, "before": before, "after": after})

    def question(self) -> str:
        """How the user's turn introduces a text, on the text's own line; empty if it says next to nothing there."""
        try:
            before, text, _ = self.user(_PROBE).partition(_PROBE)
        except ConfigError:  # it expects something of its texts
            return ""
        line = before.rpartition("\n")[2].strip() if text else ""
        return line if len(line) >= _SHORTEST_QUESTION else ""

    def whole_number(self, name: str) -> int | None:
        """The number, from 1, that the template sets by that name outside its blocks; None if it sets none."""
        value = self._set.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"task.prompt: {self.name}: {name} must be a whole number, 1 or more.")
        return value

    def _block(self, name: str, values: dict[str, Any]) -> str:
        with self._mistakes(values):
            context = self._template.new_context(values)
            return self._environment.pieces(self._template.blocks[name](context)).strip()

    @contextmanager
    def _mistakes(self, values: dict[str, Any]) -> Iterator[None]:
        # Not only Jinja's own errors: an expression of the template may divide by zero or call what is no function.
        try:
            with bounded():
                yield
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            line = self._line(error)
            # What Python says of a failed expression may quote the corpus.
            is_known = isinstance(error, LimitReached) or not values.get("text")
            problem = error if is_known else type(error).__name__
            raise ConfigError(f"task.prompt: {self.name}{f':{line}' if line else ''}: {problem}") from error

    def _line(self, error: BaseException) -> int | None:
        """The template's line that the traceback leads to; Jinja maps them only for whole templates."""
        source_line = None
        for frame, line in walk_tb(error.__traceback__):
            if frame.f_globals.get("__jinja_template__") is self._template:
                source_line = self._template.get_corresponding_lineno(line)
        return source_line

    def identity(self) -> dict[str, str]:
        return {
            "prompt": hashlib.sha256(self._source.encode()).hexdigest(),
            "system": hashlib.sha256(self.system.encode()).hexdigest(),
        }


@lru_cache(maxsize=16)
def _template(source: str) -> tuple[BoundedEnvironment, jinja2.Template]:
    """A source compiled; each reader of a corpus makes the task anew, and compiling takes ten milliseconds."""
    environment = BoundedEnvironment()
    with bounded():
        return environment, environment.from_string(source)


class Turns:
    """Demonstrations as the two turns of a chat; a pool's examples are shown again and again, so they are kept."""

    def __init__(self, question: Callable[[Sentence], Message], answer: Callable[[Example], str]) -> None:
        self._question, self._answer = question, answer
        self._kept: dict[tuple[str, str, tuple[str, ...]], tuple[Message, Message]] = {}

    def of(self, example: Example) -> tuple[Message, Message]:
        """The user's question and the assistant's answer."""
        key = (example.sentence.id, example.sentence.text, example.labels)
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = (self._question(example.sentence), Message("assistant", self._answer(example)))
        return self._kept[key]


def first_clause(definition: str) -> str:
    """What a definition says first: reason enough in a demonstration."""
    return definition.split(";")[0].split(". ")[0].rstrip(".")


def prompt_source(settings: TaskSettings) -> str:
    """The template's text. Raises ConfigError if `task.prompt` is neither a prompt of ours nor a readable file.

    A task with a folder of its own under prompts/ has its prompts there; those beside the folders are for entities.
    """
    prompt, prompts = settings.prompt, Path(str(resources.files("distill_offline.tasks"))) / "prompts"
    folder = prompts / settings.name if settings.name.isidentifier() else prompts
    own_prompts = {file.stem: file for file in (folder if folder.is_dir() else prompts).glob("*.jinja")}
    try:
        return read_utf8(own_prompts.get(prompt, Path(prompt)))
    except NotUTF8 as error:
        raise ConfigError(f"task.prompt: {prompt}:{error.line}: {error.problem}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"task.prompt: {prompt!r} is neither a readable file nor one of {', '.join(sorted(own_prompts))}."
        ) from error


def guidelines_text(text_or_path: str) -> str:
    """Guidelines as given, or out of the file that a value ending in .txt or .md names."""
    if not text_or_path.endswith((".txt", ".md")):
        return text_or_path.strip()
    try:
        return read_utf8(Path(text_or_path)).strip()
    except NotUTF8 as error:
        raise ConfigError(f"task.guidelines: {text_or_path}:{error.line}: {error.problem}") from error
    except OSError as error:
        raise ConfigError(f"task.guidelines: {text_or_path} cannot be read ({error}).") from error
