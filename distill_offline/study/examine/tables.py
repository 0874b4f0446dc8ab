"""What was seen of an arm as rows of text: forgetting, the teacher's errors, calibration."""

from __future__ import annotations

from distill_offline.study.examine.rows import Point
from distill_offline.study.examine.summary import ALL, ArmExamined, Explanation
from distill_offline.study.tables import Table, has_variants, name_of

__all__ = ["examined_tables"]


def examined_tables(explanation: Explanation) -> tuple[Table, ...]:
    """An arm a line in each; without the tables for which nothing was seen."""
    several = has_variants(explanation)
    named = [
        ((name_of(arm.group, several=several), str(arm.group.size), str(len(arm.seeds))), arm)
        for arm in explanation.arms
    ]
    tables = (
        Table(
            f"{explanation.name}: forgetting (F1)",
            ("arm", "size", "seeds", "distilled, best", "after", "distilled, end", "its gold, end", "held out, end"),
            tuple((*names, *_forgetting(arm)) for names, arm in named if arm.curve),
        ),
        _errors(explanation, [row for row in named if row[1].errors]),
        Table(
            f"{explanation.name}: calibration",
            ("arm", "size", "seeds", "answers", "right", "confidence", "ECE", "Brier"),
            tuple((*names, *_calibration(arm)) for names, arm in named),
        ),
    )
    return tuple(table for table in tables if table.rows)


def _forgetting(arm: ArmExamined) -> tuple[str, ...]:
    agreed = [point for point in arm.curve if point.agreement is not None]
    best, end = max(agreed, key=_agreement, default=None), arm.curve[-1]
    return (
        *(("-", "-") if best is None else (_percent(best.agreement), str(best.update))),
        *(_percent(score) for score in (end.agreement, end.gold, end.held_out)),
    )


def _errors(explanation: Explanation, named: list[tuple[tuple[str, str, str], ArmExamined]]) -> Table:
    kinds = list(dict.fromkeys(kind for _, arm in named for kind in arm.errors))
    columns = (
        "arm",
        "size",
        "seeds",
        "errors",
        *(kind.replace("_", " ") for kind in kinds),
        "right",
        "lost",
        "invented",
    )
    rows = []
    for names, arm in named:
        fates = [arm.errors[kind] for kind in kinds]
        rows.append(
            (
                *names,
                f"{arm.errors[ALL].count:.0f}",
                *(f"{_percent(fate.repeated)} / {_percent(fate.corrected)}" if fate.count else "-" for fate in fates),
                f"{arm.right or 0:.0f}",
                _percent(arm.lost),
                f"{arm.invented or 0:.0f}",
            )
        )
    return Table(f"{explanation.name}: the teacher's errors (% repeated / corrected)", columns, tuple(rows))


def _calibration(arm: ArmExamined) -> tuple[str, ...]:
    calibration = arm.calibration
    return (
        f"{calibration.answers:.0f}",
        _percent(calibration.right),
        _percent(calibration.confidence),
        _percent(calibration.ece),
        f"{calibration.brier:.3f}",
    )


def _agreement(point: Point) -> float:
    return point.agreement or 0.0


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
