"""What kinds of labels there are: one table, and everything that differs between them is asked of a kind."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache

from distill_offline.label_kinds.base import Agreed, Judged, LabelKind, Labels, Shape, Tells
from distill_offline.schema import Example, Head

__all__ = [
    "KINDS",
    "Agreed",
    "Judged",
    "LabelKind",
    "Labels",
    "Shape",
    "Tells",
    "all_kinds",
    "comparable",
    "kind_of",
    "widest",
]

# In this order a file's rows are taken for one, if they could be labels of several kinds. Of those for whole texts each
# can hold what the ones before it say.
KINDS: dict[Head, str] = {
    "token-classification": "distill_offline.label_kinds.tags:Tags",
    "sequence-classification": "distill_offline.label_kinds.one_class:OneClass",
    "multi-label-classification": "distill_offline.label_kinds.several_classes:SeveralClasses",
}


@lru_cache
def kind_of(head: Head) -> LabelKind:
    """The kind of that name. Raises KeyError if there is none."""
    module, _, name = KINDS[head].partition(":")
    kind: LabelKind = getattr(importlib.import_module(module), name)()
    return kind


def all_kinds() -> tuple[LabelKind, ...]:
    """All of them, in the table's order."""
    return tuple(map(kind_of, KINDS))


def widest(one: Head, other: Head) -> Head | None:
    """The kind that can hold the labels of both; None if there is none. One class is a set of classes, too."""
    if one != other and (kind_of(one).per_token or kind_of(other).per_token):
        return None
    return max(one, other, key=list(KINDS).index)


def comparable(
    head: Head, examples: Sequence[Example], predicted: Sequence[Labels], gold: Sequence[Labels] | None = None
) -> tuple[list[Labels], list[Labels]]:
    """Gold labels and those given for each example, as they are to be scored. `gold`: instead of the examples'."""
    kind, gold_labels = kind_of(head), [example.labels for example in examples] if gold is None else gold
    sides = [kind.sides(*example) for example in zip(examples, gold_labels, predicted, strict=True)]
    return [wanted for wanted, _ in sides], [side for _, side in sides]
