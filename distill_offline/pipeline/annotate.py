"""annotate: the teacher's labels for the corpus, and for gold splits so that the teacher itself can be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill_offline.artifacts import ANNOTATIONS, QUARANTINE
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.demonstrations import Demonstrations
from distill_offline.errors import QuarantineError
from distill_offline.inputs import Gold, Teacher, demonstrations, make_task, read_gold, unlabelled
from distill_offline.run_folder import RunFolder, Stage, source_digest, source_paths
from distill_offline.schema import Sentence
from distill_offline.stages.annotate import Ask, Counts, ask, parse
from distill_offline.tasks.base import Task

__all__ = ["annotate"]


def annotate(folder: RunFolder) -> dict[str, Any]:
    """The teacher's labels for the unlabelled sentences and for the gold splits that annotate.gold names.

    Gives the counts of the manifest. Raises QuarantineError where too many rows could not be used; all completions
    are kept then, and the files of the stage can be looked at, but it is not sealed.
    """
    settings = folder.settings
    task, gold = make_task(settings), read_gold(settings)
    teacher, picker = Teacher.of(settings, task), demonstrations(settings, gold)
    stage = _stage(folder, task, teacher, picker)
    if stage.is_fresh():
        folder.say("annotate: up to date")
        return stage.sealed_counts()
    target, counts = stage.begin(), dict[str, Any]()
    with CompletionStore(target / "completions.sqlite") as store, _started_when_needed(teacher) as engine:
        asking = Ask(
            task,
            picker,
            store,
            store.add_recipe(teacher.recipe()),
            prompt_digest,
            engine,
            chunk=settings.annotate.chunk,
            retry_tokens=settings.annotate.sampling.second_tokens,
            max_failure_rate=settings.annotate.max_failure_rate,
            failure_window=settings.annotate.failure_window,
            stop=folder.stop,
            watch=folder.watch,
        )
        for part in ("unlabelled", *settings.annotate.gold):
            place = target if part == "unlabelled" else target / "gold" / part
            counted = _annotate_part(folder, part, gold, asking, place)
            counts[part] = counted.as_dict()
            folder.say(_in_one_line(part, counted))
    _check_quarantine(folder, counts["unlabelled"])
    stage.seal(counts)
    return counts


def _stage(folder: RunFolder, task: Task, teacher: Teacher, picker: Demonstrations) -> Stage:
    corpus, settings = folder.settings.corpus, folder.settings.annotate
    gold = {split: getattr(corpus.original, split) for split in settings.gold}
    return Stage(
        folder,
        "annotate",
        decides={
            "task": task.identity(),
            "demonstrations": picker.identity(),
            "recipe": teacher.recipe(),
            "unlabelled": source_digest(corpus.unlabelled),
            "gold": {split: source_digest(source) for split, source in gold.items()},
            "limit": settings.limit,
        },
        inputs=source_paths(corpus.unlabelled, settings.demonstrations.pool or corpus.original.train, *gold.values()),
        models={"teacher": teacher.digest},
    )


def _annotate_part(folder: RunFolder, part: str, gold: Gold, asking: Ask, place: Path) -> Counts:
    passed_over = Counter[str]()

    def sentences() -> Iterator[Sentence]:
        passed_over.clear()
        if part == "unlabelled":
            return unlabelled(folder.settings, passed_over)
        return (example.sentence for example in gold.split(part))

    # The corpus is read three times, to count it, to ask and to parse, so that no more than a batch is ever held.
    counted = ask(part, sentences(), asking, total=sum(1 for _ in sentences()))
    parse(sentences(), part, asking.task, asking.store, counted, place / ANNOTATIONS, place / QUARANTINE)
    counted.passed_over = passed_over
    return counted


@contextmanager
def _started_when_needed(teacher: Teacher) -> Iterator[Any]:
    """A function that gives the engine, loaded at its first call and closed at the end."""
    engine: list[Backend] = []

    def start() -> Backend:
        if not engine:
            engine.append(teacher.start())
        return engine[0]

    try:
        yield start
    finally:
        for each in engine:
            each.close()


def _in_one_line(part: str, counts: Counts) -> str:
    return (
        f"annotate {part}: {counts.rows} rows, {counts.cached} cached, {counts.asked} asked, "
        f"{counts.annotated} annotated, {sum(counts.quarantined.values())} quarantined{_in_words(counts.quarantined)}; "
        f"{sum(counts.aligned.values())} spans, {sum(counts.rejected.values())} mentions rejected"
        f"{_in_words(counts.rejected)}"
        + (f"; passed over{_in_words(counts.passed_over)}" if counts.passed_over else "")
    )


def _in_words(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{n} {reason}' for reason, n in sorted(counts.items()))})" if counts else ""


def _check_quarantine(folder: RunFolder, counts: Mapping[str, Any]) -> None:
    refused, limit = sum(counts["quarantined"].values()), folder.settings.annotate.max_quarantined
    if counts["rows"] and refused > limit * counts["rows"]:
        raise QuarantineError(
            f"annotate: {refused} of {counts['rows']} rows are quarantined{_in_words(counts['quarantined'])}, more "
            f"than annotate.max_quarantined {limit} allows. See {folder.folder('annotate') / QUARANTINE}. All "
            "answers are stored: a higher limit, or a mended parser, asks nothing again."
        )
