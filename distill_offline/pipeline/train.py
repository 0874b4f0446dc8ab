"""train: one student an arm, each in a sealed folder of its own."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
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

__all__ = ["train"]


def train(folder: RunFolder, arms: Sequence[str] = ()) -> dict[str, Any]:
    """One student an arm, under train/<arm>/; arms that are up to date are left alone."""
    settings = folder.settings
    chosen = [arm for arm in settings.train.arms if not arms or arm.name in arms]
    if unknown := set(arms) - {arm.name for arm in chosen}:
        raise ConfigError(f"train.arms: there is no arm {sorted(unknown)[0]!r}.")
    if repeated := [n for n, count in Counter(arm.name for arm in settings.train.arms).items() if count > 1]:
        raise ConfigError(f"train.arms: the name {repeated[0]!r} stands there twice.")
    return {arm.name: _train_arm(folder, arm) for arm in chosen}


def _train_arm(folder: RunFolder, arm: ArmSettings) -> dict[str, Any]:
    settings = folder.settings
    resolved = _resolve(settings.train, arm)
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
            "train": {key: value for key, value in as_plain(resolved).items() if key not in ("arms", "encoder")},
            "arm": as_plain(arm),
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
    schedule = blending.make_schedule(
        arm.schedule or arm.name,
        arm.options,
        tau=resolved.tau,
        n_distilled=len(distilled),
        n_original=len(gold.train),
    )
    blend = blending.Blend(
        schedule, len(distilled), len(gold.train), resolved.updates, resolved.batch_size, settings.seed
    )
    blend.check()
    target, threads = stage.begin(), training.prepare(settings.seed)
    student = Student.create(encoder, task.labels, task.head, max_length=resolved.max_length)
    pools = training.Pools(distilled, gold.train, gold.dev)
    trained = training.train(
        student, pools, blend, resolved, name=arm.name, metric=task.metric, watch=folder.watch, stop=folder.stop
    )
    shutil.rmtree(target / "student", ignore_errors=True)
    student.save(target / "student")
    write_rows(target / "history.jsonl", trained.history)
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
    stage.seal(counts)
    return counts


def _resolve(settings: TrainSettings, arm: ArmSettings) -> TrainSettings:
    own = {key: getattr(arm, key) for key in ("updates", "learning_rate", "restart")}
    return replace(settings, **{key: value for key, value in own.items() if value is not None})
