"""A study's tables and plots as files: CSV, JSON, Markdown, SVG and one self-contained page."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from distill_offline.storage.files import write_text
from distill_offline.study.examine.plots import forgetting_curves, reliability_curves, teacher_errors_plot
from distill_offline.study.examine.summary import NOTHING, ArmExamined, Explanation
from distill_offline.study.examine.tables import examined_tables
from distill_offline.study.page import study_page
from distill_offline.study.plots import Curve, Difference, differences, learning_curves
from distill_offline.study.results import Row
from distill_offline.study.summary import Summary
from distill_offline.study.tables import (
    Table,
    arm_table,
    as_markdown,
    comparison_table,
    has_variants,
    name_of,
    type_table,
)

__all__ = ["as_json", "page", "publish"]

_CLEAR = 0.05  # of the corrected p


def publish(summary: Summary, folder: Path, explanation: Explanation = NOTHING, rows: Sequence[Row] = ()) -> list[Path]:
    """Write the tables (arms, comparisons, types as CSV; summary.json, tables.md), *.svg and index.html into `folder`.

    `rows` are what the summary was made of: the page says of them what they cost and what to do next.
    What an `explanation` shows goes beside them, with forgetting.csv, teacher_errors.csv and calibration.csv. Gives
    the paths. An SVG that would be empty is not written, nor a CSV of nothing seen.
    """
    plots, tables, notes = _plots(summary, explanation), _tables(summary, explanation), _notes(summary, explanation)
    texts = {
        "arms.csv": _csv([_flat(asdict(arm)) for arm in summary.arms]),
        "comparisons.csv": _csv([_flat(asdict(comparison)) for comparison in summary.tested]),
        "types.csv": _csv([_flat(asdict(comparison)) for comparison in summary.by_type]),
        **{name: _csv(rows) for name, rows in _seen(explanation).items() if rows},
        "summary.json": json.dumps(as_json(summary, explanation), indent=1) + "\n",
        "tables.md": _markdown(tables, notes),
        "index.html": page(summary, rows, explanation),
        **{f"{name}.svg": str(plot) + "\n" for name, plot in plots.items() if plot},
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def page(summary: Summary, rows: Sequence[Row], explanation: Explanation = NOTHING) -> str:
    """The page alone, as HTML."""
    plots = list(_plots(summary, explanation).values())
    return study_page(summary, rows, _tables(summary, explanation), plots, _notes(summary, explanation))


def _plots(summary: Summary, explanation: Explanation) -> dict[str, Markup]:
    return {"learning_curves": _curves(summary), **_forest(summary), **_explained(explanation)}


def _tables(summary: Summary, explanation: Explanation) -> tuple[Table, ...]:
    return (arm_table(summary), comparison_table(summary), type_table(summary), *examined_tables(explanation))


def _notes(summary: Summary, explanation: Explanation) -> tuple[str, ...]:
    return (*summary.notes, *explanation.notes)


def as_json(summary: Summary, explanation: Explanation = NOTHING) -> dict[str, Any]:
    """The summary as JSON values; scores are fractions. `examined` is the explanation, where it holds anything."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(summary)))
    if explanation.arms:
        value["examined"] = json.loads(json.dumps(asdict(explanation)))
    return value


def _curves(summary: Summary) -> Markup:
    several = has_variants(summary)
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    for arm in summary.arms:
        points_of_line = points.setdefault(name_of(arm.group, several=several), [])
        points_of_line.append((arm.group.size, arm.f1.mean, arm.low, arm.high))
    return learning_curves(
        f"{summary.name}: F1 by gold sentences (95%, seeds and sentences)",
        [Curve(name, points_of_arm) for name, points_of_arm in points.items()],
    )


def _forest(summary: Summary) -> dict[str, Markup]:
    """A plot for each arm that others are compared with; one for each variant's where a group is compared with two."""
    several = has_variants(summary)
    times = Counter((comparison.group, comparison.against.arm) for comparison in summary.tested)
    apart = {arm for (_, arm), count in times.items() if count > 1}
    by_baseline: dict[tuple[str, ...], list[Difference]] = {}
    for comparison in summary.tested:
        name = f"{name_of(comparison.group, several=several)}, {comparison.group.size}"
        result, arm = comparison.result, comparison.against.arm
        by_baseline.setdefault((comparison.against.variant, arm) if arm in apart else (arm,), []).append(
            Difference(name, result.difference, result.low, result.high, comparison.p_holm < _CLEAR)
        )
    return {
        f"against_{'_'.join(names)}": differences(f"Points of F1 over {'/'.join(names)}", rows)
        for names, rows in by_baseline.items()
    }


def _explained(explanation: Explanation) -> dict[str, Markup]:
    """The plots of what was seen, for each size."""
    several = has_variants(explanation)
    by_size: dict[int, list[tuple[str, ArmExamined]]] = {}
    for arm in explanation.arms:
        by_size.setdefault(arm.group.size, []).append((name_of(arm.group, several=several), arm))
    pages = {}
    for size, arms in by_size.items():
        of = f"{size} gold sentences"
        pages[f"forgetting_{size}"] = forgetting_curves(f"F1 over the updates, {of}", arms)
        pages[f"teacher_errors_{size}"] = teacher_errors_plot(f"What becomes of the teacher's errors, {of}", arms)
        pages[f"reliability_{size}"] = reliability_curves(f"Reliability, {of}", arms)
    return pages


def _seen(explanation: Explanation) -> dict[str, list[dict[str, Any]]]:
    """The lines of the CSV files of what was seen."""
    named = [({**asdict(arm.group), "seeds": " ".join(map(str, arm.seeds))}, arm) for arm in explanation.arms]
    return {
        "forgetting.csv": [names | asdict(point) for names, arm in named for point in arm.curve],
        "teacher_errors.csv": [
            names | {"kind": kind} | asdict(fates) for names, arm in named for kind, fates in arm.errors.items()
        ],
        "calibration.csv": [
            names | {key: value for key, value in asdict(arm.calibration).items() if key != "pooled"}
            for names, arm in named
        ],
    }


def _markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    listed = "".join(f"- {note}\n" for note in notes)
    return "".join(f"### {table.title}\n\n{as_markdown(table)}\n" for table in tables) + listed


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
