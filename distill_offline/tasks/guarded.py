"""A task from outside this package: what it gives is checked, and what it raises names key, row, file and line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from distill_offline.bio import InvalidTags, decode_bio, to_iob2
from distill_offline.errors import ConfigError
from distill_offline.registry import check_has, theirs
from distill_offline.schema import (
    Annotation,
    Completion,
    Example,
    Head,
    Message,
    Prompt,
    Sentence,
    canonical_json,
)
from distill_offline.settings import TaskSettings
from distill_offline.tasks.base import Task

__all__ = ["GuardedTask"]

_KEY = "task.name"
_OF_CLASS = ("head", "metric")
_METHODS = ("identity", "prompt", "answer", "parse")


class GuardedTask:
    """A user's task behind the same interface; made of its class and the settings.

    Raises ConfigError where the class is none, lacks what tasks.base.Task asks for, or fails; where a prompt is no
    Prompt; and where an annotation does not fit its sentence, or has spans that its labels do not have: labels are one
    BIO tag a token, so spans must not overlap. Messages name the row's id and never what is in it.
    """

    def __init__(self, name: str, kind: Any, settings: TaskSettings) -> None:
        self.name = name
        if not isinstance(kind, type):
            raise ConfigError(f"{_KEY}: {name} is no class.")
        check_has(_KEY, name, kind, (*_OF_CLASS, *_METHODS))
        with theirs(_KEY, name, "made with the settings of task"):
            self._task = cast(Task, kind(settings))
        check_has(_KEY, name, self._task, ("labels",))
        if wrong := next((each for each in _METHODS if not callable(getattr(self._task, each))), ""):
            raise ConfigError(f"{_KEY}: {name}: {wrong} is no method.")
        self.head: Head = self._task.head
        self.metric: str = self._task.metric
        if self.head not in get_args(Head):
            raise ConfigError(f"{_KEY}: {name}: head {self.head!r} is unknown. Known: {', '.join(get_args(Head))}.")
        labels = self._task.labels
        if isinstance(labels, str) or not all(isinstance(each, str) for each in labels) or not labels:
            raise ConfigError(f"{_KEY}: {name}: labels must be a tuple of texts, and not empty.")
        self.labels = tuple(labels)
        self.identity()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_task"], name)

    def identity(self) -> Any:
        with theirs(_KEY, self.name, "identity()"):
            value = self._task.identity()
            canonical_json(value)
        return value

    def prompt(self, sentence: Sentence, demonstrations: Sequence[Example]) -> Prompt:
        with self._at(sentence, "prompt"):
            prompt = self._task.prompt(sentence, demonstrations)
        messages = prompt.messages if isinstance(prompt, Prompt) else ()
        if not messages or not all(isinstance(each, Message) and isinstance(each.content, str) for each in messages):
            raise self._wrong(sentence, "prompt", "must give a Prompt with messages")
        return prompt

    def answer(self, example: Example) -> str:
        with self._at(example.sentence, "answer"):
            answer = self._task.answer(example)
        if not isinstance(answer, str):
            raise self._wrong(example.sentence, "answer", "must give a text")
        return answer

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        with self._at(sentence, "parse"):
            found = self._task.parse(sentence, completion)
        if not isinstance(found, Annotation):
            raise self._wrong(sentence, "parse", "must give an Annotation, or raise UnusableAnswer")
        if problem := self._problem(sentence, found):
            raise self._wrong(sentence, "parse", problem)
        return found

    def _at(self, sentence: Sentence, method: str) -> Any:
        return theirs(_KEY, self.name, f"{method}() of row {sentence.id}", may_quote=True)

    def _wrong(self, sentence: Sentence, method: str, problem: str) -> ConfigError:
        return ConfigError(f"{_KEY}: {self.name}, {method}() of row {sentence.id}: {problem}.")

    def _problem(self, sentence: Sentence, found: Annotation) -> str:
        """What of an annotation does not fit; empty if nothing."""
        if found.id != sentence.id:
            return "the annotation has another row's id"
        labels, tokens = tuple(found.labels), len(sentence.tokens)
        wanted = tokens if self.head == "token-classification" else 1
        if len(labels) != wanted:
            return f"it gives {len(labels)} labels, and the row wants {wanted}"
        if unknown := [number for number, label in enumerate(labels) if label not in self.labels]:
            return f"label {unknown[0]} is not among the task's labels"
        if self.head != "token-classification":
            return ""
        try:
            to_iob2(labels, "iob2")
        except InvalidTags as error:
            return f"the labels are no valid BIO tags (token {error.position})"
        spans = [(span.start, span.end, span.type) for span in found.spans]
        if any(not 0 <= start < end <= tokens for start, end, _ in spans):
            return "a span lies outside of the row's tokens"
        told = {(span.start, span.end, span.type) for span in decode_bio(labels)}
        if spans and (set(spans) != told or len(spans) != len(told)):
            others = next(iter(sorted(set(spans) ^ told)), spans[0])
            return (
                f"spans and labels contradict each other (tokens {others[0]} to {others[1]}). Labels are one BIO tag a "
                "token, so spans must not overlap: leave out those that do, and count them as rejected"
            )
        return ""
