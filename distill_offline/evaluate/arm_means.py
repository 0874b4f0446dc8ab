"""What the students of an arm, trained from several seeds, score in the mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill_offline.config.settings import SeededArm
from distill_offline.scoring.statistics import t_interval

__all__ = ["arm_means"]


def arm_means(rows: Iterable[Mapping[str, Any]], students: Sequence[SeededArm]) -> list[dict[str, Any]]:
    """Of each arm with a scored student its `name`, the `students`, and their F1: mean, and standard `deviation`.

    The deviation is a sample's, None for a single student.
    """
    scored = {row["name"]: float(row["overall"]["f1"]) for row in rows if row["kind"] == "student"}
    names: dict[str, list[str]] = {}
    for student in students:
        if student.name in scored:
            names.setdefault(student.arm, []).append(student.name)
    means = {arm: t_interval([scored[name] for name in of_arm]) for arm, of_arm in names.items()}
    return [
        {"name": arm, "students": names[arm], "f1": found.mean, "deviation": found.deviation}
        for arm, found in means.items()
    ]
