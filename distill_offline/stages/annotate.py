"""annotate: the teacher labels sentences; raw completions are stored before anything is parsed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from distill_offline.artifacts import json_line, replacing
from distill_offline.backends.base import Backend
from distill_offline.errors import Interrupted, UnusableAnswer
from distill_offline.schema import Annotation, Completion, Example, Progress, Prompt, Sentence, Watch
from distill_offline.tasks.base import Task

__all__ = ["Ask", "Counts", "Store", "annotation_row", "ask", "parse", "prompts"]

_COMMIT_EVERY_S = 5.0  # a slow teacher's answers do not wait for a whole chunk


class Store(Protocol):
    """What annotate needs of a completion store; see completions.CompletionStore."""

    def known(self, digests: Iterable[bytes]) -> set[bytes]: ...
    def add(self, completions: Iterable[tuple[bytes, bytes, str, Completion]]) -> None: ...
    def set_rows(self, part: str, start: int, rows: Iterable[tuple[str, bytes]]) -> None: ...
    def end_rows(self, part: str, count: int) -> None: ...
    def rows(self, part: str) -> Iterator[tuple[str, bytes, Completion | None]]: ...


class Picker(Protocol):
    """What annotate needs of demonstrations.Demonstrations."""

    def pick(self, sentences: Iterable[Sentence]) -> Iterator[tuple[Sentence, tuple[Example, ...]]]: ...


@dataclass(slots=True)
class Counts:
    """What happened, in rows."""

    rows: int = 0
    cached: int = 0
    asked: int = 0
    annotated: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    aligned: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: dict(sorted(v.items())) if isinstance(v, Counter) else v for key, v in values.items()}


@dataclass(frozen=True, slots=True)
class Ask:
    """Everything that `ask` needs besides the sentences. `stop()` turning true drains the engine and commits."""

    task: Task
    demonstrations: Picker
    store: Store
    recipe: bytes
    digest: Callable[[Prompt, bytes], bytes]
    backend: Callable[[], Backend]
    chunk: int = 64
    stop: Callable[[], bool] = lambda: False
    watch: Watch = lambda progress: None


def prompts(sentences: Iterable[Sentence], asking: Ask) -> Iterator[tuple[Sentence, Prompt, bytes]]:
    """Each sentence with its prompt and the prompt's digest, streaming."""
    for sentence, demonstrations in asking.demonstrations.pick(sentences):
        prompt = asking.task.prompt(sentence, demonstrations)
        yield sentence, prompt, asking.digest(prompt, asking.recipe)


def ask(part: str, sentences: Iterable[Sentence], asking: Ask, *, total: int = 0) -> Counts:
    """Bring the store up to date for one corpus: what is stored is not asked again, identical prompts are asked once.

    The backend is made only when something has to be asked. Raises Interrupted after a clean stop; all that was
    answered until then is committed.
    """
    return _Asking(part, asking, total).run(sentences)


class _Asking:
    """One pass over one corpus: a generator feeds the engine while its answers are committed in chunks."""

    def __init__(self, part: str, asking: Ask, total: int) -> None:
        self._part, self._a, self._total = part, asking, total
        self.counts = Counts()
        self._sent: dict[int, tuple[bytes, str]] = {}  # by the engine's position
        self._given = 0
        self._pending: set[bytes] = set()  # asked and not stored: in flight, or failed in the engine
        self._stored: set[bytes] = set()  # since the store was last asked what it knows
        self._answered: list[tuple[bytes, bytes, str, Completion]] = []
        self._committed = time.monotonic()
        self._stopped = False

    def run(self, sentences: Iterable[Sentence]) -> Counts:
        missing = self._missing(sentences)
        first = next(missing, None)
        if first is not None:
            try:
                for position, completion in self._a.backend().complete(_chain(first, missing)):
                    self._take(position, completion)
            finally:
                self._commit()
        self._show()
        if self._stopped:
            raise Interrupted(
                f"annotate: stopped after {self.counts.asked} answers; all of them are stored. "
                "Run the same command again to go on."
            )
        self._a.store.end_rows(self._part, self.counts.rows)
        return self.counts

    def _missing(self, sentences: Iterable[Sentence]) -> Iterator[Prompt]:
        """Prompts that the store has no answer for; writes down on the way which answer each row wants."""
        for batch in _batches(prompts(sentences, self._a), max(self._a.chunk, 256)):
            self._stored.clear()
            known = self._a.store.known({digest for _, _, digest in batch})
            self._a.store.set_rows(self._part, self.counts.rows, [(s.id, digest) for s, _, digest in batch])
            self.counts.rows += len(batch)
            for sentence, prompt, digest in batch:
                if self._a.stop():
                    self._stopped = True
                    return
                if digest in known or digest in self._pending or digest in self._stored:
                    self.counts.cached += 1
                    continue
                self._pending.add(digest)
                self._sent[self._given] = (digest, sentence.id)
                self._given += 1
                yield prompt
            self._show()

    def _take(self, position: int, completion: Completion) -> None:
        digest, sentence_id = self._sent.pop(position)
        self._answered.append((digest, self._a.recipe, sentence_id, completion))
        self.counts.asked += 1
        self.counts.prompt_tokens += completion.prompt_tokens
        self.counts.completion_tokens += completion.completion_tokens
        self.counts.cached_tokens += completion.cached_tokens
        if len(self._answered) >= self._a.chunk or time.monotonic() - self._committed > _COMMIT_EVERY_S:
            self._commit()
        self._show()

    def _commit(self) -> None:
        # An engine's own failure for one prompt may pass: it is not an answer, so it is asked again next time.
        stored = [row for row in self._answered if not row[3].finish_reason.startswith("error")]
        if stored:
            self._a.store.add(stored)
            digests = {digest for digest, *_ in stored}
            self._stored |= digests
            self._pending -= digests
        self._answered.clear()
        self._committed = time.monotonic()

    def _show(self) -> None:
        counts = self.counts
        self._a.watch(
            Progress(
                f"annotate {self._part}",
                counts.cached + counts.asked,
                self._total,
                {
                    "asked": counts.asked,
                    "cached": counts.cached,
                    "prompt_tokens": counts.prompt_tokens,
                    "completion_tokens": counts.completion_tokens,
                },
            )
        )


def parse(
    sentences: Iterable[Sentence], part: str, task: Task, store: Store, counts: Counts, output: Path, quarantine: Path
) -> None:
    """Turn stored completions into the two files, in the corpus's order; needs no teacher.

    The same stored completions give the same bytes. Every row lands in exactly one of the two files.
    """
    with replacing(output) as labelled, replacing(quarantine) as refused:
        for sentence, (sentence_id, digest, completion) in zip(sentences, store.rows(part), strict=True):
            if sentence.id != sentence_id:
                raise RuntimeError(f"row {sentence_id} of {part} met sentence {sentence.id}")
            try:
                if completion is None:
                    raise UnusableAnswer("engine_error")
                annotation = task.parse(sentence, completion)
            except UnusableAnswer as error:
                counts.quarantined[error.reason] += 1
                refused.write(json_line(_refusal(sentence, error.reason, digest, completion)))
                continue
            counts.annotated += 1
            counts.rejected.update(rejection.reason for rejection in annotation.rejected)
            counts.aligned.update(span.alignment for span in annotation.spans)
            labelled.write(json_line(annotation_row(sentence, annotation)))


def annotation_row(sentence: Sentence, annotation: Annotation) -> dict[str, Any]:
    """A line of annotations.jsonl."""
    return {
        "id": sentence.id,
        "document": sentence.document,
        "index": sentence.index,
        "text": sentence.text,
        "tokens": sentence.tokens,
        "offsets": sentence.offsets,
        "labels": annotation.labels,
        "spans": [asdict(span) for span in annotation.spans],
        "rejected": [asdict(rejection) for rejection in annotation.rejected],
    }


def _refusal(sentence: Sentence, reason: str, digest: bytes, completion: Completion | None) -> Mapping[str, Any]:
    return {
        "id": sentence.id,
        "document": sentence.document,
        "index": sentence.index,
        "reason": reason,
        "finish_reason": completion.finish_reason if completion else "",
        "completion": digest.hex(),
    }


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _chain(first: Prompt, rest: Iterator[Prompt]) -> Iterator[Prompt]:
    yield first
    yield from rest
