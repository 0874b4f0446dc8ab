"""Processes of this machine that train a student, together or alone: started, watched over, and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from distill_offline.errors import ConfigError, DistillError, EnvironmentFault, os_fault
from distill_offline.learning.group import ALONE, Group, Lost, joined
from distill_offline.offline.spawned import how_it_ended, serve_parent, spawn
from distill_offline.schema import Progress, Watch

__all__ = ["Crew", "Member", "count", "hear", "threads_each"]

PATIENCE = 1800.0  # seconds that one waits for another: longer than any checkpoint takes to write
_GRACE = 10.0  # seconds for the others to say what they know, once one has failed
_TICK = 0.2  # seconds between two looks at `stop`


@dataclass(frozen=True, slots=True)
class Member:
    """What the body of one process is given beside its job; by itself, that of a single process.

    `threads` is the number it is to compute with, None for torch's own choice.
    """

    group: Group = ALONE
    threads: int | None = None
    say: Callable[[str], None] = lambda line: None
    watch: Watch = lambda progress: None
    stop: Callable[[], bool] = lambda: False


def count(wanted: int | str) -> int:
    """How many processes `train.processes` means here: `auto` is one a GPU, and 1 without any.

    Raises ConfigError if there are GPUs, but fewer: two processes of a group cannot share one.
    """
    if wanted == 1:
        return 1
    import torch

    there = torch.cuda.device_count()
    if wanted == "auto":
        return max(1, there)
    if there and int(wanted) > there:
        raise ConfigError(f"train.processes: {wanted} are asked for, and this machine has {there} GPUs. Set auto.")
    return int(wanted)


def threads_each(processes: int) -> int:
    """The threads that one process would compute with, shared out."""
    import torch

    return max(1, torch.get_num_threads() // processes)


def hear(crews: Sequence[Crew], say: Callable[[str], None], watch: Watch) -> None:
    """Wait for a moment until any of them says something, and pass on what they have said."""
    wait([pipe for crew in crews for pipe in crew.pipes], _TICK)
    for crew in crews:
        for kind, content in crew.messages():
            (say if kind == "say" else watch)(content)


class Crew:
    """Processes that do one job, from their start to their end, which comes with the `with` block at the latest.

    `body` is a module's function; job and result are pickled on their way. Several processes are a Group: they meet in
    a file and talk over loopback alone. One is alone. All enforce the same offline promise, ignore the signals by which
    this one is told to drain, print nothing to stdout, and end when it ends. Once one of them fails, all are ended.
    `gpus`: those that they may see, as CUDA_VISIBLE_DEVICES has them; None for all.
    """

    def __init__(
        self,
        body: Callable[[Any, Member], Any],
        job: Any,
        processes: int,
        *,
        name: str,
        threads: int,
        gpus: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._name, self._deadline = name, float("inf")
        self._meeting = tempfile.TemporaryDirectory(prefix="distill-offline-", ignore_cleanup_errors=True)
        settings = _Settings(processes, threads, Path(self._meeting.name) / "store", patience, gpus)
        self._members: list[_Process] = []
        try:
            for rank in range(processes):
                self._members.append(_start(rank, settings))
            for member in self._members:
                with contextlib.suppress(OSError):  # one that has died already is found later
                    member.pipe.send((body, job))
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def pipes(self) -> list[Connection]:
        """Where those that have not ended will be heard."""
        return [member.pipe for member in self._left()]

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What they have said since the last time: `say` and a line, or `watch` and a Progress."""
        for member in self._left():
            yield from member.messages()

    def has_ended(self) -> bool:
        """Whether all have; or, after one has failed, whether the others have had time to say what they know."""
        left = self._left()
        if left and self._deadline == float("inf") and len(left) < len(self._members) and self._faults(left):
            self._deadline = time.monotonic() + _GRACE
        return not left or time.monotonic() >= self._deadline

    def stop(self) -> None:
        """Tell all of them to stop at the next safe point."""
        for member in self._left():
            with contextlib.suppress(OSError):
                member.pipe.send("stop")

    def end(self) -> None:
        """Kill what still runs; nothing of it is left."""
        for member in self._members:
            member.end()
        self._meeting.cleanup()

    def result(self) -> Any:
        """What process 0 gave.

        Raises the DistillError of the process that failed first, or RuntimeError with the traceback of a foreign error,
        or EnvironmentFault if it died or did not answer for `patience` seconds.
        """
        if faults := self._faults():
            raise _fault(faults, self._name, len(self._members))
        return self._members[0].outcome[1]

    def _left(self) -> list[_Process]:
        return [member for member in self._members if not member.outcome[0]]

    def _faults(self, besides: Sequence[_Process] = ()) -> list[_Process]:
        return [member for member in self._members if member.outcome[0] != "done" and member not in besides]


@dataclass(slots=True)
class _Process:
    """One process, and how it ended: `done`, `died`, `broke`, `failed`, `lost`, or not yet."""

    rank: int
    process: BaseProcess
    pipe: Connection
    outcome: tuple[str, Any] = field(default=("", None))

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What it has said since the last time; the last of all messages is its outcome."""
        try:
            while not self.outcome[0] and self.pipe.poll():
                kind, content = self.pipe.recv()
                if kind in ("say", "watch"):
                    yield kind, content
                else:
                    self.outcome = (kind, content)
        except (EOFError, OSError):
            self.process.join(_GRACE)
            self.outcome = ("died", self.process.exitcode)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass(frozen=True, slots=True)
class _Settings:
    """What all processes of a crew have in common; they meet in the file `store`."""

    size: int
    threads: int
    store: Path
    patience: float
    gpus: str | None


def _start(rank: int, settings: _Settings) -> _Process:
    process, pipe = spawn(_serve, rank, settings, name=f"distill-offline train {rank}")
    return _Process(rank, process, pipe)


def _fault(faults: Sequence[_Process], name: str, size: int) -> Exception:
    """The error of the process that began it: the others have only lost it."""
    order = ("died", "broke", "failed", "lost", "")
    first = min(faults, key=lambda child: (order.index(child.outcome[0]), child.rank))
    kind, content = first.outcome
    which = f"{name}: process {first.rank + 1} of {size}" if size > 1 else f"{name}: its process"
    again = "Run the same command again to go on from the last checkpoint"
    if kind == "failed":
        assert isinstance(content, DistillError)
        return content
    if kind == "broke":
        return RuntimeError(f"{which} failed:\n{content}")
    if kind == "died":
        reason = "closed its pipe" if content is None else f"ended with {how_it_ended(content)}"
        lower = "train.processes" if size > 1 else "train.at_once"
        return EnvironmentFault(f"{which} {reason} (out of memory?). {again}, or set {lower} lower.")
    return EnvironmentFault(f"{which} got no answer from the others ({content}). {again}.")


def _serve(pipe: Connection, rank: int, settings: _Settings) -> None:
    """One process: do the job, and say how it ended."""
    serve_parent()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # stdout is for results, and gloo talks
    _stay_here()
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # before torch is imported
    if settings.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpus
    try:
        body, job = pipe.recv()
    except EOFError:
        return  # the parent is gone
    stopped = threading.Event()
    try:
        threading.Thread(target=_listen, args=(pipe, stopped), daemon=True).start()
        if settings.size == 1:
            result = body(job, _member(pipe, ALONE, settings.threads, stopped))
        else:
            with joined(rank, settings.size, settings.store, settings.patience) as group:
                result = body(job, _member(pipe, group, settings.threads, stopped))
        pipe.send(("done", None if rank else result))
    except Lost as error:
        pipe.send(("lost", str(error)))
    except DistillError as error:
        pipe.send(("failed", error))
    except OSError as error:  # a disk that is full or read-only, a file that may not be read
        pipe.send(("failed", os_fault(error)))
    except Exception:
        pipe.send(("broke", traceback.format_exc()))


def _member(pipe: Connection, group: Group, threads: int, stopped: threading.Event) -> Member:
    if group.rank:
        return Member(group, threads, stop=stopped.is_set)

    def say(line: str) -> None:
        pipe.send(("say", line))

    def watch(progress: Progress) -> None:
        pipe.send(("watch", progress))

    return Member(group, threads, say, watch, stopped.is_set)


def _stay_here() -> None:
    """Have gloo and NCCL talk over loopback: by themselves they would take the address that our host name has."""
    names = [name for _, name in socket.if_nameindex()]
    loopback = next((name for name in ("lo", "lo0") if name in names), "lo")
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback, "NCCL_IB_DISABLE": "1"}


def _listen(pipe: Connection, stopped: threading.Event) -> None:
    """Note that we are to stop; end at once when the parent is gone, wherever the training may be."""
    try:
        while pipe.recv() == "stop":
            stopped.set()
    except (EOFError, OSError):
        os._exit(1)
