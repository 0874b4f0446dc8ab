"""What a teacher's spans are worth: kinds of error by nervaluate, by type, alignment kind and confidence."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from distill_offline.confidence.calibration import Calibration
from distill_offline.confidence.reliability import Reliability, reliability
from distill_offline.schema import Span

__all__ = ["Kinds", "Quality", "quality"]

Spans = Sequence[Sequence[Span]]
_Key = TypeVar("_Key", str, int)

_WAYS = ("strict", "exact", "partial", "ent_type")
_MEASURES = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class Kinds:
    """How many spans are right, and what the others are: each span is one of the first four.

    `wrong_type` has a gold entity's very place, `wrong_boundary` overlaps one, `spurious` does neither. A `missed` gold
    entity is one that no span is paired with.
    """

    correct: int = 0
    wrong_type: int = 0
    wrong_boundary: int = 0
    spurious: int = 0
    missed: int = 0

    @property
    def spans(self) -> int:
        return self.correct + self.wrong_type + self.wrong_boundary + self.spurious

    @property
    def precision(self) -> float | None:
        """The share of spans that are right, if there are any."""
        return self.correct / self.spans if self.spans else None

    def as_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"spans": self.spans, "precision": self.precision, **counts}


@dataclass(frozen=True, slots=True)
class Quality:
    """Spans compared with gold ones.

    `matches`: precision, recall and F1 by nervaluate's four ways of counting a hit: `strict` (place and type), `exact`
    (place), `partial` (an overlap counts half), `ent_type` (type and an overlap). `by_type` counts a span under its own
    type, and a missed entity under gold's. `by_confidence` goes with `reliability.bins`, in order; the spans that
    `without_confidence` counts are in none of them. Nothing is missed by alignment kind or by confidence. `calibrated`
    is the reliability of what a calibration makes of the confidences, `verify` that of the teacher's yes to the spans
    (annotate.verify).
    """

    overall: Kinds
    matches: Mapping[str, Mapping[str, float]]
    by_type: Mapping[str, Kinds]
    by_alignment: Mapping[str, Kinds]
    by_confidence: Sequence[Kinds]
    reliability: Reliability | None
    without_confidence: int
    calibrated: Reliability | None = None
    verify: Reliability | None = None

    def as_dict(self) -> dict[str, Any]:
        bins = self.reliability.bins if self.reliability else ()
        return {
            "overall": self.overall.as_dict(),
            "matches": {name: dict(scores) for name, scores in self.matches.items()},
            "by_type": {name: kinds.as_dict() for name, kinds in self.by_type.items()},
            "by_alignment": {name: _of_spans(kinds) for name, kinds in self.by_alignment.items()},
            "by_confidence": [
                {"lowest": lowest, "highest": highest, "mean": mean, **_of_spans(kinds)}
                for (lowest, highest, _, mean, _), kinds in zip(bins, self.by_confidence, strict=True)
            ],
            "reliability": self.reliability.as_dict() if self.reliability else None,
            "without_confidence": self.without_confidence,
            **({"calibrated": self.calibrated.as_dict()} if self.calibrated else {}),
            **({"verify": self.verify.as_dict()} if self.verify else {}),
        }


def _of_spans(kinds: Kinds) -> dict[str, Any]:
    return {name: value for name, value in kinds.as_dict().items() if name != "missed"}


def quality(gold: Spans, predicted: Spans, calibration: Calibration | None = None) -> Quality:
    """What the `predicted` spans of each sentence are worth; with a `calibration`, what it would make of them, too.

    Within a sentence neither side's spans may overlap. Raises ValueError if the numbers of sentences differ.
    """
    judged = _judged(gold, predicted)
    scored = [(span.confidence, kind) for span, kind in judged.spans if span.confidence is not None]
    scores, right = [p for p, _ in scored], [kind == "correct" for _, kind in scored]
    reliability_bins = reliability(scores, right) if scored else None
    verified = [(span.verify, kind == "correct") for span, kind in judged.spans if span.verify is not None]
    lowest = [row[0] for row in reliability_bins.bins] if reliability_bins else []
    by_bin = _counted((bisect_right(lowest, confidence) - 1, kind) for confidence, kind in scored)
    return Quality(
        Kinds(**Counter(kind for _, kind in judged.all)),
        judged.matches,
        _counted((span.type, kind) for span, kind in judged.all),
        _counted((span.alignment, kind) for span, kind in judged.spans),
        [by_bin[number] for number in range(len(lowest))],
        reliability_bins,
        len(judged.spans) - len(scored),
        reliability([calibration(p) for p in scores], right) if calibration and scored else None,
        reliability([p for p, _ in verified], [is_right for _, is_right in verified]) if verified else None,
    )


def _counted(pairs: Iterable[tuple[_Key, str]]) -> dict[_Key, Kinds]:
    counts = defaultdict[_Key, Counter[str]](Counter)
    for key, kind in pairs:
        counts[key][kind] += 1
    return {key: Kinds(**counts[key]) for key in sorted(counts)}


@dataclass(frozen=True, slots=True)
class _Judged:
    """nervaluate's word on each span, and on each gold entity that is missed."""

    spans: Sequence[tuple[Span, str]]
    missed: Sequence[Span]
    matches: Mapping[str, Mapping[str, float]]

    @property
    def all(self) -> list[tuple[Span, str]]:
        return [*self.spans, *((span, "missed") for span in self.missed)]


def _judged(gold: Spans, predicted: Spans) -> _Judged:
    from nervaluate import Evaluator

    groups = list(chain.from_iterable(_groups(*pair) for pair in zip(gold, predicted, strict=True)))
    if not groups:
        return _Judged([], [], {way: dict.fromkeys(_MEASURES, 0.0) for way in _WAYS})
    true, predicted_spans = [a for a, _ in groups], [b for _, b in groups]
    types = sorted({span.type for span in chain(*true, *predicted_spans)})
    result = Evaluator(_as_dicts(true), _as_dicts(predicted_spans), tags=types, loader="dict").evaluate()
    strict, exact = result["overall_indices"]["strict"], result["overall_indices"]["exact"]
    kind = dict.fromkeys(strict.correct_indices, "correct") | dict.fromkeys(strict.spurious_indices, "spurious")
    in_place = set(exact.correct_indices)
    kind |= {at: "wrong_type" if at in in_place else "wrong_boundary" for at in strict.incorrect_indices}
    return _Judged(
        [(span, kind[i, j]) for i, spans in enumerate(predicted_spans) for j, span in enumerate(spans)],
        [true[i][j] for i, j in strict.missed_indices],
        {way: {name: float(getattr(result["overall"][way], name)) for name in _MEASURES} for way in _WAYS},
    )


def _groups(gold: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[list[Span], list[Span]]]:
    """A sentence's spans in groups that share no token: nervaluate compares all of a group's spans in pairs."""
    sided = [(span.start, span.end, side, span) for side, spans in enumerate((gold, predicted)) for span in spans]
    groups: list[tuple[list[Span], list[Span]]] = []
    reached = 0
    for start, end, side, span in sorted(sided, key=lambda sided_span: sided_span[:3]):
        if not groups or start >= reached:
            groups.append(([], []))
        groups[-1][side].append(span)
        reached = max(reached, end)
    return groups


def _as_dicts(groups: Spans) -> list[list[dict[str, Any]]]:
    """nervaluate's spans, whose end is inclusive."""
    return [[{"label": span.type, "start": span.start, "end": span.end - 1} for span in spans] for spans in groups]
