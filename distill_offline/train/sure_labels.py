"""What students say together of distilled sentences, without what they are unsure of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from distill_offline.errors import InputError
from distill_offline.label_kinds import LabelKind, Labels, kind_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.schema import Example
from distill_offline.spans.bio import decode_bio
from distill_offline.train.committee import labelled_together
from distill_offline.train.soft_labels import SoftExample

__all__ = ["hardened", "sure_together", "without_unsure"]


def sure_together(
    folder: RunFolder, distilled: Sequence[Example], names: Sequence[str], soft: bool, least: float
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """The sentences with the labels of these students, soft or not, but those less probable than `least`; and counts.

    Raises what train.committee.labelled_together and without_unsure raise.
    """
    examples, counts = labelled_together(folder, names, distilled, soft=soft or least > 0)
    if not least:
        return examples, counts
    task = make_task(folder.settings)
    sure, unsure = without_unsure(kind_of(task.head), task.labels, examples, least)
    return (sure if soft else hardened(sure)), {**counts, **unsure}


def without_unsure(
    kind: LabelKind, names: Labels, examples: Sequence[Example], least: float
) -> tuple[tuple[SoftExample, ...], dict[str, int]]:
    """Soft examples without labels less probable than `least`, and counts of what was unsure.

    `names` are the task's labels. Masked are tokens outside of entities that are less probably so, and an entity as a
    whole if one of its tags is less probable: as train/self_training.py has it, but that an entity there has a
    probability of its own, which is lower than those of its tags. A text with a class that is less probable is left
    out. Raises InputError if no text is left.
    """
    counts = Counter[str]()
    kept = tuple(_sure(kind, names, (each for each in examples if isinstance(each, SoftExample)), least, counts))
    if examples and not kept:
        raise InputError(f"train: no text is left with classes of at least {least:g}. Set min_label_confidence lower.")
    return kept, dict(counts)


def hardened(examples: Sequence[SoftExample]) -> tuple[Example, ...]:
    """The same examples with their likeliest labels alone."""
    return tuple(
        Example(**{each.name: getattr(example, each.name) for each in fields(Example)}) for example in examples
    )


def _sure(
    kind: LabelKind, names: Labels, examples: Iterator[SoftExample], least: float, counts: Counter[str]
) -> Iterator[SoftExample]:
    for example in examples:
        shares = _shares(kind, names, example)
        if kind.per_token:
            masked = {n for n, share in enumerate(shares) if share < least}
            for span in decode_bio(example.labels):
                inside = set(range(span.start, span.end))
                if inside & masked:
                    masked |= inside
                    counts["distilled_spans_unsure"] += 1
            counts["distilled_tokens_unsure"] += len(masked)
            yield replace(example, masked=tuple(sorted(masked)))
        elif min(shares, default=1.0) >= least:
            yield example
        else:
            counts["distilled_texts_unsure"] += 1


def _shares(kind: LabelKind, names: Labels, example: SoftExample) -> list[float]:
    """How probable each of the example's labels is."""
    at = [names.index(label) for label in example.labels]
    if kind.problem_type == "multi_label_classification":  # a row for each class: not there, there
        return [float(example.shares[place, 1]) for place in at]
    return [float(row[place]) for row, place in zip(example.shares, at, strict=True)]
