"""From a score to a probability: fitted on gold by cross-fitting, and kept as JSON."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from distill_offline.errors import InputError

__all__ = ["UNCHANGED", "Calibration", "Method", "cross_fitted", "fit"]

Method = Literal["isotonic", "platt"]
_LEAST = 1e-6  # scores are kept so far from 0 and 1 where their logarithm is taken
_FEWEST = 20  # right and wrong spans together; fewer fit nothing


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone map from a score (0 to 1) to the probability of being right.

    `isotonic`: `x` and `y` are the corners of a piecewise linear function. `platt`: `x` is (slope, intercept) of a
    logistic function of the score's log-odds. `none` leaves the score as it is. Sources: Zadrozny and Elkan 2002;
    Platt 1999.
    """

    method: Literal["none", "isotonic", "platt"]
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    fitted_on: int = 0

    def __call__(self, score: float) -> float:
        """The probability, 0 to 1."""
        if self.method == "none":
            return score
        if self.method == "platt":
            slope, intercept = self.x
            return 1.0 / (1.0 + math.exp(-min(max(slope * _log_odds(score) + intercept, -40.0), 40.0)))
        right = bisect_right(self.x, score)
        if right == 0:
            return self.y[0]
        if right == len(self.x):
            return self.y[-1]
        (x0, x1), (y0, y1) = self.x[right - 1 : right + 1], self.y[right - 1 : right + 1]
        return y1 if x1 == x0 else y0 + (y1 - y0) * (score - x0) / (x1 - x0)

    def as_dict(self) -> dict[str, Any]:
        return {"method": self.method, "x": list(self.x), "y": list(self.y), "fitted_on": self.fitted_on}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Calibration:
        """Out of `as_dict`'s JSON. Raises InputError if it is none."""
        try:
            made = cls(
                value["method"], tuple(map(float, value["x"])), tuple(map(float, value["y"])), value["fitted_on"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a calibration ({type(error).__name__}: {error}).") from error
        is_platt = made.method == "platt" and len(made.x) == 2 and made.x[0] >= 0
        is_isotonic = made.method == "isotonic" and 0 < len(made.x) == len(made.y)
        is_isotonic = is_isotonic and _never_falls(made.x) and _never_falls((0.0, *made.y, 1.0))
        fits = is_platt or is_isotonic or (made.method == "none" and not made.x and not made.y)
        if not fits or not all(map(math.isfinite, (*made.x, *made.y))):
            raise InputError("this is not a calibration: x and y do not fit the method.")
        return made


UNCHANGED = Calibration("none")


def fit(scores: Sequence[float], is_right: Sequence[bool], method: Method = "isotonic") -> Calibration:
    """The map that fits best. Raises InputError for fewer than 20 spans, or where all are right or all wrong."""
    if not _is_enough(is_right):
        raise InputError(
            f"calibration: {len(scores)} spans, {sum(is_right)} of them right: at least {_FEWEST} are needed, of both "
            "kinds. Let the teacher label more gold sentences."
        )
    if method == "platt":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1e6, max_iter=1000)
        model.fit([[_log_odds(score)] for score in scores], list(is_right))
        slope, intercept = float(model.coef_[0][0]), float(model.intercept_[0])
        if (
            slope < 0
        ):  # where a low score is right more often, that is chance: nothing is told apart, nothing turned over
            slope, intercept = 0.0, _log_odds(sum(is_right) / len(is_right))
        return Calibration("platt", (slope, intercept), (), len(scores))
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    curve.fit(list(scores), [float(right) for right in is_right])
    x, y = (tuple(float(v) for v in values) for values in (curve.X_thresholds_, curve.y_thresholds_))
    return Calibration("isotonic", x, y, len(scores))


def cross_fitted(
    scores: Sequence[float],
    is_right: Sequence[bool],
    groups: Sequence[str],
    method: Method = "isotonic",
    folds: int = 5,
) -> list[float]:
    """Each span's probability by a map that was fitted without its group (its sentence, say), in order.

    Groups are dealt to folds by their order of appearance. Raises InputError where fit() would for what is left without
    a fold.
    """
    order = {group: number % folds for number, group in enumerate(dict.fromkeys(groups))}
    fold = [order[group] for group in groups]
    calibrated = [0.0] * len(scores)
    for number in sorted(set(fold)):
        inside = [i for i, fold_of_row in enumerate(fold) if fold_of_row != number]
        right = [is_right[i] for i in inside]
        if not _is_enough(right):
            raise InputError(
                f"calibration: {len(scores)} spans, {sum(is_right)} of them right: too few to measure a map by spans "
                f"that it was not fitted on. {len(inside)} are left without one of {folds} parts, {sum(right)} of them "
                f"right: at least {_FEWEST} are needed, of both kinds. Let the teacher label more gold sentences."
            )
        calibration = fit([scores[i] for i in inside], right, method)
        for i in (i for i, fold_of_row in enumerate(fold) if fold_of_row == number):
            calibrated[i] = calibration(scores[i])
    return calibrated


def _is_enough(is_right: Sequence[bool]) -> bool:
    return len(is_right) >= _FEWEST and len(set(is_right)) == 2


def _never_falls(values: Sequence[float]) -> bool:
    return all(a <= b for a, b in pairwise(values))


def _log_odds(score: float) -> float:
    kept = min(max(score, _LEAST), 1.0 - _LEAST)
    return math.log(kept / (1.0 - kept))
