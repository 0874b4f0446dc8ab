"""The settings of `train` as a run has them: each arm is trained from one seed, or from several, at once or in turn.

They stand apart from config/train.py, which is part of the method that results carry: how many students an arm has, and
how many are trained at a time, changes none of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from distill_offline.config.train import ArmSettings, TrainSettings
from distill_offline.config.values import STRICT, folder_name

__all__ = ["ConfiguredArm", "SeededArm", "SeededTrainSettings", "student_name"]


def student_name(arm: str, number: int) -> str:
    """What the student of an arm is called, by its number from 1: `simple_mix`, `simple_mix-2`, `simple_mix-3`."""
    return arm if number == 1 else f"{arm}-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredArm(ArmSettings):
    """An arm as a configuration has it. A setting that is left empty here is that of `train`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    labellers: Annotated[int, Ge(2), Le(100)] | None = None
    """[students] With `labelled_by`: so many students of that arm label together, from the run's `seed`, `seed` + 1 and
    so on, and what they say on average is learnt; empty: one."""
    soft_labels: bool | None = None
    """With `labelled_by`: learn how probable the labelling students hold each label, instead of the likeliest label
    alone."""

    def __post_init__(self) -> None:
        ArmSettings.__post_init__(self)
        if self.labellers is not None and not self.labelled_by:
            raise ValueError("labellers are students of another arm: name it in labelled_by")
        if self.soft_labels and not self.labelled_by:
            raise ValueError("soft_labels are those of another arm's student: name it in labelled_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededArm(ArmSettings):
    """One student of an arm: the arm's settings, under the student's name. It is made with students of its number."""

    arm: str
    """The arm's name in the configuration."""
    number: int = 1
    """Which of the arm's students it is, from 1."""
    labelled_by_all: tuple[str, ...] = ()
    """The students that label together what it learns; empty if one does, or none, and labels alone are learnt."""
    soft_labels: bool = False
    """Whether it learns how probable they hold each label."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The students that this one is made with."""
        labellers = self.labelled_by_all or ((self.labelled_by,) if self.labelled_by else ())
        return (*self.average, *labellers)

    def seed(self, of_run: int) -> int:
        """The seed of its draws, its head and its dropout: the run's for the first, the next ones for the others."""
        return of_run + self.number - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededTrainSettings(TrainSettings):
    """How students are trained. An arm may set most of these for itself; docs/training.md has them at length."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    arms: tuple[ConfiguredArm, ...] = tuple(ConfiguredArm(name=arm.name) for arm in TrainSettings().arms)
    """The students to train, each with its schedule."""
    seeds: Annotated[int, Ge(1), Le(100)] = 1
    """[students of an arm] Train each arm so many times: from the run's `seed`, `seed` + 1, and so on, as `NAME`,
    `NAME-2` and so on. The report compares means over them."""
    at_once: int | str = 1
    """[students] Train so many at a time, each in processes of its own with its share of the threads; `auto`: one for
    each GPU, or without GPUs one for each core, as far as memory goes. Of a study so many cells."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        if self.at_once != "auto" and (isinstance(self.at_once, str) or not 1 <= self.at_once <= 1024):
            raise ValueError("at_once: a number from 1 to 1024, or auto")
        self._check_soft_labels()
        names = {arm.name for arm in self.arms}
        for name in sorted(names):
            arm, _, number = name.rpartition("-")
            if arm in names and re.fullmatch("[1-9][0-9]*", number) and 2 <= int(number) <= self.students_of(arm):
                raise ValueError(f"arms: student {number} of {arm} is called {name}, and so is an arm. Rename that arm")
            folder_name(student_name(name, self.students_of(name)))

    def of(self, arm: ArmSettings) -> TrainSettings:
        """These settings with what the arm sets itself."""
        return TrainSettings.of(self._with_losses_told() if arm.gce_q or arm.mask_errors else self, arm)

    def _with_losses_told(self) -> SeededTrainSettings:
        """With the section's losses as every arm's own, so that what one arm sets for itself is no other's."""
        told = {name: getattr(self, name) for name in ("gce_q", "mask_errors")}
        arms = [
            replace(arm, **{name: value for name, value in told.items() if getattr(arm, name) is None})
            for arm in self.arms
        ]
        return replace(self, arms=tuple(arms))

    def _check_soft_labels(self) -> None:
        for arm in self.arms:
            gce_q = self.gce_q if arm.gce_q is None else arm.gce_q
            mask_errors = self.mask_errors if arm.mask_errors is None else arm.mask_errors
            if arm.soft_labels and (gce_q or mask_errors):
                raise ValueError(
                    f"arms: {arm.name} learns soft_labels, which say how sure each label is; gce_q and mask_errors are "
                    "for labels that do not: set both to 0 for it"
                )

    def students_of(self, arm: str) -> int:
        """How many students an arm has: one from each seed, and more if more of them are to label together."""
        return self._students_of(arm, ())

    def _students_of(self, arm: str, path: tuple[str, ...]) -> int:
        """`path` are the arms that ask, so that one that needs itself, which `ordered` refuses, ends the search."""
        users = [user for user in self.arms if arm in user.needs and user.name not in path]
        asked = [
            self._students_of(user.name, (*path, arm)) if user.labellers is None else user.labellers for user in users
        ]
        return max(self.seeds, *asked, 1)

    @property
    def students(self) -> tuple[SeededArm, ...]:
        """All students of all arms: arm by arm as the configuration has them, each arm's by their numbers."""
        return tuple(_student(arm, n) for arm in self.arms for n in range(1, self.students_of(arm.name) + 1))

    @property
    def ordered_students(self) -> tuple[SeededArm, ...]:
        """The same in the order in which they are trained: all arms from the first seed, then from the next, and each
        student behind those that it needs.

        Raises ConfigError as `ordered` does.
        """
        places = {arm.name: place for place, arm in enumerate(self.ordered)}
        return _with_needs(sorted(self.students, key=lambda each: (each.number, places[each.arm])), self.students)

    def students_before(self, student: SeededArm) -> tuple[SeededArm, ...]:
        """The students that this one needs, and those that they need, as `before` has them of arms."""
        return _with_needs([student], self.students)[:-1]


def _with_needs(wanted: Sequence[SeededArm], students: Sequence[SeededArm]) -> tuple[SeededArm, ...]:
    """Those that are wanted, each behind those that it needs. None needs itself, by whatever way."""
    known, placed = {student.name: student for student in students}, dict[str, SeededArm]()

    def place(student: SeededArm) -> None:
        if student.name not in placed:
            for name in student.needs:
                place(known[name])
            placed[student.name] = student

    for student in wanted:
        place(student)
    return tuple(placed.values())


def _student(arm: ConfiguredArm, number: int) -> SeededArm:
    changed: dict[str, Any] = {setting.name: getattr(arm, setting.name) for setting in fields(ArmSettings)}
    changed["name"] = student_name(arm.name, number)
    changed["average"] = tuple(student_name(name, number) for name in arm.average)
    if arm.labellers is not None:
        changed["labelled_by_all"] = tuple(student_name(arm.labelled_by, n) for n in range(1, arm.labellers + 1))
    else:
        changed["labelled_by"] = arm.labelled_by and student_name(arm.labelled_by, number)
        changed["labelled_by_all"] = (changed["labelled_by"],) if arm.soft_labels else ()
    if number > 1 and not arm.average:  # an arm without a schedule has the one that its name says
        changed["schedule"] = arm.schedule or arm.name
    return SeededArm(**changed, arm=arm.name, number=number, soft_labels=bool(arm.soft_labels))
