"""What the values of settings may be: ranges that loading.py holds YAML to."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

__all__ = [
    "STRICT", "Below1", "Count", "Fraction", "Inside01", "LayerDecay", "LearningRateDecay", "NonNegative", "Number",
    "Positive", "TagScheme", "folder_name",
]  # fmt: skip

STRICT: dict[str, Any] = {"extra": "forbid"}

Count = Annotated[int, Ge(1)]
Number = Annotated[int, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Below1 = Annotated[float, Ge(0), Lt(1)]
Inside01 = Annotated[float, Gt(0), Lt(1)]
LayerDecay = Annotated[float, Gt(0), Le(1)]
LearningRateDecay = Literal["linear", "cosine", "constant"]
# IOBES, BILOU and BMEWO differ in their letters alone; IO has nothing to tell neighbours of one type apart.
TagScheme = Literal["auto", "iob1", "iob2", "iobes", "bilou", "bmewo", "ioe1", "ioe2", "io"]


def folder_name(name: str) -> None:
    """Raises ValueError for a name that is no good for a folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(f"the name {name[:60]!r} becomes a folder: letters, digits and ._+- only, at most 100")
