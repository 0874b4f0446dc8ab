"""air_gap_bundle.sh and the medium's own two scripts: nothing in the caller's environment chooses what they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Bundle, made
from installing import INSTALLER, install, plain_bundle

pytestmark = pytest.mark.skipif(
    bool(TOOLS) or not Path("/usr/bin/python3").exists(), reason="needs ssh-keygen, openssl and the system's python3"
)
ROOT = Path(__file__).parent.parent
SCRIPT, MEDIUM = ROOT / "air_gap_bundle.sh", ROOT / "distill_offline/bundle/medium"
SHELLS = [each for each in (["/bin/sh"], ["bash"], ["dash"], ["bash", "--posix"]) if shutil.which(each[0])]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = made(plain_bundle, tmp_path_factory.mktemp("template"))
    for name in ("VERIFY.sh", "INSTALL.sh"):
        bundle.add(name, (MEDIUM / name).read_bytes())
    bundle.seal()
    return bundle


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


def hostile(folder: Path) -> dict[str, str]:
    """Programs, start-up files and functions that say VALID and end well."""
    folder.mkdir()
    evil = f"touch '{folder}/OWNED'; echo VALID: all of it; exit 0\n"
    for name in ("python3", "env", "sh", "dirname", "pwd", "sed", "evil", "ssh-keygen", "openssl", "sha256sum", "cut"):
        (folder / name).write_text("#!/bin/sh\n" + evil)
        (folder / name).chmod(0o755)
    for name in ("sitecustomize", "usercustomize", "argparse", "json"):
        (folder / f"{name}.py").write_text(
            f"open('{folder}/OWNED', 'w'); print('VALID: all of it'); raise SystemExit(0)\n"
        )
    functions = {
        f"BASH_FUNC_{name}%%": f"() {{ {evil.strip()}; }}" for name in ("cd", "printf", "dirname", "python3", "test")
    }
    return {
        "PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": str(folder / "evil"), "ENV": str(folder / "evil"),
        "PYTHONPATH": str(folder), "PYTHONHOME": str(folder), "PYTHONSTARTUP": str(folder / "json.py"), "IFS": "/",
        "CDPATH": str(folder), "HOME": str(folder), "DISTILL_CLEAN": "yes", "CLEAN": "yes", "IGNORED_PYTHON": "x",
        "CALLERS_PATH": str(folder), "TOOLS": str(folder), **functions,
    }  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.slow
def test_environment_does_not_choose_what_verifies(bundle: Bundle, tmp_path: Path, shell: list[str]) -> None:
    environment = hostile(tmp_path / "hostile")
    key = ["--openssl-key", bundle.keys("own.pub.pem"), "--quiet"]
    for script in ([str(SCRIPT), "verify", str(bundle.path)], [str(bundle.file("VERIFY.sh"))]):
        line = [*shell, *script, *key]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path / "hostile")
        assert done.returncode == 0, done.stderr
        assert "VALID: demo-1.0" in done.stdout
    bundle.sign("foreign")
    for script in ([str(SCRIPT), "verify", str(bundle.path)], [str(bundle.file("VERIFY.sh"))]):
        done = subprocess.run([*shell, *script, *key], capture_output=True, text=True, env=environment)
        assert (done.returncode, "\nVALID" in "\n" + done.stdout) == (1, False)
    assert not (tmp_path / "hostile/OWNED").exists()


def test_start_up_file_of_bash_is_not_read_where_the_script_is_run_by_its_own_name(
    bundle: Bundle, tmp_path: Path
) -> None:
    environment = hostile(tmp_path / "hostile") | {"BASH_ENV": str(tmp_path / "hostile/evil")}
    bundle.sign("foreign")
    words = ["verify", str(bundle.path), "--openssl-key", bundle.keys("own.pub.pem")]
    done = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True, env=environment)
    assert (done.returncode, "\nVALID" in "\n" + done.stdout) == (1, False)
    assert not (tmp_path / "hostile/OWNED").exists()


def test_python_that_is_named_is_told_not_to_count(bundle: Bundle) -> None:
    words = ["verify", str(bundle.path), "--openssl-key", bundle.keys("own.pub.pem")]
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, env={**os.environ, "PYTHON": "/bin/true"})
    assert (done.returncode, "PYTHON counts for build alone" in done.stderr) == (0, True)
    line = [str(SCRIPT), "--clean", *words]
    inner = subprocess.run(line, capture_output=True, text=True, env={"PYTHON": "/bin/true"})
    assert "\nVALID: demo" in inner.stdout


def test_installer_of_a_release_that_was_changed_is_not_run(bundle: Bundle, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert install(bundle, root).returncode == 0
    alone = tmp_path / "air_gap_bundle.sh"
    shutil.copy(SCRIPT, alone)

    def listed(script: Path) -> Any:
        return subprocess.run(["sh", script, "list", "--root", root], capture_output=True, text=True)

    assert listed(alone).stdout.startswith("current")
    for name in ("install.py", "verify.py"):
        own = (root / "current" / name).read_bytes()
        (root / "current" / name).write_bytes(b"import os; os.write(1, b'OWNED')\n")
        assert (listed(alone).returncode, listed(alone).stdout) == (2, "")
        assert "it was changed" in listed(alone).stderr
        assert "OWNED" not in listed(SCRIPT).stdout  # the checkout has an installer of its own
        (root / "current" / name).write_bytes(own)


# ---------------------------------------------------------------------------------- installing where SIGCHLD is ignored

IGNORING = ["env", "--ignore-signal=CHLD"]


def test_installer_refuses_garbage_although_the_caller_ignores_sigchld(bundle: Bundle, tmp_path: Path) -> None:
    words = [
        "/usr/bin/python3", "-I", "-S", "-B", str(INSTALLER), "install", str(bundle.path), "--root",
        str(tmp_path / "root"), "--openssl-key", bundle.keys("own.pub.pem"), "--quiet",
    ]  # fmt: skip
    bundle.file("manifest.json.p256").write_bytes(b"garbage")
    done = subprocess.run([*IGNORING, *words], capture_output=True, text=True)
    assert (done.returncode, "the bundle was refused" in done.stderr) == (1, True)
    assert not (tmp_path / "root/current").exists()


def test_step_that_fails_is_told_although_sigchld_is_ignored(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['{INSTALLER}']; import runpy, os; m = runpy.run_path('{INSTALLER}')\n"
        f"c = m['Children']('{tmp_path}', os.open(os.devnull, 0)); v = m['verifier']\n"
        f"def step(code): return c.run('x', ['/bin/sh', '-c', code], '{tmp_path}', '{tmp_path}').code\n"
        "try:\n    step('exit 3')\nexcept v.MachineFault as fault:\n    print(fault)\n"
        "v.own_process(); print(step('exit 3'), step('exit 0'))"
    )
    done = subprocess.run([*IGNORING, "/usr/bin/python3", "-I", "-S", "-B", "-c", code], capture_output=True, text=True)
    assert "ended is not known: SIGCHLD is ignored" in done.stdout + done.stderr, done.stderr
    assert done.stdout.endswith("3 0\n")


def test_verifier_of_a_medium_does_not_judge_itself_where_there_is_another(bundle: Bundle, tmp_path: Path) -> None:
    bundle.file("verify.py").write_bytes(b"print('VALID: all of it')\n")
    words = ["verify", str(bundle.path), "--openssl-key", bundle.keys("own.pub.pem")]
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True)
    assert (done.returncode, "verify.py: has" in done.stdout) == (1, True)
    alone = tmp_path / "air_gap_bundle.sh"
    shutil.copy(SCRIPT, alone)
    done = subprocess.run(["sh", alone, *words], capture_output=True, text=True)
    assert "which cannot vouch for itself" in done.stderr
