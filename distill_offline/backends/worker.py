"""An engine in a process of its own: when it dies, we don't; it is restarted, and the prompt that kills it is found."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

from distill_offline import offline
from distill_offline.backends.base import Backend
from distill_offline.errors import BackendError, DistillError
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["Worker"]

_AHEAD = 8  # prompts handed over before the engine has asked for them, so that it never waits for a round trip
_RESTARTS = 20  # in one `complete`; an engine that dies more often has another illness than a poison prompt


class _Died(Exception):
    """The worker process ended without being told to."""


class Worker:
    """Any backend, run in a spawned process, behind the same interface.

    `kind` is the backend's class; `model`, `sampling` and `options` are handed to it there. The process starts at the
    first `complete` or `identity`. If it dies while prompts are under way, it is started again and the prompts without
    an answer are tried in halves until the one that kills it stands alone; that one's completion has the finish_reason
    `engine_died` and costs its neighbours nothing. An engine that cannot start at all raises BackendError.

    The process enforces the same offline promise, ignores the signals by which its parent is told to drain, and ends
    itself when its parent is gone.
    """

    needs_model: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, kind: type[Backend], model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._arguments = (f"{kind.__module__}:{kind.__qualname__}", model, sampling, dict(options))
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._identity: Mapping[str, Any] = {}
        self._done: set[int] = set()  # positions answered since the stream began

    def identity(self) -> Mapping[str, Any]:
        """The engine's own identity."""
        self._start()
        return self._identity

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """As the engine's: prompts are taken on the caller's thread, answers come as they finish."""
        numbered = enumerate(prompts)
        unanswered: dict[int, Prompt] = {}
        for restarts in range(_RESTARTS + 1):
            try:
                yield from self._stream(numbered, unanswered)
                return
            except _Died:
                suspects = dict(sorted(unanswered.items()))
                unanswered.clear()
                yield from self._try_in_halves(suspects, _RESTARTS - restarts)
        raise BackendError(f"the engine died {_RESTARTS} times. See what it said above; is there enough memory?")

    def close(self) -> None:
        """End the process and free all that it held."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.send(None)
            self._pipe.close()
        if self._process is not None:
            self._process.join(20)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._pipe = None

    def _try_in_halves(self, suspects: dict[int, Prompt], restarts: int) -> Iterator[tuple[int, Completion]]:
        """Answers for prompts one or more of which kill the engine."""
        pending = [suspects]
        while pending:
            part = pending.pop()
            try:
                yield from self._stream(iter(part.items()), {})
                continue
            except _Died:
                restarts -= 1
            if restarts < 0:
                raise BackendError("the engine keeps dying. See what it said above; is there enough memory?")
            left = {position: prompt for position, prompt in part.items() if position not in self._done}
            if not left:
                continue
            if len(left) == 1:
                ((position, prompt),) = left.items()
                yield position, Completion(text="", finish_reason="engine_died", sample=prompt.sample)
                continue
            items = list(left.items())
            pending += [dict(items[len(items) // 2 :]), dict(items[: len(items) // 2])]

    def _stream(
        self, numbered: Iterator[tuple[int, Prompt]], unanswered: dict[int, Prompt]
    ) -> Iterator[tuple[int, Completion]]:
        """Feed the process and yield its answers; `unanswered` holds what it has been given and not yet answered."""
        self._start()
        assert self._pipe is not None
        self._done = set()
        sent, taken, exhausted = 0, 0, False
        positions: list[int] = []
        self._send(("begin",))
        while True:
            while not exhausted and sent - taken < _AHEAD:
                chunk = list(islice(numbered, 1))
                exhausted = not chunk
                for position, prompt in chunk:
                    unanswered[position] = prompt
                    positions.append(position)
                    self._send(("prompt", prompt))
                    sent += 1
                if exhausted:
                    self._send(("end",))
            kind, *content = self._receive()
            if kind == "took":
                taken += 1
            elif kind == "answer":
                position = positions[content[0]]
                unanswered.pop(position)
                self._done.add(position)
                yield position, content[1]
            elif kind == "ended":
                return
            else:
                self.close()
                raise content[0]

    def _start(self) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: engines such as vLLM start processes of their own, which daemons may not.
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), name="distill-offline teacher")
        self._process.start()
        theirs.close()
        try:
            kind, content = self._receive()
        except _Died as error:
            raise BackendError(f"the engine could not start: {error}. See what it said above.") from error
        if kind == "failed":
            self.close()
            raise content
        self._identity = content

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._pipe is not None
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._buried() from error

    def _receive(self) -> tuple[Any, ...]:
        assert self._pipe is not None
        try:
            message: tuple[Any, ...] = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._buried() from error
        return message

    def _buried(self) -> _Died:
        assert self._process is not None
        self._process.join(10)
        code = self._process.exitcode
        self.close()
        reason = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return _Died(f"its process ended with {reason}")


def _serve(pipe: Connection, target: str, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
    """The worker process: load the engine, then answer until told to end."""
    offline.enforce_from_environment()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the parent drains us; the terminal signals the whole group
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    module, _, name = target.partition(":")
    try:
        engine: Backend = getattr(importlib.import_module(module), name)(model, sampling, options)
        pipe.send(("ready", dict(engine.identity())))
    except Exception as error:
        pipe.send(("failed", _portable(error)))
        return
    try:
        while (message := pipe.recv()) is not None:
            assert message == ("begin",), message
            try:
                for position, completion in engine.complete(_prompts(pipe)):
                    pipe.send(("answer", position, completion))
                pipe.send(("ended",))
            except Exception as error:
                pipe.send(("failed", _portable(error)))
                return
    except (EOFError, OSError):
        return  # the parent is gone
    finally:
        engine.close()


def _prompts(pipe: Connection) -> Iterator[Prompt]:
    while True:
        kind, *content = pipe.recv()
        if kind == "end":
            return
        pipe.send(("took",))
        yield content[0]


def _portable(error: Exception) -> DistillError:
    """Ours as it is; a foreign error, which may not survive the way between processes, as a BackendError."""
    return error if isinstance(error, DistillError) else BackendError(f"{type(error).__name__}: {error}")


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
