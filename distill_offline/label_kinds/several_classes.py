"""Several classes a text, none included: each is there or not, by itself."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from distill_offline.label_kinds.base import Agreed, Judged, Labels, Shape, Tells
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.losses import LossRule
from distill_offline.label_kinds.votes import renamed
from distill_offline.schema import Annotation, Example, Head, Span

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["SeveralClasses"]


class SeveralClasses:
    """See base.LabelKind. Labels are the classes that are there, sorted by name; there may be none.

    A student gives each class a probability of its own (sigmoid), and says those of 0.5 or more.
    """

    head: Head = "multi-label-classification"
    per_token: bool = False
    what: str = "sets of classes of whole texts"
    fields: str = "`labels`, a list of classes (which may be empty)"
    metric: str = "label_set_f1"
    average: Literal["micro", "macro"] = "macro"
    model: str = "AutoModelForSequenceClassification"
    problem_type: str | None = "multi_label_classification"

    def tells(self, shape: Shape) -> Tells:
        """One class alone could be of either kind; another number of them is of this one."""
        if shape.labels is None or isinstance(shape.labels, str):
            return "no" if shape.has_spans and shape.labels is None else "maybe"
        if len(shape.labels) == 1:
            return "maybe"
        could_be_tags = shape.labels and (shape.are_tags or shape.tokens == len(shape.labels))
        return "maybe" if could_be_tags else "yes"

    def read(self, fields: Mapping[str, Any], tokens: int) -> tuple[str, ...] | None:
        value = fields.get("label", fields.get("labels"))
        if value is None:
            return None
        labels = [value] if isinstance(value, str) else value
        if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
            raise ValueError("a text needs its classes: `labels` (or `label`) as a list of strings, which may be empty")
        if len(set(labels)) < len(labels):
            raise ValueError("`labels` name a class twice")
        return tuple(sorted(labels))

    def written(self, labels: tuple[str, ...]) -> Mapping[str, Any]:
        return {"labels": list(labels)}

    def agreed(self, tokens: Labels, labels: tuple[str, ...], spans: Sequence[Span] | None) -> Agreed:
        if spans:
            raise ValueError("`spans` stand beside the classes of a whole text")
        if not all(labels) or len(set(labels)) < len(labels):
            raise ValueError("`labels` name a class twice, or hold an empty one")
        return Agreed(tuple(sorted(labels)), ())

    def problem(self, labels: Labels, tokens: int) -> str:
        return "" if len(set(labels)) == len(labels) else "it gives a class twice"

    def names(self, labels: Labels) -> Iterable[tuple[int, str]]:
        return enumerate(labels)

    def problem_of_head(self, labels: Labels) -> str:
        return ""

    def unanswered(self, length: int) -> tuple[str, ...]:
        return ()

    def places(self, labels: Labels) -> Mapping[Hashable, str]:
        """Each class has a place of its own: it is there or not."""
        return {label: label for label in labels}

    def sides(self, example: Example, gold: Labels, predicted: Labels) -> tuple[Labels, Labels]:
        return gold, predicted

    def vote(self, samples: Sequence[Annotation], of: int) -> Annotation:
        """The classes that at least half of `of` answers give.

        The agreement, and the confidence, is the share of `of` that says the same of the class on which they agree
        least: that it is there, or that it is not.
        """
        times = {name: sum(name in sample.labels for sample in samples) for sample in samples for name in sample.labels}
        kept = {name for name, count in times.items() if 2 * count >= of}
        same = [count if name in kept else len(samples) - count for name, count in times.items()]
        share = min(same, default=len(samples)) / of
        counts = [rejected_ for sample in samples for rejected_ in set(sample.rejected)]
        lost = tuple(rejection_ for rejection_ in dict.fromkeys(counts) if 2 * counts.count(rejection_) >= of)
        return Annotation(samples[0].id, tuple(sorted(kept)), (), lost, share, share, renamed(samples))

    def targets(
        self, labels: Labels, index: Mapping[str, int], words: Sequence[int | None], masked: Sequence[int]
    ) -> tuple[int, ...]:
        """1 for each class that is there, and 0 for the others."""
        there = {index[label] for label in labels}
        return tuple(int(number in there) for number in range(len(index)))

    def outside(self, labels: Labels) -> int | None:
        return None

    def losses(
        self, logits: torch.Tensor, targets: torch.Tensor, distilled: torch.Tensor, rule: LossRule
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Binary cross-entropy of each class; and what LossRule makes of it, each class being a position.

        Label smoothing ε: the target is 1 − ε/2, or ε/2. A class that is there may be masked as a likely error; one
        that is not there never is, as no token labelled O is.
        """
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        scores, wanted = logits.float(), targets.float()
        smooth = wanted * (1 - rule.label_smoothing) + rule.label_smoothing / 2
        losses = binary_cross_entropy_with_logits(scores, smooth, reduction="none")
        masked = torch.zeros_like(targets, dtype=torch.bool)
        if not (rule.gce_q or rule.mask_errors):
            return losses, masked
        taught = distilled[:, None].expand_as(masked)
        surprise = binary_cross_entropy_with_logits(scores, wanted, reduction="none")  # −log p of what the label says
        if rule.gce_q:
            losses = torch.where(taught, -torch.expm1(-rule.gce_q * surprise) / rule.gce_q, losses)
        if rule.mask_errors:
            masked = taught & (targets == 1) & (torch.exp(-surprise.detach()) <= 1.0 - rule.mask_errors)
            losses = losses.masked_fill(masked, 0.0)
        return losses, masked

    def scores(self, logits: torch.Tensor) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = logits.float().cpu().numpy()
        return scores

    def decide(self, scored: Sequence[Scored], names: Labels) -> list[tuple[str, ...]]:
        return [
            tuple(sorted(name for name, score in zip(names, text.scores[0], strict=True) if score >= 0))
            for text in scored
        ]

    def shares(self, scored: Sequence[Scored], names: Labels) -> list[NDArray[np.float32]]:
        """Labels × 2: that a class is not there, and that it is."""
        import torch

        there = (torch.from_numpy(text.scores[0]).sigmoid() for text in scored)
        return [torch.stack((1 - share, share), dim=-1).numpy() for share in there]

    def judged(
        self, scored: Sequence[Scored], names: Labels, labelled: Sequence[tuple[tuple[str, ...], Sequence[Span]]]
    ) -> list[Judged]:
        """The probability of exactly these classes: each being there, or not, by itself."""
        return [
            Judged(confidence=math.prod(float(row[int(name in labels)]) for name, row in zip(names, rows, strict=True)))
            for rows, (labels, _) in zip(self.shares(scored, names), labelled, strict=True)
        ]

    def confidences(
        self, scored: Sequence[Scored], names: Labels, predicted: Sequence[Labels], gold: Sequence[Labels]
    ) -> list[tuple[float, bool]]:
        return [
            (float(rows[names.index(label)][1]), label in wanted)
            for rows, labels, wanted in zip(self.shares(scored, names), predicted, gold, strict=True)
            for label in labels
        ]
