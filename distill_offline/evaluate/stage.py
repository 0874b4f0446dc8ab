"""evaluate: how good each student is, and its teacher, on sentences that nothing was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.confidence.calibration import Calibration
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import SeededArm, Settings
from distill_offline.corpus import digest as gold_digest
from distill_offline.errors import InputError, IntegrityError
from distill_offline.evaluate.arm_means import arm_means
from distill_offline.evaluate.predictions import PREDICTIONS, StudentLabels, prediction_rows
from distill_offline.evaluate.truth import Truth
from distill_offline.evaluate.verdict import Learner, verdict
from distill_offline.label_kinds import comparable, kind_of
from distill_offline.label_kinds.decoding import token_by_token
from distill_offline.manifest.method import method
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.run.sources import labels_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.run.unheld import say_lost, say_shared, say_unheld, unheld_counts
from distill_offline.schema import Example
from distill_offline.scoring.annotation_lines import AnnotationLines
from distill_offline.scoring.comparison import LabelledSentence
from distill_offline.scoring.metrics import accuracy, score
from distill_offline.select.calibrate import CALIBRATION
from distill_offline.select.teacher_confidence import rated
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import ANNOTATIONS, write_rows
from distill_offline.student.committee import mean_scores
from distill_offline.student.model import Student
from distill_offline.tasks.base import Task

__all__ = ["evaluate"]


def evaluate(folder: RunFolder) -> dict[str, Any]:
    """Every student, and the teacher where it labelled the split, on evaluate.split; evaluate/report.json.

    A teacher of entities has a `quality`, too. `calibration` is what select learnt of the teacher's confidences, and
    `verdict` what blending brings (verdict.verdict). If an arm has several students, `arms` has means (arm_means), and
    what these students score `together`. What everybody says of each sentence is in predictions.jsonl.
    """
    settings = folder.settings
    split = settings.evaluate.split
    students = settings.train.students
    folders = {student.name: folder.folder("train") / student.name for student in students}
    folders = {name: path for name, path in folders.items() if (path / "manifest.json").exists()}
    teacher = _teachers_labels(folder)
    learnt = _calibration(folder.folder("select"))
    stage = _stage(folder, folders, teacher, learnt)
    if stage.is_fresh():
        stage.relink()
        folder.say("evaluate: up to date")
        return _read(stage.folder / "report.json")
    target, task, gold = stage.begin(), make_task(settings), read_gold(settings)
    examples = gold.split(split)
    say_unheld(folder, {split: examples})
    say_lost(folder, gold.lost, [split])
    if split == "test":
        say_shared(folder, gold.dev, gold.test)
    rows, said_by = [], dict[str, StudentLabels]()
    lines = AnnotationLines.read(teacher, task.head) if teacher is not None else None
    if lines is not None:
        rows.append({"name": "teacher", "kind": "teacher", **_teacher(task, examples, lines, learnt)})
    for name, path in folders.items():
        student = Student.load(path / "student")
        said = student.scored([example.sentence for example in examples])
        said_by[name] = StudentLabels(student.labels, said, student.kind.decide(said, student.labels))
        row = {"name": name, "kind": "student", **_scored(task, examples, said_by[name].labels)}
        if student.head == "token-classification":  # what a plain pipeline would make of it, for the model card
            plain = _scored(task, examples, token_by_token(said, student.labels))
            row["token_by_token"] = plain["overall"]
        rows.append(row)
    common = {"on": gold_digest(examples), "split": split, "metric": task.metric, "sentences": len(examples)}
    result = {**common, "rows": rows, **({"calibration": learnt} if learnt else {})}
    if any(student.number > 1 for student in students):
        result["arms"] = [_with_committee(task, examples, arm, said_by) for arm in arm_means(rows, students)]
    trained = [student for student in students if student.name in folders]
    if shown := _verdict(task, examples, trained, folders, said_by):
        result["verdict"] = shown
    answers = _answers(examples, lines)
    write_rows(target / PREDICTIONS, prediction_rows(task.head, examples, answers, said_by))
    write_rows(target / "report.json", [result])
    scores = {row["name"]: {"f1": row["overall"]["f1"], **_accuracy(row["counts"])} for row in rows}
    stage.seal(scores | unheld_counts({split: examples}))
    return result


def _stage(
    folder: RunFolder, students: Mapping[str, Path], teacher: Path | None, calibration: Mapping[str, Any] | None
) -> Stage:
    settings = folder.settings
    split = settings.evaluate.split
    gold_source = folder.require(f"corpus.original.{split}", getattr(settings.corpus.original, split))
    parents = [*students.values()]
    parents += [folder.folder("annotate")] if teacher else []
    parents += [folder.folder("select")] if calibration else []
    return Stage(
        folder,
        "evaluate",
        decides={
            "method": method(),
            "students": {name: sorted(_weights(path).items()) for name, path in students.items()},
            # Which students are one arm's.
            **({"seeds": settings.train.seeds} if settings.train.seeds > 1 else {}),
            **({"more_students": more} if (more := _more_students(settings)) else {}),
            "teacher": file_digests([teacher])[teacher] if teacher else None,
            "calibration": calibration,
            "gold": labels_digest(settings, split),
            "settings": as_plain(settings.evaluate),
            "writes": PREDICTIONS,
            **_own_metric(settings),
        },
        inputs=source_paths(gold_source),
        parents=parents,
    )


def _with_committee(
    task: Task, examples: Sequence[Example], arm: dict[str, Any], said_by: Mapping[str, StudentLabels]
) -> dict[str, Any]:
    """What arm_means says of an arm and, of several students, what they score `together`: `predict --with`."""
    said = [said_by[name] for name in arm["students"]]
    if len(said) < 2 or len({tuple(each.names) for each in said}) > 1:
        return arm
    labels = kind_of(task.head).decide(mean_scores([each.scored for each in said]), said[0].names)
    return {**arm, "together": _scored(task, examples, labels)["overall"]}


def _more_students(settings: Settings) -> dict[str, int]:
    """How many students those arms have that have more than one from each seed (labellers)."""
    numbers = {arm.name: settings.train.students_of(arm.name) for arm in settings.train.arms}
    return {name: number for name, number in numbers.items() if number > settings.train.seeds}


def _own_metric(settings: Settings) -> dict[str, str]:
    """The task's metric, where it is not the one of its kind of labels, which everything is scored by else."""
    task = make_task(settings)
    return {} if task.metric == kind_of(task.head).metric else {"metric": task.metric}


def _verdict(
    task: Task,
    examples: Sequence[Example],
    students: Sequence[SeededArm],
    folders: Mapping[str, Path],
    said_by: Mapping[str, StudentLabels],
) -> dict[str, Any] | None:
    """None if the task has a metric of its own, which no resampling of counts stands for."""
    if task.metric != kind_of(task.head).metric:
        return None
    learners = {}
    for student in students:
        counts = manifest.show(folders[student.name])["counts"]
        drawn = int(counts.get("distilled_drawn") or 0), int(counts.get("original_drawn") or 0)
        said = said_by[student.name].labels
        learners[student.name] = Learner(*drawn, counts.get("best_dev_f1"), said, student.arm, student.number)
    return verdict(task.head, examples, learners)


def _answers(examples: Sequence[Example], lines: AnnotationLines | None) -> list[LabelledSentence | None] | None:
    """The teacher's answer to each sentence; None for one that it gave no usable answer to."""
    if lines is None:
        return None
    return [lines.answer(example) if example.sentence.id in lines.answers else None for example in examples]


def _teachers_labels(folder: RunFolder) -> Path | None:
    """Its annotations of the split, where it was asked for them."""
    settings = folder.settings
    file = folder.folder("annotate") / "gold" / settings.evaluate.split / ANNOTATIONS
    was_asked = settings.backend is not None and settings.evaluate.split in settings.annotate.gold
    return file if was_asked and file.exists() else None


def _calibration(select: Path) -> dict[str, Any] | None:
    """What select has kept of the calibration, where it has been run to its end."""
    file = select / CALIBRATION
    return _read(file) if manifest.is_whole(select) and file.exists() else None


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text("utf-8")))


def _teacher(
    task: Task, examples: Sequence[Example], lines: AnnotationLines, learnt: Mapping[str, Any] | None
) -> dict[str, Any]:
    answers = [lines.answer(example) for example in examples]
    missing = sum(e.sentence.id not in lines.answers for e in examples)
    if not kind_of(task.head).per_token:
        return _scored(task, examples, [answer.labels for answer in answers], missing)
    calibration = Calibration.of(learnt["calibration"]) if learnt else None
    if (way := (learnt or {}).get("confidence_from", "answer")) != "answer":  # which one the calibration is of
        answers = [replace(answer, spans=rated(answer.spans or (), way)) for answer in answers]
    held = Truth(task.head, examples).of_entities(
        answers, {"unanswered": missing}, strays=len(lines.strays) or None, with_quality=True, calibration=calibration
    )
    result = held.as_dict()
    if task.metric != kind_of(task.head).metric:  # the task's own, by which the students are scored, too
        own_scores = _scored(task, examples, [_labels(*pair) for pair in zip(examples, answers, strict=True)], missing)
        result |= own_scores | {"counts": result["counts"] | own_scores["counts"]}
    return result


def _labels(example: Example, answer: LabelledSentence) -> tuple[str, ...]:
    """Raises InputError if they are of other tokens: what a metric compares goes token by token."""
    if answer.sentence.tokens != example.sentence.tokens:
        raise InputError(
            f"sentence {example.sentence.id}: the teacher's tokens are not those of gold, and the task's own metric "
            "compares token by token. Annotate it anew."
        )
    return tuple(answer.labels)


def _scored(
    task: Task, examples: Sequence[Example], predicted: Sequence[Sequence[str]], missing: int = 0
) -> dict[str, Any]:
    result = score(task.metric, *comparable(task.head, examples, predicted), on=gold_digest(examples)).as_dict()
    result["counts"]["unanswered"] = missing
    return {**result, **_accuracy(result["counts"])}


def _accuracy(counts: Mapping[str, int]) -> dict[str, float]:
    share = accuracy(counts)
    return {} if share is None else {"accuracy": share}


def _weights(arm: Path) -> dict[str, str]:
    """The digests of a student's weights, and of what it decodes tags with.

    Raises IntegrityError if one is not what the arm's manifest says: the student was changed after it was trained.
    """
    files = [*sorted((arm / "student").glob("*.safetensors")), arm / "student/config.json"]
    found = file_digests(files)
    sealed = {subject["name"]: subject["digest"]["sha256"] for subject in manifest.read(arm)["subject"]}
    for path, digest in found.items():
        if sealed.get(path.relative_to(arm).as_posix(), digest) != digest:
            raise IntegrityError(
                f"{path}: was changed after it was trained: it has another SHA-256 than the manifest says. Remove the "
                f"folder {arm}, and train makes it again."
            )
    return {path.name: digest for path, digest in found.items()}
