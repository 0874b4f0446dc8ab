"""Line plots and reliability diagrams as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from distill_offline.report import svg

__all__ = ["Line", "line_plot", "reliability_plot"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 260, 44, 28, 150, 28


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve of (x, y) points; y between 0 and 1. `colour` is a number (its own by default)."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = None
    is_dashed: bool = False


def line_plot(title: str, lines: Sequence[Line]) -> Markup:
    """An SVG of the curves over a common x axis from 0, with a legend; empty if there is no point."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Markup("")
    return _plot(title, drawn, right=max(x for line in drawn for x, _ in line.points) or 1)


def reliability_plot(title: str, lines: Sequence[Line]) -> Markup:
    """An SVG of each bin's share that is right (y) over its mean confidence (x), beside the diagonal where they agree.

    Above the diagonal a teacher is better than it thinks, below it worse. Empty if there is no point.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Markup("")
    return _plot(title, drawn, right=1.0, is_reliability=True)


def _plot(title: str, drawn: Sequence[Line], *, right: float, is_reliability: bool = False) -> Markup:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / right, _TOP + height * (1 - y)

    parts = [svg.text(_LEFT, 16, title, weight="600")]
    for step in range(6):
        _, y = place(0, step / 5)
        parts.append(svg.line(_LEFT, y, _LEFT + width, y, svg.GRID))
        parts.append(svg.text(_LEFT - 6, y + 4, f"{step / 5:.1f}", anchor="end", fill=svg.GREY))
    parts.append(svg.text(_LEFT + width, _HEIGHT - 8, f"{right:g}", anchor="end", fill=svg.GREY))
    if is_reliability:
        parts.append(svg.line(*place(0, 0), *place(1, 1), "#999", "4"))
    named = 0
    for number, line in enumerate(drawn):
        colour = svg.COLOURS[(number if line.colour is None else line.colour) % len(svg.COLOURS)]
        places = [place(x, y) for x, y in line.points]
        parts.append(svg.curve(places, colour, "5 3" if line.is_dashed else ""))
        if is_reliability:
            parts += [svg.dot(x, y, colour, radius=3) for x, y in places]
        if line.name:
            parts.append(svg.text(_LEFT + width + 10, _TOP + 12 + 18 * named, line.name, fill=colour))
            named += 1
    return svg.drawing(title, _WIDTH, _HEIGHT, parts, in_page=True)
