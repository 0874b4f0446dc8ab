"""evaluate: how good each student is, and its teacher, on sentences that nothing was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_offline.artifacts import ANNOTATIONS, read_rows, write_rows
from distill_offline.config import as_plain
from distill_offline.corpus import digest as gold_digest
from distill_offline.digests import file_digests
from distill_offline.inputs import make_task, read_gold
from distill_offline.run_folder import RunFolder, Stage, labels_digest, source_paths
from distill_offline.schema import Example
from distill_offline.scoring import accuracy, score, unanswered
from distill_offline.student import Student

__all__ = ["evaluate"]


def evaluate(folder: RunFolder) -> dict[str, Any]:
    """Every arm's student, and the teacher where it labelled the split, on evaluate.split; evaluate/report.json."""
    settings = folder.settings
    split = settings.evaluate.split
    gold_source = folder.require(f"corpus.original.{split}", getattr(settings.corpus.original, split))
    folders = {arm.name: folder.folder("train") / arm.name for arm in settings.train.arms}
    folders = {name: path for name, path in folders.items() if (path / "manifest.json").exists()}
    teacher = folder.folder("annotate") / "gold" / split / ANNOTATIONS
    stage = Stage(
        folder,
        "evaluate",
        decides={
            "students": {name: sorted(_weights(path).items()) for name, path in folders.items()},
            "teacher": file_digests([teacher])[teacher] if teacher.exists() else None,
            "gold": labels_digest(settings, split),
            "settings": as_plain(settings.evaluate),
        },
        inputs=source_paths(gold_source),
        parents=[*folders.values(), *([folder.folder("annotate")] if teacher.exists() else [])],
    )
    if stage.is_fresh():
        folder.say("evaluate: up to date")
        return dict(json.loads((stage.folder / "report.json").read_text("utf-8")))
    target, task, gold = stage.begin(), make_task(settings), read_gold(settings)
    examples = gold.split(split)
    rows = []
    if teacher.exists() and settings.backend is not None:
        labels = _labels_by_id(teacher)
        predicted = [labels.get(e.sentence.id, unanswered(task.head, len(e.labels))) for e in examples]
        missing = sum(e.sentence.id not in labels for e in examples)
        rows.append({"name": "teacher", "kind": "teacher", **_scored(task.metric, examples, predicted, missing)})
    for name, path in folders.items():
        student = Student.load(path / "student")
        predicted = student.predict([example.sentence for example in examples])
        rows.append({"name": name, "kind": "student", **_scored(task.metric, examples, predicted)})
    common = {"on": gold_digest(examples), "split": split, "metric": task.metric, "sentences": len(examples)}
    result = {**common, "rows": rows}
    write_rows(target / "report.json", [result])
    stage.seal({row["name"]: {"f1": row["overall"]["f1"], **_accuracy(row["counts"])} for row in rows})
    return result


def _labels_by_id(annotations: Path) -> dict[str, tuple[str, ...]]:
    """The labels of an annotations file, by sentence id."""
    return {row["id"]: tuple(row["labels"]) for row in read_rows(annotations)}


def _scored(
    metric: str, examples: Sequence[Example], predicted: Sequence[Sequence[str]], missing: int = 0
) -> dict[str, Any]:
    result = score(metric, [e.labels for e in examples], predicted, on=gold_digest(examples)).as_dict()
    result["counts"]["unanswered"] = missing
    return {**result, **_accuracy(result["counts"])}


def _accuracy(counts: Mapping[str, int]) -> dict[str, float]:
    share = accuracy(counts)
    return {} if share is None else {"accuracy": share}


def _weights(arm: Path) -> dict[str, str]:
    files = sorted((arm / "student").glob("*.safetensors"))
    return {path.name: digest for path, digest in file_digests(files).items()}
