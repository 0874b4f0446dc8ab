"""Children whose end is known, also where the caller left SIGCHLD ignored."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_offline import children
from distill_offline.errors import EnvironmentFault
from distill_offline.offline import signals

PACKAGE = Path(__file__).parent.parent / "distill_offline"
WAITERS = {"os.system", "os.popen", "os.spawnv", "os.spawnl", "os.wait", *(
    f"subprocess.{name}"
    for name in ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput", "Popen")
)}  # fmt: skip


@pytest.fixture
def ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(("code", "expected"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -15)])
def test_end_is_as_the_kernel_says(code: str, expected: int) -> None:
    assert children.run(["/bin/sh", "-c", code]).returncode == expected


@pytest.mark.usefixtures("ignored")
def test_end_that_nobody_is_told_is_a_fault_until_the_signal_is_taken_back() -> None:
    for command in ("true", "false"):
        with pytest.raises(EnvironmentFault, match="how a child ended is not known"):
            children.run([command])
    signals.own_sigchld()
    assert children.run(["false"]).returncode == 1


def test_what_is_given_printed_and_asked_for_is_as_with_subprocess() -> None:
    done = children.run(["/bin/sh", "-c", "cat; echo bad >&2"], input_data="x" * 200_000, text=True)
    assert (done.stdout, done.stderr) == ("x" * 200_000, "bad\n")
    with pytest.raises(subprocess.CalledProcessError):
        children.run(["false"], check=True)
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(["/bin/sleep", "60"], timeout=0.05)


def test_command_that_is_started_with_sigchld_ignored_takes_it_back() -> None:
    code = (
        "import signal, sys; sys.argv = ['x', '--help']\n"
        "from distill_offline.{module} import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit(signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL)"
    )
    for module in ("cli", "bundle.__main__"):
        line = ["env", "--ignore-signal=CHLD", sys.executable, "-c", code.replace("{module}", module)]
        assert subprocess.run(line, capture_output=True).returncode == 0, module


def test_no_other_module_believes_the_exit_code_of_subprocess() -> None:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in WAITERS:
                found.append(f"{file.relative_to(PACKAGE)}: {called}")
    assert found == []
