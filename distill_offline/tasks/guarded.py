"""A task from outside this package: what it gives is checked, and what it raises names key, row, file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from distill_offline.annotations import checked_number, checked_span
from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.label_kinds import KINDS, LabelKind, kind_of
from distill_offline.registry import check_has, theirs
from distill_offline.schema import (
    Annotation,
    Completion,
    Example,
    Head,
    Message,
    Prompt,
    Rejection,
    Sentence,
    Span,
    canonical_json,
)
from distill_offline.tasks.base import Task

__all__ = ["GuardedTask"]

_KEY = "task.name"
_OF_CLASS = ("head", "metric")
_METHODS = ("identity", "prompt", "answer", "parse")


class GuardedTask:
    """A user's task behind the same interface; made of its class and the settings.

    Raises ConfigError if the class is none, lacks what tasks.base.Task asks for, or fails; where a prompt is no
    Prompt; and where an annotation does not fit its sentence. Messages name the row's id and never what is in it.
    Labels are one BIO tag a token, so spans must not overlap: one that the labels do not have, and that overlaps one
    that they have, is rejected as `overlapping`. Any other contradiction between the two leaves it open which one is
    meant: the answer is unusable (`spans_unlike_labels`), and never "all O".
    """

    def __init__(self, name: str, kind: Any, settings: TaskSettings) -> None:
        self.name = name
        if not isinstance(kind, type):
            raise ConfigError(f"{_KEY}: {name} is not a class.")
        check_has(_KEY, name, kind, (*_OF_CLASS, *_METHODS))
        with theirs(_KEY, name, "made with the settings of task"):
            self._task = cast(Task, kind(settings))
        check_has(_KEY, name, self._task, ("labels",))
        if wrong := next((method for method in _METHODS if not callable(getattr(self._task, method))), ""):
            raise ConfigError(f"{_KEY}: {name}: {wrong} is not a method.")
        self.head: Head = self._task.head
        self.metric: str = self._task.metric
        if self.head not in KINDS:
            raise ConfigError(f"{_KEY}: {name}: head {self.head!r} is unknown. Known: {', '.join(KINDS)}.")
        self._kind = kind_of(self.head)
        labels = self._task.labels
        if not isinstance(labels, tuple | list) or not all(isinstance(label, str) for label in labels) or not labels:
            raise ConfigError(f"{_KEY}: {name}: labels must be a tuple of texts, and not empty.")
        if not isinstance(self.metric, str):
            raise ConfigError(f"{_KEY}: {name}: metric must be the name of one.")
        self.labels = tuple(labels)
        if canonical_json(self.identity()) != canonical_json(self.identity()):
            raise ConfigError(
                f"{_KEY}: {name}: identity() differs from call to call. It may change with the task alone."
            )

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
        if not messages or not all(
            isinstance(message, Message) and isinstance(message.content, str) for message in messages
        ):
            raise self._wrong(sentence, "prompt", "must give a Prompt with messages")
        with self._at(sentence, "prompt"):
            canonical_json(prompt.schema)
        return prompt

    def answer(self, example: Example) -> str:
        with self._at(example.sentence, "answer"):
            answer = self._task.answer(example)
        if not isinstance(answer, str):
            raise self._wrong(example.sentence, "answer", "must give a text")
        return answer

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        with self._at(sentence, "parse"):
            annotation = self._task.parse(sentence, completion)
        if not isinstance(annotation, Annotation):
            raise self._wrong(sentence, "parse", "must give an Annotation, or raise UnusableAnswer")
        if problem := self._problem(sentence, annotation):
            raise self._wrong(sentence, "parse", problem)
        return _agreeing(self._kind, sentence, annotation)

    def _at(self, sentence: Sentence, method: str) -> Any:
        return theirs(_KEY, self.name, f"{method}() of row {sentence.id}", may_quote=True)

    def _wrong(self, sentence: Sentence, method: str, problem: str) -> ConfigError:
        return ConfigError(f"{_KEY}: {self.name}, {method}() of row {sentence.id}: {problem}.")

    def _problem(self, sentence: Sentence, annotation: Annotation) -> str:
        """What of an annotation does not fit; empty if nothing."""
        if annotation.id != sentence.id:
            return "the annotation has another row's id"
        labels, tokens = tuple(annotation.labels), len(sentence.tokens)
        if unknown := [number for number, label in enumerate(labels) if label not in self.labels]:
            return f"label {unknown[0]} is not among the task's labels"
        if problem := self._kind.problem(labels, tokens):
            return problem
        try:
            _check_kinds(annotation)
        except ValueError as error:
            return str(error)
        if any(not 0 <= span.start < span.end <= tokens for span in annotation.spans):
            return "a span lies outside of the row's tokens"
        return ""


def _check_kinds(annotation: Annotation) -> None:
    """Raises ValueError if a field of an annotation, of its spans or its rejections is of another kind or size."""
    for span in annotation.spans:
        if not isinstance(span, Span):
            raise ValueError("spans must be of the class Span")
        checked_span(span)
    for rejection in annotation.rejected:
        if not isinstance(rejection, Rejection) or not isinstance(rejection.mention, str):
            raise ValueError("rejected must be of the class Rejection, with texts")
        if not isinstance(rejection.reason, str):
            raise ValueError("a rejection's reason must be a text")
    for name in ("confidence", "agreement"):
        if (value := getattr(annotation, name)) is not None:
            checked_number(name, value)


def _agreeing(kind: LabelKind, sentence: Sentence, annotation: Annotation) -> Annotation:
    """The annotation with the spans that its labels make, and those that overlap them among its rejections.

    Raises UnusableAnswer if labels and spans contradict each other otherwise.
    """
    made = kind.places(annotation.labels)
    held = [span for span in annotation.spans if made.get((span.start, span.end)) == span.type]
    others = [span for span in annotation.spans if span not in held]
    if any(not _overlaps(span, held) for span in others):
        raise UnusableAnswer("spans_unlike_labels")
    try:
        said = kind.agreed(sentence.tokens, tuple(annotation.labels), held if annotation.spans else None)
    except ValueError as error:
        raise UnusableAnswer("spans_unlike_labels") from error
    lost = [Rejection(_surface(sentence, span), "overlapping") for span in others]
    return replace(annotation, labels=said.labels, spans=said.spans, rejected=(*annotation.rejected, *lost))


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for other in others)


def _surface(sentence: Sentence, span: Span) -> str:
    return sentence.text[sentence.offsets[span.start][0] : sentence.offsets[span.end - 1][1]]
