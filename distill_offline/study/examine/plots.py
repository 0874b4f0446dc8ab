"""Plots of what was seen: forgetting curves, the teacher's errors, reliability."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from distill_offline.report import svg
from distill_offline.study.examine.summary import ArmExamined

__all__ = ["forgetting_curves", "reliability_curves", "teacher_errors_plot"]

Named = Sequence[tuple[str, ArmExamined]]

_PANELS, _PANEL, _HEIGHT, _GAP = 4, 200, 140, 44  # panels in a row; a panel's width and height; between panels
_TICK = 0.2
_SHADE = "#eeeae2"
_CURVES = (
    ("agreement", "against the distilled labels", 1),
    ("gold", "against gold of the same sentences", 0),
    ("held_out", "held-out gold", 2),
)
_FATES = (("repeated", "repeated", 1), ("replaced", "replaced by another", 6), ("corrected", "corrected to gold", 2))
_TOGETHER, _FEWEST = 2, 10  # bins that are drawn as one; answers in such a one, if it is drawn


def forgetting_curves(title: str, arms: Named) -> Markup:
    """A panel an arm: F1 in percent over the updates, with p(t) as the shaded area. Empty without a curve."""
    drawn = [(name, arm) for name, arm in arms if arm.curve]
    if not drawn:
        return Markup("")
    parts = [svg.text(10, 18, title, weight="600")]
    left = 40.0
    for name, words, colour in _CURVES:
        if any(getattr(point, name) is not None for _, arm in drawn for point in arm.curve):
            parts += [svg.line(left, 36, left + 22, 36, svg.COLOURS[colour]), svg.text(left + 28, 40, words)]
            left += 60 + 6.2 * len(words)
    parts += [svg.bar(left, 30, 22, 12, _SHADE), svg.text(left + 28, 40, "p(t), 1 at the top")]
    scores = [
        score for _, arm in drawn for point in arm.curve for name, *_ in _CURVES
        if (score := getattr(point, name)) is not None
    ]  # fmt: skip
    lowest = math.floor(min(scores, default=0.0) / _TICK)
    highest = math.ceil(max(scores, default=0.0) / _TICK - 1e-9)
    rows = math.ceil(len(drawn) / _PANELS)
    columns = math.ceil(len(drawn) / rows)
    for number, (name, arm) in enumerate(drawn):
        row, column = divmod(number, columns)
        corner = 40 + column * (_PANEL + _GAP), 76 + row * (_HEIGHT + _GAP)
        parts += _panel(name, arm, *corner, range(lowest, max(highest, lowest + 1) + 1))
    width = max(40 + columns * (_PANEL + _GAP), left + 150)
    return svg.drawing(title, width, 76 + rows * (_HEIGHT + _GAP), parts)


def _panel(name: str, arm: ArmExamined, left: float, top: float, ticks: range) -> list[Markup]:
    bottom, height = _TICK * ticks[0], _TICK * (len(ticks) - 1)
    last = arm.curve[-1].update

    def x(update: float) -> float:
        return left + _PANEL * update / last

    def y(score: float) -> float:
        return top + _HEIGHT * (1 - (score - bottom) / height)

    def level(p: float) -> float:
        return top + _HEIGHT * (1 - p)

    parts = [svg.text(left, top - 8, name, weight="600")]
    outline = [(x(0), level(0))]
    for (update, p), (following, _) in zip(arm.schedule, [*arm.schedule[1:], (last, 0.0)], strict=True):
        outline += [(x(update), level(p)), (x(following), level(p))]
    parts.append(svg.area([*outline, (x(last), level(0))], _SHADE))
    for tick in ticks:
        score = _TICK * tick
        parts.append(svg.line(left, y(score), left + _PANEL, y(score), svg.GRID))
        parts.append(svg.text(left - 5, y(score) + 4, f"{100 * score:.0f}", anchor="end", fill=svg.GREY))
    for update in (0, last):
        anchor = "end" if update else "start"
        parts.append(svg.text(x(update), top + _HEIGHT + 16, str(update), anchor=anchor, fill=svg.GREY))
    for curve, _, colour in _CURVES:
        known = [(point.update, score) for point in arm.curve if (score := getattr(point, curve)) is not None]
        points = [(x(update), y(score)) for update, score in known]
        if points:
            parts.append(svg.curve(points, svg.COLOURS[colour]))
            parts += [svg.dot(*point, svg.COLOURS[colour], radius=2) for point in points]
    return parts


def teacher_errors_plot(title: str, arms: Named) -> Markup:
    """By kind of error a bar an arm: the shares that the student repeats, replaces and corrects. Empty without any."""
    drawn = [(name, arm) for name, arm in arms if arm.errors]
    kinds = list(dict.fromkeys(kind for _, arm in drawn for kind in arm.errors))
    if not kinds:
        return Markup("")
    left, width, height, y = 170.0, 400.0, 13.0, 62.0
    parts = [svg.text(10, 18, title, weight="600")]
    x = left
    for _, words, colour in _FATES:
        parts += [svg.bar(x, 28, 12, 12, svg.COLOURS[colour]), svg.text(x + 18, 39, words)]
        x += 50 + 6.2 * len(words)
    for kind in kinds:
        counts = [arm.errors[kind].count for _, arm in drawn if kind in arm.errors]
        parts.append(svg.text(10, y + 2, f"{kind.replace('_', ' ')} ({_range(counts)} errors)", weight="600"))
        y += 9
        for name, arm in drawn:
            fates, x = arm.errors[kind], left
            parts.append(svg.text(left - 8, y + 11, name, anchor="end"))
            for fate, _, colour in _FATES:
                share = getattr(fates, fate)
                parts.append(svg.bar(x, y, width * share, height, svg.COLOURS[colour]))
                x += width * share
            if fates.count:
                words = f"{100 * fates.repeated:.0f}% repeated, {100 * fates.corrected:.0f}% corrected"
                parts.append(svg.text(left + width + 8, y + 11, words, fill=svg.GREY))
            y += height + 4
        y += 16
    return svg.drawing(title, left + width + 220, y, parts)


def reliability_curves(title: str, arms: Named) -> Markup:
    """The share of answers that is right over their mean confidence, in ten bins, of all seeds together.

    On the dotted diagonal confidence is what it says; below it the student is too sure. Dots grow with the answers of
    their bin; bins with fewer than 10 are not drawn. Empty without any.
    """
    drawn = [(name, arm, _bins(arm)) for name, arm in arms if _bins(arm)]
    if not drawn:
        return Markup("")
    left, top, side = 52.0, 34.0, 320.0
    parts = [svg.text(left, 18, title, weight="600")]
    for tick in range(6):
        position = side * tick / 5
        parts.append(svg.line(left, top + side - position, left + side, top + side - position, svg.GRID))
        parts.append(svg.text(left - 6, top + side - position + 4, str(20 * tick), anchor="end", fill=svg.GREY))
        parts.append(svg.text(left + position, top + side + 18, str(20 * tick), anchor="middle", fill=svg.GREY))
    parts.append(svg.line(left, top + side, left + side, top, svg.GREY, "2 3"))
    parts.append(svg.text(left + side / 2, top + side + 36, "mean confidence, %", anchor="middle", fill=svg.GREY))
    parts.append(svg.text(left + 6, top + 14, "right, %", fill=svg.GREY))
    for number, (name, arm, bins) in enumerate(drawn):
        colour, dash = svg.COLOURS[number % len(svg.COLOURS)], svg.DASHES[number // len(svg.COLOURS) % len(svg.DASHES)]
        points = [(left + side * confidence, top + side * (1 - right)) for confidence, right, _ in bins]
        parts.append(svg.curve(points, colour, dash))
        most = max(share for *_, share in bins)
        for point, (*_, share) in zip(points, bins, strict=True):
            parts.append(svg.dot(*point, colour, radius=1.5 + 4 * (share / most) ** 0.5))
        row = top + 8 + 17 * number
        parts.append(svg.line(left + side + 16, row - 4, left + side + 38, row - 4, colour, dash))
        calibration = arm.calibration
        words = f"{name}: ECE {100 * calibration.ece:.1f}, Brier {calibration.brier:.3f}"
        parts.append(svg.text(left + side + 44, row, words, fill=colour))
    return svg.drawing(title, left + side + 330, top + side + 48, parts)


def _bins(arm: ArmExamined) -> list[tuple[float, float, float]]:
    """(mean confidence, share that is right, share of all answers) of the bins that hold enough."""
    bins = arm.calibration.pooled.bins
    merged = [bins[number : number + _TOGETHER] for number in range(0, len(bins), _TOGETHER)]
    sums = [tuple(map(sum, zip(*part, strict=True))) for part in merged]
    all_answers = arm.calibration.pooled.answers
    return [(sure / count, right / count, count / all_answers) for count, right, sure in sums if count >= _FEWEST]


def _range(counts: Sequence[float]) -> str:
    low, high = (f"{bound(counts):.0f}" for bound in (min, max))
    return low if low == high else f"{low} to {high}"
