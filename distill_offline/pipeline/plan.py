"""What a run would do, counted without loading a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.adapt import stage as adapting
from distill_offline.annotate.forecast import forecast
from distill_offline.completions import CompletionStore
from distill_offline.pretrain import stage as pretraining
from distill_offline.run.encoder import PRETRAIN, check_capitals, check_pretrained_arms, starts_pretrained
from distill_offline.run.folder import RunFolder
from distill_offline.select.cross_fit import is_cross_fitted
from distill_offline.select.stage import is_selected
from distill_offline.storage.files import ANNOTATIONS, STORE, read_rows
from distill_offline.train.arms import check_arms, chosen_students, in_words
from distill_offline.train.stage import check_needs, is_trained

__all__ = ["plan", "status"]


def plan(
    folder: RunFolder, stages: Iterable[str], *, refreeze: bool = False, arms: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """For each stage (and arm): `stage`, `fresh` (whether it is up to date) and `detail`, a line with counts.

    A step is fresh where its folder was made from what configuration and files are now, and where all steps that it
    builds on are; of other arms than the named ones (all where none is), what is there counts. What annotate adds is
    said in forecast.py. Nothing is written. Raises ConfigError for wrong arms, InputError and MissingModel if what the
    encoder or the teacher is to learn is not there.
    """
    steps: list[dict[str, Any]] = []
    for stage in stages:
        before = all(step["fresh"] for step in steps if step["stage"] != PRETRAIN)
        if stage == PRETRAIN:
            steps += _pretrain(folder)
        elif stage == "adapt":
            steps += [adapting.plan(folder, refreeze=refreeze)] if folder.settings.adapt is not None else []
        elif stage == "annotate":
            if folder.settings.asks_a_teacher:
                is_adapted = folder.settings.adapt is None or adapting.is_adapted(folder, refreeze=refreeze)
                steps += forecast(folder, refreeze=refreeze, is_adapted=is_adapted)
        elif stage == "select":
            crossed = [*_cross_fit(folder)]
            before = before and (not crossed or all(step["fresh"] for step in steps))  # they start from the encoder
            rows = [*crossed, _select(folder)]
            steps += [{**step, "fresh": before and step["fresh"]} for step in rows]
        else:
            pretrained = all(step["fresh"] for step in steps)
            steps += _train(folder, arms, before=before, pretrained=pretrained)
    return steps


def status(folder: RunFolder) -> dict[str, Any]:
    """How far a running or stopped annotation is, and each of its shards; looks at stores without disturbing them."""
    shards = sorted(path.parent for path in folder.path.glob(f"shards/*/{STORE}"))
    statuses = {shard.relative_to(folder.path).as_posix(): _status(shard) for shard in shards}
    return _status(folder.folder("annotate")) | ({"shards": statuses} if statuses else {})


def _status(stage_folder: Path) -> dict[str, Any]:
    with CompletionStore(stage_folder / STORE, read_only=True) as store:
        parts = {
            corpus_part: {"reached": rows, "answered": answered}
            for corpus_part, (rows, answered) in store.progress().items()
        }
        return {"finished": manifest.is_whole(stage_folder), "completions": store.count(), "parts": parts}


def _select(folder: RunFolder) -> dict[str, Any]:
    source = folder.folder("annotate") / ANNOTATIONS
    rows = sum(1 for _ in read_rows(source)) if source.exists() else 0
    from_teacher = f"{rows} annotated so far" if folder.settings.asks_a_teacher else "no teacher"
    extra = ", and corpus.distilled" if folder.settings.corpus.distilled else ""
    return {"stage": "select", "fresh": is_selected(folder), "rows": rows, "detail": from_teacher + extra}


def _cross_fit(folder: RunFolder) -> Iterator[dict[str, Any]]:
    settings, train = folder.settings.select.cross_fit, folder.settings.train
    if settings is not None:
        size = settings.batch_size or train.batch_size
        yield {
            "stage": "cross_fit",
            "fresh": is_cross_fitted(folder),
            "updates": settings.folds * settings.updates,
            "detail": f"{settings.folds} folds, {settings.updates} updates of {size} sentences each",
        }


def _pretrain(folder: RunFolder) -> Iterator[dict[str, Any]]:
    settings = folder.settings.pretrain
    if settings is not None:
        check_pretrained_arms(folder.settings)
        size = f"{settings.updates} updates" if settings.updates else f"{settings.passes} passes over the text"
        yield {
            "stage": PRETRAIN,
            "fresh": manifest.fingerprint_of(folder.folder(PRETRAIN)) == pretraining.fingerprint(folder),
            "detail": f"{size}, {settings.update_tokens} subwords an update",
        }


def _train(folder: RunFolder, arms: Sequence[str], *, before: bool, pretrained: bool) -> Iterator[dict[str, Any]]:
    """The arms in their order; `before`: whether all that they build on is fresh, `pretrained`: and their encoder."""
    settings = folder.settings.train
    check_arms(settings)
    check_pretrained_arms(folder.settings)
    check_capitals(folder.settings)
    names = set(chosen_students(settings, arms))
    chosen = [student for student in settings.students if student.name in names]
    check_needs(folder, chosen)
    ready = {arm.name: pretrained if starts_pretrained(folder.settings, arm.arm) else before for arm in chosen}
    fresh = {arm.name: ready[arm.name] and is_trained(folder, arm) for arm in chosen}
    for arm in chosen:
        train = settings.of(arm)
        kind = "soft labels" if arm.soft_labels else "labels"
        sure = f" that are {arm.min_label_confidence:g} sure at least" if arm.min_label_confidence else ""
        labels = f", {kind} of {in_words(arm.needs)}{sure}" if arm.needs else ""
        drawn = f"{train.updates} updates of {train.batch_size} sentences, schedule {arm.schedule or arm.name}{labels}"
        yield {
            "stage": f"train {arm.name}",
            "fresh": fresh[arm.name]
            and all(fresh.get(earlier.name, True) for earlier in settings.students_before(arm)),
            "updates": 0 if arm.average else train.updates,
            "detail": f"the mean of {' and '.join(arm.average)}" if arm.average else drawn,
        }
