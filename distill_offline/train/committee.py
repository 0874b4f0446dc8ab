"""Distilled sentences with the labels that several students give together, instead of the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill_offline.errors import Interrupted
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Progress
from distill_offline.student.committee import Committee
from distill_offline.train.arms import in_words

__all__ = ["labelled_together"]

_LABELLED_AT_ONCE = 1024  # sentences: seconds until a stop is heeded


def labelled_together(
    folder: RunFolder, names: Sequence[str], distilled: Sequence[Example]
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The same sentences with the labels of the mean of students, and how many of these are other labels.

    Weights and masks were about the teacher's labels: they go. Raises Interrupted when the run is to stop.
    """
    who = in_words(names)
    folder.say(f"train: {who} together label {len(distilled)} distilled sentences")
    committee = Committee.load([folder.folder(f"train/{name}") / "student" for name in names])
    again: list[Example] = []
    for start in range(0, len(distilled), _LABELLED_AT_ONCE):
        if folder.stop():
            raise Interrupted(f"train: stopped while {who} label. Run the same command again to go on.")
        examples = distilled[start : start + _LABELLED_AT_ONCE]
        scored = committee.scored([example.sentence for example in examples])
        again += [
            replace(example, labels=labels, weight=1.0, masked=())
            for example, labels in zip(examples, committee.kind.decide(scored, committee.labels), strict=True)
        ]
        folder.watch(Progress(f"{names[0]} and {len(names) - 1} more label", start + len(examples), len(distilled)))
    changed = sum(new.labels != old.labels for new, old in zip(again, distilled, strict=True))
    return tuple(again), {"distilled_relabelled": changed, "labellers": len(names)}
