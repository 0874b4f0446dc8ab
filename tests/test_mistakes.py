"""Kinds of error over entities, one by one."""

from __future__ import annotations

import pytest

from distill_offline.scoring.mistakes import Entity, Mistake, mistakes


@pytest.mark.parametrize(
    ("true", "given", "kind", "place"),
    [
        ({(1, 3, "PER")}, set(), "missed", (1, 3)),
        (set(), {(0, 2, "PER")}, "spurious", (0, 2)),
        ({(1, 3, "PER")}, {(1, 3, "LOC")}, "wrong_type", (1, 3)),
        ({(1, 3, "PER")}, {(2, 5, "PER")}, "wrong_boundary", (1, 5)),
    ],
)
def test_a_mistake_has_a_kind_and_a_place(
    true: set[Entity], given: set[Entity], kind: str, place: tuple[int, int]
) -> None:
    (found,) = mistakes(true, given)
    assert (found.kind, found.tokens) == (kind, place)


def test_the_same_entities_are_no_mistake() -> None:
    assert mistakes({(0, 1, "PER"), (2, 3, "LOC")}, {(2, 3, "LOC"), (0, 1, "PER")}) == []


def test_an_entity_is_named_once_though_it_overlaps_two() -> None:
    found = mistakes({(0, 1, "PER"), (2, 3, "PER")}, {(0, 3, "PER")})
    assert found == [
        Mistake("wrong_boundary", (0, 1, "PER"), (0, 3, "PER")),
        Mistake("missed", (2, 3, "PER"), None),
    ]


def test_the_same_place_goes_before_an_overlap() -> None:
    found = mistakes({(0, 2, "PER")}, {(0, 2, "LOC"), (1, 3, "PER")})
    assert [each.kind for each in found] == ["wrong_type", "spurious"]
