"""What the rows of a study say: each arm's mean and intervals, each comparison's p-value, and the caveats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distill_offline.scoring.sentence_counts import AVERAGE_OF, Counts
from distill_offline.scoring.statistics import (
    Average,
    Comparison,
    Interval,
    Values,
    compare,
    hierarchical_interval,
    holm,
    resampled_f1,
    resampled_type_f1,
    t_interval,
)
from distill_offline.study.caveats import caveats
from distill_offline.study.grid import Study
from distill_offline.study.results import Row

__all__ = ["ArmResult", "Group", "Summary", "Tested", "TypeTested", "summarise"]


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """The cells that differ by their seed alone."""

    size: int
    variant: str
    arm: str


@dataclass(frozen=True, slots=True)
class ArmResult:
    """A group's scores as fractions. `f1` has Student's interval over seeds; `low`, `high` are of seeds and sentences.

    `per_type` are mean F1s. `original`, `dev` and `distilled` are mean pool sizes, `dev_in_size` says whether dev is
    part of the size; `distilled_share` is how much of what was drawn was distilled (None for averaged students).
    """

    group: Group
    seeds: tuple[int, ...]
    f1: Interval
    low: float
    high: float
    precision: float
    recall: float
    per_type: dict[str, float]
    dev_f1: float | None
    original: float
    dev: float
    dev_in_size: bool
    distilled: float
    distilled_share: float | None
    updates: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Tested:
    """A group compared with another of the same size; `p_holm` is corrected for all comparisons of the study."""

    group: Group
    against: Group
    result: Comparison
    p_holm: float


@dataclass(frozen=True, slots=True)
class TypeTested:
    """The same comparison for the F1 of one type alone; `p_holm` is corrected for all types of all comparisons."""

    group: Group
    against: Group
    type: str
    result: Comparison
    p_holm: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All that tables and plots show. `baselines` says, for each size, which variant's arm `baseline` stands there.

    `by_type` has the comparisons of `tested` for each type, in the same order.
    """

    name: str
    metric: str
    split: str
    sentences: int
    done: int
    cells: int
    arms: tuple[ArmResult, ...]
    tested: tuple[Tested, ...]
    by_type: tuple[TypeTested, ...]
    baseline: str
    baselines: dict[int, str]
    notes: tuple[str, ...]


def summarise(study: Study, rows: Iterable[Row]) -> Summary:
    """The tables of a study out of the rows of its cells; of several rows of one cell the last one counts.

    Rows that belong to no cell are left out. Rows of different gold sets are never compared with each other.
    """
    wanted = {cell.name for cell in study.cells}
    latest = {row.cell: row for row in rows if row.cell in wanted}
    groups: dict[Group, dict[int, Row]] = {}
    for cell in study.cells:
        row = latest.get(cell.name)
        if row is not None:
            groups.setdefault(Group(cell.size, cell.variant, cell.arm.name), {})[cell.seed] = row
    order = {name: number for number, name in enumerate(study.plan.variants)}
    sizes = {size: number for number, size in enumerate(study.plan.sizes)}
    ordered = sorted(groups, key=lambda group: (sizes[group.size], order[group.variant]))  # stable: arms as given
    drawn = {group: _resampled(groups[group], study.plan.draws) for group in ordered}
    baselines = _baselines(study, ordered, groups)
    tested = _tested(study, ordered, groups, drawn, baselines)
    arms = tuple(_arm(group, groups[group], drawn[group]) for group in ordered)
    some = next(iter(latest.values()), None)
    return Summary(
        name=study.settings.name,
        metric=some.metric if some else "",
        split=some.split if some else study.settings.evaluate.split,
        sentences=len(some.sentence_counts()) if some else 0,
        done=len(latest),
        cells=len(study.cells),
        arms=arms,
        tested=tested,
        by_type=_tested_by_type(tested, groups, study.plan.draws),
        baseline=study.plan.baseline,
        baselines=baselines,
        notes=caveats(study, list(latest.values()), len(tested)),
    )


def _resampled(rows: dict[int, Row], draws: int) -> Values:
    parts = [resampled_f1(counts_of_seeds, draws=draws, average=_average(rows)) for counts_of_seeds in _counts(rows)]
    return np.concatenate(parts, axis=1)


def _counts(rows: dict[int, Row]) -> list[Counts]:
    """(seeds, sentences, types, 3): once, or for each seed where each has a test set of its own."""
    counts = [row.sentence_counts() for row in rows.values()]
    return (
        [np.stack(counts)]
        if len({len(sentence_counts) for sentence_counts in counts}) == 1
        else [sentence_counts[None] for sentence_counts in counts]
    )


def _average(rows: dict[int, Row]) -> Average:
    return AVERAGE_OF.get(next(iter(rows.values())).metric, "micro")


def _arm(group: Group, rows: dict[int, Row], drawn: Values) -> ArmResult:
    listed = list(rows.values())
    low, high = hierarchical_interval(drawn)
    types = {name for row in listed for name in row.per_type}
    dev = [row.training["best_dev_f1"] for row in listed if row.training["best_dev_f1"] is not None]
    seconds = [row.training["seconds"] for row in listed if row.training["seconds"] is not None]
    distilled = sum(row.training["distilled_drawn"] for row in listed)
    all_drawn = distilled + sum(row.training["original_drawn"] for row in listed)
    return ArmResult(
        group=group,
        seeds=tuple(rows),
        f1=t_interval([row.overall["f1"] for row in listed]),
        low=low,
        high=high,
        precision=_mean([row.overall["precision"] for row in listed]),
        recall=_mean([row.overall["recall"] for row in listed]),
        per_type={name: _mean(_type_f1(rows, list(rows), name)) for name in types},
        dev_f1=_mean(dev) if dev else None,
        original=_mean([row.pools["original"] for row in listed]),
        dev=_mean([row.pools["dev"] for row in listed]),
        dev_in_size=all(row.pools["dev_in_size"] for row in listed),
        distilled=_mean([row.pools["distilled"] for row in listed]),
        distilled_share=distilled / all_drawn if all_drawn else None,
        updates=listed[0].training["updates"],
        seconds=_mean(seconds) if seconds else None,
    )


def _type_f1(rows: dict[int, Row], seeds: Sequence[int], name: str) -> list[float]:
    """0 if the type was neither there nor found."""
    return [rows[seed].per_type[name]["f1"] if name in rows[seed].per_type else 0.0 for seed in seeds]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _baselines(study: Study, ordered: Sequence[Group], groups: dict[Group, dict[int, Row]]) -> dict[int, str]:
    """For each size the variant whose baseline has the best mean dev F1; the first one where none has a dev F1."""
    baselines: dict[int, str] = {}
    for size in study.plan.sizes:
        candidates = [group for group in ordered if group.size == size and group.arm == study.plan.baseline]
        if candidates:
            baselines[size] = max(candidates, key=lambda group: _dev_f1(groups[group])).variant
    return baselines


def _dev_f1(rows: dict[int, Row]) -> float:
    values = [row.training["best_dev_f1"] for row in rows.values()]
    return _mean(values) if all(value is not None for value in values) else -1.0


def _tested(
    study: Study,
    ordered: Sequence[Group],
    groups: dict[Group, dict[int, Row]],
    drawn: dict[Group, Values],
    baselines: dict[int, str],
) -> tuple[Tested, ...]:
    comparisons = []
    for group in ordered:
        done = {group}
        for name in study.plan.against:
            other = _counterpart(study, group, name, groups, baselines)
            if other is None or other in done or name == group.arm or group.arm == study.plan.baseline:
                continue
            done.add(other)  # ARM and VARIANT/ARM may name the same one
            result = _compare(groups[group], groups[other], drawn[group], drawn[other])
            if result is not None:
                comparisons.append((group, other, result))
    corrected = holm([result.p for _, _, result in comparisons])
    return tuple(Tested(*comparison, p) for comparison, p in zip(comparisons, corrected, strict=True))


def _counterpart(
    study: Study, group: Group, name: str, groups: dict[Group, dict[int, Row]], baselines: dict[int, str]
) -> Group | None:
    """The group that stands for the arm `name`: the tuned baseline, else the same variant's, else the first one's.

    A name that says its variant, VARIANT/ARM, is that one.
    """
    variant, _, name = name.rpartition("/")
    variants = [variant] if variant else [group.variant, *study.plan.variants]
    if name == study.plan.baseline and not variant:
        variants = [baselines[group.size]] if group.size in baselines else []
    candidates = (Group(group.size, variant, name) for variant in variants)
    return next((candidate for candidate in candidates if candidate in groups), None)


def _compare(rows: dict[int, Row], others: dict[int, Row], drawn: Values, others_drawn: Values) -> Comparison | None:
    """A comparison over the seeds that both have, on the same gold sets."""
    seeds = _shared_seeds(rows, others)
    if not seeds:
        return None
    return compare(
        [rows[seed].overall["f1"] for seed in seeds],
        [others[seed].overall["f1"] for seed in seeds],
        drawn[:, _columns(rows, seeds)],
        others_drawn[:, _columns(others, seeds)],
    )


def _shared_seeds(rows: dict[int, Row], others: dict[int, Row]) -> list[int]:
    return [seed for seed in rows if seed in others and rows[seed].on == others[seed].on]


def _columns(rows: dict[int, Row], seeds: Sequence[int]) -> list[int]:
    places = list(rows)
    return [places.index(seed) for seed in seeds]


def _tested_by_type(
    tested: Sequence[Tested], groups: dict[Group, dict[int, Row]], draws: int
) -> tuple[TypeTested, ...]:
    needed = dict.fromkeys(group for comparison in tested for group in (comparison.group, comparison.against))
    drawn = {
        group: np.concatenate(
            [resampled_type_f1(seed_counts, draws=draws) for seed_counts in _counts(groups[group])], axis=1
        )
        for group in needed
    }
    comparisons = []
    for comparison in tested:
        rows, others = groups[comparison.group], groups[comparison.against]
        seeds = _shared_seeds(rows, others)
        mine, theirs = (
            drawn[comparison.group][:, _columns(rows, seeds)],
            drawn[comparison.against][:, _columns(others, seeds)],
        )
        for number, name in enumerate(rows[seeds[0]].types):
            if name not in others[seeds[0]].types:  # a variant may ask for more types
                continue
            column = others[seeds[0]].types.index(name)
            scores, other_scores = _type_f1(rows, seeds, name), _type_f1(others, seeds, name)
            comparisons.append(
                (comparison, name, compare(scores, other_scores, mine[..., number], theirs[..., column]))
            )
    corrected = holm([result.p for _, _, result in comparisons])
    return tuple(
        TypeTested(comparison.group, comparison.against, name, result, p)
        for (comparison, name, result), p in zip(comparisons, corrected, strict=True)
    )
