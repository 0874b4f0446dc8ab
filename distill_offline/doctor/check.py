"""What was looked at, and how grave it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Status", "worst"]

Status = Literal["ok", "warn", "fail"]

_RANK: Mapping[Status, int] = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is empty if nothing needs doing."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def worst(checks: Iterable[Check]) -> Status:
    """The gravest status: "fail" is for exit code 4, the others for 0."""
    return max((check.status for check in checks), key=lambda status: _RANK[status], default="ok")
