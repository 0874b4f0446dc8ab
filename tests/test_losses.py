"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from distill_offline.label_kinds.losses import CROSS_ENTROPY, LossRule, position_losses

P = (0.7, 0.2, 0.1)  # what the student gives to the three labels
OTHER = (0.1, 0.8, 0.1)


def logits(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log().requires_grad_()


def losses(
    rule: LossRule, labels: list[int], distilled: list[bool], rows: tuple[tuple[float, ...], ...] | None = None
) -> tuple[list[float], list[bool], list[list[float]]]:
    """(loss of each position, whether it was masked, gradient of the sum)."""
    given = logits(*(rows or (P,) * len(labels)))
    each, masked = position_losses(given, torch.tensor(labels), torch.tensor(distilled), rule)
    torch.autograd.backward(each.sum())
    assert given.grad is not None
    return each.tolist(), masked.tolist(), given.grad.tolist()


def cross_entropy_gradient(label: int) -> list[float]:
    return [p - (i == label) for i, p in enumerate(P)]


def test_cross_entropy_is_minus_the_logarithm_and_ignored_positions_cost_nothing() -> None:
    each, masked, gradient = losses(CROSS_ENTROPY, [1, -100], [True, True])
    assert each == pytest.approx([-math.log(0.2), 0.0])
    assert masked == [False, False]
    assert gradient[0] == pytest.approx(cross_entropy_gradient(1))
    assert gradient[1] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_generalised_cross_entropy_has_the_papers_value_and_gradient(q: float, label: int) -> None:
    each, _, gradient = losses(LossRule(gce_q=q), [label], [True])
    p = P[label]
    assert each == pytest.approx([(1 - p**q) / q])
    # d/dz of (1 − p^q) / q is p^q times the cross-entropy's
    assert gradient[0] == pytest.approx([p**q * g for g in cross_entropy_gradient(label)])


def test_generalised_cross_entropy_tends_to_cross_entropy_and_to_half_the_absolute_error() -> None:
    almost, _, gradient = losses(LossRule(gce_q=1e-6), [2], [True])
    assert almost == pytest.approx([-math.log(0.1)], rel=1e-5)
    assert gradient[0] == pytest.approx(cross_entropy_gradient(2), rel=1e-5)
    full, _, _ = losses(LossRule(gce_q=1.0), [2], [True])
    absolute = sum(abs(p - (i == 2)) for i, p in enumerate(P))
    assert full == pytest.approx([absolute / 2])


def test_a_label_that_the_student_finds_impossible_has_a_finite_loss_and_gradient() -> None:
    given = torch.tensor([[200.0, -200.0]], requires_grad=True)
    each, _ = position_losses(given, torch.tensor([1]), torch.tensor([True]), LossRule(gce_q=0.7))
    torch.autograd.backward(each.sum())
    assert float(each.detach()) == pytest.approx(1 / 0.7)
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()


def test_noise_aware_options_leave_original_examples_alone() -> None:
    rule = LossRule(gce_q=0.7, mask_errors=0.5, outside=0)
    both, masked, _ = losses(rule, [2, 2], [False, True])
    assert both[0] == pytest.approx(-math.log(0.1))
    assert masked == [False, True]


def test_label_smoothing_spreads_its_share_over_all_labels() -> None:
    each, _, gradient = losses(LossRule(label_smoothing=0.3), [1], [False])
    target = [0.1, 0.8, 0.1]
    assert each == pytest.approx([-sum(t * math.log(p) for t, p in zip(target, P, strict=True))])
    assert gradient[0] == pytest.approx([p - t for p, t in zip(P, target, strict=True)])


def test_label_smoothing_has_no_part_in_generalised_cross_entropy() -> None:
    smoothed, _, _ = losses(LossRule(label_smoothing=0.3, gce_q=0.7), [1, 1], [True, False])
    assert smoothed[0] == pytest.approx((1 - 0.2**0.7) / 0.7)
    assert smoothed[1] == losses(LossRule(label_smoothing=0.3), [1], [False])[0][0]


def test_unlikely_entity_labels_are_masked_and_unlikely_o_labels_are_not() -> None:
    rule = LossRule(mask_errors=0.85, outside=0)
    # P gives label 2 a chance of 0.1 and label 1 one of 0.2; OTHER gives O (0) 0.1
    each, masked, gradient = losses(rule, [2, 1, 0, -100], [True] * 4, (P, P, OTHER, P))
    assert masked == [True, False, False, False]
    assert each == pytest.approx([0.0, -math.log(0.2), -math.log(0.1), 0.0])
    assert gradient[0] == [0.0, 0.0, 0.0]
    assert any(gradient[1])


def test_without_an_outside_label_every_class_can_be_masked() -> None:
    assert losses(LossRule(mask_errors=0.85), [0], [True], (OTHER,))[1] == [True]
