"""A few sentences that stand for many."""

from __future__ import annotations

import pytest

from distill_offline.select.diversity import spread

SPORT = [f"the team won its match number {n}" for n in range(30)]
MONEY = [f"shares of banks fell {n} percent" for n in range(5)]
WEATHER = [f"rain in hills until evening {n}" for n in range(3)]


def test_the_first_ones_come_from_different_clusters_large_ones_first() -> None:
    texts = [*WEATHER, *SPORT, *MONEY]
    chosen = spread(texts, 3, seed=0)
    assert [next(n for n, kind in enumerate((SPORT, MONEY, WEATHER)) if texts[i] in kind) for i in chosen] == [0, 1, 2]


@pytest.mark.parametrize("n", [0, 1, 7, 38, 99])
def test_so_many_are_given_as_were_asked_for_and_each_once(n: int) -> None:
    texts = [*SPORT, *MONEY, *WEATHER]
    chosen = spread(texts, n, seed=1)
    assert len(chosen) == len(set(chosen)) == min(n, len(texts))


def test_the_choice_is_repeatable_and_ties_go_by_position() -> None:
    texts = [*SPORT, *MONEY]
    assert spread(texts, 10, seed=3) == spread(texts, 10, seed=3)
    assert spread(["same words"] * 4, 2, seed=0) == [0, 1]


def test_texts_without_words_or_with_half_characters_are_texts_too() -> None:
    assert sorted(spread(["", "\ud800 x", "y"], 3, seed=0)) == [0, 1, 2]
    assert spread([], 3, seed=0) == []


def test_any_seed_will_do() -> None:
    assert spread(MONEY, 2, seed=2**40 + 3) == spread(MONEY, 2, seed=3)
