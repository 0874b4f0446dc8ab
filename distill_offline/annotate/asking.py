"""annotate: the teacher labels sentences; raw completions are stored before anything is parsed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Protocol, TypeVar

from distill_offline.annotate.answers import Counts
from distill_offline.backends.base import Backend
from distill_offline.completions import Answer, Row
from distill_offline.errors import BackendError, Interrupted, QuarantineError, UnusableAnswer
from distill_offline.schema import Completion, Example, Progress, Prompt, Sentence, Watch
from distill_offline.tasks.base import Task

__all__ = [
    "AskSettings", "Asked", "Store", "ask", "ask_all", "batches", "changed_rows", "prompts", "survey", "survey_all",
]  # fmt: skip

Item = TypeVar("Item")
_WINDOW = 4096  # prompts looked at together, to find those that begin alike
_COMMIT_EVERY_S = 5.0  # a slow teacher's answers do not wait for a whole chunk


class Store(Protocol):
    """What annotate needs of a completion store; see completions.CompletionStore."""

    def known(self, digests: Iterable[bytes]) -> set[bytes]: ...
    def add(self, answers: Iterable[Answer]) -> None: ...
    def note_failures(self, causes: Mapping[bytes, str]) -> None: ...
    def set_rows(self, corpus_part: str, start: int, rows: Iterable[Row]) -> None: ...
    def end_rows(self, corpus_part: str, count: int) -> None: ...
    def rows(self, corpus_part: str) -> Iterator[tuple[str, bytes, Completion | None]]: ...
    def failures(self) -> Mapping[bytes, str]: ...


class Picker(Protocol):
    """What annotate needs of demonstrations.Demonstrations."""

    def pick_each(
        self, sentences: Iterable[Sentence], samples: int
    ) -> Iterator[tuple[Sentence, Sequence[tuple[Example, ...]]]]: ...


@dataclass(frozen=True, slots=True)
class AskSettings:
    """Everything that `ask` needs besides the sentences. `stop()` turning true drains the engine and commits.

    Each sentence is asked about `samples` times, with the demonstrations that the picker varies for each.
    An answer that is cut off by max_tokens is asked for once more with `retry_tokens` (0: never). Where more than
    `max_failure_rate` of the last `failure_window` answers cannot be used, something is wrong: the run stops.
    """

    task: Task
    demonstrations: Picker
    store: Store
    recipe: bytes
    digest: Callable[[Prompt, bytes], bytes]
    backend: Callable[[], Backend]
    chunk: int = 256
    samples: int = 1
    retry_tokens: int = 0
    max_failure_rate: float = 1.0
    failure_window: int = 200
    stop: Callable[[], bool] = lambda: False
    watch: Watch = lambda progress: None


Asked = tuple[Sentence, Prompt, bytes]  # a prompt, the sentence that it is about, and the prompt's digest


def prompts(sentences: Iterable[Sentence], asking: AskSettings) -> Iterator[Asked]:
    """Each sentence with its prompt and the prompt's digest, streaming; as often as there are samples of it."""
    for sentence, examples in asking.demonstrations.pick_each(sentences, asking.samples):
        for sample, demonstrations in enumerate(examples):
            prompt = replace(asking.task.prompt(sentence, demonstrations), sample=sample)
            yield sentence, prompt, asking.digest(prompt, asking.recipe)


def ask(corpus_part: str, sentences: Iterable[Sentence], asking: AskSettings, *, total: int = 0) -> Counts:
    """Bring the store up to date for one corpus: what is stored is not asked again, identical prompts are asked once.

    The backend is made only when something has to be asked. Raises Interrupted after a clean stop, and QuarantineError
    where too many answers in a row are of no use; all that was answered until then is committed.
    """
    return ask_all(corpus_part, prompts(sentences, asking), asking, asking.task.parse, total=total)


def ask_all(
    corpus_part: str,
    asked: Iterable[Asked],
    asking: AskSettings,
    judge: Callable[[Sentence, Completion], object],
    *,
    total: int = 0,
) -> Counts:
    """As `ask`, for prompts of any kind; `judge` raises UnusableAnswer for what cannot be used."""
    return _Asking(corpus_part, asking, judge, total).run(asked)


def survey(corpus_part: str, sentences: Iterable[Sentence], asking: AskSettings) -> list[str]:
    """Write down which answer each row wants, and give the ids of those whose answer is not stored; asks nothing."""
    return survey_all(corpus_part, prompts(sentences, asking), asking)


def survey_all(corpus_part: str, asked: Iterable[Asked], asking: AskSettings) -> list[str]:
    """As `survey`, for prompts of any kind."""
    rows, missing = 0, list[str]()
    for batch in batches(asked, max(asking.chunk, 256)):
        known = asking.store.known({digest for _, _, digest in batch})
        asking.store.set_rows(
            corpus_part, rows, [Row(sentence.id, sentence.document, digest) for sentence, _, digest in batch]
        )
        rows += len(batch)
        missing += [sentence.id for sentence, _, digest in batch if digest not in known]
    asking.store.end_rows(corpus_part, rows)
    return missing


@dataclass(frozen=True, slots=True)
class _Request:
    """A prompt on its way, and the sentence that it was made for."""

    digest: bytes
    sentence: Sentence
    prompt: Prompt


class _Asking:
    """One pass over one corpus: a generator feeds the engine while its answers are committed in chunks."""

    def __init__(
        self, corpus_part: str, asking: AskSettings, judge: Callable[[Sentence, Completion], object], total: int
    ) -> None:
        self._corpus_part, self._asking, self._judged_by, self._total = corpus_part, asking, judge, total
        self.counts = Counts()
        self._sent: dict[int, _Request] = {}  # by the engine's position
        self._sent_count = 0
        self._pending: set[bytes] = set()  # asked and not stored: in flight, or failed in the engine
        self._stored: set[bytes] = set()  # since the store was last asked what it knows
        self._again: deque[_Request] = deque()  # cut off, and to be asked with more room
        self._answered: list[Answer] = []
        self._failures: deque[str] = deque(maxlen=asking.failure_window)  # reasons; "" where an answer can be used
        self._committed = time.monotonic()
        self._stopped = False

    def run(self, asked: Iterable[Asked]) -> Counts:
        missing = self._missing(asked)
        first = next(missing, None)
        if first is not None:
            try:
                self._complete(_chain(first, missing))
                # What was cut off last, when there was nothing left to be asked beside it.
                while self._again and not self._stopped:
                    self._complete(iter(()))
            finally:
                self._commit()
        self._show()
        if self._stopped:
            raise Interrupted(
                f"annotate: stopped after {self.counts.asked} answers; all of them are stored. "
                "Run the same command again to go on."
            )
        self._asking.store.end_rows(self._corpus_part, self.counts.rows)
        return self.counts

    def _complete(self, requests: Iterator[_Request]) -> None:
        self._sent_count = 0
        for position, completion in self._asking.backend().complete(self._numbered(requests)):
            if (request := self._sent.pop(position, None)) is None:
                raise BackendError(f"the backend answered position {position}, which waits for no answer.")
            self._take(request, completion)

    def _numbered(self, requests: Iterator[_Request]) -> Iterator[Prompt]:
        for request in self._feed(requests):
            self._sent[self._sent_count] = request
            self._sent_count += 1
            yield request.prompt

    def _feed(self, requests: Iterator[_Request]) -> Iterator[_Request]:
        """Requests, with those that were cut off meanwhile ahead of the next."""
        while True:
            if self._asking.stop():
                self._stopped = True
                return
            if self._again:
                yield self._again.popleft()
            elif (request := next(requests, None)) is not None:
                yield request
            else:
                return

    def _missing(self, asked: Iterable[Asked]) -> Iterator[_Request]:
        """Prompts that the store has no answer for; writes down on the way which answer each row wants."""
        for batch in batches(asked, max(self._asking.chunk, _WINDOW)):
            self._stored.clear()
            known = self._asking.store.known({digest for _, _, digest in batch})
            rows = [Row(sentence.id, sentence.document, digest) for sentence, _, digest in batch]
            self._asking.store.set_rows(self._corpus_part, self.counts.rows, rows)
            self.counts.rows += len(batch)
            # Prompts that begin alike are asked one after another: an engine computes their common prefix once.
            for sentence, prompt, digest in sorted(batch, key=_beginning):
                if self._asking.stop():
                    self._stopped = True
                    return
                if digest in known or digest in self._pending or digest in self._stored:
                    self.counts.cached += 1
                    continue
                self._pending.add(digest)
                yield _Request(digest, sentence, prompt)
            self._show()

    def _take(self, request: _Request, completion: Completion) -> None:
        counts = self.counts
        counts.prompt_tokens += completion.prompt_tokens
        counts.completion_tokens += completion.completion_tokens
        counts.cached_tokens += completion.cached_tokens
        if completion.finish_reason == "length" and self._asking.retry_tokens and request.prompt.max_tokens is None:
            counts.retried += 1
            self._again.append(replace(request, prompt=replace(request.prompt, max_tokens=self._asking.retry_tokens)))
            return
        self._answered.append(
            Answer(request.digest, self._asking.recipe, request.sentence.id, request.sentence.document, completion)
        )
        counts.asked += 1
        self._judge(request.sentence, completion)
        if len(self._answered) >= self._asking.chunk or time.monotonic() - self._committed > _COMMIT_EVERY_S:
            self._commit()
        self._show()

    def _judge(self, sentence: Sentence, completion: Completion) -> None:
        """Count an answer that cannot be used; stop where they pile up."""
        reason = ""
        try:
            self._judged_by(sentence, completion)
        except UnusableAnswer as error:
            reason = error.reason
            self.counts.unusable += 1
        self._failures.append(reason)
        failed, window = len(self._failures) - self._failures.count(""), self._asking.failure_window
        if reason and len(self._failures) == window and failed > self._asking.max_failure_rate * window:
            common, times = Counter(filter(None, self._failures)).most_common(1)[0]
            cause = f"; the last: {completion.finish_reason}" if reason == common == "engine_error" else ""
            raise QuarantineError(
                f"annotate: {failed} of the last {window} answers cannot be used ({times} of them: {common}{cause}), "
                f"more than annotate.max_failure_rate {self._asking.max_failure_rate} allows. Stopped; all answers are "
                "stored. Look at the prompt and the model with --sample, or allow more."
            )

    def _commit(self) -> None:
        # An engine's own failure for one prompt may pass: it is not an answer, so it is asked again next time.
        stored = [answer for answer in self._answered if not answer.completion.finish_reason.startswith("error")]
        causes = {a.digest: a.completion.finish_reason for a in self._answered}
        for answer in stored:
            del causes[answer.digest]
        if causes:
            self._asking.store.note_failures(causes)
        if stored:
            self._asking.store.add(stored)
            digests = {answer.digest for answer in stored}
            self._stored |= digests
            self._pending -= digests
        self._answered.clear()
        self._committed = time.monotonic()

    def _show(self) -> None:
        counts = self.counts
        self._asking.watch(
            Progress(
                f"annotate {self._corpus_part}",
                counts.cached + counts.asked,
                self._total,
                {
                    "asked": counts.asked,
                    "cached": counts.cached,
                    "unusable": counts.unusable,
                    "prompt_tokens": counts.prompt_tokens,
                    "completion_tokens": counts.completion_tokens,
                },
            )
        )


def changed_rows(corpus_part: str, sentences: Iterable[Sentence], asking: AskSettings) -> list[str]:
    """Ids of the rows whose prompt is not the one that their answer was given to; asks nothing, writes nothing."""
    now = ((sentence.id, digest) for sentence, _, digest in prompts(sentences, asking))
    before = ((sentence_id, digest) for sentence_id, digest, _ in asking.store.rows(corpus_part))
    return [(a or b)[0] for a, b in zip_longest(now, before) if a != b]


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items in order; the last may be shorter."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _beginning(row: tuple[Sentence, Prompt, bytes]) -> tuple[str, ...]:
    """All of a prompt but its last message, which is the sentence's own."""
    return tuple(message.content for message in row[1].messages[:-1])


def _chain(first: _Request, rest: Iterator[_Request]) -> Iterator[_Request]:
    yield first
    yield from rest
