"""One class a text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from distill_offline.label_kinds.base import Agreed, Judged, Labels, Shape, Tells
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.losses import LossRule, window_losses
from distill_offline.label_kinds.votes import vote_on_class
from distill_offline.schema import Annotation, Example, Head, Span

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["OneClass"]

_NO_CLASS = ""


class OneClass:
    """See base.LabelKind."""

    head: Head = "sequence-classification"
    per_token: bool = False
    what: str = "classes of whole texts"
    fields: str = "`label`, or a folder that names the class"
    metric: str = "macro_f1"
    average: Literal["micro", "macro"] = "macro"
    model: str = "AutoModelForSequenceClassification"
    problem_type: str | None = None

    def tells(self, shape: Shape) -> Tells:
        if isinstance(shape.labels, str):
            return "yes"
        if shape.labels is None:
            return "no" if shape.has_spans else "maybe"
        return "maybe" if len(shape.labels) == 1 else "no"

    def read(self, fields: Mapping[str, Any], tokens: int) -> tuple[str, ...] | None:
        value = fields.get("label", fields.get("labels"))
        if value is None:
            return None
        labels = [value] if isinstance(value, str) else value
        if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
            raise ValueError("a text needs exactly one label: `label` as a string, or `labels` as a list of one")
        return (labels[0],)

    def written(self, labels: tuple[str, ...]) -> Mapping[str, Any]:
        return {"label": labels[0]}

    def agreed(self, tokens: Labels, labels: tuple[str, ...], spans: Sequence[Span] | None) -> Agreed:
        if len(labels) != 1:
            raise ValueError(f"`labels` are {len(labels)}, and 1 is wanted")
        if spans:
            raise ValueError("`spans` stand beside the class of a whole text")
        if not labels[0]:
            raise ValueError("`labels` hold no class")
        return Agreed(labels, ())

    def problem(self, labels: Labels, tokens: int) -> str:
        return "" if len(labels) == 1 else f"it gives {len(labels)} labels, and the row wants 1"

    def names(self, labels: Labels) -> Iterable[tuple[int, str]]:
        return enumerate(labels)

    def problem_of_head(self, labels: Labels) -> str:
        return ""

    def unanswered(self, length: int) -> tuple[str, ...]:
        return (_NO_CLASS,)

    def places(self, labels: Labels) -> Mapping[Hashable, str]:
        """A class stands for the whole text, wherever that ends."""
        return {None: labels[0]} if labels[0] != _NO_CLASS else {}

    def sides(self, example: Example, gold: Labels, predicted: Labels) -> tuple[Labels, Labels]:
        return gold, predicted

    def vote(self, samples: Sequence[Annotation], of: int) -> Annotation:
        return vote_on_class(samples, of=of)

    def targets(
        self, labels: Labels, index: Mapping[str, int], words: Sequence[int | None], masked: Sequence[int]
    ) -> tuple[int, ...]:
        return tuple(index[label] for label in labels)

    def outside(self, labels: Labels) -> int | None:
        return None

    def losses(
        self, logits: torch.Tensor, targets: torch.Tensor, distilled: torch.Tensor, rule: LossRule
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return window_losses(logits, targets, distilled, rule)

    def scores(self, logits: torch.Tensor) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = logits.float().cpu().numpy()
        return scores

    def decide(self, scored: Sequence[Scored], names: Labels) -> list[tuple[str, ...]]:
        return [(names[int(text.scores[0].argmax())],) for text in scored]

    def shares(self, scored: Sequence[Scored], names: Labels) -> list[NDArray[np.float32]]:
        """1 × labels."""
        import torch

        return [torch.from_numpy(text.scores).softmax(-1).numpy() for text in scored]

    def judged(
        self, scored: Sequence[Scored], names: Labels, labelled: Sequence[tuple[tuple[str, ...], Sequence[Span]]]
    ) -> list[Judged]:
        return [
            Judged(confidence=float(row[0, names.index(labels[0])]))
            for row, (labels, _) in zip(self.shares(scored, names), labelled, strict=True)
        ]

    def confidences(
        self, scored: Sequence[Scored], names: Labels, predicted: Sequence[Labels], gold: Sequence[Labels]
    ) -> list[tuple[float, bool]]:
        return [
            (float(row[0, names.index(labels[0])]), labels[0] == wanted[0])
            for row, labels, wanted in zip(self.shares(scored, names), predicted, gold, strict=True)
        ]
