"""Line plots and reliability diagrams as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["COLOURS", "Line", "line_plot", "reliability_plot"]

COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#64473a", "#dfab01", "#e03e3e")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 260, 44, 28, 150, 28


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve of (x, y) points; y between 0 and 1. `colour` is a number (its own by default)."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = None
    is_dashed: bool = False


def line_plot(title: str, lines: Sequence[Line]) -> Markup:
    """An SVG of the curves over a common x axis from 0, with a legend; empty where there is no point."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Markup("")
    return _plot(title, drawn, right=max(x for line in drawn for x, _ in line.points) or 1)


def reliability_plot(title: str, lines: Sequence[Line]) -> Markup:
    """An SVG of each bin's share that is right (y) over its mean confidence (x), beside the diagonal where they agree.

    Above the diagonal a teacher is better than it thinks, below it worse. Empty where there is no point.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Markup("")
    return _plot(title, drawn, right=1.0, is_reliability=True)


def _plot(title: str, drawn: Sequence[Line], *, right: float, is_reliability: bool = False) -> Markup:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[str, str]:
        return f"{_LEFT + width * x / right:.1f}", f"{_TOP + height * (1 - y):.1f}"

    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, title),
        Markup('<text x="{}" y="16" class="title">{}</text>').format(_LEFT, title),
    ]
    for step in range(6):
        y = _TOP + height * (1 - step / 5)
        parts.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{}" y2="{}" class="grid"/><text x="{}" y="{}" class="y">{}</text>'
            ).format(_LEFT, _LEFT + width, f"{y:.1f}", f"{y:.1f}", _LEFT - 6, f"{y + 4:.1f}", f"{step / 5:.1f}")
        )
    parts.append(Markup('<text x="{}" y="{}" class="x">{}</text>').format(_LEFT + width, _HEIGHT - 8, f"{right:g}"))
    if is_reliability:
        diagonal = " ".join(",".join(place(each, each)) for each in (0.0, 1.0))
        parts.append(Markup('<polyline points="{}" class="diagonal"/>').format(diagonal))
    named = 0
    for number, line in enumerate(drawn):
        colour = COLOURS[(number if line.colour is None else line.colour) % len(COLOURS)]
        dashed = Markup(' stroke-dasharray="5 3"') if line.is_dashed else ""
        places = [place(x, y) for x, y in line.points]
        points = " ".join(",".join(each) for each in places)
        parts.append(Markup('<polyline points="{}" stroke="{}"{}/>').format(points, colour, dashed))
        if is_reliability:
            parts += [Markup('<circle cx="{}" cy="{}" r="3" fill="{}"/>').format(x, y, colour) for x, y in places]
        if not line.name:
            continue
        parts.append(
            Markup('<text x="{}" y="{}" fill="{}">{}</text>').format(
                _LEFT + width + 10, _TOP + 12 + 18 * named, colour, line.name
            )
        )
        named += 1
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)
