"""A student's confidences in counts, compared with the other implementation and with the student itself."""

from __future__ import annotations

import random

import pytest

from distill_offline.confidence.reliability import BINS, added, binned, reliability


def drawn(seed: int, count: int = 500) -> list[tuple[float, bool]]:
    draw = random.Random(seed)
    return [(score, draw.random() < score) for score in (draw.random() for _ in range(count))]


def test_brier_and_ece_are_what_they_are_by_hand() -> None:
    found = binned([(1.0, True), (0.9, False), (0.9, True), (0.12, False)])
    assert found.answers == 4
    assert found.right == 0.5
    assert found.confidence == pytest.approx(2.92 / 4)
    assert found.brier == pytest.approx((0 + 0.81 + 0.01 + 0.0144) / 4)
    assert found.ece == pytest.approx((abs(0.0) + abs(1.8 - 1) + 0.12) / 4)  # 1.0 has a bin with 0.95 and above
    assert len(found.bins) == BINS


def test_brier_is_the_one_of_the_teachers_calibration() -> None:
    scores = drawn(1)
    other = reliability([p for p, _ in scores], [right for _, right in scores])
    assert binned(scores).brier == pytest.approx(other.brier, abs=1e-6)
    assert binned(scores).ece == pytest.approx(other.ece, abs=0.04)  # bins of equal width, and of equal numbers


def test_parts_add_up_to_the_whole() -> None:
    parts, whole = added([binned(drawn(1)), binned(drawn(2))]), binned(drawn(1) + drawn(2))
    assert [(count, right) for count, right, _ in parts.bins] == [(count, right) for count, right, _ in whole.bins]
    assert parts.ece == pytest.approx(whole.ece, abs=1e-6)
    assert parts.brier == pytest.approx(whole.brier, abs=1e-6)


def test_no_answers_are_no_error() -> None:
    found = binned([])
    assert (found.answers, found.ece, found.brier, found.right) == (0, 0.0, 0.0, 0.0)
