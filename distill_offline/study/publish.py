"""A study's tables and plots as files: CSV, JSON, Markdown, SVG and one self-contained page."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distill_offline.artifacts import write_text
from distill_offline.study.plots import Curve, Difference, differences, learning_curves
from distill_offline.study.summary import Summary
from distill_offline.study.tables import arm_table, as_markdown, comparison_table, name_of, type_table

__all__ = ["as_json", "publish"]

_CLEAR = 0.05  # of the corrected p


def publish(summary: Summary, folder: Path) -> list[Path]:
    """Write the tables (arms, comparisons, types as CSV; summary.json, tables.md), *.svg and index.html into `folder`.

    Gives their paths. An SVG that would be empty is not written.
    """
    curves, forest = _curves(summary), _forest(summary)
    texts = {
        "arms.csv": _csv([_flat(asdict(arm)) for arm in summary.arms]),
        "comparisons.csv": _csv([_flat(asdict(each)) for each in summary.tested]),
        "types.csv": _csv([_flat(asdict(each)) for each in summary.by_type]),
        "summary.json": json.dumps(as_json(summary), indent=1) + "\n",
        "tables.md": _markdown(summary),
        "index.html": _page(summary, curves, forest),
        **{f"{name}.svg": str(plot) + "\n" for name, plot in {"learning_curves": curves, **forest}.items() if plot},
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON values; scores are fractions."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(summary)))
    return value


def _curves(summary: Summary) -> Markup:
    several = len({arm.group.variant for arm in summary.arms}) > 1
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    for arm in summary.arms:
        place = points.setdefault(name_of(arm.group, several=several), [])
        place.append((arm.group.size, arm.f1.mean, arm.low, arm.high))
    return learning_curves(
        f"{summary.name}: F1 by gold sentences (95%, seeds and sentences)",
        [Curve(name, each) for name, each in points.items()],
    )


def _forest(summary: Summary) -> dict[str, Markup]:
    """A plot for each arm that others are held against."""
    several = len({arm.group.variant for arm in summary.arms}) > 1
    found: dict[str, list[Difference]] = {}
    for each in summary.tested:
        name = f"{name_of(each.group, several=several)}, {each.group.size}"
        result = each.result
        found.setdefault(each.against.arm, []).append(
            Difference(name, result.difference, result.low, result.high, each.p_holm < _CLEAR)
        )
    return {f"against_{arm}": differences(f"Points of F1 over {arm}", rows) for arm, rows in found.items()}


def _markdown(summary: Summary) -> str:
    tables = (arm_table(summary), comparison_table(summary), type_table(summary))
    notes = "".join(f"- {note}\n" for note in summary.notes)
    return "".join(f"### {table.title}\n\n{as_markdown(table)}\n" for table in tables) + notes


def _page(summary: Summary, curves: Markup, forest: dict[str, Markup]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distill_offline", "study"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.jinja").render(
        name=summary.name,
        tables=[arm_table(summary), comparison_table(summary), type_table(summary)],
        plots=[curves, *forest.values()],
        notes=summary.notes,
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = " ".join(map(str, inner)) if isinstance(inner, tuple) else inner
    return flat
