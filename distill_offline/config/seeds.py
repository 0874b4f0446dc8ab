"""The settings of `train` as a run has them: each arm is trained from one seed, or from several, at once or in turn.

They stand apart from config/train.py, which is part of the method that results carry: how many students an arm has, and
how many are trained at a time, changes none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from distill_offline.config.train import ArmSettings, TrainSettings
from distill_offline.config.values import STRICT, folder_name

__all__ = ["SeededArm", "SeededTrainSettings", "student_name"]


def student_name(arm: str, number: int) -> str:
    """What the student of an arm is called, by its number from 1: `simple_mix`, `simple_mix-2`, `simple_mix-3`."""
    return arm if number == 1 else f"{arm}-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededArm(ArmSettings):
    """One student of an arm: the arm's settings, under the student's name. It is made with students of its number."""

    arm: str
    """The arm's name in the configuration."""
    number: int = 1
    """Which of the arm's students it is, from 1."""

    def seed(self, of_run: int) -> int:
        """The seed of its draws, its head and its dropout: the run's for the first, the next ones for the others."""
        return of_run + self.number - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededTrainSettings(TrainSettings):
    """How students are trained. An arm may set most of these for itself; docs/training.md has them at length."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    seeds: Annotated[int, Ge(1), Le(100)] = 1
    """[students of an arm] Train each arm so many times: from the run's `seed`, `seed` + 1, and so on, as `NAME`,
    `NAME-2` and so on. The report compares means over them."""
    at_once: int | str = 1
    """[students] Train so many at a time, each in processes of its own with its share of the threads; `auto`: one for
    each GPU, or without GPUs one for each core, as far as memory goes."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        if self.at_once != "auto" and (isinstance(self.at_once, str) or not 1 <= self.at_once <= 1024):
            raise ValueError("at_once: a number from 1 to 1024, or auto")
        names = {arm.name for arm in self.arms}
        for name in sorted(names):
            arm, _, number = name.rpartition("-")
            if arm in names and re.fullmatch("[1-9][0-9]*", number) and 2 <= int(number) <= self.seeds:
                raise ValueError(
                    f"seeds: student {number} of {arm} is called {name}, and so is an arm. Rename that arm"
                )
            if self.seeds > 1:
                folder_name(student_name(name, self.seeds))

    @property
    def students(self) -> tuple[SeededArm, ...]:
        """All students of all arms: arm by arm as the configuration has them, each arm's by their numbers."""
        return tuple(_student(arm, number) for arm in self.arms for number in range(1, self.seeds + 1))

    @property
    def ordered_students(self) -> tuple[SeededArm, ...]:
        """The same in the order in which they are trained: all arms from the first seed, then from the next.

        Raises ConfigError as `ordered` does.
        """
        arms = self.ordered
        return tuple(_student(arm, number) for number in range(1, self.seeds + 1) for arm in arms)

    def students_before(self, student: SeededArm) -> tuple[SeededArm, ...]:
        """The students that this one needs, and those that they need, as `before` has them of arms."""
        arm = next(arm for arm in self.arms if arm.name == student.arm)
        return tuple(_student(earlier, student.number) for earlier in self.before(arm))


def _student(arm: ArmSettings, number: int) -> SeededArm:
    changed: dict[str, Any] = {setting.name: getattr(arm, setting.name) for setting in fields(arm)}
    changed["name"] = student_name(arm.name, number)
    changed["average"] = tuple(student_name(name, number) for name in arm.average)
    changed["labelled_by"] = arm.labelled_by and student_name(arm.labelled_by, number)
    if number > 1 and not arm.average:  # an arm without a schedule has the one that its name says
        changed["schedule"] = arm.schedule or arm.name
    return SeededArm(**changed, arm=arm.name, number=number)
