"""Several classes a text: those of the task's classes that fit a whole text, or none, asked for as a JSON list."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from distill_offline.config.settings import TaskSettings
from distill_offline.errors import ConfigError, UnusableAnswer
from distill_offline.schema import Annotation, Completion, Example, Head, Rejection, Sentence
from distill_offline.tasks.classes import ClassesTask
from distill_offline.tasks.reading import read_answer

__all__ = ["MultiLabelClassification"]


class MultiLabelClassification(ClassesTask):
    """Any number of the classes in `task.types`, as `{"classes":["sport","money"]}`."""

    name: ClassVar[str] = "multi_label_classification"
    answers: ClassVar[tuple[str, ...]] = ("classes",)

    head: ClassVar[Head] = "multi-label-classification"
    metric: ClassVar[str] = "label_set_f1"

    def __init__(self, settings: TaskSettings) -> None:
        if not settings.types:
            raise ConfigError("task.types: name at least one class with its definition.")
        super().__init__(settings)

    def schema(self) -> dict[str, Any]:
        listed = {"type": "array", "items": {"type": "string", "enum": list(self.labels)}}
        return {
            "type": "object",
            "properties": {"classes": listed},
            "required": ["classes"],
            "additionalProperties": False,
        }

    def answer(self, example: Example) -> str:
        """The classes in the task's order."""
        names = [name for name in self.labels if name in example.labels]
        return json.dumps({"classes": names}, ensure_ascii=False, separators=(",", ":"))

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


def _understood(value: Any) -> tuple[str, ...] | None:
    """The classes that a JSON value lists; None if it is no list of names."""
    if isinstance(value, dict):
        value = value.get("classes", value.get("labels"))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)
