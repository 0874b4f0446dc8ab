"""A study's plots as SVG that stands alone, in a file or inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from distill_offline.report import svg

__all__ = ["Curve", "Difference", "differences", "learning_curves"]

_LEFT, _TOP, _WIDTH, _HEIGHT, _LEGEND, _ROW = 52, 34, 470, 300, 230, 17


@dataclass(frozen=True, slots=True)
class Curve:
    """An arm's mean by size: points of (size, mean, low, high), as fractions."""

    name: str
    points: Sequence[tuple[int, float, float, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better an arm is than another, as fractions; `is_clear` where the corrected p is below 0.05."""

    name: str
    mean: float
    low: float
    high: float
    is_clear: bool


def learning_curves(title: str, curves: Sequence[Curve]) -> Markup:
    """F1 in percent over the original size (logarithmic), with 95% intervals; empty without a point."""
    points = [point for curve in curves for point in curve.points]
    if not points:
        return Markup("")
    sizes = sorted({size for size, *_ in points})
    left, right = math.log(sizes[0]), math.log(sizes[-1])
    low, high = 100 * min(p[2] for p in points), 100 * max(p[3] for p in points)
    step = svg.step(high - low)
    bottom, top = step * math.floor(low / step), step * math.ceil(high / step + 1e-9)
    top = max(top, bottom + step)

    def x(size: int, shift: float = 0.0) -> float:
        return _LEFT + 15 + (_WIDTH - 30) * ((math.log(size) - left) / (right - left) if right > left else 0.5) + shift

    def y(fraction: float) -> float:
        return _TOP + _HEIGHT * (1 - (100 * fraction - bottom) / (top - bottom))

    parts = [svg.text(_LEFT, 18, title, weight="600")]
    for number in range(round((top - bottom) / step) + 1):
        value = bottom + number * step
        parts += [svg.line(_LEFT, y(value / 100), _LEFT + _WIDTH, y(value / 100), svg.GRID)]
        parts += [svg.text(_LEFT - 6, y(value / 100) + 4, f"{value:g}", anchor="end", fill=svg.GREY)]
    parts += [svg.text(x(size), _TOP + _HEIGHT + 18, str(size), anchor="middle", fill=svg.GREY) for size in sizes]
    for number, curve in enumerate(curve for curve in curves if curve.points):
        colour, dash = svg.COLOURS[number % len(svg.COLOURS)], svg.DASHES[number // len(svg.COLOURS) % len(svg.DASHES)]
        shift = 1.5 * (number - (len(curves) - 1) / 2)  # so that intervals do not hide each other
        ordered = sorted(curve.points)
        parts.append(svg.curve([(x(size, shift), y(mean)) for size, mean, _, _ in ordered], colour, dash))
        for size, mean, below, above in ordered:
            parts.append(svg.line(x(size, shift), y(below), x(size, shift), y(above), colour))
            parts.append(svg.dot(x(size, shift), y(mean), colour))
        row = _TOP + 8 + _ROW * number
        parts.append(svg.line(_LEFT + _WIDTH + 12, row - 4, _LEFT + _WIDTH + 34, row - 4, colour, dash))
        parts.append(svg.text(_LEFT + _WIDTH + 40, row, curve.name, fill=colour))
    height = max(_TOP + _HEIGHT + 30, _TOP + 20 + _ROW * len(curves))
    return svg.drawing(title, _LEFT + _WIDTH + _LEGEND, height, parts)


def differences(title: str, rows: Sequence[Difference]) -> Markup:
    """Each difference in points of F1 with its 95% interval, a line each; filled dots are clear. Empty without rows."""
    if not rows:
        return Markup("")
    low, high = 100 * min(0.0, *(row.low for row in rows)), 100 * max(0.0, *(row.high for row in rows))
    step = svg.step(high - low)
    left, right = step * math.floor(low / step), step * math.ceil(high / step + 1e-9)
    right = max(right, left + step)

    def x(fraction: float) -> float:
        return _LEGEND + _WIDTH * (100 * fraction - left) / (right - left)

    bottom = _TOP + 10 + _ROW * len(rows)
    parts = [svg.text(10, 18, title, weight="600")]
    for number in range(round((right - left) / step) + 1):
        value = left + number * step
        parts.append(svg.line(x(value / 100), _TOP, x(value / 100), bottom, "#999" if abs(value) < 1e-9 else svg.GRID))
        parts.append(
            svg.text(x(value / 100), bottom + 16, f"{value:+g}" if value else "0", anchor="middle", fill=svg.GREY)
        )
    for number, row in enumerate(rows):
        y, colour = _TOP + 14 + _ROW * number, svg.COLOURS[0] if row.mean >= 0 else svg.COLOURS[1]
        parts.append(svg.text(_LEGEND - 10, y + 4, row.name, anchor="end"))
        parts.append(svg.line(x(row.low), y, x(row.high), y, colour))
        parts.append(svg.dot(x(row.mean), y, colour, hollow=not row.is_clear))
    return svg.drawing(title, _LEGEND + _WIDTH + 30, bottom + 28, parts)
