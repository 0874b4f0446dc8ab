"""An engine in a process of its own: when it dies, we don't; it is restarted, and the prompt that kills it is found."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

from distill_offline import errors
from distill_offline.backends.base import Backend
from distill_offline.errors import BackendError, DistillError
from distill_offline.offline.spawned import how_it_ended, serve_parent, spawn
from distill_offline.registry import described
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["Worker"]

_AHEAD = 8  # prompts handed over before the engine has asked for them, so that it never waits for a round trip
_RESTARTS = 20  # in one `complete`; an engine that dies more often has another illness than a poison prompt
_LEAVE_S = 20.0  # for an engine to free what it holds, before it is killed


class _Died(Exception):
    """The worker process ended without being told to."""


class _Orphaned(BaseException):
    """In the worker process: the parent closed the pipe, or is gone. No engine's `except Exception` is to take it."""


class Worker:
    """Any backend, run in a spawned process, behind the same interface.

    `kind` is the backend's class; `model`, `sampling` and `options` are handed to it there. The process starts at the
    first `complete` or `identity`. If it dies while prompts are under way, it is started again and the prompts without
    an answer are tried in halves until the one that kills it stands alone; that one's completion has the finish_reason
    `engine_died` and costs its neighbours nothing. An engine that cannot start at all raises BackendError.

    Prompts and answers may be of any size, and any number of answers may come at once: a thread of the process takes
    in what is sent to it, at most a few prompts ahead of the engine, whatever the engine does. So a send from here
    always ends, and so does one from there, since we read whenever we do not send.

    The process enforces the same offline promise, ignores the signals by which its parent is told to drain, and ends
    itself when its parent is gone.
    """

    needs_model: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, kind: type[Backend], model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        self._arguments = (f"{kind.__module__}:{kind.__qualname__}", model, sampling, dict(options))
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._identity: Mapping[str, Any] = {}
        self._done: set[int] = set()  # positions answered since the stream began
        self._is_streaming = False  # also where whoever read the stream has left it

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
            self._pipe.close()  # the process notices, whatever it reads or writes; a last word could find the pipe full
        if self._process is not None and self._process.pid is not None:  # without a pid it never began
            self._process.join(_LEAVE_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._pipe = None
        self._is_streaming = False

    def _try_in_halves(self, suspects: dict[int, Prompt], restarts: int) -> Iterator[tuple[int, Completion]]:
        """Answers for prompts one or more of which kill the engine."""
        pending = [suspects]
        while pending:
            batch = pending.pop()
            try:
                yield from self._stream(iter(batch.items()), {})
                continue
            except _Died:
                restarts -= 1
            if restarts < 0:
                raise BackendError("the engine keeps dying. See what it said above; is there enough memory?")
            left = {position: prompt for position, prompt in batch.items() if position not in self._done}
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
        if self._is_streaming:  # the rest of a stream that was left cannot be told from this one
            self.close()
        self._start()
        self._is_streaming = True
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
                position = self._answered(content, positions)
                unanswered.pop(position)
                self._done.add(position)
                yield position, content[1]
            elif kind == "ended":
                self._is_streaming = False
                return
            else:
                self.close()
                raise content[0]

    def _answered(self, content: list[Any], positions: list[int]) -> int:
        """The position that an answer belongs to. Raises BackendError if it is none, or belongs to none."""
        number = content[0] if isinstance(content[0], int) else -1
        position = positions[number] if 0 <= number < len(positions) else -1
        if position < 0 or position in self._done or not isinstance(content[1], Completion):
            self.close()
            raise BackendError(
                f"backend.name: {self._arguments[0]}: complete() must yield (position, Completion), each position of a "
                "prompt that it took once."
            )
        return position

    def _start(self) -> None:
        if self._process is not None:
            return
        try:
            self._process, self._pipe = spawn(_serve, *self._arguments, name="distill-offline teacher")
            kind, content = self._receive()
        except (OSError, _Died) as error:  # OSError: it ended before it had read its arguments
            self.close()
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
        if code is None:
            return _Died("its process closed its pipe, and did not end")
        return _Died(f"its process ended with {how_it_ended(code)}")


def _serve(pipe: Connection, target: str, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
    """The worker process: load the engine, then answer until told to end."""
    serve_parent()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    line = _Line(pipe)
    module, _, name = target.partition(":")
    with contextlib.suppress(_Orphaned):
        try:
            engine: Backend = getattr(importlib.import_module(module), name)(model, sampling, options)
            line.say("ready", dict(engine.identity()))
        except Exception as error:
            line.say("failed", _portable(error, target))
            return
        try:
            while _answer_one_stream(engine, line, target):
                pass
        finally:
            engine.close()


def _answer_one_stream(engine: Backend, line: _Line, target: str) -> bool:
    """Answer the prompts of one `complete`; False where the engine is of no more use."""
    (kind,) = line.hear()
    assert kind == "begin", kind
    try:
        for position, completion in engine.complete(line.prompts()):
            line.say("answer", position, completion)
        line.say("ended")
    except Exception as error:
        line.say("failed", _portable(error, target))
        return False
    return True


class _Line:
    """The worker's end of the pipe. A thread reads it, so that the parent's sends end while the engine is at work.

    What waits in the queue is bounded by the parent, which sends no more than _AHEAD prompts that were not taken.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()  # an engine may take its prompts on a thread of its own
        self._heard: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, *message: Any) -> None:
        try:
            with self._sending:
                self._pipe.send(message)
        except OSError as error:
            raise _Orphaned from error

    def hear(self) -> tuple[Any, ...]:
        message = self._heard.get()
        if message is None:
            self._heard.put(None)  # for whoever asks again
            raise _Orphaned
        return message

    def prompts(self) -> Iterator[Prompt]:
        while True:
            kind, *content = self.hear()
            if kind == "end":
                return
            self.say("took")
            yield content[0]

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._pipe.recv())
        except (EOFError, OSError):
            self._heard.put(None)


def _portable(error: Exception, target: str) -> DistillError:
    """Ours as it is; a foreign error, which may not survive the way between processes, as a BackendError."""
    if isinstance(error, DistillError) and type(error).__module__ == errors.__name__:
        return error
    if target.startswith(f"{__package__.partition('.')[0]}."):
        return BackendError(f"{type(error).__name__}: {error}")
    return BackendError(f"backend.name: {target}: {described(error, target)}")


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
