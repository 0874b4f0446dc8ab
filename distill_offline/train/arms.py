"""Which students a run trains, and what can be known to be wrong with their arms before any of them is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache

from distill_offline.config.settings import ArmSettings, SeededTrainSettings, TrainSettings
from distill_offline.errors import ConfigError
from distill_offline.train import blending

__all__ = ["check_arms", "chosen_students", "in_words"]

_MOST_TRANSITIONS = 1000  # a student whose table held larger numbers could not be read


def chosen_students(settings: SeededTrainSettings, names: Sequence[str]) -> list[str]:
    """The students of these names, all those of an arm that is named, and all where nothing is named.

    Raises ConfigError for a name that is no arm's and no student's.
    """
    students = settings.students
    if unknown := set(names) - {name for student in students for name in (student.arm, student.name)}:
        known = ", ".join(dict.fromkeys(student.arm for student in students))
        raise ConfigError(f"train.arms: there is no arm {sorted(unknown)[0]!r}. There are: {known}.")
    return [student.name for student in students if not names or {student.arm, student.name} & set(names)]


def in_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def check_arms(settings: TrainSettings) -> None:
    """Raises ConfigError for all that can be known to be wrong with the arms before any of them is trained."""
    if repeated := [n for n, count in Counter(arm.name for arm in settings.arms).items() if count > 1]:
        raise ConfigError(f"train.arms: the name {repeated[0]!r} occurs there twice.")
    trained = {arm.name for arm in settings.arms if not arm.average}
    for arm in settings.ordered:
        if arm.average:
            _check_average(arm, trained)
        else:
            resolved = settings.of(arm)
            if resolved.transitions > _MOST_TRANSITIONS:
                raise ConfigError(
                    f"train.transitions: {arm.name} has {resolved.transitions:g}, a weight beside which the head's own "
                    f"scores count for nothing (at most {_MOST_TRANSITIONS}). 1 takes the frequencies as they are."
                )
            if arm.labelled_by and (arm.schedule or arm.name) == "original_only":
                raise ConfigError(
                    f"train.arms: {arm.name} is original_only and learns no label of {arm.labelled_by}'s."
                )
            options = tuple(sorted(arm.options.items()))
            _check_schedule(arm.schedule or arm.name, options, resolved.tau, resolved.share, resolved.updates)


def _check_average(arm: ArmSettings, trained: set[str]) -> None:
    for name in arm.average:
        if name not in trained:
            raise ConfigError(f"train.arms: {arm.name} is to average {name!r}, which is not an arm that is trained.")
    own_settings = [field.name for field in fields(arm) if field.name not in ("name", "average")]
    if idle := [name for name in own_settings if getattr(arm, name) not in (None, "", {})]:
        raise ConfigError(f"train.arms: {arm.name} averages other arms and is not trained; take its {idle[0]} away.")


@lru_cache(maxsize=1024)  # a study has the same arms for each of its seeds and sizes
def _check_schedule(
    name: str, options: tuple[tuple[str, float], ...], tau: float, share: float | None, updates: int
) -> None:
    """Raises ConfigError if a schedule fails whatever the pools hold, provided that they hold something."""
    schedule = blending.make_schedule(name, dict(options), tau=tau, n_distilled=1, n_original=1)
    if share is not None:
        schedule = blending.with_share(schedule, share, updates)
    blending.Blend(schedule, 1, 1, updates, 1, 0).check()
