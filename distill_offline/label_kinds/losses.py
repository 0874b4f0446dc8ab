"""The loss of each labelled position: cross-entropy, and kinder ones for labels that a teacher may have got wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_offline.label_kinds.subwords import IGNORED

if TYPE_CHECKING:
    import torch

__all__ = ["CROSS_ENTROPY", "Loss", "LossRule", "position_losses", "window_losses"]


@dataclass(frozen=True, slots=True)
class LossRule:
    """How a position's loss is taken; the last three concern distilled examples only, and are off at 0.

    `label_smoothing` ε: the target is 1 − ε for the label and ε spread evenly over all labels (Szegedy et al. 2016);
    it belongs to the cross-entropy, and has no part in what `gce_q` replaces.

    `gce_q` q: generalised cross-entropy (1 − p^q) / q of the label's probability p (Zhang and Sabuncu 2018): tends to
    the cross-entropy −log p for q → 0, is 1 − p, half the mean absolute error, at q = 1. Its gradient is the
    cross-entropy's times p^q, so that labels which the student finds unlikely pull less; 0.7 is the authors' choice.

    `mask_errors` m: entity-token masking of likely errors, after the NoiseBench-style study (2026) in which it gained
    1.6 to 3.6 F1 on LLM labels and lost on clean ones. Our definition: a position whose label is an entity's (any but
    O; any class at all in classification) has no loss where the student, in the very forward pass of the update, gives
    at least m to the other labels together (p ≤ 1 − m). There is no list of masked tokens to refit: each pass judges
    anew, so that a token comes back once the student believes its label. Positions labelled O are never masked, and
    masked ones still count in the mean that an update's loss is.

    `outside` is the index of O, None if there is none.
    """

    label_smoothing: float = 0.0
    gce_q: float = 0.0
    mask_errors: float = 0.0
    outside: int | None = None


CROSS_ENTROPY = LossRule()


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch's loss, summed over its labelled positions (a scalar), and how many of them were masked (a scalar)."""

    total: torch.Tensor
    masked: torch.Tensor


def position_losses(
    logits: torch.Tensor, labels: torch.Tensor, distilled: torch.Tensor, rule: LossRule = CROSS_ENTROPY
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each position, and whether it was masked as a likely error.

    `logits` are positions × labels, `labels` indices with -100 where no loss is taken (0 there), `distilled` says
    which positions are of distilled examples.
    """
    import torch
    from torch.nn.functional import cross_entropy

    def crossed(smoothing: float) -> torch.Tensor:
        return cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)

    losses = crossed(rule.label_smoothing)
    masked = torch.zeros_like(distilled)
    if not (rule.gce_q or rule.mask_errors):
        return losses, masked
    surprise = crossed(0.0) if rule.label_smoothing else losses  # −log p of the label
    if rule.gce_q:
        losses = torch.where(distilled, -torch.expm1(-rule.gce_q * surprise) / rule.gce_q, losses)
    if rule.mask_errors:
        masked = distilled & (labels != IGNORED) & (torch.exp(-surprise.detach()) <= 1.0 - rule.mask_errors)
        if rule.outside is not None:
            masked &= labels != rule.outside
        losses = losses.masked_fill(masked, 0.0)
    return losses, masked


def window_losses(
    logits: torch.Tensor, targets: torch.Tensor, distilled: torch.Tensor, rule: LossRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """`position_losses` of windows, of the targets' shape; `distilled` says which windows are of distilled examples."""
    losses, masked = position_losses(
        logits.float().reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        distilled[:, None].expand_as(targets).reshape(-1),
        rule,
    )
    return losses.view_as(targets), masked.view_as(targets)
