"""cross_fit: confidences for labels that come without, from students that were trained on all folds but theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline.annotations import AnnotationLine, write_lines
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import ArmSettings, CrossFitSettings, TrainSettings
from distill_offline.corpus import tokenisation
from distill_offline.errors import InputError, Interrupted, MissingModel
from distill_offline.label_kinds import Judged
from distill_offline.learning.checkpoint import Checkpoints
from distill_offline.manifest.method import method
from distill_offline.run.encoder import starting_encoder
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold, make_task, read_gold
from distill_offline.run.sources import labels_digest, source_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.schema import Span, content_digest
from distill_offline.select.distilled import distilled_lines
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import ANNOTATIONS, read_rows, remove_folder, write_rows
from distill_offline.student.model import Student
from distill_offline.student.out_of_fold import folds
from distill_offline.tasks.base import Task
from distill_offline.train import loop as training
from distill_offline.train.job import blend_of
from distill_offline.train.stage import decides

__all__ = ["cross_fit", "is_cross_fitted"]

Row = Mapping[str, Any]  # what a fold's student says of a line, as it stands in the fold's file
_FOLDS = "folds"  # finished ones, as long as the stage is not
_DIGITS = 6  # of a probability: more are noise of the hardware


def cross_fit(folder: RunFolder) -> dict[str, int]:
    """Fill cross_fit/annotations.jsonl: all distilled rows, with out-of-fold confidences; gives counts.

    Each row is judged by a student that was trained without its fold. A span's `confidence` is how sure that student is
    of exactly this span (tags.span_confidence), a class's its probability; `missed`, for spans, the probability of an
    entity where the label says O; `students` are the entities that it finds itself, and `no_entity` is for each span
    how sure it is that nothing of it belongs to any. Labels that have a confidence keep it, unless `overrule` is set.
    Dev and test are never trained on. A fold that is finished is kept when the stage is interrupted, the one under way
    by its checkpoints. Raises InputError if there are fewer different sentences than folds.
    """
    settings: CrossFitSettings = folder.require("select.cross_fit", folder.settings.select.cross_fit)
    stage = _stage(folder, settings)
    if stage.is_fresh():
        stage.relink()
        folder.say("cross_fit: up to date")
        return stage.sealed_counts()
    counts = Counter[str]()
    lines = list(distilled_lines(folder, counts))
    target = stage.begin()
    fitting = _Fitting(folder, settings, make_task(folder.settings), read_gold(folder.settings), lines, stage)
    judged = fitting.judge(target / _FOLDS)
    write_lines(target / ANNOTATIONS, (_with(*pair, settings, counts) for pair in zip(lines, judged, strict=True)))
    remove_folder(target / _FOLDS)
    row_counts = {"rows": len(lines), **{key: counts[key] for key in sorted(counts)}}
    folder.say("cross_fit: " + ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in row_counts.items()))
    stage.seal(row_counts)
    return row_counts


def is_cross_fitted(folder: RunFolder) -> bool:
    """Whether cross_fit/ stands for the configuration and the labels as they are now; changes nothing."""
    settings = folder.settings.select.cross_fit
    try:
        return settings is not None and _stage(folder, settings).is_fresh()
    except (InputError, MissingModel):  # what comes before has not been run to its end, or the encoder is not there
        return False


def _stage(folder: RunFolder, settings: CrossFitSettings) -> Stage:
    corpus = folder.settings.corpus
    encoder = starting_encoder(folder)
    annotated = [folder.whole("annotate") / ANNOTATIONS] if folder.settings.asks_a_teacher else []
    return Stage(
        folder,
        "cross_fit",
        decides={
            "annotations": sorted(file_digests(annotated).values()),
            "distilled": source_digest(corpus.distilled, corpus),
            # test, too: what stands there is never trained on
            "original": labels_digest(folder.settings, "train", "dev", "test"),
            "tokens": tokenisation(folder.settings.corpus.language),
            "method": method(),
            "encoder": encoder.digest,
            "task": folder.settings.task.name,
            "settings": as_plain(settings),
            "train": decides(_train_settings(folder.settings.train, settings)),
            "seed": folder.settings.seed,
        },
        inputs=source_paths(
            corpus.distilled,
            corpus.original.train,
            corpus.original.reviewed,
            corpus.original.dev,
            corpus.original.test,
        ),
        models=encoder.models,
        parents=[*(path.parent for path in annotated), *encoder.made_in],
    )


def _train_settings(train: TrainSettings, settings: CrossFitSettings) -> TrainSettings:
    """How the folds' students are trained: plainly, whatever the arms do, in the shape that fits this machine."""
    return TrainSettings(
        encoder=train.encoder,
        capitals=train.capitals,
        arms=(),
        updates=settings.updates,
        batch_size=settings.batch_size or train.batch_size,
        learning_rate=settings.learning_rate or train.learning_rate,
        micro_batch_tokens=train.micro_batch_tokens,
        max_length=train.max_length,
        transitions=train.transitions,
        mixed_precision=train.mixed_precision,
        checkpoint_every=train.checkpoint_every,
    )


@dataclass(frozen=True, slots=True)
class _Fitting:
    """The students' work: each fold's rows judged by one that was trained on the others."""

    folder: RunFolder
    settings: CrossFitSettings
    task: Task
    gold: Gold
    lines: Sequence[AnnotationLine]
    stage: Stage

    def judge(self, work_folder: Path) -> list[Row]:
        """For each line what `_as_row` makes of what its student says."""
        contents = [content_digest(line.sentence) for line in self.lines]
        if not self.lines:
            return []
        if len(set(contents)) < self.settings.folds:
            raise InputError(
                f"select.cross_fit.folds: {self.settings.folds} folds cannot be made of {len(set(contents))} different "
                "sentences. Label more, or set fewer folds."
            )
        fold_of = folds(contents, self.settings.folds, self.folder.settings.seed)
        judged_rows: list[Row] = [{}] * len(self.lines)
        for fold in range(self.settings.folds):
            file = work_folder / f"{self.stage.fingerprint[:16]}-{fold}.jsonl"
            inside = [number for number, fold_of_line in enumerate(fold_of) if fold_of_line == fold]
            if not file.is_file():
                if self.folder.stop():
                    raise Interrupted(f"cross_fit: stopped before fold {fold}. Run the same command again to go on.")
                write_rows(file, self._fold(fold, inside, contents, work_folder))
            for number, row in zip(inside, read_rows(file), strict=True):
                judged_rows[number] = row
        return judged_rows

    def _fold(self, fold: int, inside: Sequence[int], contents: Sequence[str], work_folder: Path) -> Iterator[Row]:
        student = self._student(fold, {contents[number] for number in inside}, contents, work_folder)
        lines = [self.lines[number] for number in inside]
        scored = student.scored([line.sentence for line in lines])
        for judged in student.kind.judged(scored, student.labels, [(line.labels, line.spans) for line in lines]):
            yield _as_row(judged)

    def _student(self, fold: int, left_out: set[str], contents: Sequence[str], work_folder: Path) -> Student:
        """A student of all rows whose content is neither in this fold nor in dev or test."""
        never = left_out | self.gold.held_out()
        distilled = [
            replace(line.example(), weight=1.0)
            for line, content in zip(self.lines, contents, strict=True)
            if content not in never
        ]
        original = self.gold.train if self.settings.with_original else ()
        # What gold says of a sentence would decide what its student says of the teacher's label for it.
        pools = training.Pools(distilled, [e for e in original if content_digest(e.sentence) not in never], ())
        train = _train_settings(self.folder.settings.train, self.settings)
        arm = ArmSettings(name="union" if pools.original else "distilled_only")
        blend = blend_of(arm, train, pools, self.folder.settings.seed)
        training.prepare(self.folder.settings.seed)
        encoder = starting_encoder(self.folder).folder
        student = Student.create(
            encoder, self.task.labels, self.task.head, max_length=train.max_length, capitals=train.capitals
        )
        student.language = self.folder.settings.corpus.language
        checkpoints = Checkpoints(
            work_folder / f"checkpoint-{fold}", f"{self.stage.fingerprint}-{fold}", self.folder.say
        )
        training.train(
            student,
            pools,
            blend,
            train,
            name=f"fold {fold + 1} of {self.settings.folds}",
            metric=self.task.metric,
            watch=self.folder.watch,
            stop=self.folder.stop,
            checkpoints=checkpoints,
        )
        checkpoints.clear()
        return student


def _as_row(judged: Judged) -> Row:
    if judged.confidence is not None:
        return {"confidence": round(judged.confidence, _DIGITS)}
    spans, no_entity = ([round(value, _DIGITS) for value in values] for values in (judged.spans, judged.no_entity))
    said = [[span.start, span.end, span.type, round(span.confidence or 0.0, _DIGITS)] for span in judged.said]
    return {"spans": spans, "no_entity": no_entity, "missed": round(judged.missed or 0.0, _DIGITS), "said": said}


def _with(line: AnnotationLine, judged: Row, settings: CrossFitSettings, counts: Counter[str]) -> AnnotationLine:
    """The line with the confidences that its labels lack."""
    if "confidence" in judged:
        keeps = line.beside.confidence is not None and not settings.overrule
        counts["classes_kept" if keeps else "classes_judged"] += 1
        return line if keeps else replace(line, beside=line.beside.with_(**judged))
    spans = []
    for span, confidence in zip(line.spans, judged["spans"], strict=True):
        keeps = span.confidence is not None and not settings.overrule
        counts["spans_kept" if keeps else "spans_judged"] += 1
        spans.append(span if keeps else replace(span, confidence=confidence))
    said = tuple(Span(start, end, type_, sure, "students") for start, end, type_, sure in judged["said"])
    beside, no_entity = line.beside.with_(missed=judged["missed"]), tuple(judged["no_entity"])
    return replace(line, spans=tuple(spans), beside=beside, by_students=said, no_entity=no_entity)
