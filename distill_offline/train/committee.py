"""Distilled sentences with the labels that students give together, or how probable they hold each, instead of the
teacher's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.refine import refined
from distill_offline.errors import InputError, Interrupted
from distill_offline.label_kinds import LabelKind
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.schema import Example, Progress
from distill_offline.student.committee import Committee
from distill_offline.student.model import Student
from distill_offline.train.arms import in_words
from distill_offline.train.soft_labels import SoftExample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["labelled_together"]

_LABELLED_AT_ONCE = 1024  # sentences: seconds until a stop is heeded


def labelled_together(
    folder: RunFolder, names: Sequence[str], distilled: Sequence[Example], *, soft: bool = False
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The same sentences with the labels of the mean of students, or of one, and how many of these are other labels.

    With `soft` they are soft examples, of tokens as fine as those of raw text. Weights and masks were about the
    teacher's labels: they go. Raises Interrupted when the run is to stop, InputError if soft labels would be of other
    labels than the task has now.
    """
    who = in_words(names)
    label = "label" if len(names) > 1 else "labels"
    folder.say(f"train: {who} {'together ' if len(names) > 1 else ''}{label} {len(distilled)} distilled sentences")
    paths = [folder.folder(f"train/{name}") / "student" for name in names]
    labeller = Committee.load(paths) if len(paths) > 1 else Student.load(paths[0])
    tokenise = tokeniser(folder.settings.corpus.language)  # as the student that learns it
    order = _order(labeller.labels, make_task(folder.settings).labels, who) if soft else ()
    again, changed = list[Example](), 0
    for start in range(0, len(distilled), _LABELLED_AT_ONCE):
        if folder.stop():
            raise Interrupted(f"train: stopped while {who} {label}. Run the same command again to go on.")
        examples = distilled[start : start + _LABELLED_AT_ONCE]
        if soft and labeller.kind.per_token:
            examples = [refined(example, tokenise) for example in examples]
        scored = labeller.scored([example.sentence for example in examples])
        labels = labeller.kind.decide(scored, labeller.labels)
        changed += sum(new != example.labels for new, example in zip(labels, examples, strict=True))
        relabelled = [
            replace(example, labels=new, weight=1.0, masked=()) for example, new in zip(examples, labels, strict=True)
        ]
        if soft:
            relabelled = _softened(relabelled, labeller.kind, labeller.kind.shares(scored, labeller.labels), order)
        again += relabelled
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        folder.watch(Progress(f"{names[0]}{others} {label}", start + len(examples), len(distilled)))
    return tuple(again), {"distilled_relabelled": changed, "labellers": len(names)}


def _order(theirs: Sequence[str], ours: Sequence[str], who: str) -> list[int]:
    """Where each of our labels stands among theirs."""
    if set(theirs) != set(ours):
        raise InputError(
            f"train: {who} learnt the labels {', '.join(theirs)}, and the task has {', '.join(ours)} now: soft labels "
            "must be of the same ones. Train all anew: leave --arm out."
        )
    return [theirs.index(label) for label in ours]


def _softened(
    examples: Sequence[Example], kind: LabelKind, shares: Sequence[NDArray[np.float32]], order: Sequence[int]
) -> list[Example]:
    """The examples with how probable each label is: of tokens and of one class a column, of several classes a row."""
    several = kind.problem_type == "multi_label_classification"
    return [
        SoftExample(
            **{each.name: getattr(example, each.name) for each in fields(example)},
            shares=rows[list(order)] if several else rows[:, list(order)],
        )
        for example, rows in zip(examples, shares, strict=True)
    ]
