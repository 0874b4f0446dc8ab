"""What a task must say: its labels, its head and metric, how it asks, and how it reads an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from distill_offline.config.settings import TaskSettings
from distill_offline.schema import Annotation, Completion, Example, Head, Prompt, Sentence

__all__ = ["Task"]


@runtime_checkable
class Task(Protocol):
    """A labelling task. `head` and `metric` are names from the tables of student/model.py and scoring/metrics.py.

    Constructed as `Class(settings: TaskSettings)`.
    """

    head: ClassVar[Head]
    metric: ClassVar[str]
    labels: tuple[str, ...]

    def __init__(self, settings: TaskSettings) -> None: ...

    def prompt(self, sentence: Sentence, demonstrations: Sequence[Example]) -> Prompt:
        """The chat that asks for this sentence's labels."""
        ...

    def answer(self, example: Example) -> str:
        """The completion that a perfect teacher would give for a labelled sentence; used in demonstrations, too."""
        ...

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        """The labels in a completion. Raises UnusableAnswer if there are none to trust."""
        ...

    def identity(self) -> Any:
        """JSON of what shapes the prompt: types, template digest, guidelines."""
        ...
