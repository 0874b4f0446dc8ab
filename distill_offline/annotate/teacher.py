"""The teacher that a configuration names: what it is, and how its engine is started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline import offline, registry
from distill_offline.backends import BACKENDS, EXTRAS
from distill_offline.backends.adapter import GGUF, rank_of
from distill_offline.backends.base import Backend, PromptCounter
from distill_offline.backends.guarded import GuardedBackend, check_backend
from distill_offline.backends.worker import Worker
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import Settings, Source
from distill_offline.errors import ConfigError
from distill_offline.models import catalogue
from distill_offline.run.adapter import Adapter, adapter_digest
from distill_offline.run.gold import read_labelled
from distill_offline.run.sources import source_digest
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.tasks.base import Task

__all__ = ["Teacher"]


@dataclass(frozen=True, slots=True)
class Teacher:
    """The backend that the configuration names: what it is, known without loading it, and how to start it."""

    settings: Settings
    task: Task
    kind: type[Backend]
    model: Path
    digest: str
    adapter: Adapter | None = None
    fold: int = 0  # which of the adapters that lack a part of gold, from 1; 0: the whole one

    @classmethod
    def of(cls, settings: Settings, task: Task, adapter: Adapter | None = None) -> Teacher:
        """Raises ConfigError without a backend section, or where the adapter is for another model or cannot be used,
        and MissingModel where its model is not there."""
        found = cls._bare(settings, task)
        if adapter is not None:
            found = replace(found, adapter=adapter)
            found._check_adapter(adapter)
        return found

    @classmethod
    def _bare(cls, settings: Settings, task: Task) -> Teacher:
        backend = settings.backend
        if backend is None:
            raise ConfigError(f"{settings.name}: backend is missing; annotate needs a teacher.")
        kind = registry.load("backend.name", backend.name, BACKENDS, EXTRAS, group="backends")
        if backend.name not in BACKENDS:
            check_backend(registry.spelled(backend.name, "backends"), kind)
        if not kind.needs_model:
            model = Path(backend.model)
            teacher = cls(settings, task, kind, model, digest_of([backend.model, {}]))
            if teacher.says_the_labels:  # none of them is read for it: a finished run does not need them
                corpus, sources = settings.corpus, cls.labelled_sources(settings)
                decides = [[source_digest(source, corpus) for source in sources], corpus.tag_column, corpus.scheme]
                teacher = replace(teacher, digest=digest_of([backend.model, *decides, task.identity()]))
            return teacher
        if not backend.model:
            raise ConfigError("backend.model is missing: give a catalogue id or the path of a model.")
        model = catalogue.locate(backend.model)
        return cls(settings, task, kind, model, catalogue.model_digest(model))

    def _check_adapter(self, adapter: Adapter) -> None:
        backend = self.settings.backend
        assert backend is not None
        if backend.name == "scripted":
            raise ConfigError("adapt: a scripted teacher has no weights. Name an engine and a model in backend.")
        if backend.name == "openai_server" and not backend.options.get("adapter"):
            raise ConfigError(
                "backend.options.adapter is missing: give the name under which the server serves the run's adapter "
                "(adapt/adapter in the run's folder)."
            )
        if backend.name != "openai_server" and "adapter" in backend.options:
            raise ConfigError(
                "backend.options.adapter: the section adapt makes an adapter of its own. Leave one of the two out."
            )
        if backend.name in ("transformers", "vllm") and adapter.base and adapter.base != self.digest:
            raise ConfigError(
                f"adapt: the run's adapter was made for another model than backend.model ({backend.model}). "
                "Run adapt again."
            )
        if backend.name == "llama_cpp" and adapter.folder is not None and not (adapter.folder / GGUF).is_file():
            raise ConfigError(
                "adapt: the run's adapter could not be written as GGUF, which llama_cpp needs: its architecture is not "
                "known to adapt, or the package gguf was not installed. Use backend.name: transformers or vllm."
            )

    def of_fold(self, number: int) -> Teacher:
        """The same with the adapter that has not seen this part, from 1, of the gold training sentences."""
        assert self.adapter is not None
        return replace(self, adapter=self.adapter.folds[number - 1], fold=number)

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
            "options": {key: _content(key, value) for key, value in sorted(options) if key not in self.kind.speed_only},
            "sampling": as_plain(self.settings.annotate.sampling),
            **({} if self.adapter is None else {"adapter": self.adapter.digest}),
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
            if self.fold:
                options["adapter"] = f"{options['adapter']}-{self.fold}"
        elif self.adapter is not None:
            options["adapter"] = str(self.adapter.folder)
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


def _content(key: str, value: Any) -> Any:
    """An option's value; the digest of the file, or of the adapter's folder, where it names one."""
    path = Path(value) if isinstance(value, str) else None
    if key == "adapter" and path is not None and path.is_dir():
        rank_of(path)
        return adapter_digest(path)
    return file_digests([path])[path] if path is not None and path.is_file() else value


def _gold_answers(settings: Settings, task: Task) -> dict[str, str]:
    """What a perfect teacher would say, where the text to annotate is labelled: for dry runs and tests."""
    return {
        example.sentence.id: task.answer(example)
        for source in Teacher.labelled_sources(settings)
        for example in read_labelled(settings, source, origin="original")
    }
