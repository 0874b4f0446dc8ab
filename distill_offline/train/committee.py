"""Distilled sentences with the labels that several students give together, instead of the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill_offline.errors import Interrupted
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.transitions import average_transitions
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Progress, Sentence
from distill_offline.student.model import Student

__all__ = ["labelled_together", "mean_scores"]

_LABELLED_AT_ONCE = 1024  # sentences: seconds until a stop is heeded


def labelled_together(
    folder: RunFolder, names: Sequence[str], distilled: Sequence[Example]
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The same sentences with the labels of the mean of students, and how many of these are other labels.

    Weights and masks were about the teacher's labels: they go. Raises Interrupted when the run is to stop.
    """
    who = f"{', '.join(names[:-1])} and {names[-1]}"
    folder.say(f"train: {who} together label {len(distilled)} distilled sentences")
    students = [Student.load(folder.folder(f"train/{name}") / "student") for name in names]
    again: list[Example] = []
    for start in range(0, len(distilled), _LABELLED_AT_ONCE):
        if folder.stop():
            raise Interrupted(f"train: stopped while {who} label. Run the same command again to go on.")
        examples = distilled[start : start + _LABELLED_AT_ONCE]
        scored = mean_scores(students, [example.sentence for example in examples])
        said = students[0].kind.decide(scored, students[0].labels)
        again += [
            replace(example, labels=labels, weight=1.0, masked=())
            for example, labels in zip(examples, said, strict=True)
        ]
        folder.watch(Progress(f"{names[0]} and {len(names) - 1} more label", start + len(examples), len(distilled)))
    changed = sum(new.labels != old.labels for new, old in zip(again, distilled, strict=True))
    return tuple(again), {"distilled_relabelled": changed, "labellers": len(names)}


def mean_scores(students: Sequence[Student], sentences: Sequence[Sentence]) -> list[Scored]:
    """What students of one encoder and of the same labels say of each sentence: the mean of their scores.

    Scores are logarithms, so that this is the geometric mean of what they hold probable: what one of them rules out
    stays unlikely. Transitions are averaged, too; a student without any counts as one that prefers none.
    """
    import numpy as np

    said = zip(*(student.scored(sentences) for student in students), strict=True)
    transitions = average_transitions([student.transitions for student in students])
    return [
        replace(each[0], scores=np.stack([of.scores for of in each]).mean(axis=0), transitions=transitions)
        for each in said
    ]
