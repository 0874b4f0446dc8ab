"""Metrics by name, each called strictly: exact-match entity F1 by seqeval; accuracy and macro-F1 for classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from distill_offline.errors import ConfigError
from distill_offline.registry import load, spelled, theirs
from distill_offline.schema import Report, Scores
from distill_offline.scoring.mistakes import KINDS, mistakes
from distill_offline.spans.bio import decode_bio

__all__ = [
    "METRICS",
    "Measured",
    "accuracy",
    "check_metric",
    "quick_f1",
    "score",
]

Labels = Sequence[Sequence[str]]

_NO_CLASS = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a metric finds: scores, overall and per type, and counts of errors and of whatever else it can count.

    `averages` are other ways of taking the overall scores together, by name.
    """

    overall: Scores
    per_type: Mapping[str, Scores]
    errors: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    averages: Mapping[str, Scores] = field(default_factory=dict)


class Metric(Protocol):
    """`(gold, predicted) → Measured`; both are a sequence of label sequences, as long as each other.

    Raises ValueError if labels of a sentence are too many or too few.
    """

    def __call__(self, gold: Labels, predicted: Labels) -> Measured: ...


def score(metric: str, gold: Labels, predicted: Labels, *, on: str = "") -> Report:
    """How good `predicted` is on `gold`, by the metric of that name: entity_f1, macro_f1, or one from outside.

    `gold` and `predicted` have a sequence of labels a sentence; `on` is the gold set's digest, for the report.
    Raises ValueError if shapes differ, and bio.InvalidTags, which is one, where entity tags are not valid IOB2.
    """
    measured = _measured(metric, gold, predicted)
    counts = {"sentences": len(gold), **measured.counts}
    return Report(on, measured.overall, measured.per_type, measured.errors, counts, measured.averages)


def check_metric(metric: str) -> None:
    """Raises ConfigError if a task names a metric that is none."""
    if not callable(load("metric", metric, METRICS, group="metrics")):
        raise ConfigError(f"metric: {metric} is not a function (gold, predicted) → Measured.")


def _measured(metric: str, gold: Labels, predicted: Labels) -> Measured:
    measure = load("metric", metric, METRICS, group="metrics")
    if metric in METRICS:
        measured: Measured = measure(gold, predicted)
        return measured
    with theirs("metric", spelled(metric, "metrics")):
        measured = measure(gold, predicted)
    if not isinstance(measured, Measured):
        raise ConfigError(f"metric: {metric} must give a scoring.Measured.")
    return measured


def quick_f1(metric: str, gold: Labels, predicted: Labels) -> float:
    """`score(...).overall.f1` alone; about thirty times as fast for entities, where seqeval is not asked."""
    if metric != "entity_f1":
        return score(metric, gold, predicted, on="").overall.f1
    true = predicted_entities = right = 0
    for a, b in zip(gold, predicted, strict=True):
        if len(a) != len(b):
            raise ValueError(f"{len(a)} gold labels and {len(b)} predicted ones for one sentence")
        wanted, labelled = set(decode_bio(a)), set(decode_bio(b))
        true, predicted_entities, right = (
            true + len(wanted),
            predicted_entities + len(labelled),
            right + len(wanted & labelled),
        )
    precision, recall = right / (predicted_entities or 1), right / (true or 1)
    return 2 * precision * recall / (precision + recall) if right else 0.0


def accuracy(counts: Mapping[str, int]) -> float | None:
    """The share of sentences with the right class, of a Report's counts; None if the metric counts no classes."""
    return counts["correct"] / max(1, counts["sentences"]) if "correct" in counts else None


def entity_f1(gold: Labels, predicted: Labels) -> Measured:
    """Micro-averaged exact-match precision, recall and F1: seqeval, mode="strict", scheme=IOB2.

    seqeval strips hyphens from types and calls its averages like types that somebody may have: it is given numbers.
    """
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    _check_shapes(gold, predicted)
    errors = _errors(gold, predicted)  # first: it refuses what is no valid IOB2
    counts = {"tokens": sum(map(len, gold))}
    names = sorted({label[2:] for labels in (*gold, *predicted) for label in labels} - {""})
    if not names:
        return Measured(Scores(0.0, 0.0, 0.0, 0), {}, errors, counts)
    number = {name: f"{position:06}" for position, name in enumerate(names)}
    a, b = (
        [[label[:2] + number.get(label[2:], "") for label in labels] for labels in side] for side in (gold, predicted)
    )
    # A type that is never predicted, or never there, has an undefined ratio: it counts as 0, without a warning.
    table = classification_report(a, b, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    rows = {
        row: Scores(float(of["precision"]), float(of["recall"]), float(of["f1-score"]), int(of["support"]))
        for row, of in table.items()
    }
    return Measured(rows["micro avg"], {name: rows[number[name]] for name in names}, errors, counts)


def macro_f1(gold: Labels, predicted: Labels) -> Measured:
    """Macro-averaged precision, recall and F1 over classes (scikit-learn); one label a sentence.

    The classes are those that occur in gold or prediction. `counts` has `correct`: the numerator of the accuracy.
    """
    from sklearn.metrics import precision_recall_fscore_support as measure

    _check_shapes(gold, predicted)
    a, b = [labels[0] for labels in gold], [labels[0] for labels in predicted]
    counts = {"correct": sum(x == y for x, y in zip(a, b, strict=True))}
    names = sorted({*a, *b} - {_NO_CLASS})
    if not names:
        return Measured(Scores(0.0, 0.0, 0.0, 0), {}, counts=counts)
    overall = measure(a, b, labels=names, average="macro", zero_division=0)
    rows = measure(a, b, labels=names, average=None, zero_division=0)
    per_type = {
        n: Scores(float(rows[0][i]), float(rows[1][i]), float(rows[2][i]), int(rows[3][i])) for i, n in enumerate(names)
    }
    return Measured(Scores(float(overall[0]), float(overall[1]), float(overall[2]), len(a)), per_type, counts=counts)


def label_set_f1(gold: Labels, predicted: Labels) -> Measured:
    """Macro-averaged precision, recall and F1 over classes of which a sentence has any number (scikit-learn).

    The classes are those that occur in gold or prediction; `averages` has `micro`, over all single decisions. `counts`
    has `correct`: the sentences with exactly gold's classes, the numerator of the subset accuracy.
    """
    from sklearn.metrics import precision_recall_fscore_support as measure

    sets = [(frozenset(a), frozenset(b)) for a, b in zip(gold, predicted, strict=True)]
    counts = {"correct": sum(a == b for a, b in sets)}
    names = sorted({name for pair in sets for side in pair for name in side})
    if not names:
        nothing = Scores(0.0, 0.0, 0.0, 0)
        return Measured(nothing, {}, counts=counts, averages={"micro": nothing})
    a, b = ([[int(name in pair[side]) for name in names] for pair in sets] for side in (0, 1))
    rows = measure(a, b, average=None, zero_division=0)
    per_type = {
        n: Scores(float(rows[0][i]), float(rows[1][i]), float(rows[2][i]), int(rows[3][i])) for i, n in enumerate(names)
    }
    support = sum(scores.support for scores in per_type.values())
    averages = {}
    for how in ("macro", "micro"):
        precision, recall, f1, _ = measure(a, b, average=how, zero_division=0)
        averages[how] = Scores(float(precision), float(recall), float(f1), support)
    return Measured(averages["macro"], per_type, counts=counts, averages={"micro": averages["micro"]})


METRICS = {
    "entity_f1": "distill_offline.scoring.metrics:entity_f1",
    "macro_f1": "distill_offline.scoring.metrics:macro_f1",
    "label_set_f1": "distill_offline.scoring.metrics:label_set_f1",
}


def _check_shapes(gold: Labels, predicted: Labels) -> None:
    for number, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"sentence {number}: {len(a)} gold labels and {len(b)} predicted ones")


def _errors(gold: Labels, predicted: Labels) -> dict[str, int]:
    """Kinds of error over entities: wrong_type (right place), wrong_boundary (overlapping), missed, spurious.

    Each gold entity and each predicted one is counted once at most; an overlapping pair counts as one error.
    """
    counts = Counter(dict.fromkeys(KINDS, 0))
    for a, b in zip(gold, predicted, strict=True):
        true, predicted_entities = (
            {(span.start, span.end, span.type) for span in decode_bio(labels)} for labels in (a, b)
        )
        counts.update(mistake.kind for mistake in mistakes(true, predicted_entities))
    return dict(counts)
