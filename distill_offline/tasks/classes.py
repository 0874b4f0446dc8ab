"""What tasks about whole texts share, however many classes a text may have: the classes, the prompt, the text's cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError
from distill_offline.schema import Example, Message, Prompt, Sentence
from distill_offline.tasks.naming import TypeNames
from distill_offline.tasks.prompting import PromptTemplate, Turns

__all__ = ["ClassesTask"]

_CUT = " ..."  # stands where a text was cut


class ClassesTask(ABC):
    """The classes in `task.types`, asked for of a whole text; `schema` is the answer's.

    A template that sets `max_words` shows so many tokens of a text at most; students read texts up to train.max_length
    subwords.
    """

    name: ClassVar[str]
    answers: ClassVar[tuple[str, ...]]  # the forms of an answer that a template may ask for

    def __init__(self, settings: TaskSettings) -> None:
        if bad := [name for name in settings.types if not name or not name.isprintable() or name != name.strip()]:
            raise ConfigError(f"task.types: {bad[0]!r} cannot be a class: not empty, one line, no blank at its ends.")
        self.types = dict(settings.types)
        self.labels = tuple(settings.types)
        self._names = TypeNames(self.labels, settings.synonyms, tagged=False)
        self._synonyms = {name: list(others) for name, others in settings.synonyms.items()}
        self._template = PromptTemplate(settings, known=self.answers)
        self._longest = self._template.whole_number("max_words")
        self._system = Message("system", self._template.system)
        self._question_line = self._template.question()
        self._turns = Turns(self._question, self.answer)
        self._schema = self.schema()

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""

    @abstractmethod
    def answer(self, example: Example) -> str:
        """What the teacher should say of an example."""

    def identity(self) -> dict[str, Any]:
        reading = {"synonyms": self._synonyms} if self._synonyms else {}
        return {"task": self.name, "types": self.types, **reading, **self._template.identity()}

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

    def _question(self, sentence: Sentence) -> Message:
        text, longest = sentence.text, self._longest
        if longest is not None and len(sentence.tokens) > longest:
            text = text[: sentence.offsets[longest - 1][1]] + _CUT
        return Message("user", self._template.user(text))
