"""Text classification: exactly one of the classes for a whole text, asked for as JSON."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Annotation, Completion, Example, Head, Sentence
from distill_offline.tasks.classes import ClassesTask
from distill_offline.tasks.prompting import first_clause
from distill_offline.tasks.reading import answer_text, read_answer

__all__ = ["TextClassification"]

_AROUND = " \t\r\n\"'`*.。"  # what may stand around a class that is all of an answer


class TextClassification(ClassesTask):
    """One of the classes in `task.types`. The answer's form is set by the prompt template's `answer`.

    `class`: `{"class":"sport"}`. `reasoned`: `{"reason":"a match report","class":"sport"}`.
    """

    name: ClassVar[str] = "text_classification"
    answers: ClassVar[tuple[str, ...]] = ("class", "reasoned")

    head: ClassVar[Head] = "sequence-classification"
    metric: ClassVar[str] = "macro_f1"

    def __init__(self, settings: TaskSettings) -> None:
        if len(settings.types) < 2:
            raise ConfigError("task.types: name at least two classes with their definitions.")
        if len({_plain(name) for name in settings.types}) < len(settings.types):
            raise ConfigError("task.types: two classes differ in case or blanks alone; an answer could mean either.")
        super().__init__(settings)

    def schema(self) -> dict[str, Any]:
        keys = ("reason", "class") if self._template.answer == "reasoned" else ("class",)
        return {
            "type": "object",
            "properties": {
                key: {"type": "string"} | ({"enum": list(self.labels)} if key == "class" else {}) for key in keys
            },
            "required": list(keys),
            "additionalProperties": False,
        }

    def answer(self, example: Example) -> str:
        (label,) = example.labels
        reason = {"reason": first_clause(self.types[label])} if self._template.answer == "reasoned" else {}
        return json.dumps({**reason, "class": label}, ensure_ascii=False, separators=(",", ":"))

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        """The class, as naming.py reads it. Raises UnusableAnswer: read_answer's reasons, `wrong_shape` where
        there is no class or more than one, `unknown_class`."""
        value = self._value(completion, sentence.text)
        name = self._names.read(value)
        if name is None:
            raise UnusableAnswer("unknown_class")
        return Annotation(sentence.id, (name,), renamed=((value, name),) if value != name else ())

    def _meant(self, value: str) -> str:
        return self._names.read(value) or _plain(value)

    def _value(self, completion: Completion, asked: str) -> str:
        """The class in the answer's JSON; an answer that is nothing but a class is one, too."""
        try:
            return read_answer(
                completion,
                _understood,
                alike=self._meant,
                in_words=lambda words, concludes: self._names.read(words) if concludes else None,
                asked=asked,
                question=self._question_line,
            ).answer
        except UnusableAnswer as error:
            if error.reason != "not_json":
                raise
            bare = answer_text(completion, asked).strip(_AROUND)
            if self._names.read(bare) is None:
                raise
            return bare


def _understood(value: Any) -> str | None:
    """The class that a JSON value names; None if it names none, or several."""
    if isinstance(value, dict):
        value = value.get("class", value.get("label"))
    elif isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else None


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
