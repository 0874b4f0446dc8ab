"""Runs a command under strace and gives what its trace says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from distill_offline import children
from distill_offline.errors import EnvironmentFault, InputError
from distill_offline.offline.trace import Trace, read_trace

__all__ = ["Traced", "io_uring_is_disabled", "strace_fault", "trace"]

# -v: without it the addresses in a list of messages are left out. -s 0: no byte of what is sent gets into the trace.
_OPTIONS = ("-f", "-v", "-s", "0", "-e", "trace=network,io_uring_setup")
_NAMES, _FAST = (5, 15), (5, 3)  # versions of strace from which --decode-pids=comm and --seccomp-bpf can be had


@dataclass(frozen=True, slots=True)
class Traced:
    """A command that has ended: its exit status (128 + n where signal n ended it), what it printed, and the trace."""

    status: int
    output: str
    trace: Trace


def strace_fault() -> str | None:
    """Why no command can be traced here, or None if one can."""
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed"
    try:
        tried = children.run([program, "-o", os.devnull, "true"], text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace does not run ({type(error).__name__})"
    if tried.returncode == 0:
        return None
    said = (tried.stderr.strip().splitlines() or ["it says nothing"])[-1]
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    hint = f"; kernel.yama.ptrace_scope is {scope.read_text().strip()}" if scope.exists() else ""
    return f"strace may not trace here: {said}{hint}"


def trace(argv: Sequence[str], *, keep: Path | None = None, timeout_s: float | None = None) -> Traced:
    """Run a command and all its children under strace; `keep` gets the raw trace, mode 0600.

    Without `timeout_s` the command has our standard input, and prints what it prints to our standard error. With it,
    its output is kept in the result, and after that time it is ended. Raises InputError for a program that is not there
    or a file that cannot be written, EnvironmentFault where strace cannot be used or the time was not enough.
    """
    if fault := strace_fault():
        raise EnvironmentFault(f"nothing can be traced: {fault}. Install strace, and permit tracing of own children.")
    if shutil.which(argv[0]) is None:
        raise InputError(f"{argv[0]}: no such program.")
    with tempfile.TemporaryDirectory(prefix="distill-trace-") as folder:
        raw = (keep or Path(folder) / "trace").absolute()  # what begins with | or ! is a command to strace
        try:
            os.close(os.open(raw, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            raw.chmod(0o600)
        except OSError as error:
            raise InputError(f"{raw}: the trace cannot be written: {error.strerror}.") from error
        command = ["strace", *_OPTIONS, *_newer_options(), "-o", str(raw), "--", *argv]
        status, output = _attended(command) if timeout_s is None else _timed(command, timeout_s)
        with raw.open(encoding="utf-8", errors="surrogateescape") as lines:
            return Traced(status if status >= 0 else 128 - status, output, read_trace(lines))


def io_uring_is_disabled() -> bool:
    """Whether no process can make an io_uring, through which the network is used without a traced call.

    1 (only for a group) counts as enabled; so does a kernel that does not say.
    """
    try:
        return Path("/proc/sys/kernel/io_uring_disabled").read_text(encoding="ascii").strip() == "2"
    except OSError:
        return False


def _newer_options() -> list[str]:
    said = children.run(["strace", "-V"], text=True, timeout=30).stdout
    version_match = re.search(r"version (\d+)\.(\d+)", said)
    version = (int(version_match[1]), int(version_match[2])) if version_match else (0, 0)
    return [*(["-Y"] if version >= _NAMES else []), *(["--seccomp-bpf"] if version >= _FAST else [])]


def _attended(command: Sequence[str]) -> tuple[int, str]:
    """Ctrl-C reaches the command, too, and SIGTERM is passed on; it ends as it likes, and strace then ends with it."""
    with children.Child(command, stdout=2) as child:

        def pass_on(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(OSError):  # strace itself heeds no signal while its command runs
                for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text(encoding="ascii").split():
                    os.kill(int(pid), number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    return child.wait(), ""
        finally:
            signal.signal(signal.SIGTERM, before)


def _timed(command: Sequence[str], timeout_s: float) -> tuple[int, str]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with children.Child(command, text=True, start_new_session=True, **pipes) as child:  # type: ignore[call-overload]
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise EnvironmentFault(f"a traced command did not end within {timeout_s:g} s.") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        return child.returncode, output
