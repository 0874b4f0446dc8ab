"""The page of a study: one self-contained file that opens with a verdict, made of its rows alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from distill_offline.report.words import duration
from distill_offline.study.advice import advise
from distill_offline.study.methods import methods_note
from distill_offline.study.plots import Difference, differences
from distill_offline.study.results import Row
from distill_offline.study.summary import Group, Summary, Tested
from distill_offline.study.tables import Table, has_variants, name_of
from distill_offline.study.verdict import verdict_of

__all__ = ["study_page"]

_CLEAR = 0.05  # of the corrected p


def study_page(
    summary: Summary, rows: Sequence[Row], tables: Sequence[Table], plots: Sequence[Markup], notes: Sequence[str]
) -> str:
    """The page as HTML; all that came from outside is escaped. `rows` are those that the summary was made of."""
    latest = list({row.cell: row for row in rows}.values())
    verdict = verdict_of(summary)
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("distill_offline", "study"), jinja2.PackageLoader("distill_offline", "report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(
        name=summary.name,
        verdict=verdict,
        picture=_picture(summary, verdict.gains),
        costs=_costs(summary, latest),
        next_steps=_next_steps(latest),
        warning=methods_note(latest),
        tables=tables,
        plots=plots,
        mistakes=_errors(summary, latest),
        notes=notes,
        made_with=_made_with(latest),
    )


def _picture(summary: Summary, gains: Sequence[Tested]) -> Markup:
    several = has_variants(summary)
    rows = [
        Difference(
            f"{gain.group.size:,}: {name_of(gain.group, several=several)}",
            gain.result.difference,
            gain.result.low,
            gain.result.high,
            gain.p_holm < _CLEAR,
        )
        for gain in gains
    ]
    return differences(f"Points of F1 that the best arm brings over {summary.baseline}, by labelled sentences", rows)


def _costs(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What the study took, as far as rows tell: the teacher's time and tokens are in its run."""
    if not rows:
        return []
    seconds = [row.training["seconds"] for row in rows if row.training["seconds"] is not None]
    unknown = f" ({len(rows) - len(seconds)} cells do not say)" if len(seconds) < len(rows) else ""
    sizes = sorted({row.size for row in rows})
    return [
        ("sentences that people labelled", ", ".join(f"{size:,}" for size in sizes)),
        ("sentences that the teacher labelled, at most", f"{max(row.pools['distilled'] for row in rows):,}"),
        ("students trained and scored", f"{len(rows):,} of {summary.cells:,}"),
        ("seeds", str(len({row.seed for row in rows}))),
        ("training in all", f"{duration(sum(seconds))}{unknown}" if seconds else "not told by the rows"),
        ("training of one student", duration(sum(seconds) / len(seconds)) if seconds else "not told by the rows"),
    ]


def _next_steps(rows: Sequence[Row]) -> tuple[str, ...]:
    try:
        return advise(rows).lines
    except ValueError as error:
        return (f"What to do next cannot be told: {error}.",)


def _errors(summary: Summary, rows: Sequence[Row]) -> list[Table]:
    """How many mistakes of each kind a student makes, as a mean over an arm's seeds; nothing if none are counted."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.errors))
    if not kinds:
        return []
    several = has_variants(summary)
    by_group: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        by_group[Group(row.size, row.variant, row.arm)].append(row)
    lines = tuple(
        (
            name_of(arm.group, several=several),
            str(arm.group.size),
            *(f"{sum(row.errors.get(kind, 0) for row in of) / len(of):.1f}" for kind in kinds),
        )
        for arm in summary.arms
        if (of := by_group[arm.group])
    )
    columns = ("arm", "size", *(kind.replace("_", " ") for kind in kinds))
    return [Table(f"{summary.name}: mistakes by kind, mean of a student", columns, lines)]


def _made_with(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """Package or method, version, and how many rows were made with it."""
    counts = Counter(pair for row in rows for pair in row.versions.items())
    counts.update(("method of training and scoring", row.method or "not told") for row in rows)
    return [(name, version, count) for (name, version), count in sorted(counts.items())]
