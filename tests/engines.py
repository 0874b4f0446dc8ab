"""Engines to be run in a worker process: one that echoes, dies on demand, or cannot start."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from distill_offline import offline
from distill_offline.errors import ConfigError, DistillError
from distill_offline.schema import Completion, Prompt, Sampling


class OddError(DistillError):
    """One that cannot be unpickled: its constructor wants more than its message."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"{number} {what}")


class Echo:
    """Answers with the prompt's text in capitals, two prompts under way at a time; `poison` kills the process."""

    needs_model: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        if options.get("broken") == "config":
            raise ConfigError("backend.options.broken is unknown.")
        if options.get("broken") == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if options.get("broken") == "foreign":
            raise RuntimeError("no memory left")

    def identity(self) -> Mapping[str, Any]:
        return {"pid": os.getpid(), "offline": offline.is_enforced()}

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        held: list[tuple[int, Prompt]] = []
        for item in enumerate(prompts):
            held.append(item)
            if len(held) == 2:
                yield from self._answers(held)
                held = []
        yield from self._answers(held)

    def close(self) -> None:
        pass

    def _answers(self, held: list[tuple[int, Prompt]]) -> Iterator[tuple[int, Completion]]:
        for position, prompt in reversed(held):
            text = prompt.messages[-1].content
            if text == "poison":
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "odd":
                raise OddError(3, "apples")
            if text == "raise":
                raise RuntimeError("the engine gave up")
            yield position, Completion(text.upper(), "stop")


class Batch:
    """Takes `size` prompts, then answers them all in one step, with `answer` characters each."""

    needs_model: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._size, self._text = int(options["size"]), "a" * int(options["answer"])

    def identity(self) -> Mapping[str, Any]:
        return {"pid": os.getpid()}

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        numbered = enumerate(prompt.messages[-1].content[:6] for prompt in prompts)
        while batch := list(islice(numbered, self._size)):
            if batch[0][1] == "hang":
                signal.pause()
            for position, text in batch:
                if text == "poison":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield position, Completion(self._text, "stop")

    def close(self) -> None:
        pass


class Wrong(Batch):
    """Answers what is no answer: `twice`, a `text`, or a position that nobody asked about."""

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        wrong: dict[str, list[object]] = {
            "twice": [(0, Completion("", "stop"))] * 2,
            "text": [(0, "stop")],
            "nobody": [(9, Completion("", "stop"))],
        }
        for prompt in prompts:
            yield from wrong[prompt.messages[-1].content]  # type: ignore[misc]
