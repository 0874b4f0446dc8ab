"""Distilled sentences with the labels that students give together, or how probable they hold each, instead of the
teacher's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.refine import refined
from distill_offline.errors import Interrupted
from distill_offline.run.folder import RunFolder
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
    teacher's labels: they go. Raises Interrupted when the run is to stop.
    """
    who = in_words(names)
    label = "label" if len(names) > 1 else "labels"
    folder.say(f"train: {who} {'together ' if len(names) > 1 else ''}{label} {len(distilled)} distilled sentences")
    paths = [folder.folder(f"train/{name}") / "student" for name in names]
    labeller = Committee.load(paths) if len(paths) > 1 else Student.load(paths[0])
    tokenise = tokeniser(labeller.language)
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
        again += _softened(relabelled, labeller.kind.shares(scored, labeller.labels)) if soft else relabelled
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        folder.watch(Progress(f"{names[0]}{others} {label}", start + len(examples), len(distilled)))
    return tuple(again), {"distilled_relabelled": changed, "labellers": len(names)}


def _softened(examples: Sequence[Example], shares: Sequence[NDArray[np.float32]]) -> list[Example]:
    return [
        SoftExample(**{each.name: getattr(example, each.name) for each in fields(example)}, shares=rows)
        for example, rows in zip(examples, shares, strict=True)
    ]
