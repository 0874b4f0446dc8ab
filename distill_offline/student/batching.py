"""Micro-batches: windows of like length together, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["least_work", "micro_batches", "share"]


class _Window(Protocol):
    @property
    def ids(self) -> Sequence[int]: ...


W = TypeVar("W", bound=_Window)


def micro_batches(windows: Sequence[W], batch_tokens: int) -> Iterator[list[W]]:
    """`windows` sorted by length, in parts of at most `batch_tokens` subwords with padding (one window at least)."""
    batch: list[W] = []
    for window in sorted(windows, key=_length):
        if batch and (len(batch) + 1) * _length(window) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def least_work(windows: Sequence[W], batch_tokens: int, overhead: int) -> list[list[W]]:
    """The same, cut where the work is least: subwords with padding, and `overhead` subwords' worth for each part.

    For the windows of one update: few enough for the exact answer, found from the shortest window upwards.
    """
    ordered = sorted(windows, key=_length)
    best: list[tuple[int, int]] = [(0, 0)]  # for the first n windows: (work, where the last part begins)
    for end in range(1, len(ordered) + 1):
        longest = _length(ordered[end - 1])
        # From the longest part that fits: of equal work, the fewest parts.
        first = max(0, end - max(1, batch_tokens // max(1, longest)))
        work = [(best[start][0] + (end - start) * longest + overhead, start) for start in range(first, end)]
        best.append(min(work))
    parts: list[list[W]] = []
    end = len(ordered)
    while end:
        start = best[end][1]
        parts.append(ordered[start:end])
        end = start
    return parts[::-1]


def share(windows: Sequence[W], rank: int, size: int) -> list[W]:
    """The windows of an update that process `rank` of `size` takes: as many as the others, and of like lengths.

    Where there are fewer windows than processes, some take none.
    """
    return sorted(windows, key=_length, reverse=True)[rank::size]


def _length(window: _Window) -> int:
    return len(window.ids)
