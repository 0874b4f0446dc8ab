"""The signals of this process: which ask it to end, and the one by which the ends of children are told."""

from __future__ import annotations

import signal

__all__ = ["DRAINS", "own_sigchld"]

DRAINS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # by which we are told to finish what is under way


def own_sigchld() -> None:
    """Take back the signal by which children's ends are told; a caller may have left it ignored. Main thread only."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
