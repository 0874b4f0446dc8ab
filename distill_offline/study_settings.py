"""The section `study` of a configuration: a grid of variants × original sizes × seeds × arms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt, MinLen

__all__ = ["StudySettings"]

_THE_STUDYS = ("name", "seed", "study")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """What is compared. Every arm of `train.arms` is trained for each variant, size and seed.

    A size is a budget of human-labelled sentences: the first so many of corpus.original.train, shuffled by the seed, so
    that the 100 are among the 250. Where it has a `shuffle` of its own, all seeds train on the same sentences.
    `reshuffle` names the other corpus keys that each seed shuffles, too, all alike, so that files with the same
    sentences in the same order stay parallel. With `dev_share`, that part of the budget is dev and the rest is trained
    on (0: no dev at all, the last weights count); without it, dev is what corpus.original.dev says, beyond the budget.
    `reserve` is how many sentences of the shuffle are set aside for gold (default: the largest size): studies with the
    same one draw alike, and share results.

    `variants` are named sets of changes, dotted key to value as in `--set`; inside a value, `{size}`, `{train}` (how
    many sentences of the budget are trained on) and `{seed}` are filled in. `baseline` is the arm that learns from gold
    alone: of the variants that train it, the one with the best mean dev F1 at a size stands for it there. `against` are
    the arms that all others are tested against. `draws` are the resamples behind intervals and p-values; `notes` are
    caveats that stand beside every table.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 3, 4)
    dev_share: Annotated[float, Ge(0), Lt(1)] | None = None
    reserve: Annotated[int, Ge(1)] | None = None
    reshuffle: tuple[Literal["distilled", "unlabelled"], ...] = ()
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: {"base": {}})
    baseline: str = "original_only"
    against: tuple[str, ...] = ("original_only", "union")
    draws: Annotated[int, Ge(100)] = 10_000
    keep_students: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError("variants names none; leave it out for a single variant without changes")
        if wrong := [name for name in self.variants if not _NAME.fullmatch(name)]:
            raise ValueError(f"the variant {wrong[0][:60]!r} becomes a folder: letters, digits and ._+- only")
        for name, changes in self.variants.items():
            if own := [key for key in changes if key.split(".")[0] in _THE_STUDYS]:
                raise ValueError(f"the variant {name} sets {own[0]}, which the study itself decides")
        if empty := [size for size in self.sizes if self.split(size)[0] < 1]:
            raise ValueError(f"dev_share leaves nothing to train on of {empty[0]} sentences")
        if self.reserve is not None and self.reserve < max(self.sizes):
            raise ValueError("reserve is smaller than the largest of sizes")
        for key, values in (("sizes", self.sizes), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names a value twice")

    def split(self, size: int) -> tuple[int, int]:
        """How many sentences of a budget are trained on, and how many are dev."""
        dev = round(size * self.dev_share) if self.dev_share else 0
        return size - dev, dev
