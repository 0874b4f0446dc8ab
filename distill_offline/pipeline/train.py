"""train: one student an arm, each in a sealed folder of its own."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from distill_offline import blending, catalogue
from distill_offline.artifacts import ANNOTATIONS, write_rows
from distill_offline.config import as_plain
from distill_offline.corpus import read_examples
from distill_offline.digests import file_digests
from distill_offline.errors import ConfigError
from distill_offline.inputs import make_task, read_gold
from distill_offline.run_folder import RunFolder, Stage, labels_digest, source_paths
from distill_offline.settings import ArmSettings, TrainSettings
from distill_offline.stages import train as training
from distill_offline.student import Student
from distill_offline.training.checkpoint import Checkpoints

__all__ = ["blend_of", "check_arms", "train"]

_DECIDES_NOTHING = ("arms", "encoder", "checkpoint_every")  # of train's settings; the encoder counts by its digest


def train(folder: RunFolder, arms: Sequence[str] = ()) -> dict[str, Any]:
    """One student an arm, under train/<arm>/; arms that are up to date are left alone."""
    settings = folder.settings
    chosen = [arm for arm in settings.train.arms if not arms or arm.name in arms]
    if unknown := set(arms) - {arm.name for arm in chosen}:
        raise ConfigError(f"train.arms: there is no arm {sorted(unknown)[0]!r}.")
    check_arms(settings.train)
    counts = {arm.name: _train_arm(folder, arm) for arm in chosen if not arm.average}
    counts |= {arm.name: _average_arm(folder, arm) for arm in chosen if arm.average}
    return {arm.name: counts[arm.name] for arm in chosen}


def check_arms(settings: TrainSettings) -> None:
    """Raises ConfigError for all that can be known to be wrong with the arms before any of them is trained."""
    if repeated := [n for n, count in Counter(arm.name for arm in settings.arms).items() if count > 1]:
        raise ConfigError(f"train.arms: the name {repeated[0]!r} stands there twice.")
    trained = {arm.name for arm in settings.arms if not arm.average}
    for arm in settings.arms:
        if arm.average:
            _check_average(arm, trained)
        else:
            resolved = settings.of(arm)
            options = tuple(sorted(arm.options.items()))
            _check_schedule(arm.schedule or arm.name, options, resolved.tau, resolved.share, resolved.updates)


def _check_average(arm: ArmSettings, trained: set[str]) -> None:
    for name in arm.average:
        if name not in trained:
            raise ConfigError(f"train.arms: {arm.name} is to average {name!r}, which is no arm that is trained.")
    own = [each.name for each in fields(arm) if each.name not in ("name", "average")]
    if idle := [name for name in own if getattr(arm, name) not in (None, "", {})]:
        raise ConfigError(f"train.arms: {arm.name} averages other arms and is not trained; take its {idle[0]} away.")


@lru_cache(maxsize=1024)  # a study has the same arms for each of its seeds and sizes
def _check_schedule(
    name: str, options: tuple[tuple[str, float], ...], tau: float, share: float | None, updates: int
) -> None:
    """Raises ConfigError where a schedule fails whatever the pools hold, provided that they hold something."""
    schedule = blending.make_schedule(name, dict(options), tau=tau, n_distilled=1, n_original=1)
    if share is not None:
        schedule = blending.with_share(schedule, share, updates)
    blending.Blend(schedule, 1, 1, updates, 1, 0).check()


def _train_arm(folder: RunFolder, arm: ArmSettings) -> dict[str, Any]:
    settings, resolved = folder.settings, folder.settings.train.of(arm)
    encoder = catalogue.locate(folder.require("train.encoder", settings.train.encoder))
    selected = folder.whole("select") / ANNOTATIONS
    stage = Stage(
        folder,
        f"train/{arm.name}",
        decides={
            "selected": file_digests([selected])[selected],
            # test, too: what stands there is dropped from train
            "original": labels_digest(settings, "train", "dev", "test"),
            "encoder": catalogue.model_digest(encoder),
            "task": settings.task.name,
            "train": {key: value for key, value in as_plain(resolved).items() if key not in _DECIDES_NOTHING},
            "arm": {"name": arm.name, "schedule": arm.schedule, "options": arm.options},
            "seed": settings.seed,
        },
        inputs=source_paths(settings.corpus.original.train, settings.corpus.original.dev),
        models={"encoder": catalogue.model_digest(encoder)},
        parents=[selected.parent],
    )
    if stage.is_fresh():
        folder.say(f"train {arm.name}: up to date")
        return stage.sealed_counts()
    task, gold = make_task(settings), read_gold(settings)
    # A selection that kept nothing is an empty file, which the corpus reader would rightly refuse.
    distilled = tuple(read_examples(selected, origin="distilled", head=task.head)) if selected.stat().st_size else ()
    pools = training.Pools(distilled, gold.train, gold.dev)
    blend = blend_of(arm, resolved, pools, settings.seed)
    target, threads = stage.begin(), training.prepare(settings.seed)
    checkpoints = Checkpoints(target / "checkpoint", stage.fingerprint, folder.say)
    student = Student.create(encoder, task.labels, task.head, max_length=resolved.max_length)
    trained = training.train(
        student,
        pools,
        blend,
        resolved,
        name=arm.name,
        metric=task.metric,
        watch=folder.watch,
        stop=folder.stop,
        checkpoints=checkpoints,
    )
    _write(target, student, trained.history)
    counts = {
        "distilled_pool": len(distilled),
        "original_pool": len(gold.train),
        "original_dropped_as_overlap": gold.dropped,
        "distilled_drawn": sum(row["distilled"] for row in trained.history),
        "original_drawn": sum(row["original"] for row in trained.history),
        "best_update": trained.best_update,
        "best_dev_f1": trained.best_f1,
        "threads": threads,
    }
    checkpoints.clear()
    stage.seal(counts)
    return counts


def _average_arm(folder: RunFolder, arm: ArmSettings) -> dict[str, Any]:
    """The mean of other arms' students; its history is empty, since nothing was drawn."""
    settings = folder.settings
    parents = [folder.whole(f"train/{name}") for name in arm.average]
    students = [parent / "student" for parent in parents]
    stage = Stage(
        folder,
        f"train/{arm.name}",
        decides={
            "average": [*file_digests([student / "model.safetensors" for student in students]).values()],
            "original": labels_digest(settings, "train", "dev", "test"),
            "task": settings.task.name,
        },
        inputs=source_paths(settings.corpus.original.dev),
        parents=parents,
    )
    if stage.is_fresh():
        folder.say(f"train {arm.name}: up to date")
        return stage.sealed_counts()
    task, gold = make_task(settings), read_gold(settings)
    target, threads = stage.begin(), training.prepare(settings.seed)
    student = Student.load(students[0])
    training.average(student, [Student.load(path) for path in students])
    _write(target, student, ())
    counts = {
        "distilled_drawn": 0,
        "original_drawn": 0,
        "best_update": 0,
        "best_dev_f1": training.dev_f1(student, gold.dev, task.metric) if gold.dev else None,
        "threads": threads,
    }
    stage.seal(counts)
    return counts


def blend_of(arm: ArmSettings, settings: TrainSettings, pools: training.Pools, seed: int) -> blending.Blend:
    """What the arm draws. Raises ConfigError where its schedule fails, or asks a pool that is empty."""
    sizes = len(pools.distilled), len(pools.original)
    name = arm.schedule or arm.name
    schedule = blending.make_schedule(name, arm.options, tau=settings.tau, n_distilled=sizes[0], n_original=sizes[1])
    if settings.share is not None:
        schedule = blending.with_share(schedule, settings.share, settings.updates)
    blend = blending.Blend(schedule, *sizes, settings.updates, settings.batch_size, seed)
    blend.check()
    return blend


def _write(target: Path, student: Student, history: Iterable[Mapping[str, Any]]) -> None:
    shutil.rmtree(target / "student", ignore_errors=True)
    student.save(target / "student")
    write_rows(target / "history.jsonl", history)
