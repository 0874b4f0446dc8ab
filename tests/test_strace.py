"""strace around real commands; whatever reaches beyond does so in a namespace that has no way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill_offline.errors import EnvironmentFault, InputError
from distill_offline.offline import strace
from distill_offline.offline.strace import strace_fault, trace

FAULT = strace_fault()
pytestmark = pytest.mark.skipif(FAULT is not None, reason=f"nothing can be traced here: {FAULT}")

CONNECT = """
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        client.sendall(b"a secret of the corpus")
        accepted.recv(100)
        accepted.close()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
    one.bind(("127.0.0.1", 0))
    other.sendto(b"a secret of the corpus", one.getsockname())
    one.recv(100)
sys.exit(7)
"""


def test_a_command_that_stays_here_is_clean_and_keeps_its_status(tmp_path: Path) -> None:
    done = trace([sys.executable, "-I", "-c", CONNECT], keep=tmp_path / "raw", timeout_s=60)
    assert done.status == 7
    assert done.trace.is_clean
    assert done.trace.findings() == []
    assert {(touch.call, touch.address) for touch in done.trace.touches} == {
        (call, "127.0.0.1") for call in ("bind", "connect", "accept4", "sendto")
    }
    raw = tmp_path / "raw"
    assert "secret" not in raw.read_text()
    assert raw.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "raw").touch(0o644)
    assert trace(["true"], keep=tmp_path / "raw", timeout_s=60).status == 0
    assert (tmp_path / "raw").stat().st_mode & 0o777 == 0o600


def test_a_signal_that_ends_the_command_is_its_status() -> None:
    assert trace(["sh", "-c", "kill -TERM $$"], timeout_s=60).status == 143


def test_output_is_kept_where_there_is_a_limit_and_the_limit_ends_all_of_it() -> None:
    assert trace(["sh", "-c", "echo said; echo complained >&2"], timeout_s=60).output == "said\ncomplained\n"
    with pytest.raises(EnvironmentFault, match=r"did not end within 0\.5 s"):
        trace(["sh", "-c", "sleep 300 & wait"], timeout_s=0.5)


def test_without_a_limit_the_output_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert trace(["sh", "-c", "echo said"]).status == 0
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "said\n")


def test_sigterm_is_passed_on_to_the_command_whose_trace_is_reported(tmp_path: Path) -> None:
    # It waits until sleep sleeps: what is killed while it is being started may leave no line of its end.
    words = ["sh", "-c", "trap 'kill -9 $!; echo bye; exit 9' TERM; sleep 60 & sleep 0.5; echo started; wait $!"]
    command = [sys.executable, "-m", "distill_offline", "doctor", "--network", "--", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "started\n"
        child.terminate()
        said, complained = child.communicate(timeout=60)
    assert (child.returncode, complained) == (9, "bye\n"), said
    assert "status 9" in said


def test_a_name_that_strace_would_run_is_a_file_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("|touch ran", "!touch ran"):
        assert trace(["true"], keep=Path(name), timeout_s=60).trace.is_clean
        assert "+++ exited with 0 +++" in Path(name).read_text()
    assert not Path("ran").exists()


def test_a_tracer_that_is_killed_leaves_a_trace_that_proves_nothing() -> None:
    done = trace(["sh", "-c", "kill -9 $PPID"], timeout_s=60)
    assert not done.trace.is_clean


def test_missing_programs_and_unwritable_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no-such-program: no such program"):
        trace(["no-such-program"])
    with pytest.raises(InputError, match="the trace cannot be written"):
        trace(["true"], keep=tmp_path / "nowhere" / "raw")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert strace_fault() == "strace is not installed"
    with pytest.raises(EnvironmentFault, match="strace is not installed"):
        trace(["true"])


def test_a_command_that_is_traced_already_cannot_be_traced_again() -> None:
    """As where a container or a debugger forbids it: the reason is given, not a wrong verdict."""
    code = "from distill_offline.offline.strace import strace_fault; print(strace_fault())"
    said = trace([sys.executable, "-c", code], timeout_s=60).output
    assert "strace may not trace here" in said


def test_options_of_newer_versions_are_used_only_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "strace"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for version, options in (("6.1", ["-Y", "--seccomp-bpf"]), ("5.10", ["--seccomp-bpf"]), ("4.24", [])):
        fake.write_text(f"#!/bin/sh\necho 'strace -- version {version}'\n")
        fake.chmod(0o755)
        assert strace._newer_options() == options
