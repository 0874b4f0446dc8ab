"""Distilled sentences with the labels of a student instead of the teacher's, without those of which it is unsure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from distill_offline.errors import InputError, Interrupted
from distill_offline.label_kinds.decoding import Scored
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Progress, Span
from distill_offline.student.labelling import sure_spans
from distill_offline.student.model import Student

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["labelled_again"]

_LABELLED_AT_ONCE = 1024  # sentences: seconds until a stop is heeded


def labelled_again(
    folder: RunFolder, arm: str, distilled: Sequence[Example], *, min_confidence: float = 0.0
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The same sentences with the labels of an arm's student, and counts: how many it gave another label, above all.

    Weights and masks were about the teacher's labels: they go. Entities less probable than `min_confidence`, and tokens
    that are so probably outside of one, are masked; texts whose classes are so are left out. All of that is counted.
    Raises Interrupted when the run is to stop, InputError where no text is left.
    """
    folder.say(f"train: {arm} labels {len(distilled)} distilled sentences")
    student = Student.load(folder.folder(f"train/{arm}") / "student")
    counts = Counter({"distilled_relabelled": 0})
    again: list[Example] = []
    for start in range(0, len(distilled), _LABELLED_AT_ONCE):
        if folder.stop():
            raise Interrupted(f"train: stopped while {arm} labels. Run the same command again to go on.")
        examples = distilled[start : start + _LABELLED_AT_ONCE]
        scored = student.scored([example.sentence for example in examples])
        predicted = student.kind.decide(scored, student.labels)
        counts["distilled_relabelled"] += sum(
            example.labels != labels for example, labels in zip(examples, predicted, strict=True)
        )
        relabelled = [
            replace(example, labels=labels, weight=1.0, masked=())
            for example, labels in zip(examples, predicted, strict=True)
        ]
        again += _sure(student, scored, relabelled, min_confidence, counts) if min_confidence else relabelled
        folder.watch(Progress(f"{arm} labels", start + len(examples), len(distilled)))
    if distilled and not again:
        raise InputError(
            f"train: {arm} is less sure than {min_confidence:g} of all texts. Set min_label_confidence lower."
        )
    return tuple(again), dict(counts)


def _sure(
    student: Student, scored: Sequence[Scored], examples: Sequence[Example], least: float, counts: Counter[str]
) -> Iterator[Example]:
    """The examples without what the student is less sure of than `least`."""
    said, names = [example.labels for example in examples], student.labels
    if not student.kind.per_token:
        sure = iter(student.kind.confidences(scored, names, said, said))
        for example in examples:
            confidences = [next(sure)[0] for _ in example.labels]
            if min(confidences, default=1.0) >= least:
                yield example
            else:
                counts["distilled_texts_unsure"] += 1
        return
    outside = student.kind.outside(names)
    assert outside is not None
    rows = zip(examples, sure_spans(scored, names, said), student.kind.shares(scored, names), strict=True)
    for example, spans, shares in rows:
        unsure_spans = [span for span in spans if (span.confidence or 0.0) < least]
        masked = _masked(example, unsure_spans, shares[:, outside], least)
        counts["distilled_spans_unsure"] += len(unsure_spans)
        counts["distilled_tokens_unsure"] += len(masked)
        yield replace(example, masked=masked)


def _masked(
    example: Example, unsure_spans: Sequence[Span], outside: NDArray[np.float32], least: float
) -> tuple[int, ...]:
    """The positions of tokens of unsure entities, and of tokens that may well be part of one."""
    tokens = {token for span in unsure_spans for token in range(span.start, span.end)}
    tokens |= {token for token, tag in enumerate(example.labels) if tag == "O" and outside[token] < least}
    return tuple(sorted(tokens))
