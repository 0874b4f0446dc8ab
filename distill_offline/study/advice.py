"""What to do next, by a study's learning curves: label more, let the teacher label, stop, or that it cannot be told.

The error of a student (1 - F1) is taken to fall as a power of the number of labelled sentences, which holds well over
the range that was measured and a little beyond it (Hestness and others 2017, arXiv 1712.00409). The curve is fitted
again on resampled seeds, so that a forecast has an interval; it says how sure the fit is, not that the law holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_offline.scoring.sentence_counts import AVERAGE_OF
from distill_offline.scoring.statistics import Average, Comparison, Values, compare, resampled_f1
from distill_offline.study.results import Row

__all__ = ["Advice", "Curve", "Forecast", "Gain", "advise"]

FEWEST_SEEDS, FEWEST_SIZES = 3, 3
_DRAWS = 1000
_WORTH = 0.005  # F1 below which a gain is not worth labelling for
_FARTHEST = 2.0  # times the largest size: beyond that nothing is forecast

_Scores = Mapping[int, Mapping[int, float]]  # by size and seed


@dataclass(frozen=True, slots=True)
class Forecast:
    """F1 that is expected at `size`, and the gain, with a 95% interval, over `measured`, the largest size with enough
    seeds.

    `missed_by` is by how much the same forecast, made without the largest size, missed what was measured there.
    """

    size: int
    measured: int
    f1: float
    gain: float
    low: float
    high: float
    missed_by: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean F1 of an arm by size (with the number of seeds), and what more labelled sentences would bring."""

    variant: str
    arm: str
    f1: Mapping[int, float]
    seeds: Mapping[int, int]
    forecast: Forecast | None


@dataclass(frozen=True, slots=True)
class Gain:
    """What the best arm that learns the teacher's labels brings at a size over the best that learns gold alone."""

    size: int
    arm: str
    over: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Advice:
    """`lines` are whole sentences, the most useful one first; `curves` and `gains` are what they rest on."""

    lines: tuple[str, ...]
    curves: tuple[Curve, ...]
    gains: tuple[Gain, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def advise(rows: Sequence[Row], *, more: int = 150, seconds: float = 30.0) -> Advice:
    """Advice on labelling `more` sentences, of which one takes a person `seconds`; `rows` are those of one study.

    All rows must have been scored on the same gold set. Raises ValueError if they were not.
    """
    if len({(row.on, row.metric) for row in rows}) > 1:
        raise ValueError("the rows were scored on different gold sets")
    curves = tuple(_curve(*name, scores, more) for name, scores in sorted(_by_arm(rows).items()))
    gains = tuple(gain for size in sorted({row.size for row in rows}) if (gain := _gain(rows, size)) is not None)
    if not rows:
        return Advice(("Nothing has been measured yet: run the study first.",), (), ())
    return Advice(
        (*_on_the_teacher(gains), *_on_labels(curves, rows, more, seconds), *_on_the_study(rows)), curves, gains
    )


def _by_arm(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, dict[int, float]]]:
    scores: dict[tuple[str, str], dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        scores[row.variant, row.arm][row.size][row.seed] = float(row.overall["f1"])
    return scores


def _curve(variant: str, arm: str, scores: _Scores, more: int) -> Curve:
    means = {size: float(np.mean(list(of_size.values()))) for size, of_size in sorted(scores.items())}
    return Curve(variant, arm, means, {size: len(scores[size]) for size in means}, _forecast(scores, more))


def _forecast(scores: _Scores, more: int) -> Forecast | None:
    """For `more` sentences than the largest size with enough seeds; None without enough of both, or for too many."""
    sizes = sorted(size for size, of_size in scores.items() if len(of_size) >= FEWEST_SEEDS)
    if len(sizes) < FEWEST_SIZES or (target := sizes[-1] + more) > _FARTHEST * sizes[-1]:
        return None
    means = np.array([np.mean(list(scores[size].values())) for size in sizes])
    generator = np.random.default_rng(0)
    drawn = np.stack([_resampled(np.array(list(scores[size].values())), generator) for size in sizes], axis=1)
    expected = _at(sizes, means[None], target)[0]
    gains = _at(sizes, drawn, target) - _at(sizes, drawn, sizes[-1])
    fitted = expected - _at(sizes, means[None], sizes[-1])[0]
    low, high = np.quantile(gains, [0.025, 0.975])
    before = _at(sizes[:-1], means[None, :-1], sizes[-1])[0]
    return Forecast(
        target, sizes[-1], float(expected), float(fitted), float(low), float(high), float(means[-1] - before)
    )


def _resampled(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Means over resampled seeds; of S seeds S - 1 are drawn (scoring.statistics says why)."""
    chosen = generator.integers(len(values), size=(_DRAWS, len(values) - 1))
    means: NDArray[np.float64] = values[chosen].mean(axis=1)
    return means


def _at(sizes: Sequence[int], f1: NDArray[np.float64], target: int) -> NDArray[np.float64]:
    """F1 at `target` by a power law of the error: least squares of logs, for each row of `f1` (draws, sizes)."""
    x, y = np.log(sizes), np.log(np.clip(1 - f1, 1e-6, 1))
    centred = x - x.mean()
    slope = (y * centred).sum(axis=1) / (centred**2).sum()
    result: NDArray[np.float64] = 1 - np.exp(y.mean(axis=1) + slope * (np.log(target) - x.mean()))
    return result


def _gain(rows: Sequence[Row], size: int) -> Gain | None:
    """None if no arm of one of the two kinds was trained at this size, or the two share no seed."""
    here = [row for row in rows if row.size == size]
    kinds: dict[bool, dict[tuple[str, str], dict[int, Row]]] = {True: defaultdict(dict), False: defaultdict(dict)}
    for row in here:
        learnt_distilled = bool(row.training["distilled_drawn"])
        if learnt_distilled or row.training["original_drawn"]:
            kinds[learnt_distilled][row.variant, row.arm][row.seed] = row
    if not kinds[True] or not kinds[False]:
        return None
    best, alone = (_best(kinds[is_distilled]) for is_distilled in (True, False))
    seeds = sorted(kinds[True][best].keys() & kinds[False][alone].keys())
    if not seeds:
        return None
    pairs = [(kinds[True][best][seed], kinds[False][alone][seed]) for seed in seeds]
    found = _compared(pairs)
    return Gain(size, best[1], alone[1], len(seeds), found.difference, found.low, found.high, found.p)


def _best(arms: Mapping[tuple[str, str], Mapping[int, Row]]) -> tuple[str, str]:
    """By the mean F1 on dev; by name among those without one."""

    def on_dev(name: tuple[str, str]) -> float:
        values = [row.training["best_dev_f1"] for row in arms[name].values()]
        return float(np.mean(values)) if None not in values else -1.0

    return max(sorted(arms), key=on_dev)


def _compared(pairs: Sequence[tuple[Row, Row]]) -> Comparison:
    average: Average = AVERAGE_OF[pairs[0][0].metric]
    sides: list[tuple[list[float], Values]] = []
    for side in (0, 1):
        counts = np.stack([pair[side].sentence_counts() for pair in pairs])
        drawn = resampled_f1(counts, draws=_DRAWS, average=average)
        sides.append(([float(pair[side].overall["f1"]) for pair in pairs], drawn))
    (left, left_drawn), (right, right_drawn) = sides
    return compare(left, right, left_drawn, right_drawn)


def _on_the_teacher(gains: Sequence[Gain]) -> list[str]:
    if not gains:
        return [
            "Whether the teacher's labels help is not measured: train an arm of each kind (original_only, simple_mix)."
        ]
    last = next((gain for gain in reversed(gains) if gain.seeds >= FEWEST_SEEDS), gains[-1])
    told = f"{_interval(last.low, last.high)}, {last.seeds} seeds"
    what = f"with {last.size:,} labelled sentences {last.arm} is {100 * last.difference:+.1f} F1 against {last.over}"
    if last.seeds < FEWEST_SEEDS:
        return [f"Not enough to tell whether the teacher should label: {what}, on {last.seeds} seeds."]
    if last.low > 0:
        return [f"Let the teacher label: {what} ({told})."]
    if last.high < 0:
        return [f"Do not train on this teacher's labels: {what} ({told})."]
    return [f"Not enough to tell whether the teacher should label: {what} ({told})."]


def _on_labels(curves: Sequence[Curve], rows: Sequence[Row], more: int, seconds: float) -> list[str]:
    known = {(curve.variant, curve.arm): curve for curve in curves if curve.forecast is not None}
    hours = more * seconds / 3600
    if not known:
        return [
            f"Not enough to tell what {more} more labelled sentences would bring: it takes {FEWEST_SIZES} sizes with "
            f"{FEWEST_SEEDS} seeds each, up to half of the size that is asked about."
        ]
    arms: dict[tuple[str, str], dict[int, Row]] = {name: {} for name in known}
    for row in rows:
        curve = known.get((row.variant, row.arm))
        if curve is not None and curve.forecast is not None and row.size == curve.forecast.measured:
            arms[row.variant, row.arm][row.seed] = row
    best = known[_best(arms)]
    forecast = best.forecast
    assert forecast is not None
    told = (
        f"{more} more labelled sentences ({hours:.1f} hours at {seconds:.0f} s each) would bring {best.arm} "
        f"{100 * forecast.gain:+.1f} F1 ({_interval(forecast.low, forecast.high)}), from "
        f"{100 * best.f1[forecast.measured]:.1f} with {forecast.measured:,}; the same forecast missed the largest size "
        f"by {100 * forecast.missed_by:+.1f}"
    )
    if abs(forecast.missed_by) > max(abs(forecast.gain), _WORTH):
        return [f"Not enough to tell whether to label more: {told}, which is more than the gain itself."]
    if forecast.low > _WORTH:
        return [f"Label {more} more: {told}."]
    if forecast.high < _WORTH:
        return [f"Stop labelling: {told}."]
    return [f"Not enough to tell whether to label more: {told}."]


def _on_the_study(rows: Sequence[Row]) -> list[str]:
    seeds = min(len({row.seed for row in rows if row.size == size}) for size in {row.size for row in rows})
    if seeds >= 5:
        return []
    return [f"These figures stand on {seeds} seeds at the least; run the study with five before much hangs on them."]


def _interval(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f}"
