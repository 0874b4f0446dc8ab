"""One self-contained HTML page about a run, from one view object; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from distill_offline.report.plots import Line, line_plot, reliability_plot

__all__ = ["View", "render"]


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows: evaluate's result, each arm's history, each stage's counts, the settings."""

    name: str
    result: Mapping[str, Any]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    counts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]


def render(view: View) -> str:
    """The page as HTML. Everything that came from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distill_offline", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    dev = [
        Line(arm, [(row["update"] + 1, row["dev_f1"]) for row in rows if "dev_f1" in row])
        for arm, rows in view.histories.items()
    ]
    mix = [
        line
        for number, (arm, rows) in enumerate(view.histories.items())
        for line in (Line(arm, _realised(rows), number), Line("", _scheduled(rows), number, is_dashed=True))
    ]
    teacher = next((row for row in view.result["rows"] if "quality" in row), None)
    measured = _measured(view.result)
    return environment.get_template("page.html.jinja").render(
        view=view,
        of_classes=any("accuracy" in row for row in view.result["rows"]),
        averages=sorted({name for row in view.result["rows"] for name in row.get("averages", ())}),
        types=sorted({name for row in view.result["rows"] for name in row["per_type"]}),
        teacher=teacher,
        warnings=_warnings(view.counts),
        bins=_bins(teacher),
        measured=[(f"{where}, {name}", each) for where, kinds in measured.items() for name, each in kinds.items()],
        diagrams=[
            reliability_plot(
                f"Share that is right by confidence: {where}",
                [Line(name, _points(each)) for name, each in kinds.items()],
            )
            for where, kinds in measured.items()
        ],
        dev_plot=line_plot("Dev F1 by update", dev),
        mix_plot=line_plot("Share of distilled sentences by update (mean of 20 updates); dashed: p(t)", mix),
    )


def _warnings(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What annotate warned of, by the part of the corpus."""
    parts = {part: each for part, each in counts.get("annotate", {}).items() if isinstance(each, Mapping)}
    return [f"annotate {part}: {line}" for part, each in parts.items() for line in each.get("warnings", ())]


def _measured(result: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Reliability by where it was measured: the gold training sentences (cross-fitted), and the split scored here."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    if learnt := result.get("calibration"):
        found["gold training sentences"] = {"as given": learnt["before"], "calibrated": learnt["after"]}
    for quality in (row["quality"] for row in result["rows"] if "quality" in row):
        kinds = {"as given": quality["reliability"], "calibrated": quality.get("calibrated")}
        found[f"{result['split']} split"] = {name: each for name, each in kinds.items() if each}
    return {where: kinds for where, kinds in found.items() if kinds}


def _bins(teacher: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    rows = teacher["quality"]["by_confidence"] if teacher else ()
    return [(f"{row['lowest']:.2f} to {row['highest']:.2f}", row) for row in rows]


def _points(reliability: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(mean, share) for _, _, _, mean, share in reliability["bins"]]


def _scheduled(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """p(t): its first and last update and those about which it changes, so that a step stays upright."""
    ends = {0, len(rows) - 1}
    return [
        (row["update"], row["p"])
        for number, row in enumerate(rows)
        if number in ends or row["p"] != rows[number - 1]["p"] or row["p"] != rows[number + 1]["p"]
    ]


def _realised(rows: Sequence[Mapping[str, Any]], width: int = 20) -> list[tuple[float, float]]:
    points = []
    for start in range(0, len(rows), width):
        part = rows[start : start + width]
        distilled = sum(row["distilled"] for row in part)
        points.append((part[-1]["update"] + 1, distilled / sum(row["distilled"] + row["original"] for row in part)))
    return points
