"""Blending schedules p(t), and the sampler that realises them as indices; pure, no torch.

A schedule gives the probability that the next training sentence is a distilled one, at progress t = update / updates,
0 ≤ t < 1. The schedules called after scheduled sampling are those of Bengio et al. (2015), with their step i rescaled
to progress; `simple_mix` is the order that arXiv 2402.09282 found best: distilled data first, then original data.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distill_offline.errors import ConfigError
from distill_offline.registry import described, load, spelled

__all__ = ["SCHEDULES", "Batch", "Blend", "Schedule", "make_schedule", "with_share"]

_ROUNDING = 1e-9
_LAST = math.nextafter(1.0, 0.0)  # schedules are asked for t below 1 only
_OCTAVES, _HALVINGS = 30, 60  # of the search for an exponent


class Schedule(Protocol):
    """p(t) for t in [0, 1)."""

    def __call__(self, t: float) -> float: ...


def original_only(t: float) -> float:
    """p = 0."""
    return 0.0


def distilled_only(t: float) -> float:
    """p = 1."""
    return 1.0


def union(t: float, *, natural: float) -> float:
    """p = n_d / (n_d + n_o): the shuffled union of both pools, at their natural ratio."""
    return natural


def constant(t: float, *, p: float) -> float:
    """p, always."""
    return p


def simple_mix(t: float, *, tau: float) -> float:
    """p = 1 where t < τ, else 0: distilled, then original (arXiv 2402.09282)."""
    return 1.0 if t < _inside(tau) else 0.0


def reverse(t: float, *, tau: float) -> float:
    """p = 0 where t < τ, else 1: original, then distilled."""
    return 0.0 if t < _inside(tau) else 1.0


def distilled_then_mixture(t: float, *, tau: float, p: float = 0.5) -> float:
    """1 where t < τ, then p: distilled, then a mixture in which distilled data goes on.

    After "Order Matters in the Presence of Dataset Imbalance" (2023): pre-train on the large task, fine-tune on a mix.
    """
    return 1.0 if t < _inside(tau) else p


def linear(t: float) -> float:
    """p = 1 − t (scheduled sampling's linear decay)."""
    return 1.0 - t


def cosine(t: float) -> float:
    """p = (1 + cos πt) / 2."""
    return (1.0 + math.cos(math.pi * t)) / 2.0


def sigmoid(t: float, *, s: float = 10.0) -> float:
    """p = 1 / (1 + e^(s(t − 0.5))); a large s is a step at t = 0.5."""
    return 1.0 / (1.0 + math.exp(min(s * (t - 0.5), 700.0)))


def power(t: float, *, a: float = 2.0) -> float:
    """p = (1 − t)^a."""
    return float((1.0 - t) ** a)


def exponential(t: float, *, k: float = 0.01) -> float:
    """p = k^t, 0 < k < 1 (scheduled sampling's exponential decay); k is what is left at t = 1."""
    return float(k**t)


def inverse_sigmoid(t: float, *, k: float = 10.0) -> float:
    """p = k / (k + e^(i/k)), k ≥ 1 (scheduled sampling's), with i = t · 2k·ln k, so that p(0.5) = 1/2."""
    if not k >= 1.0:  # NaN, too; below 1 it would rise
        raise ValueError("k is below 1")
    return k / (k + math.exp(2.0 * t * math.log(k)))


def _inside(tau: float) -> float:
    """τ, if it is one. Elsewhere there would be no step, and another schedule than the name says."""
    if not 0.0 < tau < 1.0:
        raise ValueError("tau is not between 0 and 1")
    return tau


SCHEDULES = {
    function.__name__: f"distill_offline.train.blending:{function.__name__}"
    for function in (
        original_only, distilled_only, union, constant, simple_mix, reverse, distilled_then_mixture,
        linear, cosine, sigmoid, power, exponential, inverse_sigmoid,
    )
}  # fmt: skip


def make_schedule(
    name: str, options: Mapping[str, float], *, tau: float, n_distilled: int, n_original: int
) -> Schedule:
    """The schedule called `name` (or `package.module:function`) with its options bound.

    `tau` and `natural` are filled in where the function asks for them. Raises ConfigError for an unknown schedule,
    an option that it does not take, or one that it needs and did not get. The schedule itself raises ConfigError if
    what it gives is no probability.
    """
    function = load("train.arms.schedule", name, SCHEDULES, group="schedules")
    if not callable(function):
        raise ConfigError(f"train.arms: schedule {name} is not a function t → p.")
    parameters = _parameters(name, function)
    known = {p.name for p in parameters}
    if unknown := sorted(set(options) - known):
        takes = ", ".join(sorted(known)) or "none"
        raise ConfigError(f"train.arms: schedule {name} does not take {unknown[0]!r}; it takes: {takes}.")
    total = n_distilled + n_original
    named = {"tau": tau, "natural": n_distilled / total if total else 0.0, **options}
    bound = {p.name: named[p.name] for p in parameters if p.name in named}
    if missing := [p.name for p in parameters if p.name not in bound and p.default is p.empty]:
        raise ConfigError(f"train.arms: schedule {name} needs options.{missing[0]}.")

    def schedule(t: float) -> float:
        try:
            p = float(function(t, **bound))
        except Exception as error:
            said = error if name in SCHEDULES else described(error, spelled(name, "schedules"))
            raise ConfigError(f"train.arms: schedule {name}{_shown(options)} fails at t = {t:g} ({said}).") from error
        if not -_ROUNDING <= p <= 1.0 + _ROUNDING:  # NaN, too
            raise ConfigError(
                f"train.arms: schedule {name}{_shown(options)} gives {p:g} at t = {t:g}, which is not a probability."
            )
        return min(1.0, max(0.0, p))

    return schedule


def _parameters(name: str, function: Schedule) -> list[inspect.Parameter]:
    """What a schedule takes besides t. Raises ConfigError if it takes no t."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"train.arms: schedule {name} does not say what it takes.") from error
    first = parameters[0].kind if parameters else None
    if first not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise ConfigError(f"train.arms: schedule {name} must take t, from 0 to 1, as its first argument.")
    return parameters[1:]


def with_share(schedule: Schedule, share: float, updates: int) -> Schedule:
    """The schedule with its time stretched, p(t^γ), so that over `updates` updates the mean of p is `share`.

    Its shape stays: a step is a step at another τ, a curve passes through the same values in the same order. So arms
    can have equal exposure to distilled data, and what is compared is shape. γ is found by bisection over the very
    t = update / updates that a run uses; the mean is exact for continuous schedules, and within 1 / updates for steps.
    A constant schedule is constant at `share`, but where it is 0 or 1 throughout it is left alone: it is the end
    of the scale that others are compared with. Raises ConfigError if no stretching gives that share.
    """
    values = [schedule(update / updates) for update in range(updates)]
    if max(values) == min(values):
        return schedule if values[0] in (0.0, 1.0) else lambda t: share

    def stretched(t: float, exponent: float) -> float:
        return schedule(min(t**exponent, _LAST))

    def mean(exponent: float) -> float:
        return math.fsum(stretched(update / updates, exponent) for update in range(updates)) / updates

    low, high = 2.0**-_OCTAVES, 2.0**_OCTAVES
    at_low, at_high = mean(low), mean(high)
    if not min(at_low, at_high) - 1.0 / updates <= share <= max(at_low, at_high) + 1.0 / updates:
        raise ConfigError(
            f"train.arms: a share of {share:g} distilled sentences is out of reach of this schedule; stretched, it "
            f"gives {min(at_low, at_high):.3g} to {max(at_low, at_high):.3g}."
        )
    rising = at_high > at_low
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if (mean(middle) < share) == rising else (low, middle)
    nearest = min((low, high), key=lambda exponent: abs(mean(exponent) - share))
    return lambda t: stretched(t, nearest)


def _shown(options: Mapping[str, float]) -> str:
    return f" with {', '.join(f'{key} = {value:g}' for key, value in options.items())}" if options else ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One update's sentences, as indices into the two pools."""

    update: int
    p: float
    distilled: tuple[int, ...]
    original: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blend:
    """Draws every update's batch from the two pools by a schedule.

    The number of distilled sentences follows p(t) by systematic sampling: after any number of updates it differs from
    the expected number by less than one, so that arms differ by their schedule and not by luck. Each pool is shuffled
    and used up before it is shuffled again. What an update draws depends on (seed, sizes, schedule, update) alone, so
    that a resumed run draws what the uninterrupted one would have drawn.
    """

    schedule: Schedule
    n_distilled: int
    n_original: int
    updates: int
    batch_size: int
    seed: int

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches from update `start` on."""
        expected, drawn = float(np.random.default_rng([self.seed, 2]).random()), 0
        pools = (_Pool(self.n_distilled, self.seed, 0), _Pool(self.n_original, self.seed, 1))
        for update in range(self.updates):
            p = self._probability(update)
            expected += p * self.batch_size
            distilled = min(self.batch_size, max(0, math.floor(expected + 1e-9) - drawn))
            original_drawn = update * self.batch_size - drawn
            if update >= start:
                yield Batch(
                    update,
                    p,
                    pools[0].take(drawn, distilled),
                    pools[1].take(original_drawn, self.batch_size - distilled),
                )
            drawn += distilled

    def draws(self) -> tuple[bool, bool]:
        """Whether distilled sentences are drawn at all, and whether original ones are."""
        distilled = sum(len(batch.distilled) for batch in self.batches())
        return distilled > 0, distilled < self.updates * self.batch_size

    def step(self) -> int | None:
        """The update from which p is another, where it changes just once; None for all other schedules."""
        values = [self.schedule(update / self.updates) for update in range(self.updates)]
        changes = [update for update in range(1, self.updates) if values[update] != values[update - 1]]
        return changes[0] if len(changes) == 1 else None

    def check(self, called: str = "this schedule") -> None:
        """Raises ConfigError if the schedule, `called` so, fails, or asks for sentences of a pool that is empty."""
        for update in range(self.updates):
            self._probability(update, called)

    def _probability(self, update: int, called: str = "this schedule") -> float:
        p = self.schedule(update / self.updates)
        if p > 0 and not self.n_distilled:
            raise ConfigError(f"train.arms: {called} asks for distilled sentences, and there are none.")
        if p < 1 and not self.n_original:
            raise ConfigError(f"train.arms: {called} asks for original sentences, and there are none.")
        return p


class _Pool:
    """An endless shuffled sequence over `size` items, addressable by position."""

    def __init__(self, size: int, seed: int, stream: int) -> None:
        self._size, self._seed, self._stream = size, seed, stream
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def take(self, start: int, count: int) -> tuple[int, ...]:
        return tuple(self._at(position) for position in range(start, start + count))

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self._size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, self._stream, epoch]).permutation(self._size)
        return int(self._order[offset])
