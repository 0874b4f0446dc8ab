"""Several classes a text: those of the task's classes that fit a whole text, or none, asked for as a JSON list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Annotation, Completion, Example, Head, Message, Prompt, Rejection, Sentence
from distill_offline.tasks.naming import TypeNames
from distill_offline.tasks.prompting import PromptTemplate, Turns
from distill_offline.tasks.reading import read_answer

__all__ = ["MultiLabelClassification"]

_CUT = " ..."  # stands where a text was cut


class MultiLabelClassification:
    """Any number of the classes in `task.types`, as `{"classes":["sport","money"]}`.

    A template that sets `max_words` shows so many tokens of a text at most; students read texts up to train.max_length
    subwords.
    """

    head: ClassVar[Head] = "multi-label-classification"
    metric: ClassVar[str] = "label_set_f1"

    def __init__(self, settings: TaskSettings) -> None:
        if not settings.types:
            raise ConfigError("task.types: name at least one class with its definition.")
        if bad := [name for name in settings.types if not name or not name.isprintable() or name != name.strip()]:
            raise ConfigError(f"task.types: {bad[0]!r} cannot be a class: not empty, one line, no blank at its ends.")
        self.types = dict(settings.types)
        self.labels = tuple(settings.types)
        self._names = TypeNames(self.labels, settings.synonyms, tagged=False)
        self._synonyms = {name: list(others) for name, others in settings.synonyms.items()}
        self._template = PromptTemplate(settings, known=("classes",))
        self._longest = self._template.whole_number("max_words")
        self._system = Message("system", self._template.system)
        self._question_line = self._template.question()
        self._turns = Turns(self._question, self.answer)
        listed = {"type": "array", "items": {"type": "string", "enum": list(self.labels)}}
        self._schema = {
            "type": "object",
            "properties": {"classes": listed},
            "required": ["classes"],
            "additionalProperties": False,
        }

    def identity(self) -> dict[str, Any]:
        reading = {"synonyms": self._synonyms} if self._synonyms else {}
        return {"task": "multi_label_classification", "types": self.types, **reading, **self._template.identity()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the task's settings."""
        return self._names.warnings

    def prompt(self, sentence: Sentence, demonstrations: Sequence[Example]) -> Prompt:
        messages = [self._system]
        for example in demonstrations:
            messages += self._turns.of(example)
        messages.append(self._question(sentence))
        return Prompt(sentence.id, tuple(messages), self._schema)

    def answer(self, example: Example) -> str:
        """The classes in the task's order."""
        given = [name for name in self.labels if name in example.labels]
        return json.dumps({"classes": given}, ensure_ascii=False, separators=(",", ":"))

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        """The classes, as naming.py reads them, each once; a name that is none is rejected as `unknown_class`.

        Raises UnusableAnswer: read_answer's reasons, and `unknown_class` if names are given and none is a class: that
        is not "no class".
        """
        read = read_answer(
            completion, _understood, alike=self._alike, asked=sentence.text, question=self._question_line
        )
        meant = [(written, self._names.read(written)) for written in read.answer]
        if meant and all(name is None for _, name in meant):
            raise UnusableAnswer("unknown_class")
        return Annotation(
            sentence.id,
            tuple(sorted({name for _, name in meant if name is not None})),
            rejected=tuple(Rejection(written, "unknown_class") for written, name in meant if name is None),
            renamed=tuple((written, name) for written, name in meant if name is not None and written != name),
        )

    def _alike(self, names: tuple[str, ...]) -> list[str]:
        """What two answers must share to be one."""
        return sorted({self._names.read(written) or written for written in names})

    def _question(self, sentence: Sentence) -> Message:
        text, longest = sentence.text, self._longest
        if longest is not None and len(sentence.tokens) > longest:
            text = text[: sentence.offsets[longest - 1][1]] + _CUT
        return Message("user", self._template.user(text))


def _understood(value: Any) -> tuple[str, ...] | None:
    """The classes that a JSON value lists; None if it is no list of names."""
    if isinstance(value, dict):
        value = value.get("classes", value.get("labels"))
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return tuple(value)
