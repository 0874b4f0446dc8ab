"""The settings of `pretrain`: the encoder learns the site's own text before any student starts from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from distill_offline.config.corpus import Source
from distill_offline.config.values import STRICT, Below1, Count, Inside01, NonNegative, Number, Positive

__all__ = ["PretrainSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """Masked-language modelling of `train.encoder` on text without labels; all students start from what comes out.

    Sentences that also occur in dev or test are left out. Without this section there is no such stage.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    text: str | Source | None = None
    """What is read; empty: `corpus.unlabelled`, `corpus.distilled`, `corpus.original.train` and `reviewed`, without
    their labels. A study needs it: its seeds draw other sentences, and share one encoder."""
    never: tuple[str | Source, ...] = ()
    """Text whose sentences are left out, as those of dev and test are."""
    arms: tuple[str, ...] = ()
    """The arms of `train.arms` that start from the pre-trained encoder, the others from `train.encoder`; empty: all."""
    passes: Count = 3
    """[passes] How often the text is gone through."""
    updates: Count | None = None
    """[updates] How many steps of the optimizer, whatever `passes` says; empty: as many as the passes need."""
    update_tokens: Count = 2048
    """[subwords] How much text an update learns from; a window longer than this is an update by itself."""
    learning_rate: Positive = 1e-4
    """[step size] The peak learning rate; it falls to zero by a line."""
    warmup: Below1 = 0.06
    """[share of updates] How long the rate rises at the beginning."""
    weight_decay: NonNegative = 0.01
    """[AdamW's weight decay] On matrices only."""
    clip: Positive = 1.0
    """[norm] The largest norm of the gradient."""
    masked: Inside01 = 0.15
    """[share of subwords] How many are hidden, in whole words: 80% of the words as [MASK], 10% as other words, 10%
    as they are."""
    head: Literal["tied", "fresh"] = "tied"
    """What guesses the hidden words: the table of input embeddings (`tied`), or one of its own (`fresh`)."""
    held_out: Below1 = 0.02
    """[share of sentences] Of the text, this part is not learnt from but measured on, before and after; 0: none."""
    eval_every: Count = 100
    """[updates] How often the loss on the held-out part is measured."""
    micro_batch_tokens: Count = 2048
    """[subwords] The most that are in memory at once, with padding."""
    max_length: Annotated[int, Ge(8)] = 512
    """[subwords] The longest window; longer sentences are cut into windows that do not overlap."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Compute in 16 bits: `bf16`, or `fp16` on a GPU."""
    checkpoint_every: NonNegative = 120.0
    """[seconds] Time between checkpoints; 0: after every update."""
    seed: Number = 0
    """[seed] Decides the order of the text and what is hidden; not that of the run, so that runs with other seeds have
    the same encoder."""
