"""A worker of a Ray cluster: our engine process, fed from the ledger; and what crosses the wire, as JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from distill_offline.backends.base import Backend
from distill_offline.backends.ray_ledger import Failure, Key, Lot
from distill_offline.backends.worker import Worker
from distill_offline.errors import BackendError, DistillError
from distill_offline.schema import Completion, Message, Prompt, Sampling

__all__ = ["Engine", "Seat", "decode_completion", "decode_prompt", "encode_completion", "encode_prompt"]

_BEAT_S = 5.0
_FLUSH_S = 0.2


def encode_prompt(prompt: Prompt) -> bytes:
    """JSON of a prompt. The schema keeps the order of its keys: engines write properties in that order."""
    return json.dumps(asdict(prompt), separators=(",", ":")).encode("ascii")


def decode_prompt(data: bytes) -> Prompt:
    """The prompt that `encode_prompt` was given."""
    value = json.loads(data)
    return Prompt(**{**value, "messages": tuple(Message(**message) for message in value["messages"])})


def encode_completion(completion: Completion) -> bytes:
    """JSON of a completion; log-probabilities come back to the last bit."""
    return json.dumps(asdict(completion), separators=(",", ":")).encode("ascii")


def decode_completion(data: bytes) -> Completion:
    """The completion that `encode_completion` was given."""
    value: dict[str, Any] = json.loads(data)
    for name in ("token_texts", "token_logprobs"):
        value[name] = tuple(value[name])
    value["first_tokens"] = tuple((text, log) for text, log in value["first_tokens"])
    return Completion(**value)


@dataclass(frozen=True, slots=True)
class Engine:
    """What a seat needs to build its engine.

    `target` is `module:Class`, found along `path`, too; relative paths count from `folder`.
    """

    target: str
    model: str
    sampling: Sampling
    options: Mapping[str, Any]
    folder: str
    environment: Mapping[str, str]
    path: tuple[str, ...] = ()


class Seat:
    """A worker of the cluster, as Ray Data runs it: our engine process, fed from the ledger as one unbroken stream."""

    def __init__(self, ledger: Any, engine: Engine, batch: int) -> None:
        os.environ.update(engine.environment)
        with contextlib.suppress(OSError):  # a node without it can do without, unless a path is relative
            os.chdir(engine.folder)
        sys.path += [entry for entry in engine.path if entry not in sys.path]
        self._ledger, self._engine, self._batch = ledger, engine, batch

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, list[int]]:
        """Serve for each of the seats until the ledger is closed."""
        seats = [int(seat) for seat in rows["seat"]]
        for seat in seats:
            self._serve(seat, f"{seat}/{uuid.uuid4().hex}")
        return {"seat": seats}

    def _serve(self, seat: int, life: str) -> None:
        if not _ray().get(self._ledger.begin.remote(seat, life)):
            return
        over = threading.Event()
        threading.Thread(target=self._beat, args=(life, over), daemon=True).start()
        worker = None
        try:
            worker = self._start(life)
            while (prompts := _ray().get(self._ledger.take.remote(life, self._batch, _BEAT_S))) is not None:
                if prompts:
                    self._answer(worker, life, prompts)
        except DistillError as error:
            where = _ray().util.get_node_ip_address()
            failure = Failure(type(error).__name__, f"worker {seat} on node {where}: {error}")
            _ray().get(self._ledger.failed.remote(seat, failure))
        finally:
            over.set()
            if worker is not None:
                worker.close()

    def _start(self, life: str) -> Worker:
        module, _, name = self._engine.target.partition(":")
        try:
            kind: type[Backend] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise BackendError(
                f"{self._engine.target} does not import ({error}). Is the same installed here?"
            ) from error
        worker = Worker(kind, Path(self._engine.model), self._engine.sampling, self._engine.options)
        differing = _ray().get(self._ledger.ready.remote(life, dict(worker.identity())))
        if differing:
            worker.close()
            raise BackendError(f"its engine is not the one of the other workers: {differing}. Install the same there.")
        return worker

    def _answer(self, worker: Worker, life: str, prompts: Lot) -> None:
        keys: dict[int, Key] = {}
        answers: Lot = []
        sent = time.monotonic()
        for position, completion in worker.complete(self._supply(life, prompts, keys)):
            answers.append((keys.pop(position), encode_completion(completion)))
            if len(answers) >= self._batch or time.monotonic() - sent > _FLUSH_S:
                self._ledger.put.remote(life, answers)
                answers, sent = [], time.monotonic()
        self._ledger.put.remote(life, answers)

    def _supply(self, life: str, prompts: Lot, keys: dict[int, Key]) -> Iterator[Prompt]:
        """Prompts as the engine takes them; more are leased while it has half a batch left.

        It never waits for prompts to turn up: the engine's answers are not read while it asks for the next one.
        """
        held, coming = deque(prompts), None
        for position in count():
            if coming is None and len(held) <= self._batch // 2:
                coming = self._ledger.take.remote(life, self._batch, 0.0)
            if not held and coming is not None:
                held.extend(_ray().get(coming) or ())
                coming = None
            if not held:
                return
            key, data = held.popleft()
            keys[position] = key
            yield decode_prompt(data)

    def _beat(self, life: str, over: threading.Event) -> None:
        while not over.wait(_BEAT_S):
            self._ledger.put.remote(life, [])


def _ray() -> Any:
    """Where a seat runs, Ray is; and nowhere else is it imported."""
    return importlib.import_module("ray")
