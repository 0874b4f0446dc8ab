"""Counts and settings as rows of words, so that nobody has to read JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["count_rows", "duration", "setting_rows"]


def count_rows(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`(what, how many)`: names without underscores, what is nested named after its parent."""
    return [(" › ".join(path).replace("_", " "), value) for path, value in _leaves(counts, ())]


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`(key, value)` as `--set` takes them: `train.updates`, `235`."""
    return [(".".join(path), value) for path, value in _leaves(settings, ())]


def duration(seconds: float) -> str:
    """`3 h 20 min`, `4 min` or `12 s`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)) and any(isinstance(inner, (Mapping, list, tuple)) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(number)))
    else:
        yield path, _said(value)


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_said, value)) or "–"
    return str(value)
