"""Programs that we start: how they ended is what the kernel says, or an error, never a guess."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_offline.errors import EnvironmentFault

__all__ = ["Child", "run"]


class Child(subprocess.Popen[Any]):
    """A Popen that raises EnvironmentFault if the kernel has no exit code for us, as with SIGCHLD ignored.

    Popen itself says 0 then: every failure would be a success.
    """

    def poll(self) -> int | None:
        return self._collect(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        end, pause = None if timeout is None else time.monotonic() + timeout, 0.0005
        while (code := self._collect(0 if end is None else os.WNOHANG)) is None:
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.05)
        return code

    def _collect(self, flags: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, flags)
            except ChildProcessError:
                self.returncode = -1
                raise EnvironmentFault(
                    "how a child ended is not known: SIGCHLD is ignored, or something else waits for our children."
                ) from None
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def run(
    command: Sequence[str | Path],
    *,
    input_data: Any = None,
    timeout: float | None = None,
    check: bool = False,
    **settings: Any,
) -> subprocess.CompletedProcess[Any]:
    """As subprocess.run, with its output captured; `input_data` is its standard input. Raises EnvironmentFault, too."""
    if input_data is not None:
        settings["stdin"] = subprocess.PIPE
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings) as child:
        try:
            out, err = child.communicate(input_data, timeout=timeout)
        except BaseException:
            child.kill()
            raise
        done = subprocess.CompletedProcess(child.args, child.wait(), out, err)
    if check:
        done.check_returncode()
    return done
