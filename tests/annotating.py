"""An annotate stage over a small corpus with a scripted teacher, which can be killed at any boundary.

As a program: `annotating.py FOLDER WHERE N` annotates into FOLDER and kills itself (SIGKILL) at the N-th WHERE.
`annotating.py FOLDER each WHERE N [WHERE N]...` annotates into FOLDER/WHEREN for each pair, in processes that kill
themselves there, side by side; prints how many did.
`annotating.py FOLDER random N` annotates into FOLDER/0 to FOLDER/N-1, each in a process that is killed at a moment
drawn at random; prints how many of them were killed before their end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentences import example

from distill_offline.annotate.answers import Counts, parse
from distill_offline.annotate.asking import AskSettings, ask
from distill_offline.annotate.demonstrations import Demonstrations
from distill_offline.backends.scripted import Scripted
from distill_offline.completions import Answer, CompletionStore, Row, prompt_digest
from distill_offline.config.settings import DemonstrationSettings, TaskSettings
from distill_offline.schema import Annotation, Completion, Example, Progress, Prompt, Sampling, Sentence
from distill_offline.tasks.ner import NER

__all__ = ["CORPUS", "Stage", "Teacher"]

RECIPE = {"model": "scripted", "sampling": {}}


def _example(n: int) -> Example:
    # Every fifth sentence occurs there twice, with an id of its own: its prompt is the same.
    number = n - 1 if n % 5 == 4 else n
    words = f"Unit/B-ORG P{number}/I-ORG was checked by Ada/B-PER {'again ' * (number % 3)}today"
    return example(words, f"d:{n}")


CORPUS = [_example(n) for n in range(40)]


@dataclass(slots=True)
class Bomb:
    """Goes off at the n-th time that `where` is passed."""

    where: str = ""
    left: int = 0

    def passing(self, where: str) -> None:
        if where == self.where:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Teacher(Scripted):
    """A scripted backend that writes down in a file whom it was asked for."""

    def __init__(self, answers: Mapping[str, str], noise: float, log: Path, bomb: Bomb, delay_s: float = 0.0) -> None:
        super().__init__(Path(), Sampling(), {"answers": answers, "noise": noise, "delay_s": delay_s})
        self._log, self._bomb = log, bomb

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        taken: list[Prompt] = []

        def noted() -> Iterator[Prompt]:
            for prompt in prompts:
                taken.append(prompt)
                yield prompt

        for position, completion in super().complete(noted()):
            self._bomb.passing("answer")
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"{taken[position].sentence_id}\n")
            yield position, completion


class Store(CompletionStore):
    """The real store, with a bomb at its doors."""

    bomb = Bomb()

    def add(self, answers: Iterable[Answer]) -> None:
        self.bomb.passing("before commit")
        super().add(answers)
        self.bomb.passing("after commit")

    def set_rows(self, part: str, start: int, rows: Iterable[Row]) -> None:
        super().set_rows(part, start, rows)
        self.bomb.passing("rows")

    def end_rows(self, part: str, count: int) -> None:
        super().end_rows(part, count)
        self.bomb.passing("asked")


class Parsing(NER):
    """The real task, with a bomb in the parser."""

    bomb = Bomb()

    def parse(self, sentence: Sentence, completion: Completion) -> Annotation:
        self.bomb.passing("parse")
        return super().parse(sentence, completion)


@dataclass(slots=True)
class Stage:
    """One annotate stage in a folder."""

    folder: Path
    noise: float = 0.3
    guidelines: str = ""
    chunk: int = 4
    delay_s: float = 0.0
    retry_tokens: int = 0
    max_failure_rate: float = 1.0
    failure_window: int = 10
    corpus: list[Example] = field(default_factory=lambda: list(CORPUS))
    answers: dict[str, str] = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False
    kind: type[Teacher] = Teacher
    bomb: Bomb = field(default_factory=Bomb)
    teachers: list[Teacher] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    @property
    def task(self) -> Parsing:
        types = {"ORG": "a unit", "PER": "a human"}
        task = Parsing(TaskSettings(types=types, guidelines=self.guidelines))
        task.bomb = self.bomb
        return task

    def store(self) -> Store:
        store = Store(self.folder / "completions.sqlite")
        store.bomb = self.bomb
        return store

    def asked(self) -> list[str]:
        """The ids that teachers were asked for in this folder, ever."""
        log = self.folder / "asked.log"
        return log.read_text("utf-8").splitlines() if log.exists() else []

    def teacher(self) -> Teacher:
        task = self.task
        answers = self.answers or {e.sentence.id: task.answer(e) for e in self.corpus}
        self.teachers.append(self.kind(answers, self.noise, self.folder / "asked.log", self.bomb, self.delay_s))
        return self.teachers[-1]

    def ask(self, store: CompletionStore, part: str = "unlabelled") -> Counts:
        asking = AskSettings(
            task=self.task,
            demonstrations=Demonstrations(DemonstrationSettings(strategy="static", k=1), CORPUS[:3], seed=0),
            store=store,
            recipe=store.add_recipe(RECIPE),
            digest=prompt_digest,
            backend=self.teacher,
            chunk=self.chunk,
            retry_tokens=self.retry_tokens,
            max_failure_rate=self.max_failure_rate,
            failure_window=self.failure_window,
            stop=self.stop,
            watch=self.progress.append,
        )
        return ask(part, (e.sentence for e in self.corpus), asking, total=len(self.corpus))

    def parse(self, store: CompletionStore, counts: Counts, task: Any = None) -> None:
        parse(
            (e.sentence for e in self.corpus),
            "unlabelled",
            task or self.task,
            store,
            counts,
            self.folder / "annotations.jsonl",
            self.folder / "quarantine.jsonl",
        )

    def run(self) -> Counts:
        with self.store() as store:
            counts = self.ask(store)
            self.parse(store, counts)
        return counts

    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.glob("*.jsonl"))}


def kill_at_each(root: Path, boundaries: list[str]) -> int:
    """How many stages killed themselves, of one for each pair of a place and a number."""
    children = []
    for where, n in zip(boundaries[::2], boundaries[1::2], strict=True):
        if (child := os.fork()) == 0:
            Stage(root / f"{where}{n}", bomb=Bomb(where, int(n))).run()
            os._exit(0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] == signal.SIGKILL for child in children)


def kill_at_random(root: Path, times: int) -> int:
    """How many of `times` stages were killed before they came to their end."""
    drawn = random.Random(20)
    killed = 0
    for number in range(times):
        moment = 0.02 + drawn.random() * 0.3
        if (child := os.fork()) == 0:
            threading.Timer(moment, os.kill, (os.getpid(), signal.SIGKILL)).start()
            Stage(root / str(number), delay_s=0.006).run()
            os._exit(0)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    return killed


if __name__ == "__main__":
    if sys.argv[2] == "random":
        sys.stdout.write(str(kill_at_random(Path(sys.argv[1]), int(sys.argv[3]))))
        sys.exit(0)
    if sys.argv[2] == "each":
        sys.stdout.write(str(kill_at_each(Path(sys.argv[1]), sys.argv[3:])))
        sys.exit(0)
    Stage(Path(sys.argv[1]), bomb=Bomb(sys.argv[2], int(sys.argv[3]))).run()
    sys.exit(3)  # the bomb has not gone off
