"""The pieces of every plot: SVG that stands alone, in a file or inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

__all__ = ["COLOURS", "DASHES", "GREY", "GRID", "area", "bar", "curve", "dot", "drawing", "line", "step", "text"]

COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#64473a", "#dfab01", "#e03e3e")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
GREY, GRID = "#777", "#e5e5e5"


def step(span: float) -> float:
    """A round distance between grid lines, so that there are 3 to 8 of them."""
    rough = max(span, 0.1) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def drawing(title: str, width: float, height: float, parts: Sequence[Markup], *, in_page: bool = False) -> Markup:
    """The whole; with `in_page` without the name of its language, which only a file of its own needs."""
    opening = Markup(
        '<svg{} viewBox="0 0 {} {}" role="img" aria-label="{}" font-family="system-ui, sans-serif" font-size="12">'
    ).format(Markup("" if in_page else ' xmlns="http://www.w3.org/2000/svg"'), f"{width:g}", f"{height:g}", title)
    return Markup("").join([opening, *parts, Markup("</svg>")])


def text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = "#222", weight: str = "400") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}" fill="{}" font-weight="{}">{}</text>').format(
        f"{x:.1f}", f"{y:.1f}", anchor, fill, weight, words
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-dasharray="{}"/>').format(
        f"{x1:.1f}", f"{y1:.1f}", f"{x2:.1f}", f"{y2:.1f}", colour, dash
    )


def curve(points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> Markup:
    return Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>').format(
        _joined(points), colour, dash
    )


def area(points: Sequence[tuple[float, float]], colour: str) -> Markup:
    return Markup('<polygon points="{}" fill="{}"/>').format(_joined(points), colour)


def bar(x: float, y: float, width: float, height: float, colour: str) -> Markup:
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>').format(
        f"{x:.1f}", f"{y:.1f}", f"{width:.1f}", f"{height:.1f}", colour
    )


def dot(x: float, y: float, colour: str, *, hollow: bool = False, radius: float = 3.5) -> Markup:
    return Markup('<circle cx="{}" cy="{}" r="{}" fill="{}" stroke="{}"/>').format(
        f"{x:.1f}", f"{y:.1f}", f"{radius:g}", "#fff" if hollow else colour, colour
    )


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
