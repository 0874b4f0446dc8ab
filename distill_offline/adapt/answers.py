"""How good generated answers are: the F1 of the labels that they are read as."""

from __future__ import annotations

from collections.abc import Sequence

from distill_offline.backends.base import Backend
from distill_offline.errors import UnusableAnswer
from distill_offline.label_kinds import comparable, kind_of
from distill_offline.schema import Completion, Example, Prompt
from distill_offline.scoring.metrics import quick_f1
from distill_offline.tasks.base import Task

__all__ = ["f1_of_answers"]


def f1_of_answers(backend: Backend, task: Task, examples: Sequence[Example], prompts: Sequence[Prompt]) -> float:
    """The F1 of the answers to `prompts` against the labels of `examples`; one that cannot be read names nothing."""
    said = dict(backend.complete(prompts))
    given = [_labels(task, example, said[number]) for number, example in enumerate(examples)]
    return quick_f1(task.metric, *comparable(task.head, examples, given))


def _labels(task: Task, example: Example, completion: Completion) -> tuple[str, ...]:
    try:
        return task.parse(example.sentence, completion).labels
    except UnusableAnswer:
        return kind_of(task.head).unanswered(len(example.labels))
