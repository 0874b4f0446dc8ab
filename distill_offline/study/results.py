"""The rows of finished cells, a line of JSON each: scores and counts; no weights, no text, no path and no host name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter

from distill_offline.scoring.sentence_counts import Counts
from distill_offline.study.counts import unpack
from distill_offline.study.lines import Lines

__all__ = ["Results", "Row"]

_TRAINING = {"updates", "distilled_drawn", "original_drawn", "best_dev_f1", "seconds"}  # what tables are made of
_POOLS = {"original", "dev", "dev_in_size", "distilled", "dropped"}


@dataclass(frozen=True, slots=True)
class Row:
    """A finished cell. `key` is the digest of what decided it; `on` that of the gold set it was scored on.

    `pools` counts sentences: `original` trained on, `dev`, `dev_in_size` (1 where dev is part of the size),
    `distilled`, `dropped` (of original, because they stand in dev or test). `training` has what the train stage
    counted, `updates`, `batch_size`, `learning_rate` and `seconds` (None if a finished student was found). `counts`
    is unpacked by `sentence_counts`. `method` is manifest.method's of the code that made it; rows from before have
    none, see study.methods.
    """

    key: str
    study: str
    variant: str
    size: int
    seed: int
    arm: str
    pools: Mapping[str, int]
    training: Mapping[str, Any]
    on: str
    split: str
    metric: str
    overall: Mapping[str, float]
    per_type: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, int]
    types: tuple[str, ...]
    counts: str
    versions: Mapping[str, str]
    method: str = ""

    @property
    def cell(self) -> tuple[str, int, int, str]:
        return self.variant, self.size, self.seed, self.arm

    def sentence_counts(self) -> Counts:
        """True positives, false positives, false negatives: (sentences, types, 3)."""
        return unpack(self.counts, len(self.types))


class Results(Lines[Row]):
    """The file of rows."""

    __slots__ = ()
    WHAT: ClassVar[str] = "row of a study"

    @staticmethod
    def parse(line: bytes) -> Row:
        value = json.loads(line)
        row = Row(**{**value, "types": tuple(value["types"])})
        _SHAPE.validate_json(line, strict=True)
        if missing := (_TRAINING - row.training.keys()) | (_POOLS - row.pools.keys()):
            raise KeyError(min(missing))
        row.sentence_counts()
        return row


_SHAPE = TypeAdapter(Row)
