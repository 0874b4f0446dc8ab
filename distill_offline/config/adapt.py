"""The settings of `adapt`: how the teacher learns from the gold training sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from distill_offline.config.values import STRICT, Below1, Count, LearningRateDecay, NonNegative, Number, Positive

__all__ = ["AdaptSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptSettings:
    """A LoRA adapter for the teacher, trained on `corpus.original.train`; docs/adapt.md has it at length."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    base: str = ""
    """The model that the adapter is trained on: of the catalogue, or a path; empty: `backend.model`."""
    demonstrations: Number = 0
    """[demonstrations] How many a prompt shows, here and in `annotate`, in the place of `annotate.demonstrations.k`."""
    rank: Count = 16
    """[rank] Of the two matrices that are learnt beside each weight matrix."""
    alpha: Positive = 32.0
    """[factor] What they add is multiplied by alpha / rank."""
    dropout: Below1 = 0.05
    """[probability] Dropout on what goes into them."""
    targets: tuple[str, ...] = ()
    """The weight matrices that get an adapter, by the ends of their names (`q_proj`); empty: all but the output's."""
    epochs: Count = 4
    """[epochs] How often each sentence is learnt from."""
    batch_size: Count = 8
    """[sentences] How many an update learns from."""
    learning_rate: Positive = 5e-4
    """[step size] The peak learning rate."""
    learning_rate_decay: LearningRateDecay = "linear"
    """How the rate falls after the warm-up: to zero by a line or a cosine, or not at all (`constant`)."""
    warmup: Below1 = 0.1
    """[share of updates] How long the rate rises at the beginning."""
    weight_decay: NonNegative = 0.0
    """[AdamW's weight decay] On the adapter's matrices."""
    clip: Positive = 1.0
    """[norm] The largest norm of the gradient."""
    pick: Literal["dev_loss", "dev_f1", "last"] = "dev_loss"
    """The epoch that is kept: that of the lowest loss on dev, of the highest F1 of answers for dev, or the last one."""
    batch_tokens: Count = 2048
    """[tokens] The most that are in memory at once, with padding; larger updates are computed in parts."""
    max_length: Annotated[int, Ge(16)] = 1024
    """[tokens] Sentences whose prompt and answer are longer are left out, and counted."""
    quantization: Literal["4bit"] | None = None
    """Hold the base in 4 bits (NF4, by bitsandbytes) while the adapter is trained; needs a GPU."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    checkpoint_every: Count = 20
    """[updates] How often a checkpoint is written."""
    folds: Number = 0
    """[adapters] Train so many more, each without one part of the sentences, to label that part; 0: none."""

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds: one fold leaves nothing to train on. Set 0 for none, or 2 and more.")
