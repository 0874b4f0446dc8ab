"""A study's tables as rows of text, one set of columns for the terminal, Markdown, CSV and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_offline.scoring.statistics import Interval
from distill_offline.study.summary import ArmResult, Group, Summary

if TYPE_CHECKING:
    from distill_offline.study.examine.summary import Explanation

__all__ = ["Table", "arm_table", "as_markdown", "comparison_table", "has_variants", "name_of", "p_value", "type_table"]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text under columns; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def arm_table(summary: Summary) -> Table:
    """An arm a line: how good it is, how sure that is, and what it learned from."""
    types = sorted({name for arm in summary.arms for name in arm.per_type})
    columns = (
        "arm",
        "size",
        "gold",
        "dev",
        "distilled",
        "updates",
        "seeds",
        "F1 ± sd",
        "95% [t]",
        "95% [both]",
        "P",
        "R",
    )
    rows = (_arm_row(summary, arm, types) for arm in summary.arms)
    return Table(f"{summary.name}: {summary.done} of {summary.cells} cells", (*columns, *types, "dev F1"), tuple(rows))


def comparison_table(summary: Summary) -> Table:
    """A comparison a line, in points of F1."""
    columns = ("arm", "against", "size", "seeds", "difference", "95% [both]", "p", "p Holm", "p t")
    several = has_variants(summary)
    rows = tuple(
        (
            name_of(comparison.group, several=several),
            name_of(comparison.against, several=several or comparison.against.variant != comparison.group.variant),
            str(comparison.group.size),
            str(comparison.result.seeds),
            f"{100 * comparison.result.difference:+.1f}",
            f"{100 * comparison.result.low:+.1f} to {100 * comparison.result.high:+.1f}",
            p_value(comparison.result.p),
            p_value(comparison.p_holm),
            "-" if comparison.result.p_t is None else p_value(comparison.result.p_t),
        )
        for comparison in summary.tested
    )
    return Table(f"{summary.name}: paired comparisons", columns, rows)


def type_table(summary: Summary) -> Table:
    """The same comparisons by type: points of F1, in brackets p Holm over all types of all comparisons."""
    types = list(dict.fromkeys(comparison.type for comparison in summary.by_type))
    several = has_variants(summary)
    lines: dict[tuple[Group, Group], dict[str, str]] = {}
    for comparison in summary.by_type:
        difference = f"{100 * comparison.result.difference:+.1f} ({p_value(comparison.p_holm)})"
        lines.setdefault((comparison.group, comparison.against), {})[comparison.type] = difference
    rows = tuple(
        (
            name_of(group, several=several),
            name_of(against, several=several or against.variant != group.variant),
            str(group.size),
            *(cells.get(name, "-") for name in types),
        )
        for (group, against), cells in lines.items()
    )
    return Table(f"{summary.name}: gains by type (p Holm)", ("arm", "against", "size", *types), rows)


def as_markdown(table: Table) -> str:
    lines = [table.columns, tuple("---" if not n else "---:" for n in range(len(table.columns))), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def name_of(group: Group, *, several: bool) -> str:
    """The arm, with its variant before it if there are several."""
    return f"{group.variant}/{group.arm}" if several else group.arm


def p_value(p: float) -> str:
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"


def _arm_row(summary: Summary, arm: ArmResult, types: Sequence[str]) -> tuple[str, ...]:
    return (
        name_of(arm.group, several=has_variants(summary)),
        str(arm.group.size),
        f"{arm.original:.0f}",
        f"{arm.dev:.0f}" if arm.dev_in_size else f"+{arm.dev:.0f}",
        f"{arm.distilled:.0f}",
        str(arm.updates),
        str(len(arm.seeds)),
        _percent(arm.f1.mean) + ("" if arm.f1.deviation is None else f" ± {_percent(arm.f1.deviation)}"),
        _interval(arm.f1),
        f"{_percent(arm.low)} to {_percent(arm.high)}",
        _percent(arm.precision),
        _percent(arm.recall),
        *(_percent(arm.per_type[name]) if name in arm.per_type else "-" for name in types),
        "-" if arm.dev_f1 is None else _percent(arm.dev_f1),
    )


def has_variants(summary: Summary | Explanation) -> bool:
    """Whether an arm's name does not say which it is: there are several variants of it."""
    return len({arm.group.variant for arm in summary.arms}) > 1


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
