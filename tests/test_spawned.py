"""Processes of our own: offline, deaf to the signals that ask us to drain, and their end in words."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

import pytest

from distill_offline import offline
from distill_offline.offline.signals import DRAINS
from distill_offline.offline.spawned import how_it_ended, serve_parent, spawn


def serve(pipe: Connection, greeting: str) -> None:
    serve_parent()
    for number in DRAINS:
        os.kill(os.getpid(), number)
    pipe.send((greeting, offline.is_enforced()))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_spawned_process_is_offline_hears_no_drain_and_ends_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(offline.ALLOW_VARIABLE, "")
    process, pipe = spawn(serve, "hello", name="a test's")
    with pipe:
        assert pipe.recv() == ("hello", True)
        with pytest.raises(EOFError):
            pipe.recv()
    process.join(10)
    assert process.exitcode is not None
    assert how_it_ended(process.exitcode) == "signal SIGKILL"
    assert how_it_ended(3) == "exit code 3"
