"""Micro-batches against every way of cutting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.student.batching import least_work, micro_batches


@dataclass(frozen=True)
class Window:
    ids: tuple[int, ...]


def windows(lengths: list[int]) -> list[Window]:
    return [Window((number,) * length) for number, length in enumerate(lengths)]


def work(parts: list[list[int]], overhead: int) -> int:
    return sum(len(part) * max(part) + overhead for part in parts)


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 120), st.integers(0, 60))
def test_no_cut_within_the_budget_is_less_work(lengths: list[int], budget: int, overhead: int) -> None:
    parts = least_work(windows(lengths), budget, overhead)
    found = [[len(window.ids) for window in part] for part in parts]
    ordered = sorted(lengths)
    assert [length for part in found for length in part] == ordered
    cuts = ([0, *inner, len(ordered)] for n in range(len(ordered)) for inner in combinations(range(1, len(ordered)), n))
    ways = ([ordered[a:b] for a, b in pairwise(cut)] for cut in cuts)
    allowed = [way for way in ways if all(len(part) == 1 or len(part) * max(part) <= budget for part in way)]
    assert found in allowed
    assert work(found, overhead) == min(work(way, overhead) for way in allowed)


@given(LENGTHS, st.integers(1, 120))
def test_both_ways_hold_every_window_once_within_the_budget(lengths: list[int], budget: int) -> None:
    given_ = windows(lengths)
    for parts in (list(micro_batches(given_, budget)), least_work(given_, budget, 5)):
        assert sorted(w.ids for part in parts for w in part) == sorted(w.ids for w in given_)
        assert all(len(part) == 1 or len(part) * max(len(w.ids) for w in part) <= budget for part in parts)


def test_no_windows_make_no_parts() -> None:
    assert least_work(list[Window](), 100, 5) == list(micro_batches(list[Window](), 100)) == []
