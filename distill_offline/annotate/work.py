"""What annotate works on, read in: task, gold, teacher and demonstrations; and which rows are a shard's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from distill_offline.annotate.asking import AskSettings
from distill_offline.annotate.demonstrations import Demonstrations
from distill_offline.annotate.frozen import frozen
from distill_offline.annotate.pool import demonstrations
from distill_offline.annotate.questions import Questions, check_can_be_asked
from distill_offline.annotate.teacher import Teacher
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.config.settings import Settings, Source
from distill_offline.errors import InputError
from distill_offline.run.adapter import Adapter, adapter_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold, make_task, read_gold, read_labelled, unlabelled
from distill_offline.run.sources import labels_digest, source_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.schema import Sentence
from distill_offline.tasks.base import Task

__all__ = ["AnnotateInputs", "Shard", "corpus_of", "questions_of", "stage_of"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `of`-th row of each corpus, from the `number`-th on (from 1)."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`3/8`. Raises InputError for anything else."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard {text!r}: write i/n with i from 1 to n, for example 3/8.")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        return f"shards/{self.number}-of-{self.of}"


@dataclass(frozen=True, slots=True)
class AnnotateInputs:
    """A run's inputs for annotate. `settings` are the run's, with the prompt's ingredients as the run froze them."""

    folder: RunFolder
    settings: Settings
    task: Task
    gold: Gold
    teacher: Teacher
    picker: Demonstrations
    shard: Shard | None = None
    engine_identity: dict[str, Any] = field(default_factory=dict)  # empty until the engine has been needed

    @classmethod
    def of(
        cls,
        folder: RunFolder,
        *,
        refreeze: bool = False,
        write: bool = True,
        shard: Shard | None = None,
        is_adapted: bool = True,
    ) -> Self:
        """Read everything but the corpus; `write` and `refreeze` are those of frozen(). Without `is_adapted` an adapter
        that lies there is an old one, in whose place another will be made."""
        gold = read_gold(folder.settings)
        settings = frozen(folder, gold, refreeze=refreeze, write=write)
        task = make_task(settings)
        adapter = adapter_of(folder, may_lack=not write) if is_adapted else Adapter()
        teacher = Teacher.of(settings, task, adapter)
        if settings.annotate.verify is not None:
            assert settings.backend is not None
            check_can_be_asked(settings.backend, teacher.kind, task.head)
        return cls(folder, settings, task, gold, teacher, demonstrations(settings, gold), shard)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("unlabelled", *self.settings.annotate.gold)

    def sentences(self, corpus_part: str, counts: Counter[str] | None = None) -> Iterator[Sentence]:
        """The sentences of a corpus (of the shard), streamed; `counts` is cleared and gains what was passed over."""
        sentences = corpus_of(self.settings, self.gold, corpus_part, counts)
        return sentences if self.shard is None else islice(sentences, self.shard.number - 1, None, self.shard.of)

    def prompts(self, corpus_part: str) -> int:
        """How many prompts a corpus makes (of the shard), copies included."""
        return self.settings.annotate.samples * sum(1 for _ in self.sentences(corpus_part))

    def asking(
        self, store: CompletionStore, backend: Callable[[], Backend], teacher: Teacher | None = None
    ) -> AskSettings:
        """How the store is brought up to date; `teacher`: another than this one's."""
        settings = self.settings.annotate
        return AskSettings(
            self.task,
            self.picker,
            store,
            store.add_recipe((teacher or self.teacher).recipe()),
            prompt_digest,
            backend,
            chunk=settings.chunk,
            samples=settings.samples,
            retry_tokens=settings.sampling.second_tokens,
            max_failure_rate=settings.max_failure_rate,
            failure_window=settings.failure_window,
            stop=self.folder.stop,
            watch=self.folder.watch,
        )

    @contextmanager
    def engine(self, teacher: Teacher | None = None) -> Iterator[Callable[[], Backend]]:
        """A function that gives the engine, of another teacher perhaps, loaded at its first call, closed at the end."""
        started: list[Backend] = []

        def start() -> Backend:
            if not started:
                started.append((teacher or self.teacher).start())
                self.engine_identity.update(started[0].identity())  # loads it now: what comes after can be timed
                if (questions := questions_of(self.settings)) is not None:
                    questions.check_lists(started[0])
            return started[0]

        try:
            yield start
        finally:
            for backend in started:
                backend.close()

    def stage(self) -> Stage:
        """The stage's folder: annotate/, or the shard's own."""
        name = self.shard.name if self.shard else "annotate"
        stage = stage_of(name, self.folder, self.settings, self.task, self.picker, self.teacher.recipe())
        stage.engine = self.engine_identity
        return stage

    def check_unchanged(self, stage: Stage) -> None:
        """Raises InputError if a corpus file is not what it was when the stage began."""
        now = self.stage()
        if now.fingerprint != stage.fingerprint:
            raise InputError(
                f"{stage.name}: a corpus file changed while it was annotated. Run it again; all answers are stored."
            )


def corpus_of(
    settings: Settings, gold: Gold, corpus_part: str, counts: Counter[str] | None = None
) -> Iterator[Sentence]:
    """The sentences of `unlabelled` or of a gold split, streamed, with the neighbours that task.context asks for.

    `counts` holds what was passed over.
    """
    if counts is not None:
        counts.clear()
    if corpus_part == "unlabelled":
        return unlabelled(settings, counts)
    examples, width = gold.split(corpus_part), settings.task.context
    if not width or not examples:
        return (example.sentence for example in examples)
    # Read again: what is in `gold` has no neighbours, since demonstrations are to show none.
    kept = {(example.sentence.id, example.sentence.tokens) for example in examples}
    original = settings.corpus.original
    sources = [getattr(original, corpus_part), *([original.reviewed] if corpus_part == "train" else [])]
    return _with_neighbours(settings, [source for source in sources if source is not None], kept)


def _with_neighbours(
    settings: Settings, sources: Sequence[str | Source], wanted: set[tuple[str, tuple[str, ...]]]
) -> Iterator[Sentence]:
    """The sentences with these ids and tokens, each once."""
    left = set(wanted)
    for source in sources:
        for example in read_labelled(settings, source, origin="original", context=settings.task.context):
            key = example.sentence.id, example.sentence.tokens
            if key in left:
                left.remove(key)
                yield example.sentence


def questions_of(settings: Settings) -> Questions | None:
    """Those of annotate.verify; None without it."""
    chosen = settings.annotate.verify
    return None if chosen is None else Questions(chosen, settings.task.types)


def stage_of(
    name: str, folder: RunFolder, settings: Settings, task: Task, picker: Demonstrations, recipe: Mapping[str, Any]
) -> Stage:
    """The stage that asks this task of this corpus by this recipe."""
    corpus = folder.settings.corpus
    gold = {split: getattr(corpus.original, split) for split in settings.annotate.gold}
    # What of train stands in dev or test is dropped from it, so that these have a say, too.
    train = {"train": labels_digest(folder.settings, "train", "dev", "test")} if "train" in gold else {}
    questions = questions_of(settings)
    return Stage(
        folder,
        name,
        decides={
            "task": task.identity(),
            "demonstrations": picker.identity(),
            "recipe": recipe,
            "unlabelled": source_digest(corpus.unlabelled, corpus),
            "gold": {split: source_digest(source, corpus) for split, source in gold.items()} | train,
            "limit": settings.annotate.limit,
            "samples": settings.annotate.samples,
            **({"context": settings.task.context} if settings.task.context else {}),
            **({} if questions is None else {"verify": questions.identity()}),
        },
        inputs=source_paths(corpus.unlabelled, *gold.values()),
        models={"teacher": recipe["model"]},
        parents=[folder.folder("adapt")] if settings.adapt is not None else (),
    )
