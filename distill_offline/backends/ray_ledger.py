"""Who answers what on a cluster: prompts are leased to workers, and leased again when one of them dies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Failure", "Key", "Ledger", "Lot", "News"]

Key = tuple[int, int]  # (stream, position): a late answer of an abandoned stream is told from one of the present
Lot = list[tuple[Key, bytes]]  # encoded prompts or completions

_BARREN_LIVES = 5  # starts of one seat without an answer in between: it is the seat's fault, not a passing death
_SILENT_S = 30.0  # a seat that has not been heard of for so long loses its prompts to the others


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a seat gave up: the name of one of our errors, and its message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class News:
    """What the driver learns: new answers, how many prompts wait for a seat, what the engine is, who gave up."""

    answers: Lot
    queued: int
    identity: Mapping[str, Any] | None
    failures: dict[int, Failure] = field(default_factory=dict)


class Ledger:
    """Who answers what: each prompt is leased to one seat until it is answered, and leased again if that seat dies.

    An asyncio actor beside the driver, which alone puts prompts in and takes answers out. The first answer to a prompt
    counts; what comes later, or for a stream that was abandoned, is dropped. So every position is answered once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = asyncio.Condition()
        self._prompts: dict[Key, bytes] = {}  # without an answer yet
        self._queue: deque[Key] = deque()  # those of them that no seat has
        self._leases: dict[Key, str] = {}  # and those that one has, by its life
        self._heard: dict[str, float] = {}
        self._barren: dict[int, int] = {}
        self._answers: Lot = []
        self._identity: Mapping[str, Any] | None = None
        self._failures: dict[int, Failure] = {}
        self._closed = False

    async def exchange(self, prompts: Lot, enough: int, wait_s: float) -> News:
        """Take in prompts; return when there are answers, fewer than `enough` queued prompts, or `wait_s` is over."""
        for key, data in prompts:
            self._prompts[key] = data
            self._queue.append(key)
        known = self._identity, len(self._failures)
        if prompts:
            await self._tell()
        self._take_back_from_the_silent()
        await self._until(
            lambda: bool(self._answers) or len(self._queue) < enough or known != (self._identity, len(self._failures)),
            wait_s,
        )
        answers, self._answers = self._answers, []
        return News(answers, len(self._queue), self._identity, dict(self._failures))

    async def forget(self) -> None:
        """Drop every prompt and answer: the driver's stream was abandoned."""
        for held in (self._prompts, self._queue, self._leases, self._answers):
            held.clear()

    async def close(self) -> None:
        """Tell the seats to end."""
        self._closed = True
        await self.forget()
        await self._tell()

    async def begin(self, seat: int, life: str) -> bool:
        """A seat (re)starts: what its former life left unanswered goes to the head of the queue. False: don't."""
        self._take_back(lambda lease: lease.partition("/")[0] == str(seat))
        self._heard[life] = self._clock()
        self._barren[seat] = self._barren.get(seat, 0) + 1
        if self._barren[seat] > _BARREN_LIVES and seat not in self._failures:
            message = f"worker {seat} was killed {_BARREN_LIVES} times without an answer in between. Out of memory?"
            self._failures[seat] = Failure("BackendError", message)
        await self._tell()
        return not self._closed and seat not in self._failures

    async def ready(self, life: str, identity: Mapping[str, Any]) -> str:
        """A seat's engine is up. Returns which keys of its identity differ from the first one's: answers would, too."""
        self._heard[life] = self._clock()
        if self._identity is None:
            self._identity = dict(identity)
            await self._tell()
        first = self._identity
        return ", ".join(sorted(key for key in {*first, *identity} if first.get(key) != identity.get(key)))

    async def failed(self, seat: int, failure: Failure) -> None:
        """A seat gives up, and gives its prompts back to the others."""
        self._failures[seat] = failure
        self._take_back(lambda lease: lease.partition("/")[0] == str(seat))
        await self._tell()

    async def take(self, life: str, most: int, wait_s: float) -> Lot | None:
        """Lease up to `most` prompts; none if there are none within `wait_s`. None instead of a list: it is over."""
        self._heard[life] = self._clock()
        await self._until(lambda: bool(self._queue) or self._closed, wait_s)
        if self._closed:
            return None
        keys = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self._leases.update(dict.fromkeys(keys, life))
        if keys:
            await self._tell()
        return [(key, self._prompts[key]) for key in keys]

    async def put(self, life: str, answers: Lot) -> None:
        """Answers; an empty list only says that the seat is alive."""
        self._heard[life] = self._clock()
        for key, data in answers:
            if self._prompts.pop(key, None) is None:
                continue
            if self._leases.pop(key, None) is None:  # taken back from a seat that was only slow
                self._queue.remove(key)
            self._answers.append((key, data))
        if answers:
            self._barren[int(life.partition("/")[0])] = 0
            await self._tell()

    def _take_back_from_the_silent(self) -> None:
        oldest = self._clock() - _SILENT_S
        self._take_back(lambda life: self._heard.get(life, 0.0) < oldest)

    def _take_back(self, whose: Callable[[str], bool]) -> None:
        lost = sorted(key for key, life in self._leases.items() if whose(life))
        for key in lost:
            del self._leases[key]
        self._queue.extendleft(reversed(lost))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, met: Callable[[], bool], wait_s: float) -> None:
        if met() or wait_s <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with self._changed:
                await asyncio.wait_for(self._changed.wait_for(met), wait_s)
