"""What a run would do, counted without loading a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from distill_offline import manifest
from distill_offline.artifacts import ANNOTATIONS, read_rows
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.inputs import Teacher, demonstrations, make_task, read_gold, unlabelled
from distill_offline.run_folder import RunFolder
from distill_offline.schema import Sentence
from distill_offline.stages.annotate import Ask, prompts

__all__ = ["plan", "status"]


def plan(folder: RunFolder, stages: Iterable[str]) -> list[dict[str, Any]]:
    """For each stage (and arm): `stage`, `fresh` (whether it is up to date) and `detail`, a line with counts.

    Rows are counted as the teacher would be asked for them: stored completions are cached, identical prompts are asked
    once. Nothing is written.
    """
    steps: list[dict[str, Any]] = []
    for stage in stages:
        if stage == "annotate":
            steps += _annotate(folder) if folder.settings.asks_a_teacher else []
        elif stage == "select":
            steps.append(_select(folder))
        else:
            steps += _train(folder)
    return steps


def status(folder: RunFolder) -> dict[str, Any]:
    """How far a running or stopped annotation is; looks at its store without disturbing it."""
    place = folder.folder("annotate")
    with CompletionStore(place / "completions.sqlite", read_only=True) as store:
        parts = {part: {"reached": rows, "answered": answered} for part, (rows, answered) in store.progress().items()}
        return {"finished": manifest.is_whole(place), "completions": store.count(), "parts": parts}


def _annotate(folder: RunFolder) -> Iterator[dict[str, Any]]:
    settings = folder.settings
    task, gold = make_task(settings), read_gold(settings)
    teacher = Teacher.of(settings, task)
    path = folder.folder("annotate") / "completions.sqlite"
    picker = demonstrations(settings, gold)
    with CompletionStore(path, read_only=True) as store:
        asking = Ask(task, picker, store, store.add_recipe(teacher.recipe()), prompt_digest, teacher.start)
        for part in ("unlabelled", *settings.annotate.gold):
            sentences: Iterable[Sentence] = (
                unlabelled(settings) if part == "unlabelled" else (example.sentence for example in gold.split(part))
            )
            rows, wanted = 0, set[bytes]()
            for _, _, digest in prompts(sentences, asking):
                rows += 1
                wanted.add(digest)
            cached = len(store.known(wanted))
            asked = len(wanted) - cached
            yield {
                "stage": f"annotate {part}",
                "fresh": not asked and manifest.is_whole(folder.folder("annotate")),
                "rows": rows,
                "cached": cached,
                "asked": asked,
                "detail": f"{rows} rows: {cached} prompts cached, {asked} to ask",
            }


def _select(folder: RunFolder) -> dict[str, Any]:
    source = folder.folder("annotate") / ANNOTATIONS
    rows = sum(1 for _ in read_rows(source)) if source.exists() else 0
    from_teacher = f"{rows} annotated so far" if folder.settings.asks_a_teacher else "no teacher"
    extra = ", and corpus.distilled" if folder.settings.corpus.distilled else ""
    whole = manifest.is_whole(folder.folder("select"))
    return {"stage": "select", "fresh": whole, "rows": rows, "detail": from_teacher + extra}


def _train(folder: RunFolder) -> Iterator[dict[str, Any]]:
    settings = folder.settings.train
    for arm in settings.arms:
        updates = arm.updates or settings.updates
        yield {
            "stage": f"train {arm.name}",
            "fresh": manifest.is_whole(folder.folder(f"train/{arm.name}")),
            "updates": updates,
            "detail": f"{updates} updates of {settings.batch_size} sentences, schedule {arm.schedule or arm.name}",
        }
