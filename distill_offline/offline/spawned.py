"""Processes of our own that do a part of the work: offline as we are, drained and ended by us, not by a terminal."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from distill_offline.offline.connections import enforce_from_environment
from distill_offline.offline.signals import DRAINS

__all__ = ["how_it_ended", "serve_parent", "spawn"]


def spawn(target: Callable[..., None], *arguments: Any, name: str) -> tuple[BaseProcess, Connection]:
    """A new process that runs `target(pipe, *arguments)`, and our end of the pipe; not a daemon, which may start none.

    Raises OSError if it ends before it has read its arguments.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), name=name)
    try:
        with theirs:
            process.start()
    except BaseException:
        ours.close()
        raise
    return process, ours


def serve_parent() -> None:
    """At the start of such a process: keep the offline promise, and let the parent alone say when to drain."""
    enforce_from_environment()
    for number in DRAINS:
        signal.signal(number, signal.SIG_IGN)  # the terminal signals the whole group


def how_it_ended(code: int) -> str:
    """An exit code in words: `signal SIGKILL`, `exit code 3`."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
