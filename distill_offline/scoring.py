"""Metrics by name, each called strictly: exact-match entity F1 by seqeval; accuracy and macro-F1 for classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from distill_offline.bio import decode_bio
from distill_offline.registry import load
from distill_offline.schema import Report, Scores

__all__ = ["METRICS", "score"]

Labels = Sequence[Sequence[str]]


class Metric(Protocol):
    """`(gold, predicted) → (overall, per type)`; both are a sequence of label sequences, equal in shape."""

    def __call__(self, gold: Labels, predicted: Labels) -> tuple[Scores, dict[str, Scores]]: ...


def score(metric: str, gold: Labels, predicted: Labels, *, on: str) -> Report:
    """How good `predicted` is on `gold`, by the metric of that name.

    Raises ValueError where shapes differ, and bio.InvalidTags, which is one, where entity tags are not valid IOB2.
    """
    for number, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"sentence {number}: {len(a)} gold labels and {len(b)} predicted ones")
    errors = _errors(gold, predicted) if metric == "entity_f1" else {}  # first: it refuses what is no valid IOB2
    overall, per_type = load("metric", metric, METRICS)(gold, predicted)
    counts = {"sentences": len(gold), "tokens": sum(map(len, gold))}
    return Report(on, overall, per_type, errors, counts)


def entity_f1(gold: Labels, predicted: Labels) -> tuple[Scores, dict[str, Scores]]:
    """Micro-averaged exact-match precision, recall and F1: seqeval, mode="strict", scheme=IOB2."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    a, b = [list(labels) for labels in gold], [list(labels) for labels in predicted]
    if all(label == "O" for labels in (*a, *b) for label in labels):
        return Scores(0.0, 0.0, 0.0, 0), {}
    # A type that is never predicted, or never there, has an undefined ratio: it counts as 0, without a warning.
    table = classification_report(a, b, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    rows = {
        name: Scores(float(row["precision"]), float(row["recall"]), float(row["f1-score"]), int(row["support"]))
        for name, row in table.items()
    }
    overall = rows.pop("micro avg")
    return overall, {name: rows[name] for name in rows if name not in ("macro avg", "weighted avg")}


def macro_f1(gold: Labels, predicted: Labels) -> tuple[Scores, dict[str, Scores]]:
    """Macro-averaged precision, recall and F1 over classes (scikit-learn); one label a sentence."""
    from sklearn.metrics import precision_recall_fscore_support as measure

    a, b = [labels[0] for labels in gold], [labels[0] for labels in predicted]
    names = sorted({*a, *b})
    if not names:
        return Scores(0.0, 0.0, 0.0, 0), {}
    overall = measure(a, b, labels=names, average="macro", zero_division=0)
    rows = measure(a, b, labels=names, average=None, zero_division=0)
    per_type = {
        n: Scores(float(rows[0][i]), float(rows[1][i]), float(rows[2][i]), int(rows[3][i])) for i, n in enumerate(names)
    }
    return Scores(float(overall[0]), float(overall[1]), float(overall[2]), len(a)), per_type


METRICS = {
    "entity_f1": "distill_offline.scoring:entity_f1",
    "macro_f1": "distill_offline.scoring:macro_f1",
}


def _errors(gold: Labels, predicted: Labels) -> dict[str, int]:
    """Kinds of error over entities: wrong_type (right place), wrong_boundary (overlapping), missed, spurious.

    Each gold entity and each predicted one is counted once at most; an overlapping pair counts as one error.
    """
    counts = Counter({"wrong_type": 0, "wrong_boundary": 0, "missed": 0, "spurious": 0})
    for a, b in zip(gold, predicted, strict=True):
        true = {(s.start, s.end, s.type) for s in decode_bio(a)}
        found = {(s.start, s.end, s.type) for s in decode_bio(b)}
        left, wrong = sorted(true - found), sorted(found - true)
        for kind, matches in (("wrong_type", _same_place), ("wrong_boundary", _overlap)):
            for entity in list(left):
                partner = next((other for other in wrong if matches(entity, other)), None)
                if partner is not None:
                    counts[kind] += 1
                    left.remove(entity)
                    wrong.remove(partner)
        counts["missed"] += len(left)
        counts["spurious"] += len(wrong)
    return dict(counts)


_Entity = tuple[int, int, str]


def _same_place(a: _Entity, b: _Entity) -> bool:
    return a[:2] == b[:2]


def _overlap(a: _Entity, b: _Entity) -> bool:
    return a[0] < b[1] and b[0] < a[1]
