"""What a study shows, in a sentence that a manager understands, and what that sentence rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill_offline.study.summary import ArmResult, Group, Summary, Tested
from distill_offline.study.tables import has_variants, name_of, p_value

__all__ = ["Verdict", "verdict_of"]

_FEWEST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`headline` is one sentence, `details` say how sure it is and how both sides were chosen.

    `gains` are what the best arm of each size brings over the baseline of that size, smallest size first.
    """

    headline: str
    details: tuple[str, ...]
    gains: tuple[Tested, ...]


def verdict_of(summary: Summary) -> Verdict:
    """The verdict at the largest size with three seeds, or else at the largest.

    The best arm of a size is the one with the best mean F1 on dev of those that learn the teacher's labels (of all, if
    the baseline learns them, too); the baseline is chosen among its variants in the same way. What is scored chooses
    nothing.
    """
    arms = {arm.group: arm for arm in summary.arms}
    if not arms:
        return Verdict("No cell is done yet.", (), ())
    gains = tuple(gain for size in sorted(summary.baselines) if (gain := _gain(summary, arms, size)) is not None)
    if not gains:
        return Verdict(_alone(summary), ("Nothing is compared: that takes the baseline and another arm.",), ())
    enough = [gain for gain in gains if gain.result.seeds >= _FEWEST_SEEDS]
    last = (enough or gains)[-1]
    return Verdict(_headline(summary, arms, last), tuple(_details(summary, arms, gains, last)), gains)


def _gain(summary: Summary, arms: dict[Group, ArmResult], size: int) -> Tested | None:
    """None if nothing was compared with the baseline of this size."""
    baseline = Group(size, summary.baselines[size], summary.baseline)
    tested = [comparison for comparison in summary.tested if comparison.against == baseline]
    if arms[baseline].distilled_share == 0:
        tested = [comparison for comparison in tested if arms[comparison.group].distilled_share != 0] or tested
    return max(tested, key=lambda comparison: _on_dev(arms[comparison.group]), default=None)


def _on_dev(arm: ArmResult) -> float:
    return -1.0 if arm.dev_f1 is None else arm.dev_f1


def _headline(summary: Summary, arms: dict[Group, ArmResult], gain: Tested) -> str:
    result, size = gain.result, f"{gain.group.size:,} labelled sentences"
    several = has_variants(summary)
    if arms[gain.against].distilled_share == 0 and arms[gain.group].distilled_share != 0:
        what, verb, over = "The teacher's labels", ("bring", "lose"), f"{size} alone"
        refused = "do not train on them"
        unclear = "Whether the teacher's labels help cannot be told from chance"
    else:
        best, baseline = name_of(gain.group, several=several), name_of(gain.against, several=several)
        what, verb, over = best, ("brings", "loses"), f"{baseline}, with {size}"
        refused = f"stay with {baseline}"
        unclear = f"Whether {best} helps cannot be told from chance"
    points = f"{abs(100 * result.difference):.1f} F1"
    if result.low > 0:
        return f"{what} {verb[0]} +{points} ({_interval(result.low, result.high)}) over {over}."
    if result.high < 0:
        return f"{what} {verb[1]} {points} ({_interval(-result.high, -result.low)}) against {over}: {refused}."
    told = f"{100 * result.difference:+.1f} F1 ({_interval(result.low, result.high)})"
    return f"{unclear}: {told} against {over}."


def _details(summary: Summary, arms: dict[Group, ArmResult], gains: Sequence[Tested], last: Tested) -> list[str]:
    several, best, against = has_variants(summary), arms[last.group], arms[last.against]
    things = "entities" if summary.metric == "entity_f1" else "classes"
    seeds = f"{last.result.seeds} seeds and the" if last.result.seeds > 1 else "the"
    warned = "" if last.result.seeds > 1 else " One seed was trained: another one moves these figures, too."
    lines = [
        f"The range in brackets is a 95% interval over {seeds} {summary.sentences:,} sentences of the "
        f"{summary.split} split; p = {p_value(last.p_holm)} after correction for all {len(summary.tested)} comparisons "
        f"of this study.{warned}",
        f"Of 100 {things} that {name_of(last.group, several=several)} gives, {100 * best.precision:.0f} are right; of "
        f"100 that are there, it finds {100 * best.recall:.0f}. Its F1 is {100 * best.f1.mean:.1f}, that of "
        f"{name_of(last.against, several=several)} {100 * against.f1.mean:.1f}.",
        _choice(summary, last, has_dev=best.dev_f1 is not None),
    ]
    if others := [_told(gain, several=several) for gain in gains if gain is not last]:
        enough = last.result.seeds >= _FEWEST_SEEDS
        which = f"the largest size with {_FEWEST_SEEDS} seeds" if enough else "the largest size, none having 3 seeds"
        lines.append(f"The first sentence is about {which}. At the others: {'; '.join(others)}.")
    return lines


def _told(gain: Tested, *, several: bool) -> str:
    result, seeds = gain.result, f"{gain.result.seeds} seed{'s' * (gain.result.seeds > 1)}"
    interval = _interval(result.low, result.high)
    best = name_of(gain.group, several=several)
    return f"with {gain.group.size:,}, {best} {100 * result.difference:+.1f} ({interval}, {seeds})"


def _choice(summary: Summary, gain: Tested, *, has_dev: bool) -> str:
    """How the two that are compared were chosen."""
    size = gain.group.size
    tried = sum(arm.group.size == size and arm.group.arm == summary.baseline for arm in summary.arms)
    rivals = sum(comparison.against == gain.against for comparison in summary.tested)
    if not has_dev:
        return f"No arm has an F1 on dev: the first of the {rivals} arms that were compared stands here."
    tuned = (
        f"the best of {tried} settings of {summary.baseline}, so that the baseline is tuned as well"
        if tried > 1
        else f"{summary.baseline} in its one setting: nothing was tuned for it"
    )
    return (
        f"Chosen by F1 on dev, never on the sentences that score: the best of {rivals} arms against {tuned}. The arms "
        "are compared with each other below."
    )


def _alone(summary: Summary) -> str:
    best = max(summary.arms, key=lambda arm: (arm.group.size, _on_dev(arm)))
    return (
        f"{name_of(best.group, several=has_variants(summary))} has F1 {100 * best.f1.mean:.1f} "
        f"({_interval(best.low, best.high)}) with {best.group.size:,} labelled sentences."
    )


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"
