"""Calibration: monotone, honest about what it was fitted on, and measured by known numbers."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.confidence.calibration import UNCHANGED, Calibration, Method, cross_fitted, fit
from distill_offline.confidence.reliability import reliability
from distill_offline.errors import InputError

METHODS: tuple[Method, ...] = ("isotonic", "platt")


def overconfident(n: int = 2000) -> tuple[list[float], list[bool]]:
    """Scores of which only the square is the chance of being right."""
    drawn = random.Random(0)
    scores = [drawn.random() for _ in range(n)]
    return scores, [drawn.random() < score**2 for score in scores]


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_finds_the_chance_behind_the_score(method: Method) -> None:
    scores, right = overconfident()
    calibration = fit(scores, right, method)
    for score in (0.3, 0.5, 0.7, 0.9):
        assert calibration(score) == pytest.approx(score**2, abs=0.09)
    assert calibration.fitted_on == 2000


@pytest.mark.parametrize("method", METHODS)
def test_what_is_kept_as_json_maps_as_before_and_never_downwards(method: Method) -> None:
    calibration = fit(*overconfident(300), method)
    again = Calibration.of(json.loads(json.dumps(calibration.as_dict())))
    mapped = [again(n / 200) for n in range(-20, 221)]
    assert mapped == [calibration(n / 200) for n in range(-20, 221)]
    assert mapped == sorted(mapped)
    assert 0 <= mapped[0] <= mapped[-1] <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=20, max_size=60), st.sampled_from(METHODS))
def test_any_scores_map_into_probabilities(pairs: list[tuple[float, bool]], method: Method) -> None:
    scores, right = [p for p, _ in pairs], [r for _, r in pairs]
    if len(set(right)) == 2:
        calibration = fit(scores, right, method)
        assert all(0 <= calibration(score) <= 1 for score in (*scores, 0.0, 1.0))


@pytest.mark.parametrize(("scores", "right"), [([0.5] * 19, [True, False] * 9 + [True]), ([0.5] * 50, [True] * 50)])
def test_too_little_to_fit_is_told(scores: list[float], right: list[bool]) -> None:
    with pytest.raises(InputError, match="of both kinds"):
        fit(scores, right)


def test_cross_fitting_never_sees_a_spans_own_sentence() -> None:
    # Every sentence's spans are all right or all wrong at one score: who saw them would know.
    scores, groups = [0.5] * 200, [f"s{n // 4}" for n in range(200)]
    right = [(n // 4) % 2 == 0 for n in range(200)]
    found = cross_fitted(scores, right, groups)
    assert all(0.35 < p < 0.65 for p in found)
    alone = [n for n, group in enumerate(groups) if group == "s7"]
    flipped = [not r if n in alone else r for n, r in enumerate(right)]
    assert [cross_fitted(scores, flipped, groups)[n] for n in alone] == [found[n] for n in alone]


def test_cross_fitting_lowers_the_error_of_an_overconfident_score() -> None:
    scores, right = overconfident()
    groups = [str(n) for n in range(len(scores))]
    before, after = reliability(scores, right), reliability(cross_fitted(scores, right, groups), right)
    assert before.ece > 0.12 > 0.05 > after.ece
    assert after.brier < before.brier
    assert after.auroc == pytest.approx(before.auroc, abs=0.02)


def test_reliability_is_measured_by_its_definitions() -> None:
    found = reliability([0.1, 0.1, 0.9, 0.9], [False, True, True, True], bins=2)
    assert found.bins == ((0.1, 0.1, 2, 0.1, 0.5), (0.9, 0.9, 2, 0.9, 1.0))
    assert found.ece == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert found.auroc == pytest.approx(5 / 6)
    assert reliability([0.5], [True]).auroc is None
    with pytest.raises(InputError, match="no spans"):
        reliability([], [])


NO_CALIBRATIONS: list[dict[str, Any]] = [
    {},
    {"method": "isotonic", "x": [1, 0], "y": [0, 1], "fitted_on": 1},
    {"method": "isotonic", "x": ["a"], "y": [0], "fitted_on": 1},
    {"method": "magic", "x": [], "y": [], "fitted_on": 0},
    {"method": "platt", "x": [1], "y": [], "fitted_on": 1},
    {"method": "platt", "x": [-1, 0], "y": [], "fitted_on": 1},
    {"method": "isotonic", "x": [0, 1], "y": [1, 0], "fitted_on": 1},
    {"method": "isotonic", "x": [0, 1], "y": [0, 2], "fitted_on": 1},
    {"method": "isotonic", "x": [float("nan")], "y": [0.5], "fitted_on": 1},
    {"method": "none", "x": [0.5], "y": [], "fitted_on": 1},
]


@pytest.mark.parametrize("value", NO_CALIBRATIONS)
def test_what_is_no_calibration_is_told(value: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a calibration"):
        Calibration.of(value)


def test_equal_scores_are_never_parted_by_a_bin() -> None:
    found = reliability([0.5] * 6 + [0.2] * 2 + [0.9] * 2, [True, False] * 5, bins=5)
    assert [(low, high, n, share) for low, high, n, _, share in found.bins] == [
        (0.2, 0.2, 2, 0.5),
        (0.5, 0.5, 6, 0.5),
        (0.9, 0.9, 2, 0.5),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.1 + 1e-9, 0.5, 1.0]), st.booleans()), min_size=1, max_size=40))
def test_every_span_is_in_one_bin(pairs: list[tuple[float, bool]]) -> None:
    rows = reliability([p for p, _ in pairs], [r for _, r in pairs], bins=4).bins
    assert sum(n for _, _, n, _, _ in rows) == len(pairs)
    assert sum(n * share for _, _, n, _, share in rows) == pytest.approx(sum(r for _, r in pairs))
    assert all(low <= mean <= high or low == pytest.approx(high) for low, high, _, mean, _ in rows)
    assert all(before[1] < after[0] for before, after in pairwise(rows))


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_low_where_it_is_right_are_not_turned_over(method: Method) -> None:
    scores = [n / 100 for n in range(100)]
    calibration = fit(scores, [n < 30 for n in range(100)], method)
    assert [calibration(score) for score in (0.0, 0.5, 1.0)] == pytest.approx([0.3] * 3)


def test_no_calibration_is_one_too() -> None:
    assert Calibration.of(json.loads(json.dumps(UNCHANGED.as_dict()))) == UNCHANGED
    assert [UNCHANGED(score) for score in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
