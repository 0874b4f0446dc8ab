"""annotate: the teacher's labels for the corpus, and for gold splits so that the teacher itself can be scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distill_offline.artifacts import ANNOTATIONS, QUARANTINE
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.errors import QuarantineError
from distill_offline.inputs import Teacher, demonstrations, make_task, read_gold, unlabelled
from distill_offline.run_folder import RunFolder, Stage, source_digest, source_paths
from distill_offline.stages import annotate as stage_annotate

__all__ = ["annotate"]


def annotate(folder: RunFolder) -> dict[str, Any]:
    """The teacher's labels for the unlabelled sentences and for the gold splits that annotate.gold names.

    Gives the counts of the manifest. Raises QuarantineError where too many rows could not be used; all completions
    are kept then, and the files of the stage can be looked at, but it is not sealed.
    """
    settings = folder.settings
    task = make_task(settings)
    gold = read_gold(settings)
    teacher = Teacher.of(settings, task)
    picker = demonstrations(settings, gold)
    corpus = settings.corpus
    stage = Stage(
        folder,
        "annotate",
        decides={
            "task": task.identity(),
            "demonstrations": picker.identity(),
            "recipe": teacher.recipe(),
            "unlabelled": source_digest(corpus.unlabelled),
            "gold": {split: source_digest(getattr(corpus.original, split)) for split in settings.annotate.gold},
            "limit": settings.annotate.limit,
        },
        inputs=source_paths(
            corpus.unlabelled,
            corpus.original.train,
            *(getattr(corpus.original, split) for split in settings.annotate.gold),
        ),
        models={"teacher": teacher.digest},
    )
    if stage.is_fresh():
        folder.say("annotate: up to date")
        return stage.sealed_counts()
    target = stage.begin()
    counts: dict[str, Any] = {}
    with CompletionStore(target / "completions.sqlite") as store:
        asking = stage_annotate.Ask(
            task=task,
            demonstrations=picker,
            store=store,
            recipe=store.add_recipe(teacher.recipe()),
            digest=prompt_digest,
            backend=_shared(teacher),
            chunk=settings.annotate.chunk,
            stop=folder.stop,
            watch=folder.watch,
        )
        for part in ("unlabelled", *settings.annotate.gold):
            labelled = gold.split(part) if part != "unlabelled" else ()

            def sentences() -> Iterable[Any]:
                return unlabelled(settings) if part == "unlabelled" else (e.sentence for e in labelled)  # noqa: B023

            counted = stage_annotate.ask(part, sentences(), asking, total=sum(1 for _ in sentences()))
            place = target if part == "unlabelled" else target / "gold" / part
            stage_annotate.parse(sentences(), part, task, store, counted, place / ANNOTATIONS, place / QUARANTINE)
            counts[part] = counted.as_dict()
            _note(folder, part, counted)
    _check_quarantine(folder, counts["unlabelled"])
    stage.seal(counts)
    return counts


def _shared(teacher: Teacher) -> Callable[[], Backend]:
    return teacher.start


def _note(folder: RunFolder, part: str, counts: stage_annotate.Counts) -> None:
    refused = sum(counts.quarantined.values())
    folder.say(
        f"annotate {part}: {counts.rows} rows, {counts.cached} cached, {counts.asked} asked, "
        f"{counts.annotated} annotated, {refused} quarantined{_in_words(counts.quarantined)}; "
        f"{sum(counts.aligned.values())} spans, {sum(counts.rejected.values())} mentions rejected"
        f"{_in_words(counts.rejected)}"
    )


def _in_words(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{n} {reason}' for reason, n in sorted(counts.items()))})" if counts else ""


def _check_quarantine(folder: RunFolder, counts: dict[str, Any]) -> None:
    refused, limit = sum(counts["quarantined"].values()), folder.settings.annotate.max_quarantined
    if counts["rows"] and refused > limit * counts["rows"]:
        raise QuarantineError(
            f"annotate: {refused} of {counts['rows']} rows are quarantined{_in_words(counts['quarantined'])}, more "
            f"than annotate.max_quarantined {limit} allows. See {folder.folder('annotate') / QUARANTINE}. All "
            "answers are stored: a higher limit, or a mended parser, asks nothing again."
        )
