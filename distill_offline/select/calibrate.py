"""calibrate: from a teacher's confidences to probabilities, learnt from its labels for the gold training sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.annotations import read_lines
from distill_offline.confidence.calibration import UNCHANGED, Calibration, cross_fitted, fit
from distill_offline.confidence.reliability import Reliability, reliability
from distill_offline.config.settings import Settings
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.run.gold import Gold, make_task
from distill_offline.schema import Head, Span, content_digest
from distill_offline.select.teacher_confidence import Way, aurocs, confidence_of
from distill_offline.spans.bio import decode_bio

__all__ = ["CALIBRATION", "Calibrated", "calibrate"]

CALIBRATION = "calibration.json"  # in select/: the JSON of Calibrated.as_dict()

_RAW = "select: confidences stay as the teacher gave them"
_TELLING = 0.6  # AUROC; 0.5 is chance


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and how far it helps, measured over `spans` of `sentences` of gold training text.

    `before`: the teacher's own confidences. `after`: each span by a map that was fitted without its sentence, so that
    this is what to expect on new text. `calibration` is fitted on all of them; where `after` has no lower Brier score
    than `before`, it leaves confidences as they are (method `none`). `confidence_from` says which confidence this is,
    and `aurocs` how well each of them tells right from wrong, if the teacher was asked to verify its spans.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    spans: int
    sentences: int
    confidence_from: Way = "answer"
    aurocs: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "calibration": self.calibration.as_dict(),
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "spans": self.spans,
            "sentences": self.sentences,
            **({} if self.confidence_from == "answer" else {"confidence_from": self.confidence_from}),
            **({"aurocs": dict(self.aurocs)} if self.aurocs else {}),
        }

    def in_words(self) -> str:
        """One line."""
        before, after, method = self.before, self.after, self.calibration.method
        done = (
            f"calibrated ({method})" if method != "none" else "left as the teacher gave them: calibration does not help"
        )
        told = "" if before.auroc is None else f"; AUROC {before.auroc:.2f}"
        if before.auroc is not None and before.auroc < _TELLING:
            told += ": they tell right from wrong hardly better than chance"
        if self.aurocs:
            told += (
                f" (AUROC where all are there: {', '.join(f'{way} {value:.2f}' for way, value in self.aurocs.items())})"
            )
        return (
            f"confidences {done}, by {self.spans} spans of {self.sentences} gold training sentences: Brier score "
            f"{before.brier:.3f} before, {after.brier:.3f} after (cross-fitted), expected calibration error "
            f"{before.ece:.3f} and {after.ece:.3f}{told}"
        )


def calibrate(settings: Settings, gold: Gold, annotations: Path, say: Callable[[str], None]) -> Calibrated | None:
    """What turns a teacher's confidences into probabilities, by select.calibration; None if there is nothing to fit.

    `annotations` is annotate/gold/train/annotations.jsonl. A span is right where gold has the very same one. Only
    gold.train is looked at, less what stands in dev or test. `say` is told the result, or why there is none.
    """
    method, head = settings.select.calibration, make_task(settings).head
    if method == "none" or not kind_of(head).per_token:
        return None
    # A file may lie there still from before annotate.gold was changed, of another teacher perhaps.
    if "train" not in settings.annotate.gold or not annotations.is_file():
        say(f"{_RAW}: it has labelled no gold training sentences to learn from (annotate.gold: [train] asks it to).")
        return None
    counts = Counter[str]()
    judged = list(_judged(gold, annotations, head, counts))
    if counts["not_in_train"]:
        say(f"select: {counts['not_in_train']} of its sentences are no gold training sentences (any more): left out.")
    way = settings.select.confidence_from
    rated = [(content, p, right) for content, span, right in judged if (p := confidence_of(span, way)) is not None]
    if not rated:
        say(f"{_RAW}: no span of its {counts['sentences']} gold training sentences has one.")
        return None
    groups, scores, right = (list(column) for column in zip(*rated, strict=True))
    try:
        calibration, fitted = fit(scores, right, method), cross_fitted(scores, right, groups, method)
    except InputError as error:
        say(f"{_RAW}: {error}")
        return None
    before, after = reliability(scores, right), reliability(fitted, right)
    helps = after.brier < before.brier
    known = calibration if helps else UNCHANGED
    told = aurocs((span, is_right) for _, span, is_right in judged)
    calibrated = Calibrated(known, before, after, len(rated), counts["sentences"], way, told)
    say(f"select: {calibrated.in_words()}")
    return calibrated


def _judged(gold: Gold, annotations: Path, head: Head, counts: Counter[str]) -> Iterator[tuple[str, Span, bool]]:
    """Each span: its sentence's content, the span, and whether it is right. What touches a token that gold masks, and
    so says nothing of, is left out."""
    held_out = gold.held_out()
    known = {example.sentence.id: example for example in gold.train}
    for line in read_lines(annotations, head):
        example = known.get(line.sentence.id)
        if example is None or example.sentence.tokens != line.sentence.tokens:
            counts["not_in_train"] += 1
            continue
        content = content_digest(example.sentence)
        if content in held_out:
            counts["not_in_train"] += 1
            continue
        counts["sentences"] += 1
        true = {(span.start, span.end, span.type) for span in decode_bio(example.labels)}
        unknown = set(example.masked)
        for span in line.spans:
            if unknown.isdisjoint(range(span.start, span.end)):
                yield content, span, (span.start, span.end, span.type) in true
