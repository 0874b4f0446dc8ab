"""Several processes of this machine that train one student: started, watched over, and ended together."""

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

from distill_offline.errors import ConfigError, DistillError, EnvironmentFault
from distill_offline.learning.group import ALONE, Group, Lost, joined
from distill_offline.offline.spawned import how_it_ended, serve_parent, spawn
from distill_offline.schema import Progress, Watch

__all__ = ["Member", "count", "run_together", "threads_each"]

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


def run_together(
    body: Callable[[Any, Member], Any],
    job: Any,
    processes: int,
    *,
    name: str,
    threads: int,
    say: Callable[[str], None],
    watch: Watch,
    stop: Callable[[], bool],
    patience: float = PATIENCE,
) -> Any:
    """What `body(job, member)` gives in process 0 of `processes`, which are spawned for it and are a Group.

    `body` is a module's function; job and result are pickled on their way. `say` and `watch` hear process 0; all are
    told when `stop()` turns true. The processes meet in a file and talk over loopback alone; they enforce the same
    offline promise, ignore the signals by which this one is told to drain, print nothing to stdout, and end when it
    ends. Once one of them fails, all are ended: its DistillError is raised, or RuntimeError with the traceback of a
    foreign one, or EnvironmentFault where it died or did not answer for `patience` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="distill-offline-", ignore_cleanup_errors=True) as folder:
        crew = [_start(rank, processes, threads, Path(folder) / "store", patience) for rank in range(processes)]
        try:
            for child in crew:
                with contextlib.suppress(OSError):  # one that has died already is found below
                    child.pipe.send((body, job))
            _look_after(crew, say, watch, stop)
        finally:
            for child in crew:
                child.end()
    if faults := [child for child in crew if child.outcome[0] != "done"]:
        raise _fault(faults, name, processes)
    return crew[0].outcome[1]


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


def _start(rank: int, size: int, threads: int, store: Path, patience: float) -> _Process:
    process, pipe = spawn(_serve, rank, size, threads, store, patience, name=f"distill-offline train {rank}")
    return _Process(rank, process, pipe)


def _look_after(crew: Sequence[_Process], say: Callable[[str], None], watch: Watch, stop: Callable[[], bool]) -> None:
    """Return when all have ended, or, after one has failed, when the others have had time to say what they know."""
    told, deadline = False, float("inf")
    while (left := [child for child in crew if not child.outcome[0]]) and time.monotonic() < deadline:
        wait([child.pipe for child in left], _TICK)
        for child in left:
            for kind, content in child.messages():
                (say if kind == "say" else watch)(content)
        if not told and stop():
            told = True
            for child in left:
                with contextlib.suppress(OSError):
                    child.pipe.send("stop")
        if deadline == float("inf") and any(child.outcome[0] not in ("", "done") for child in crew):
            deadline = time.monotonic() + _GRACE


def _fault(faults: Sequence[_Process], name: str, size: int) -> Exception:
    """The error of the process that began it: the others have only lost it."""
    order = ("died", "broke", "failed", "lost", "")
    first = min(faults, key=lambda child: (order.index(child.outcome[0]), child.rank))
    kind, content = first.outcome
    which = f"{name}: process {first.rank + 1} of {size}"
    again = "Run the same command again to go on from the last checkpoint"
    if kind == "failed":
        assert isinstance(content, DistillError)
        return content
    if kind == "broke":
        return RuntimeError(f"{which} failed:\n{content}")
    if kind == "died":
        reason = "closed its pipe" if content is None else f"ended with {how_it_ended(content)}"
        return EnvironmentFault(f"{which} {reason} (out of memory?). {again}, or set train.processes lower.")
    return EnvironmentFault(f"{which} got no answer from the others ({content}). {again}.")


def _serve(pipe: Connection, rank: int, size: int, threads: int, store: Path, patience: float) -> None:
    """One process: do the job, and say how it ended."""
    serve_parent()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # stdout is for results, and gloo talks
    _stay_here()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    try:
        body, job = pipe.recv()
    except EOFError:
        return  # the parent is gone
    stopped = threading.Event()
    try:
        threading.Thread(target=_listen, args=(pipe, stopped), daemon=True).start()
        with joined(rank, size, store, patience) as group:
            result = body(job, _member(pipe, group, threads, stopped))
        pipe.send(("done", None if rank else result))
    except Lost as error:
        pipe.send(("lost", str(error)))
    except DistillError as error:
        pipe.send(("failed", error))
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
