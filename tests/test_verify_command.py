"""The verifier's command line: what it prints, what it refuses to be told, hostile hosts, other Pythons."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import MODEL, TOOLS, Bundle, made, small_bundle
from verifying import VERIFIER, check, command

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(small_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


def key(bundle: Bundle) -> list[str]:
    return ["--allowed-signers", bundle.keys("own.allowed"), "--openssl-key", bundle.keys("own.pub.pem")]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_command_line_reports_for_people_and_machines(bundle: Bundle) -> None:
    done = command(bundle, *key(bundle))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nVALID: demo-1.0" in done.stdout
    bundle.file("x\x1b[2J").touch()
    done = command(bundle, *key(bundle), "--json")
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"] == 1
    assert report["verdict"] == "invalid"
    assert report["problems"] == [
        {"stage": "files", "path": "x\\x1b[2J", "reason": "has a control character in its name"}
    ]
    assert report["bundle"]["sequence"] == 3
    assert [each["result"] for each in report["signatures"]] == ["good", "good"]
    assert command(bundle, *key(bundle)).stdout.count("\x1b") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allowed-signers", "nowhere"], "--allowed-signers nowhere cannot be read"),
        (["--fingerprint", "SHA256:short"], "--fingerprint must be SHA256: and 43 characters"),
        (["--openssl-key", "{keys}/own.pem"], "is not a public key on P-256"),
        (["--openssl-key", "{keys}/own.pub"], "is not a public key on P-256"),
        (["--openssl-key", "{keys}/own.pub.pem", "-r", "{keys}/own.pub"], "-r names revoked ssh keys"),
        (["--allowed-signers", "{bundle}/README.txt"], "lies inside the bundle"),
        (["--openssl-key", "{bundle}/data/../README.txt"], "lies inside the bundle"),
        (["--state", "{bundle}/state"], "--state {bundle}/state lies inside the bundle"),
        (["--now", "tomorrow"], "--now must be a time"),
        (["--jobs", "-1"], "--jobs and --max-problems must be positive"),
        (["--allowed", "x"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_told_apart(bundle: Bundle, arguments: list[str], message: str) -> None:
    places = {"keys": bundle.keys.folder, "bundle": bundle.path}
    done = command(bundle, *(each.format(**places) for each in arguments))
    assert message.format(**places) in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_bundle_that_is_not_there_is_wrong_usage(bundle: Bundle) -> None:
    shutil.rmtree(bundle.path)
    done = command(bundle, *key(bundle))
    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_missing_program_is_the_machines_fault(bundle: Bundle) -> None:
    done = command(bundle, *key(bundle), "--ssh-keygen", "/nowhere/ssh-keygen")
    assert done.returncode == 4
    assert "/nowhere/ssh-keygen is not a program" in done.stderr


def test_it_does_not_run_unless_isolated(bundle: Bundle) -> None:
    line = [sys.executable, str(VERIFIER), str(bundle.path), *key(bundle)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "python3 -I -S -B verify.py" in done.stderr


def test_hostile_environment_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    """A foreign signature, on a host whose PATH, modules and site would all call it good."""
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for module in ("sitecustomize", "usercustomize", "hashlib", "json", "subprocess", "typing"):
        (hostile / f"{module}.py").write_text("import os; os.write(1, b'OWNED'); os._exit(0)\n")
        shutil.copy(hostile / f"{module}.py", bundle.path.parent)
    for program in ("ssh-keygen", "openssl", "python3.11"):
        (hostile / program).write_text("#!/bin/sh\necho OWNED\n")
        (hostile / program).chmod(0o755)
    (hostile / "openssl.cnf").write_text(
        "openssl_conf = o\nconfig_diagnostics = 1\n[o]\nproviders = p\n[p]\nx = n\n"
        "[n]\nmodule = /nowhere.so\nactivate = 1\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(hostile), "PYTHONSTARTUP": str(hostile / "json.py"),
        "PATH": f"{hostile}:{os.environ['PATH']}", "PYTHONUSERBASE": str(hostile), "PYTHONINSPECT": "1",
        "SSH_AUTH_SOCK": str(hostile / "x"), "HOME": str(hostile), "OPENSSL_CONF": str(hostile / "openssl.cnf"),
    }  # fmt: skip
    assert command(bundle, *key(bundle), env=environment, cwd=bundle.path.parent).returncode == 0
    bundle.sign("foreign")
    done = command(bundle, *key(bundle), env=environment, cwd=bundle.path.parent)
    assert done.returncode == 1
    assert "OWNED" not in done.stdout + done.stderr


def test_read_only_medium_and_umask_077_are_survived_and_nothing_is_written(bundle: Bundle, tmp_path: Path) -> None:
    for path in [bundle.path, *bundle.path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = tree(bundle.path)
    old = os.umask(0o077)
    try:
        done = command(bundle, *key(bundle), "--state", str(tmp_path / "state"))
    finally:
        os.umask(old)
    for path in [bundle.path, *bundle.path.rglob("*")]:
        assert path.stat().st_mode & 0o222 == 0
    assert done.returncode == 0, done.stdout
    assert tree(bundle.path) == before
    assert list(bundle.path.rglob("*.pyc")) == []
    bundle.path.chmod(0o755)


def interpreter(minor: int) -> str | None:
    """A python3.N that runs: on PATH, or among pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [*map(str, root.glob(f"versions/3.{minor}.*/bin/python3")), shutil.which(f"python3.{minor}")]
    for place in filter(None, places):
        done = subprocess.run([place, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True)
        if done.stdout.strip() == str(minor):
            return place
    return None


@pytest.mark.parametrize("minor", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in range(7, 13)), 13])
def test_other_pythons_come_to_the_same_report(bundle: Bundle, minor: int) -> None:
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    done = command(bundle, *key(bundle), python=python)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines() == check(bundle).lines()
    for name in ("data/\u00e4", "data/x\n", "data/X.conll"):
        bundle.file(name).touch()
    bundle.file(f"{MODEL}/config.json").write_bytes(b"{}")
    done = command(bundle, *key(bundle), "--json", python=python, env={"LC_ALL": "C"})
    assert done.returncode == 1, done.stderr
    problems = json.loads(done.stdout)["problems"]
    assert problems == [problem._asdict() for problem in check(bundle).findings.listed]
    assert [each["path"] for each in problems] == ["data/x\\x0a", "data/\\xe4", "data/X.conll", f"{MODEL}/config.json"]
