"""The section `study` of a configuration: a grid of variants × original sizes × seeds × arms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt, MinLen

from distill_offline.config.values import STRICT, TagScheme

__all__ = ["ExamineSettings", "Reference", "StudySettings"]

_THE_STUDYS = ("name", "seed", "study")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Gold for distilled sentences. In YAML a plain string is `path`.

    Its sentences are found by their tokens (by id first, if the tokens are the same), so that their order and number
    do not matter.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    path: Annotated[str, MinLen(1)]
    """The file."""
    token_column: int | None = None
    """[column] The column of the tokens, from 0, or from the end if negative; empty: recognised."""
    tag_column: int | None = None
    """[column] The column of the tags, from 0, or from the end if negative; empty: recognised."""
    scheme: TagScheme | None = None
    """How entities are written as tags; empty: as `corpus.scheme` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineSettings:
    """What is looked at in each arm while it is trained and afterwards. It changes no result."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    distilled: Annotated[int, Ge(1)] = 200
    """[sentences] How many of the arm's distilled pool the student labels at every `train.eval_every`."""
    held_out: Annotated[int, Ge(1)] = 200
    """[sentences] How many of the split that is scored it labels then."""
    reference: Annotated[str, MinLen(1)] | Reference | None = None
    """Gold for the distilled sentences: shows which of the teacher's errors a finished student repeats."""
    variants: tuple[str, ...] | None = None
    """Look only into cells of these variants; empty: all."""
    sizes: tuple[int, ...] | None = None
    """[sentences] Look only into cells of these sizes; empty: all."""
    seeds: tuple[int, ...] | None = None
    """[seed] Look only into cells of these seeds; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """What is compared. Every arm of `train.arms` is trained for each variant, size and seed.

    A size is the first so many sentences of corpus.original.train, shuffled by the seed, so that the 100 are among the
    250. If corpus.original.train has a `shuffle` of its own, all seeds train on the same sentences. Studies with the
    same `reserve` draw alike, and share results.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    """[sentences] Budgets of human-labelled sentences: the first so many of `corpus.original.train`, shuffled."""
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 3, 4)
    """[seed] Each seed draws the gold sentences, the head's first weights and the training order."""
    dev_share: Annotated[float, Ge(0), Lt(1)] | None = None
    """[share of the size] This part of each size is dev; 0: no dev; empty: dev is `corpus.original.dev`."""
    reserve: Annotated[int, Ge(1)] | None = None
    """[sentences] How many of the shuffle are set aside for gold; empty: the largest size."""
    reshuffle: tuple[Literal["distilled", "unlabelled"], ...] = ()
    """Corpus keys that each seed shuffles, too, in the same order as the gold."""
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: {"base": {}})
    """Named sets of changes, as in `--set`. A value may hold `{size}`, `{train}` and `{seed}`."""
    baseline: str = "original_only"
    """The arm that learns from gold alone; its best variant on dev represents it."""
    against: tuple[str, ...] = ("original_only", "union")
    """The arms that all others are compared with; `VARIANT/ARM` for that of one variant."""
    draws: Annotated[int, Ge(100)] = 10_000
    """[resamples] How many are behind each interval and p-value."""
    keep_students: bool = False
    """Keep the students' folders after they are scored."""
    notes: tuple[str, ...] = ()
    """Caveats that are printed beside every table."""
    examine: ExamineSettings | None = None
    """Look into the arms, to explain what the scores say."""

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError("variants names none; leave it out for a single variant without changes")
        if wrong := [name for name in self.variants if not _NAME.fullmatch(name)]:
            raise ValueError(f"the variant {wrong[0][:60]!r} becomes a folder: letters, digits and ._+- only")
        for name, changes in self.variants.items():
            if own_keys := [key for key in changes if key.split(".")[0] in _THE_STUDYS]:
                raise ValueError(f"the variant {name} sets {own_keys[0]}, which the study itself decides")
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
        """Raises ValueError if what is to be examined is no part of the study.

        A seed or size may be one that the study has not: several processes often share a study by its seeds.
        """
        for key in ("variants", "sizes", "seeds"):
            named, known = getattr(examine, key), getattr(self, key)
            unknown = [value for value in named or () if value not in known] if key == "variants" else []
            if named is not None and (unknown or not named):
                listed, first = ", ".join(map(str, known)), str(unknown[0])[:60] if unknown else "none"
                raise ValueError(f"examine.{key} names {first}, and the study has: {listed}")
