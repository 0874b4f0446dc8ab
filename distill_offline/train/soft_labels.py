"""Soft labels: an example with how probable students hold each label, and a student that learns that.

Knowledge distillation (Hinton, Vinyals and Dean, 2015) at temperature 1. What is learnt is how sure the labellers are,
too: where two labels are nearly as likely, neither is taught as if it were certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill_offline.label_kinds import LabelKind
from distill_offline.label_kinds.losses import CROSS_ENTROPY, Loss, LossRule
from distill_offline.label_kinds.subwords import IGNORED
from distill_offline.schema import Example
from distill_offline.student.model import Encoded, Student

if TYPE_CHECKING:
    import torch

__all__ = ["SoftExample", "SoftStudent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftExample(Example):
    """An example with `shares`, decisions × outcomes: how probable each label of a token is, or each class of a text.

    Rows sum to 1 (LabelKind.shares). `labels` are the likeliest ones, which say where there is something to learn. Its
    tokens are as fine as those of raw text (corpus.refine), so that each piece has a row of its own.
    """

    shares: NDArray[np.float32] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SoftWindow(Encoded):
    """A window with the `shares` of its labelled positions, in their order."""

    shares: NDArray[np.float32] = field(compare=False, repr=False)


class SoftStudent(Student):
    """A student that learns soft labels where an example has them, and labels elsewhere; otherwise as any."""

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded]]:
        """As Student.encode. Soft examples must be of this student's labels, in their order, and of its tokens."""
        encoded = super().encode(examples)
        return [
            [self._with_shares(window, example) for window in windows] if isinstance(example, SoftExample) else windows
            for windows, example in zip(encoded, examples, strict=True)
        ]

    def batch(self, windows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """As Student.batch; of windows with soft labels also `shares` (windows × positions × outcomes)."""
        import torch

        tensors = super().batch(windows)
        soft = [window for window in windows if isinstance(window, _SoftWindow)]
        if soft:
            labels = tensors["labels"].numpy()
            shares = np.zeros((*labels.shape, soft[0].shares.shape[1]), np.float32)
            for row, window in enumerate(windows):
                at = np.flatnonzero(labels[row] != IGNORED)
                if isinstance(window, _SoftWindow):
                    shares[row, at] = window.shares
                else:
                    shares[row, at, labels[row, at]] = 1.0
            tensors["shares"] = torch.from_numpy(shares)
        return tensors

    def loss(
        self, batch: Mapping[str, torch.Tensor], model: Callable[..., Any] | None = None, rule: LossRule = CROSS_ENTROPY
    ) -> Loss:
        """As Student.loss, by the cross-entropy with the shares of each position; of `rule` label smoothing counts."""
        if "shares" not in batch:
            return super().loss(batch, model, rule)
        forward = model or self.model
        logits = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        losses = _losses(self.kind, logits, batch["shares"], rule.label_smoothing)
        losses = losses.masked_fill(batch["labels"] == IGNORED, 0.0)
        return Loss((losses * batch["weights"][:, None]).sum(), batch["labels"].new_zeros(()))

    def _with_shares(self, window: Encoded, example: SoftExample) -> Encoded:
        """The window with its part of the example's shares: of tokens those that it answers for."""
        rows = list(range(len(window.labels)))
        if self.kind.per_token:
            labelled = zip(window.words, window.labels, strict=True)
            rows = [word for word, label in labelled if word is not None and label != IGNORED]
        return _SoftWindow(
            sentence=window.sentence,
            ids=window.ids,
            words=window.words,
            labels=window.labels,
            weight=window.weight,
            distilled=window.distilled,
            shares=example.shares[rows],
        )


def _losses(kind: LabelKind, logits: torch.Tensor, shares: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The loss of each position, windows × positions. `shares` are windows × positions × outcomes."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    if kind.problem_type == "multi_label_classification":  # each class is there or not, by itself
        wanted = shares[..., 1] * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    rows = cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        shares.reshape(-1, shares.shape[-1]),
        reduction="none",
        label_smoothing=smoothing,
    )
    return rows.view(shares.shape[:-1])
