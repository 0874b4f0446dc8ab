"""The section `study` of a configuration: a grid of variants × original sizes × seeds × arms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt, MinLen

from distill_offline.setting_values import STRICT, TagScheme

__all__ = ["ExamineSettings", "Reference", "StudySettings"]

_THE_STUDYS = ("name", "seed", "study")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Gold for distilled sentences. In YAML a plain string is `path`.

    Its sentences are found by their tokens (by id first, where the tokens are the same), so that their order and number
    do not matter.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    path: Annotated[str, MinLen(1)]
    token_column: int | None = None
    tag_column: int | None = None
    scheme: TagScheme | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineSettings:
    """What is looked at in each arm while it is trained and afterwards; it decides no result.

    At every train.eval_every the student labels `distilled` sentences of the pool that it is trained on, and `held_out`
    of the split that is scored. With a `reference`, gold for the distilled sentences, the teacher's errors are known:
    the finished student says which of them it repeats, over the whole pool. `variants`, `sizes` and `seeds`: only the
    cells of these (default: all).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    distilled: Annotated[int, Ge(1)] = 200
    held_out: Annotated[int, Ge(1)] = 200
    reference: Annotated[str, MinLen(1)] | Reference | None = None
    variants: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None


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
    the arms that all others are tested against (VARIANT/ARM for that of one variant). `draws` are the resamples behind
    intervals and p-values; `notes` are caveats that stand beside every table. `examine` looks into the arms, to explain
    what the scores say.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
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
    examine: ExamineSettings | None = None

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
        if self.examine is not None:
            self._check_examined(self.examine)

    def split(self, size: int) -> tuple[int, int]:
        """How many sentences of a budget are trained on, and how many are dev."""
        dev = round(size * self.dev_share) if self.dev_share else 0
        return size - dev, dev

    def _check_examined(self, examine: ExamineSettings) -> None:
        """Raises ValueError where what is to be examined is no part of the study.

        A seed or size may be one that the study has not: several processes often share a study by its seeds.
        """
        for key in ("variants", "sizes", "seeds"):
            named, known = getattr(examine, key), getattr(self, key)
            unknown = [value for value in named or () if value not in known] if key == "variants" else []
            if named is not None and (unknown or not named):
                listed, first = ", ".join(map(str, known)), str(unknown[0])[:60] if unknown else "none"
                raise ValueError(f"examine.{key} names {first}, and the study has: {listed}")
