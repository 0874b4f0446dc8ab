"""What a run shows, in sentences that a manager understands, and a picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from distill_offline.report import svg

__all__ = ["headline", "next_steps", "scores_plot", "what_is_right"]

_WIDTH, _LEFT, _RIGHT, _ROW = 640, 170, 60, 30


def headline(verdict: Mapping[str, Any], gold_sentences: int | None) -> str:
    """One sentence: what blending brings over the human labels alone, with its 95% interval in F1 points."""
    best, f1 = verdict["best"], _points(verdict["f1"])
    if "difference" not in verdict:
        missing = "no student learnt the human labels alone" if verdict["learnt_distilled"] else "no student blends"
        return f"The student {best} has F1 {f1} ({_interval(verdict['interval'])}); {missing}, so nothing is compared."
    labelled = (
        f"your {gold_sentences:,} labelled sentences alone" if gold_sentences else "your labelled sentences alone"
    )
    low, high = verdict["difference_interval"]
    size = f"{abs(100 * verdict['difference']):.1f} F1"
    if low > 0:
        return f"Blending brings +{size} ({_interval((low, high))}) over {labelled}."
    if high < 0:
        return f"Blending loses {size} ({_interval((low, high))}) against {labelled}: do not use this blend."
    return (
        f"Blending makes no difference that can be told from chance: {100 * verdict['difference']:+.1f} F1 "
        f"({_interval((low, high))}) against {labelled}."
    )


def what_is_right(verdict: Mapping[str, Any], *, are_entities: bool) -> str:
    """Precision and recall of the best student, as counts of a hundred."""
    things = "entities" if are_entities else "classes"
    right, recall = round(100 * verdict["precision"]), round(100 * verdict["recall"])
    return (
        f"Of 100 {things} that the student {verdict['best']} gives, {right} are right; of 100 that are there, it finds "
        f"{recall}."
    )


def next_steps(verdict: Mapping[str, Any], sentences: int, teacher_f1: float | None) -> list[str]:
    """What these figures suggest, each with its reason; nothing that they do not show."""
    steps = []
    if "difference_interval" not in verdict:
        steps.append("Train an arm of each kind (original_only and simple_mix), so that the two can be compared.")
    elif verdict["difference_interval"][1] < 0:
        steps.append(
            "The teacher's labels cost more than they bring. Use the student "
            f"{verdict['baseline']}, or let a stronger teacher label, or label more sentences by hand."
        )
    elif verdict["difference_interval"][0] <= 0:
        steps.append(
            f"{sentences:,} scored sentences cannot tell the two apart. Score on more, or run a study over several "
            "seeds."
        )
    else:
        steps.append(f"Use the student {verdict['best']}. A study over several sizes says if more text brings more.")
    if teacher_f1 is not None and teacher_f1 < verdict["f1"]:
        steps.append(
            f"The student ({_points(verdict['f1'])}) is better than its teacher ({_points(teacher_f1)}): look at the "
            "teacher's errors below before you let it label more."
        )
    steps.append("One seed was trained: another one moves these figures, too. A study gives the mean over seeds.")
    return steps


def scores_plot(title: str, scores: Mapping[str, Sequence[float]]) -> Markup:
    """A bar for each name: F1, with a line over its interval if it has one; values are [f1] or [f1, low, high]."""
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
        parts.append(svg.text(_LEFT + inner * max(values) + 6, top + 16, _points(values[0])))
    return svg.drawing(title, _WIDTH, 36 + _ROW * len(scores), parts, in_page=True)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(values: Sequence[float]) -> str:
    """Both ends in points, without their sign if they have the same one."""
    low, high = (100 * value for value in values)
    if high < 0:
        low, high = -high, -low
    return f"{low:.1f} to {high:.1f}"
