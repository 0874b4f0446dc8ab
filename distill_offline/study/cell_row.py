"""The row of a cell: what its student scores, and what went into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_offline import manifest
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import digest
from distill_offline.label_kinds import comparable
from distill_offline.manifest.method import method
from distill_offline.run.gold import make_task, read_labelled
from distill_offline.schema import Example
from distill_offline.scoring.metrics import score
from distill_offline.scoring.sentence_counts import sentence_counts
from distill_offline.study.counts import pack
from distill_offline.study.grid import Cell
from distill_offline.study.results import Row

__all__ = ["Splits", "cell_row", "how_read"]

_TAKEN = ("distilled_drawn", "original_drawn", "best_update", "best_dev_f1", "threads")


@dataclass(slots=True)
class Splits:
    """The gold splits; of each the one read last is held, as it was read."""

    _examples: dict[str, tuple[tuple[Any, ...], tuple[Example, ...]]] = field(default_factory=dict)

    def read(self, settings: Settings, split: str) -> tuple[Example, ...]:
        source = getattr(settings.corpus.original, split)
        reading = how_read(settings, source)
        held = self._examples.get(split)
        if held is None or held[0] != reading:
            examples = tuple(read_labelled(settings, source, origin="original")) if source is not None else ()
            held = self._examples[split] = (reading, examples)
        return held[1]


def how_read(settings: Settings, source: str | Source | None) -> tuple[Any, ...]:
    """What decides which examples a source has: variants of a study may read one file in several ways."""
    corpus, task = settings.corpus, settings.task
    meant = None if source is None else corpus.read_as(source)
    return meant, corpus.tag_column, corpus.scheme, task.name, tuple(task.types)


def cell_row(
    cell: Cell,
    key: str,
    splits: Splits,
    predicted: Sequence[Sequence[str]],
    trained: Mapping[str, Mapping[str, Any]],
    *,
    dev_in_size: bool,
    seconds: float | None,
    pretrained: str | None = None,
) -> Row:
    """The row of `predicted`, the student's labels for the split that is scored; `trained` is the train stage's.

    `pretrained` is the beginning of the encoder's digest, where `pretrain` made it.
    """
    settings, trained_arm = cell.settings, trained[cell.arm.name]
    pools = {**trained[cell.arm.average[0]], **trained_arm} if cell.arm.average else trained_arm
    resolved = settings.train.of(cell.arm)
    learnt = [student for student in cell.students if not student.average]
    return Row(
        key=key,
        study=settings.name,
        variant=cell.variant,
        size=cell.size,
        seed=cell.seed,
        arm=cell.arm.name,
        pools={
            "original": pools["original_pool"],
            "dev": len(splits.read(settings, "dev")),
            "dev_in_size": int(dev_in_size),
            "distilled": pools["distilled_pool"],
            "dropped": pools["original_dropped_as_overlap"],
        },
        training={
            "updates": sum(settings.train.of(student).updates for student in learnt),  # of all that it took
            "batch_size": resolved.batch_size,
            "learning_rate": resolved.learning_rate,
            **{name: trained_arm[name] for name in _TAKEN},
            "processes": trained_arm.get("processes", 1),
            **({"pretrained": pretrained} if pretrained else {}),
            "seconds": None if seconds is None else round(seconds, 1),
        },
        versions=manifest.versions(),
        method=method(),
        **_scored(settings, splits.read(settings, settings.evaluate.split), predicted),
    )


def _scored(settings: Settings, examples: Sequence[Example], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    task, types = make_task(settings), tuple(settings.task.types)
    gold, predicted_labels = comparable(task.head, examples, predicted)
    report = score(task.metric, gold, predicted_labels, on=digest(examples)).as_dict()
    return {
        "on": report["on"],
        "split": settings.evaluate.split,
        "metric": task.metric,
        "overall": report["overall"],
        "per_type": report["per_type"],
        "errors": report["errors"],
        "types": types,
        "counts": pack(sentence_counts(task.head, gold, predicted_labels, types)),
    }
