"""What a configuration names, read in: the task, the human-labelled splits, the text to annotate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from distill_offline import registry
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import overlap, read_examples, read_sentences
from distill_offline.corpus.lost import Losses
from distill_offline.errors import ConfigError, OverlapError
from distill_offline.schema import Example, Origin, Sentence, content_digest
from distill_offline.scoring.metrics import check_metric
from distill_offline.tasks import TASKS
from distill_offline.tasks.base import Task
from distill_offline.tasks.guarded import GuardedTask

__all__ = ["Gold", "make_task", "read_gold", "read_labelled", "reviewed_texts", "unlabelled"]


def make_task(settings: Settings) -> Task:
    """The task that `task.name` names, with its settings."""
    name = settings.task.name
    kind = registry.load("task.name", name, TASKS, group="tasks")
    if name in TASKS:
        task: Task = kind(settings.task)
        return task
    made = GuardedTask(registry.spelled(name, "tasks"), kind, settings.task)
    check_metric(made.metric)
    return cast(Task, made)


def read_labelled(
    settings: Settings,
    source: str | Source,
    *,
    origin: Origin,
    counts: Counter[str] | None = None,
    context: int = 0,
) -> Iterator[Example]:
    """The labelled sentences of a corpus setting; types are checked against task.types. `context`: neighbours."""
    return read_examples(
        settings.corpus.read_as(source),
        origin=origin,
        tag_column=settings.corpus.tag_column,
        scheme=settings.corpus.scheme,
        head=make_task(settings).head,
        types=list(settings.task.types),
        counts=counts,
        context=context,
    )


@dataclass(frozen=True, slots=True)
class Gold:
    """The human-labelled splits. `dropped` training sentences stood in dev or test, too (corpus.on_overlap: drop).

    `lost` is what the file of a split says and no example holds, by the split's name.
    """

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: int = 0
    lost: Mapping[str, Losses] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Example, ...]:
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    def held_out(self) -> set[str]:
        """Content digests of dev and test."""
        return {content_digest(example.sentence) for example in (*self.dev, *self.test)}


def read_gold(settings: Settings) -> Gold:
    """The splits of corpus.original, after the overlap rule. Raises OverlapError if it says `error`."""
    original = settings.corpus.original
    lost = {name: Losses() for name in ("train", "dev", "test")}
    splits = [
        tuple(read_labelled(settings, source, origin="original", counts=lost[name])) if source is not None else ()
        for name, source in (("train", original.train), ("dev", original.dev), ("test", original.test))
    ]
    train, dev, test = splits
    if original.reviewed is not None:
        train = _with_reviewed(train, tuple(read_labelled(settings, original.reviewed, origin="original")))
    shared = overlap(train, (*dev, *test))
    if not shared:
        return Gold(train, dev, test, lost=lost)
    kept = tuple(example for example in train if content_digest(example.sentence) not in shared)
    if settings.corpus.on_overlap == "error":
        first = next(e for e in train if content_digest(e.sentence) in shared)
        where = "corpus.original.train" + (" and reviewed" if original.reviewed is not None else "")
        raise OverlapError(
            f"{where}: {len(train) - len(kept)} sentences also occur in dev or test (the first is "
            f"{first.sentence.id}). Remove them, or set corpus.on_overlap: drop."
        )
    return Gold(kept, dev, test, len(train) - len(kept), lost)


def reviewed_texts(settings: Settings) -> frozenset[str]:
    """Content digests of the sentences that people reviewed: no teacher's labels of them are learnt from."""
    source = settings.corpus.original.reviewed
    if source is None:
        return frozenset()
    return frozenset(content_digest(e.sentence) for e in read_labelled(settings, source, origin="original"))


def _with_reviewed(train: tuple[Example, ...], reviewed: tuple[Example, ...]) -> tuple[Example, ...]:
    """Both, without those of `train` that were reviewed."""
    known = {content_digest(example.sentence) for example in reviewed}
    return (*(example for example in train if content_digest(example.sentence) not in known), *reviewed)


def unlabelled(settings: Settings, counts: Counter[str] | None = None) -> Iterator[Sentence]:
    """The sentences to annotate, at most annotate.limit of them, with the neighbours that task.context asks for.

    Streams. `counts` gains what was passed over.
    """
    source = settings.corpus.unlabelled
    if source is None:
        raise ConfigError(f"{settings.name}: corpus.unlabelled is missing; annotate needs text.")
    sentences = read_sentences(
        settings.corpus.read_as(source),
        tag_column=settings.corpus.tag_column,
        scheme=settings.corpus.scheme,
        head=make_task(settings).head,
        on_bad_file=source.on_bad_file if isinstance(source, Source) else "error",
        counts=counts,
        context=settings.task.context,
    )
    return islice(sentences, settings.annotate.limit)
