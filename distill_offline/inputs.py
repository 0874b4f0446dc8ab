"""What a configuration names, read in: the task, the human-labelled splits, the teacher, the demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from distill_offline import catalogue, offline, registry
from distill_offline.backends import BACKENDS, EXTRAS
from distill_offline.backends.base import Backend, PromptCounter
from distill_offline.backends.guarded import GuardedBackend, check_backend
from distill_offline.backends.worker import Worker
from distill_offline.config import as_plain
from distill_offline.corpus import overlap, read_examples, read_sentences
from distill_offline.demonstrations import Demonstrations, check_pool
from distill_offline.digests import digest_of, file_digests
from distill_offline.errors import ConfigError, OverlapError
from distill_offline.run_folder import source_digest
from distill_offline.schema import Example, Origin, Sentence, content_digest
from distill_offline.scoring import check_metric
from distill_offline.settings import AnnotateSettings, Settings, Source
from distill_offline.tasks import TASKS
from distill_offline.tasks.base import Task
from distill_offline.tasks.guarded import GuardedTask

__all__ = [
    "Gold",
    "Teacher",
    "demonstration_pool",
    "demonstrations",
    "make_task",
    "read_gold",
    "read_labelled",
    "unlabelled",
]


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
    """The human-labelled splits. `dropped` training sentences stood in dev or test, too (corpus.on_overlap: drop)."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: int = 0

    def split(self, name: str) -> tuple[Example, ...]:
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    def held_out(self) -> set[str]:
        """Content digests of dev and test."""
        return {content_digest(example.sentence) for example in (*self.dev, *self.test)}


def read_gold(settings: Settings) -> Gold:
    """The splits of corpus.original, after the overlap rule. Raises OverlapError where it says `error`."""
    original = settings.corpus.original
    splits = [
        tuple(read_labelled(settings, source, origin="original")) if source is not None else ()
        for source in (original.train, original.dev, original.test)
    ]
    train, dev, test = splits
    shared = overlap(train, (*dev, *test))
    if not shared:
        return Gold(train, dev, test)
    kept = tuple(example for example in train if content_digest(example.sentence) not in shared)
    if settings.corpus.on_overlap == "error":
        first = next(e for e in train if content_digest(e.sentence) in shared)
        raise OverlapError(
            f"corpus.original.train: {len(train) - len(kept)} sentences also occur in dev or test (the first is "
            f"{first.sentence.id}). Remove them, or set corpus.on_overlap: drop."
        )
    return Gold(kept, dev, test, len(train) - len(kept))


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


def demonstration_pool(settings: Settings, gold: Gold) -> tuple[Example, ...]:
    """corpus.original.train, or annotate.demonstrations.pool less what stands in dev or test."""
    chosen = settings.annotate.demonstrations
    if chosen.pool is None:
        pool = tuple(example for example in gold.train if not example.unheld)
        check_pool(chosen, pool)  # before an empty pool is frozen
        return pool
    held_out = gold.held_out()
    read = read_labelled(settings, chosen.pool, origin="original")
    fit = (example for example in read if not example.unheld)  # an answer would lack what no label can say
    pool = tuple(example for example in fit if content_digest(example.sentence) not in held_out)
    check_pool(chosen, pool)
    return pool


def demonstrations(settings: Settings, gold: Gold) -> Demonstrations:
    """What picks from the pool as annotate.demonstrations says."""
    pool = demonstration_pool(settings, gold)
    _check_samples(settings.annotate, len({content_digest(example.sentence) for example in pool}))
    return Demonstrations(settings.annotate.demonstrations, pool, seed=settings.seed)


def _check_samples(settings: AnnotateSettings, pool: int) -> None:
    """Raises ConfigError where all samples of a sentence would show the same, since the pool holds no other."""
    chosen = settings.demonstrations
    fewest = {"no": 0, "order": 2, "set": chosen.k + 1}[chosen.vary]
    if settings.samples > 1 and not settings.sampling.temperature and pool < fewest:
        raise ConfigError(
            f"annotate.samples: {settings.samples} samples of one prompt at temperature 0 would be the same: with "
            f"{pool} labelled sentences to choose from, demonstrations.vary: {chosen.vary} (k: {chosen.k}) changes "
            f"nothing. Give {fewest} or more, or set sampling.temperature."
        )


@dataclass(frozen=True, slots=True)
class Teacher:
    """The backend that the configuration names: what it is, known without loading it, and how to start it."""

    settings: Settings
    task: Task
    kind: type[Backend]
    model: Path
    digest: str

    @classmethod
    def of(cls, settings: Settings, task: Task) -> Teacher:
        """Raises ConfigError without a backend section, and MissingModel where its model is not there."""
        backend = settings.backend
        if backend is None:
            raise ConfigError(f"{settings.name}: backend is missing; annotate needs a teacher.")
        kind = registry.load("backend.name", backend.name, BACKENDS, EXTRAS, group="backends")
        if backend.name not in BACKENDS:
            check_backend(registry.spelled(backend.name, "backends"), kind)
        if not kind.needs_model:
            model = Path(backend.model)
            found = cls(settings, task, kind, model, digest_of([backend.model, {}]))
            if found.says_the_labels:  # none of them is read for it: a finished run does not need them
                corpus, sources = settings.corpus, cls.labelled_sources(settings)
                decides = [[source_digest(each, corpus) for each in sources], corpus.tag_column, corpus.scheme]
                found = replace(found, digest=digest_of([backend.model, *decides, task.identity()]))
            return found
        if not backend.model:
            raise ConfigError("backend.model is missing: give a catalogue id or the path of a model.")
        model = catalogue.locate(backend.model)
        return cls(settings, task, kind, model, catalogue.model_digest(model))

    @property
    def says_the_labels(self) -> bool:
        """Whether it is scripted, with the corpus's own labels for answers."""
        backend = self.settings.backend
        return backend is not None and backend.name == "scripted" and "answers" not in backend.options

    @staticmethod
    def labelled_sources(settings: Settings) -> list[str | Source]:
        """The corpora whose labels are such answers."""
        splits = [getattr(settings.corpus.original, split) for split in settings.annotate.gold]
        return [source for source in (settings.corpus.unlabelled, *splits) if source is not None]

    def recipe(self) -> dict[str, Any]:
        """What all its completions share and what decides them, besides the prompt: the key's other half.

        Options that only make it faster are left out, so that a resumed run may use other ones.
        """
        backend = self.settings.backend
        assert backend is not None
        options = backend.options.items()
        return {
            "backend": backend.name,
            "model": self.digest,
            "options": {key: _content(value) for key, value in sorted(options) if key not in self.kind.speed_only},
            "sampling": as_plain(self.settings.annotate.sampling),
        }

    def counter(self) -> PromptCounter | None:
        """What counts a prompt's tokens without the engine, where the backend has one."""
        backend = self.settings.backend
        assert backend is not None
        make = getattr(self.kind, "counter", None)
        counter: PromptCounter | None = make(self.model, backend.options) if make else None
        return counter

    def start(self) -> Backend:
        """The engine, in a process of its own where it loads a model: its death, memory and threads are not ours."""
        backend = self.settings.backend
        assert backend is not None
        options = dict(backend.options)
        if "base_url" in options:  # the one host beyond this one that a configuration can open
            offline.allow(str(options["base_url"]))
        if self.says_the_labels:
            options["answers"] = _gold_answers(self.settings, self.task)
        sampling = self.settings.annotate.sampling
        if self.settings.annotate.cluster is not None:
            from distill_offline.backends.ray_cluster import RayCluster

            return RayCluster(self.kind, self.model, sampling, options, self.settings.annotate.cluster)
        if self.kind.needs_model:
            return Worker(self.kind, self.model, sampling, options)
        if backend.name in BACKENDS:
            return self.kind(self.model, sampling, options)
        name = registry.spelled(backend.name, "backends")
        return GuardedBackend(name, self.kind, self.model, sampling, options)


def _content(value: Any) -> Any:
    """An option's value; the digest of the file where it names one."""
    path = Path(value) if isinstance(value, str) else None
    return file_digests([path])[path] if path is not None and path.is_file() else value


def _gold_answers(settings: Settings, task: Task) -> dict[str, str]:
    """What a perfect teacher would say, where the text to annotate is labelled: for dry runs and tests."""
    return {
        example.sentence.id: task.answer(example)
        for source in Teacher.labelled_sources(settings)
        for example in read_labelled(settings, source, origin="original")
    }
