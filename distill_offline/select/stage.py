"""select: the distilled examples that students may learn from, in one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from distill_offline.annotations import AnnotationLine, read_lines, write_lines
from distill_offline.confidence.calibration import UNCHANGED, Calibration
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import SelectSettings
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold, make_task, read_gold, read_labelled, reviewed_texts
from distill_offline.run.sources import labels_digest, source_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.run.unheld import say_shared
from distill_offline.schema import content_digest
from distill_offline.select.calibrate import CALIBRATION, Calibrated, calibrate
from distill_offline.select.cross_fit import cross_fit, is_cross_fitted
from distill_offline.select.distilled import distilled_lines
from distill_offline.select.effect import Effect, effect_on_gold, effect_on_truth
from distill_offline.select.idle import without_effect
from distill_offline.select.rules import select as keep
from distill_offline.select.teacher_confidence import confidence_of
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import ANNOTATIONS, read_rows, write_rows, write_text

__all__ = ["REPORT", "is_selected", "select", "selection_report"]

REPORT = "report.json"


def select(folder: RunFolder) -> dict[str, int]:
    """The annotations that may be trained on: annotate's, and those that corpus.distilled brings.

    Gives the counts of the manifest. select/report.json has them too, and what the selection does to the labels where
    gold says how good they are. With select.cross_fit, that stage is run first where it has to be.
    """
    settings, chosen = folder.settings, folder.settings.select
    if chosen.cross_fit is not None:
        cross_fit(folder)
    labels = _Labels.of(folder)
    stage = labels.stage()
    if stage.is_fresh():
        stage.relink()
        folder.say("select: up to date")
        return stage.sealed_counts()
    target, gold, counts = stage.begin(), read_gold(settings), Counter[str]()
    say_shared(folder, gold.dev, gold.test)
    calibrated = calibrate(settings, gold, labels.on_gold, folder.say) if labels.from_teacher else None
    (target / CALIBRATION).unlink(missing_ok=True)
    if calibrated is not None:
        write_text(target / CALIBRATION, json.dumps(calibrated.as_dict()) + "\n")
    counters = iter([counts])  # the lines are read several times, what is odd in them is counted once
    held_out = [example.sentence.text for example in (*gold.dev, *gold.test)]
    lines = partial(_without_reviewed, labels, calibrated, reviewed_texts(settings))
    for setting in without_effect(lines(None), chosen, has_teacher=labels.from_teacher is not None):
        folder.warn(f"select.{setting}")
    kept = keep(lambda: lines(next(counters, None)), chosen, held_out, counts, seed=settings.seed)
    write_lines(target / ANNOTATIONS, kept)
    selected = {key: counts[key] for key in sorted(counts)}
    in_words = ", ".join(f"{n} {reason}" for reason, n in selected.items())
    folder.say(f"select: {in_words}")
    effects = _effects(labels, calibrated, gold, counts)
    write_rows(target / REPORT, [{"counts": selected, "effect": [effect.as_dict() for effect in effects]}])
    stage.seal(selected)
    return selected


def is_selected(folder: RunFolder) -> bool:
    """Whether select/ stands for the configuration and the annotations as they are now; changes nothing."""
    if folder.settings.select.cross_fit is not None and not is_cross_fitted(folder):
        return False
    try:
        return _Labels.of(folder).stage().is_fresh()
    except InputError:  # what comes before has not been run to its end
        return False


def selection_report(folder: RunFolder) -> dict[str, Any]:
    """What select/report.json says: `counts`, and `effect`, a list of the labels' scores before and after."""
    return next(read_rows(folder.whole("select") / REPORT))


@dataclass(frozen=True, slots=True)
class _Labels:
    """The distilled labels of a run, and the files that they stand in."""

    folder: RunFolder
    from_teacher: Path | None
    cross_fitted: Path | None

    @classmethod
    def of(cls, folder: RunFolder) -> _Labels:
        teacher = folder.whole("annotate") / ANNOTATIONS if folder.settings.asks_a_teacher else None
        crossed = folder.whole("cross_fit") / ANNOTATIONS if folder.settings.select.cross_fit is not None else None
        return cls(folder, teacher, crossed)

    @property
    def has_gold(self) -> bool:
        """Whether the teacher labelled gold training sentences; their file may be older than annotate.gold is."""
        asked_for = self.from_teacher is not None and "train" in self.folder.settings.annotate.gold
        return asked_for and self.on_gold.is_file()

    @property
    def on_gold(self) -> Path:
        """The teacher's labels for the gold training sentences, where it was asked for them."""
        return self.folder.folder("annotate") / "gold" / "train" / ANNOTATIONS

    def stage(self) -> Stage:
        settings = self.folder.settings
        corpus, chosen = settings.corpus, settings.select
        files = [path for path in (self.from_teacher, self.cross_fitted) if path is not None]
        on_gold = [self.on_gold] if self.has_gold else []
        return Stage(
            self.folder,
            "select",
            decides={
                "annotations": list(file_digests(files).values()),
                "on_gold": list(file_digests(on_gold).values()),
                "distilled": source_digest(corpus.distilled, corpus),
                # train decides what dev and test are not, and what calibration learns from
                "held_out": labels_digest(settings, *(("train",) if on_gold else ()), "dev", "test"),
                "truth": source_digest(chosen.truth, corpus),
                **({"reviewed": source_digest(corpus.original.reviewed, corpus)} if corpus.original.reviewed else {}),
                "settings": _plain(chosen),
                "seed": settings.seed if chosen.budget is not None else None,
            },
            inputs=source_paths(
                corpus.distilled,
                corpus.original.train if on_gold else None,
                corpus.original.dev,
                corpus.original.test,
                corpus.original.reviewed,
                chosen.truth,
            ),
            parents=[path.parent for path in files],
        )

    def lines(self, calibrated: Calibrated | None, counts: Counter[str] | None) -> Iterator[AnnotationLine]:
        """All lines, read anew; the teacher's own confidences as probabilities. `counts` gains `stray_tags`."""
        crossed, head = self.cross_fitted, make_task(self.folder.settings).head
        lines = read_lines(crossed, head) if crossed else distilled_lines(self.folder, counts)
        way = self.folder.settings.select.confidence_from
        if self.from_teacher is None or (calibrated is None and way == "answer"):
            yield from lines
            return
        calibration = UNCHANGED if calibrated is None else calibrated.calibration
        # The teacher's lines come first, and cross-fitting gives confidences only to spans that it left without.
        for teacher_line, line in zip(read_lines(self.from_teacher, head), lines, strict=False):
            yield self._calibrated(teacher_line, line, calibration, counts)
        yield from lines

    def _calibrated(
        self, teacher_line: AnnotationLine, line: AnnotationLine, calibration: Calibration, counts: Counter[str] | None
    ) -> AnnotationLine:
        crossing, way = self.folder.settings.select.cross_fit, self.folder.settings.select.confidence_from
        if crossing is not None and crossing.overrule:
            return line
        spans = []
        for teacher_span, span in zip(teacher_line.spans, line.spans, strict=True):
            score = confidence_of(teacher_span, way)
            if score is None and teacher_span.confidence is None:
                spans.append(span)  # what cross-fitting gave, if it did
                continue
            if score is None and counts is not None:
                counts["spans_unverified"] += 1
            spans.append(replace(span, confidence=None if score is None else calibration(score)))
        return replace(line, spans=tuple(spans))


def _without_reviewed(
    labels: _Labels, calibrated: Calibrated | None, reviewed: frozenset[str], counts: Counter[str] | None
) -> Iterator[AnnotationLine]:
    """All lines but those of texts that people reviewed; `counts` gains `reviewed`."""
    for line in labels.lines(calibrated, counts):
        if reviewed and content_digest(line.sentence) in reviewed:
            if counts is not None:
                counts["reviewed"] += 1
            continue
        yield line


def _effects(labels: _Labels, calibrated: Calibrated | None, gold: Gold, counts: Counter[str]) -> list[Effect]:
    settings, chosen, task = labels.folder.settings, labels.folder.settings.select, make_task(labels.folder.settings)
    effects: list[Effect | None] = []
    # What students of other folds say is not known of the gold sentences: the rules cannot be tried there.
    if labels.has_gold and chosen.cross_fit is None:
        share = counts["kept"] / max(1, counts["kept"] + counts["over_budget"])
        effects.append(
            effect_on_gold(task.metric, task.head, labels.on_gold, gold, chosen, calibrated, share, settings.seed)
        )
    if chosen.truth is not None:
        truth = read_labelled(settings, chosen.truth, origin="original")
        kept = read_lines(labels.folder.folder("select") / ANNOTATIONS, task.head)
        lines = partial(labels.lines, calibrated, None)
        effects.append(effect_on_truth(task.metric, task.head, lines, kept, truth))
    return [effect for effect in effects if effect is not None]


def _plain(settings: SelectSettings) -> dict[str, Any]:
    """JSON of the settings, for the fingerprint: what a source could not say before is there only where it is set."""
    plain: dict[str, Any] = as_plain(settings)
    if plain["confidence_from"] == "answer":
        del plain["confidence_from"]
    if isinstance(plain["truth"], dict) and plain["truth"]["format"] is None:
        del plain["truth"]["format"]
    return plain
