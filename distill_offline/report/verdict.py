"""What a run shows, in sentences that a manager understands, and a picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from distill_offline.report import svg

__all__ = ["headline", "next_steps", "scores_plot", "seeds_of", "what_is_right"]

_WIDTH, _LEFT, _RIGHT, _ROW = 640, 170, 60, 30


def headline(verdict: Mapping[str, Any], gold_sentences: int | None) -> str:
    """One sentence: what blending brings over the human labels alone, with its 95% interval in F1 points.

    Of several seeds it is what it brings in the mean, and says over how many.
    """
    best, f1, seeds = verdict["best"], _points(verdict["f1"]), _compared(verdict)
    mean = f"; mean of {seeds} seeds" if seeds > 1 else ""
    if "difference" not in verdict:
        missing = "no student learnt the human labels alone" if verdict["learnt_distilled"] else "no student blends"
        return (
            f"The {f'arm {best}' if mean else f'student {best}'} has F1 {f1} ({_interval(verdict['interval'])}{mean}); "
            f"{missing}, so nothing is compared."
        )
    labelled = (
        f"your {gold_sentences:,} labelled sentences alone" if gold_sentences else "your labelled sentences alone"
    )
    low, high = verdict["difference_interval"]
    size = f"{abs(100 * verdict['difference']):.1f} F1"
    if low > 0:
        return f"Blending brings +{size} ({_interval((low, high))}{mean}) over {labelled}."
    if high < 0:
        return f"Blending loses {size} ({_interval((low, high))}{mean}) against {labelled}: do not use this blend."
    return (
        f"Blending makes no difference that can be told from chance: {100 * verdict['difference']:+.1f} F1 "
        f"({_interval((low, high))}{mean}) against {labelled}."
    )


def what_is_right(verdict: Mapping[str, Any], *, are_entities: bool) -> str:
    """Precision and recall of the best student, or the mean of the best arm's, as counts of a hundred."""
    things = "entities" if are_entities else "classes"
    right, recall = round(100 * verdict["precision"]), round(100 * verdict["recall"])
    who = f"a student of {verdict['best']}" if seeds_of(verdict) > 1 else f"the student {verdict['best']}"
    mean = ", in the mean" if seeds_of(verdict) > 1 else ""
    return f"Of 100 {things} that {who} gives, {right} are right; of 100 that are there, it finds {recall}{mean}."


def seeds_of(verdict: Mapping[str, Any]) -> int:
    """From how many seeds the best arm was trained."""
    return int(verdict.get("seeds", 1))


def _compared(verdict: Mapping[str, Any]) -> int:
    """Over how many seeds the difference is or, without one, the score."""
    return int(verdict.get("pairs", seeds_of(verdict)))


def next_steps(verdict: Mapping[str, Any], sentences: int, teacher_f1: float | None) -> list[str]:
    """What these figures suggest, each with its reason; nothing that they do not show."""
    steps, seeds, are_several = list[str](), _compared(verdict), "seeds" in verdict
    more = "more" if are_several else "several"
    scores = verdict.get("f1_by_seed", {})
    most = max((len(scores.get(verdict.get(arm), ())) for arm in ("best", "baseline")), default=1)
    if "pairs" in verdict and seeds < most:
        steps.append(
            f"Train {verdict['best']} and {verdict['baseline']} from {most} seeds each (train.seeds): they are "
            f"compared on {seeds} seed{'s' if seeds > 1 else ''}, which both have."
        )
    if "difference_interval" not in verdict:
        steps.append("Train an arm of each kind (original_only and simple_mix), so that the two can be compared.")
    elif verdict["difference_interval"][1] < 0:
        steps.append(
            "The teacher's labels cost more than they bring. Use the student "
            f"{_to_use(verdict, 'baseline')}, or let a stronger teacher label, or label more sentences by hand."
        )
    elif verdict["difference_interval"][0] <= 0:
        steps.append(
            f"{sentences:,} scored sentences and {seeds} seed{'s' if seeds > 1 else ''} cannot tell the two apart. "
            f"Score on more sentences, or train from {more} seeds (train.seeds)."
            + (f" If you use a student of {verdict['best']}, use {_to_use(verdict, 'best')}." if are_several else "")
        )
    else:
        to_use = _to_use(verdict, "best")
        steps.append(f"Use the student {to_use}. A study over several sizes says if more text brings more.")
    if teacher_f1 is not None and teacher_f1 < verdict["f1"]:
        steps.append(
            f"The student ({_points(verdict['f1'])}) is better than its teacher ({_points(teacher_f1)}): look at the "
            "teacher's errors below before you let it label more."
        )
    if not are_several:
        steps.append(
            "One seed was trained: another one moves these figures, too. With train.seeds: 3 a run trains each arm "
            "three times and compares means; a study does so for several sizes."
        )
    return steps


def _to_use(verdict: Mapping[str, Any], which: Literal["best", "baseline"]) -> str:
    """The name of the student; of several seeds with its folder, and why it is the one."""
    name = verdict.get("student" if which == "best" else "baseline_student")
    if name is None:
        return str(verdict[which])
    return (
        f"{name} (train/{name}/student; of the students of {verdict[which]} it is the best on dev or, without dev, the "
        "first)"
    )


def scores_plot(
    title: str, scores: Mapping[str, Sequence[float]], by_seed: Mapping[str, Sequence[float]] | None = None
) -> Markup:
    """A bar for each name: F1, with a line over its interval if it has one; values are [f1] or [f1, low, high].

    `by_seed` has the F1 of each seed, which are drawn as dots.
    """
    if not scores:
        return Markup("")
    inner, parts = _WIDTH - _LEFT - _RIGHT, [svg.text(8, 16, title, weight="600")]
    for number, (name, values) in enumerate(scores.items()):
        top = 28 + _ROW * number
        parts.append(svg.text(_LEFT - 8, top + 15, name, anchor="end"))
        parts.append(svg.bar(_LEFT, top + 2, inner * values[0], _ROW - 10, svg.COLOURS[number % len(svg.COLOURS)]))
        if len(values) > 1:
            left, right = (_LEFT + inner * value for value in values[1:3])
            parts.append(svg.line(left, top + 12, right, top + 12, "#222"))
            parts += [svg.line(x, top + 8, x, top + 16, "#222") for x in (left, right)]
        seeds = (by_seed or {}).get(name, ())
        parts += [svg.dot(_LEFT + inner * f1, top + 12, "#222", hollow=True, radius=2.5) for f1 in seeds]
        parts.append(svg.text(_LEFT + inner * max(*values, *seeds, 0) + 6, top + 16, _points(values[0])))
    return svg.drawing(title, _WIDTH, 36 + _ROW * len(scores), parts, in_page=True)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(values: Sequence[float]) -> str:
    """Both ends in points, without their sign if they have the same one."""
    low, high = (100 * value for value in values)
    if high < 0:
        low, high = -high, -low
    return f"{low:.1f} to {high:.1f}"
