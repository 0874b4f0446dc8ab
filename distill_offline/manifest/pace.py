"""How fast a teacher labelled, by the manifest of what it made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from distill_offline.errors import DistillError
from distill_offline.manifest.reading import show

__all__ = ["Pace", "pace_of"]

_FEWEST = 10  # asked sentences, to say a pace by


@dataclass(frozen=True, slots=True)
class Pace:
    """Sentences an hour, loading included, over so many that were asked."""

    per_hour: float
    asked: int


def pace_of(annotate: Path) -> Pace | None:
    """The pace of the last annotation in this folder; None if there is none, or too few sentences were asked."""
    try:
        shown = show(annotate)
        asked = sum(part["asked"] for part in shown["counts"].values())
        began, ended = (datetime.fromisoformat(shown[key]) for key in ("started", "finished"))
    except (DistillError, OSError, KeyError, TypeError, ValueError):
        return None
    seconds = (ended - began).total_seconds()
    return Pace(3600 * asked / seconds, asked) if asked >= _FEWEST and seconds > 0 else None
