"""The settings of `select`: which annotations students may learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Le

from distill_offline.config.corpus import Source
from distill_offline.config.values import STRICT, Count, Fraction, Positive

__all__ = ["ConfidenceFrom", "CrossFitSettings", "SelectSettings"]

ConfidenceFrom: TypeAlias = Literal["answer", "verify", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFitSettings:
    """Confidences for labels that come without: from students that were trained on the other folds."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    folds: Annotated[int, Ge(2)] = 5
    """[folds] Into how many parts the labels are divided; one student is trained for each."""
    updates: Count = 150
    """[updates] How long each fold's student is trained."""
    batch_size: Count | None = None
    """[sentences] How many each update draws; empty: `train.batch_size`."""
    learning_rate: Positive | None = None
    """[step size] The peak learning rate; empty: `train.learning_rate`."""
    with_original: bool = True
    """Train each fold's student on `corpus.original.train`, too."""
    overrule: bool = False
    """Replace the confidences that labels have already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSettings:
    """Which annotations go into training.

    A span is *doubtful* if its confidence is below `min_confidence`, if too few samples agree on it
    (`min_agreement`), or if its mention was found in a way that `alignments` does not name. `doubtful` says what
    happens to it. A class on which too few samples agree is left out with its sentence.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    calibration: Literal["none", "isotonic", "platt"] = "isotonic"
    """How the teacher's confidences become probabilities, if it labelled gold training sentences."""
    confidence_from: ConfidenceFrom = "answer"
    """Which confidence of the teacher counts: that of its `answer`; that of its yes to `annotate.verify`; or of
    `both`, the square root of their product."""
    deduplicate: bool = True
    """Drop a sentence that is the same as one that is kept."""
    drop_rejected: bool = False
    """Drop sentences of which the teacher gave a mention that could not be placed."""
    min_confidence: Fraction = 0.0
    """[probability] A span less confident than this is doubtful."""
    min_agreement: Fraction = 0.0
    """[share of samples] A span or class on which fewer samples agree is doubtful."""
    min_sentence_confidence: Fraction = 0.0
    """[probability] Drop a sentence whose least confident span (or class) is below this."""
    max_missed: Fraction = 1.0
    """[probability] Drop a sentence that lacks an entity more probably than this; needs `cross_fit`."""
    alignments: tuple[Literal["exact", "normalised", "fuzzy", "tags"], ...] = ("exact", "normalised", "fuzzy", "tags")
    """A span that was found in another way than these is doubtful."""
    doubtful: Literal["sentence", "span", "mask", "relabel"] = "sentence"
    """What a doubtful span costs: the `sentence`; the `span`, which becomes O; the loss on its tokens (`mask`); or its
    label alone, for which it takes that of the students of `cross_fit` (`relabel`)."""
    near_duplicates: Annotated[float, Ge(0.5), Le(1)] | None = None
    """[similarity] From here on a sentence counts as a copy of another, or of one in dev or test; empty: off."""
    budget: Count | None = None
    """[sentences] Keep at most so many; empty: all."""
    prefer: Literal["first", "random", "confident", "diverse"] = "first"
    """Which sentences a `budget` keeps."""
    weigh: bool = False
    """Weigh each sentence in the loss by its confidence."""
    cross_fit: CrossFitSettings | None = None
    """Give confidences to labels that come without, by students trained on the other labels."""
    truth: str | Source | None = None
    """Gold for the same sentences, to measure the selection. Nothing is chosen by it."""

    def __post_init__(self) -> None:
        if self.doubtful == "relabel" and self.cross_fit is None:
            raise ValueError("doubtful: relabel takes the labels of students; it needs cross_fit, for example {}")
