"""Kinds of error over a sentence's entities: which of those given stands for which of gold's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["KINDS", "Entity", "Mistake", "mistakes"]

Entity = tuple[int, int, str]  # start, end (exclusive), type
KINDS = ("wrong_type", "wrong_boundary", "missed", "spurious")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of KINDS. `true` is None if the entity is spurious, `predicted` if it is missed."""

    kind: str
    true: Entity | None
    predicted: Entity | None

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens that it covers, from the first to behind the last."""
        both = [entity for entity in (self.true, self.predicted) if entity is not None]
        return min(start for start, _, _ in both), max(end for _, end, _ in both)


def mistakes(true: Collection[Entity], predicted: Collection[Entity]) -> list[Mistake]:
    """All differences between gold's entities and those given for one sentence.

    `wrong_type` is in the right place, `wrong_boundary` overlaps; a pair counts as one mistake. Each entity is named
    once at most.
    """
    left, wrong = sorted(set(true) - set(predicted)), sorted(set(predicted) - set(true))
    listed = []
    for kind, matches in (("wrong_type", _same_place), ("wrong_boundary", _overlap)):
        for entity in list(left):
            partner = next((other for other in wrong if matches(entity, other)), None)
            if partner is not None:
                listed.append(Mistake(kind, entity, partner))
                left.remove(entity)
                wrong.remove(partner)
    listed += [Mistake("missed", entity, None) for entity in left]
    return listed + [Mistake("spurious", None, entity) for entity in wrong]


def _same_place(a: Entity, b: Entity) -> bool:
    return a[:2] == b[:2]


def _overlap(a: Entity, b: Entity) -> bool:
    return a[0] < b[1] and b[0] < a[1]
