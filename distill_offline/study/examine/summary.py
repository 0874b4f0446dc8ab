"""What the examined cells say together: means over the seeds of an arm, and the caveats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill_offline.confidence.reliability import ConfidenceBins, added
from distill_offline.study.examine.rows import Examined, Point
from distill_offline.study.examine.teacher_errors import FATES, TeacherErrors
from distill_offline.study.grid import METHODS_BEFORE, Study
from distill_offline.study.summary import Group

__all__ = ["ALL", "NOTHING", "ArmExamined", "Calibrated", "ErrorFates", "Explanation", "summarise_examined"]

ALL = "all"  # kinds of error together


@dataclass(frozen=True, slots=True)
class ErrorFates:
    """What becomes of one kind of the teacher's errors: `count` of a seed's, and shares of them; all are means."""

    count: float
    repeated: float
    replaced: float
    corrected: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Means over seeds, and `pooled`, the bins of all of them together, from which a curve is drawn."""

    answers: float
    right: float
    confidence: float
    ece: float
    brier: float
    pooled: ConfidenceBins


@dataclass(frozen=True, slots=True)
class ArmExamined:
    """An arm as seen in its seeds. `errors` are by kind, ALL first; empty without a reference, as `right` is None.

    `right` counts places in which the teacher is right, `lost` is the share of them in which the student is not;
    `invented` counts the student's own entities where neither the teacher nor gold has any.
    """

    group: Group
    seeds: tuple[int, ...]
    schedule: tuple[tuple[int, float], ...]
    curve: tuple[Point, ...]
    errors: dict[str, ErrorFates]
    right: float | None
    lost: float | None
    invented: float | None
    calibration: Calibrated


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that tables and plots show of what was seen."""

    name: str
    arms: tuple[ArmExamined, ...]
    notes: tuple[str, ...]


NOTHING = Explanation("", (), ())


def summarise_examined(study: Study, examined: Iterable[Examined]) -> Explanation:
    """The examined cells of a study by arm; of several lines of one cell the last one counts."""
    latest = {examination.cell: examination for examination in examined}
    groups: dict[Group, dict[int, Examined]] = {}
    for cell in study.cells:
        last_examination = latest.get(cell.name)
        if last_examination is not None:
            groups.setdefault(Group(cell.size, cell.variant, cell.arm.name), {})[cell.seed] = last_examination
    variants, sizes = list(study.plan.variants), study.plan.sizes
    ordered = sorted(groups, key=lambda group: (sizes.index(group.size), variants.index(group.variant)))
    shown = [arm for group in ordered for arm in groups[group].values()]
    return Explanation(
        study.settings.name, tuple(_arm(group, groups[group]) for group in ordered), _notes(study, shown)
    )


def _arm(group: Group, cells: dict[int, Examined]) -> ArmExamined:
    listed = list(cells.values())
    errors = [examination.errors for examination in listed if examination.errors is not None]
    right = [fates.kept + fates.lost for fates in errors]
    return ArmExamined(
        group=group,
        seeds=tuple(cells),
        schedule=listed[0].schedule,
        curve=tuple(
            _point([point for examination in listed for point in examination.curve if point.update == update])
            for update in sorted({point.update for examination in listed for point in examination.curve})
        ),
        errors=_fates(errors),
        right=_mean(right) if errors else None,
        lost=_mean([fates.lost / (all_right or 1) for fates, all_right in zip(errors, right, strict=True)])
        if errors
        else None,
        invented=_mean([fates.invented for fates in errors]) if errors else None,
        calibration=_calibrated([examination.calibration for examination in listed]),
    )


def _point(points: Sequence[Point]) -> Point:
    return Point(
        points[0].update,
        *(
            _mean_of_known([getattr(point, name) for point in points])
            for name in ("agreement", "gold", "held_out", "p")
        ),
    )


def _fates(errors: Sequence[TeacherErrors]) -> dict[str, ErrorFates]:
    if not errors:
        return {}
    counted = [{ALL: _added(fates), **fates.kinds} for fates in errors]
    shares_by_kind = {}
    for kind in counted[0]:
        counts = [sum(fates[kind].values()) for fates in counted]
        shares = {  # of the seeds that have such an error
            fate: _mean(
                [
                    fates_of_seed[kind][fate] / count
                    for fates_of_seed, count in zip(counted, counts, strict=True)
                    if count
                ]
                or [0]
            )
            for fate in FATES
        }
        shares_by_kind[kind] = ErrorFates(_mean(counts), **shares)
    return shares_by_kind


def _added(errors: TeacherErrors) -> dict[str, int]:
    return {fate: sum(kind[fate] for kind in errors.kinds.values()) for fate in FATES}


def _calibrated(parts: Sequence[ConfidenceBins]) -> Calibrated:
    return Calibrated(
        answers=_mean([part.answers for part in parts]),
        right=_mean([part.right for part in parts]),
        confidence=_mean([part.confidence for part in parts]),
        ece=_mean([part.ece for part in parts]),
        brier=_mean([part.brier for part in parts]),
        pooled=added(parts),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None


def _notes(study: Study, shown: Sequence[Examined]) -> tuple[str, ...]:
    if not shown:
        return ()
    wanted = sum(map(study.is_examined, study.cells))
    seeds = ", ".join(map(str, sorted({examination.seed for examination in shown})))
    sample, held_out = (max(examination.sentences[name] for examination in shown) for name in ("distilled", "held_out"))
    notes = [
        f"Examined: {len(shown)} cells (seeds {seeds}); all numbers are means over seeds, without intervals.",
        f"Curves: F1 of the student after so many updates, on {sample} sentences of its distilled pool (against the "
        f"distilled labels, and against gold) and on {held_out} of the {study.settings.evaluate.split} split. The "
        "shaded area is p(t). What comes after the curves is of the finished student, with the weights that dev chose.",
        "Confidence of an entity: its probability among all valid tags of its sentence, over the whole split. "
        "Entities that the student misses have none. ECE is over 20 bins of equal width.",
    ]
    if any(examination.errors is not None for examination in shown):
        pool, without = (max(_count(examination, name) for examination in shown) for name in ("pool", "without"))
        notes.insert(
            2,
            f"The teacher's errors are those of the up to {pool} distilled sentences whose gold the reference has; up "
            f"to {without} have none there, or several. A student repeats an error where it says what the teacher says "
            "of the tokens concerned, corrects it where it says what gold says, else replaces it by another. That gold "
            "is looked at afterwards; nothing is trained or chosen by it.",
        )
    if before := sum(examination.method in map(str, METHODS_BEFORE) for examination in shown):
        notes.append(
            f"{before} of them were examined by method 1 or 2: their tags were each token's likeliest, and an entity's "
            "confidence the geometric mean of its tokens' probabilities and of its end."
        )
    if len(shown) < wanted:
        notes.append(f"Unfinished: {len(shown)} of {wanted} cells are examined.")
    if changed := sum(examination.is_the_rows is False for examination in shown):
        notes.append(
            f"{changed} of the examined students score otherwise than their rows (other versions, threads or method)."
        )
    return tuple(notes)


def _count(examination: Examined, name: str) -> int:
    without = examination.sentences["unmatched"] + examination.sentences["ambiguous"]
    return without if name == "without" else examination.sentences["pool"] - without
