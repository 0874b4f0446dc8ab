"""The installer with environments, for real: pip on a hostile host, what is proven by running it, and what is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Bundle, Keys
from installing import (
    INSTALLER,
    current,
    evidence,
    install,
    installable,
    installable_bundle,
    installer_module,
    line_for,
    lock,
    put_wheel,
    successor,
    trust,
)

from distill_offline.offline.connections import ENVIRONMENT
from distill_offline.offline.isolation import probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine"),
]
installer: Any = installer_module()
TINY = "python/wheels/tiny_one-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a place")


@pytest.fixture(scope="module")
def template(place: Path) -> Bundle:
    (place / "keys").mkdir()
    bundle = installable_bundle(place / "a bundle", Keys.make(place / "keys"))
    bundle.drop_ssh()
    return bundle


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "bundle")


def hostile(folder: Path) -> dict[str, str]:
    """An environment and a home that lead pip and Python astray wherever they are looked at."""
    (folder / ".config/pip").mkdir(parents=True)
    evil = "import os; os.write(2, b'OWNED'); os._exit(77)\n"
    for module in ("sitecustomize", "usercustomize", "pip", "json", "venv", "tiny_one"):
        (folder / f"{module}.py").write_text(evil)
    (folder / "tiny_one-1.0-py3-none-any.whl").write_bytes(installable("tiny_one", "1.0", code=b"raise SystemExit(77)"))
    (folder / "tiny_one-9.0-py3-none-any.whl").write_bytes(installable("tiny_one", "9.0"))
    configuration = (
        f"[global]\nindex-url = http://127.0.0.1:9/simple\nfind-links = {folder}\nproxy = 127.0.0.1:9\n"
        f"[install]\ntarget = {folder}/elsewhere\nno-deps = false\nuser = true\npre = true\n"
    )
    for name in ("pip.conf", ".config/pip/pip.conf", ".pip/pip.conf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(configuration)
    (folder / ".pydistutils.cfg").write_text(f"[install]\nprefix = {folder}/elsewhere\n")
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"), "http://127.0.0.1:9")
    return {
        **os.environ, **proxies, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"),
        "PIP_CONFIG_FILE": str(folder / "pip.conf"), "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_TARGET": str(folder / "elsewhere"), "PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "0", "PIP_USER": "1",
        "PIP_CONSTRAINT": str(folder / "nowhere.txt"), "PIP_PREFIX": str(folder / "elsewhere"),
        "PYTHONPATH": str(folder), "PYTHONSTARTUP": str(folder / "json.py"), "PYTHONUSERBASE": str(folder),
        "PYTHONNOUSERSITE": "", "PYTHONHOME": str(folder), "LD_PRELOAD": str(folder / "nowhere.so"),
        "VIRTUAL_ENV": str(folder), "TMPDIR": str(folder), "DISTILL_MODELS": str(folder),
    }  # fmt: skip


@pytest.fixture(scope="module")
def installed(template: Bundle, place: Path) -> tuple[Path, Any]:
    """The root and what was said, after an installation under umask 077 into a path with blanks on a hostile host."""
    (place / "home").mkdir()
    root = place / "a root"
    line = ["sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-I", "-S", "-B", str(INSTALLER), "install"]
    words = [str(template.path), "--root", str(root), *trust(template)]
    environment = hostile(place / "home")
    done = subprocess.run([*line, *words], capture_output=True, text=True, env=environment, cwd=place / "home")
    assert done.returncode == 0, done.stderr
    return root, done


def smoke_output(root: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((current(root) / f"evidence/smoke-{number}.out").read_bytes())
    return found


# ----------------------------------------------------------------------------------------------- one real installation


def test_hostile_host_changes_nothing_of_what_is_installed(installed: tuple[Path, Any], place: Path) -> None:
    root, done = installed
    assert "OWNED" not in done.stdout + done.stderr
    assert not (place / "home/elsewhere").exists()
    environment = evidence(root)["environments"]["main"]
    assert environment["installed"] == {"distill_offline": "1.0", "tiny_one": "1.0", "tiny_two": "2.0"}
    site = next((current(root) / environment["folder"]).glob("lib/python3*/site-packages"))
    assert (site / "tiny_one/__init__.py").read_bytes() == b"import re\n"
    assert not any(site.glob("pip*"))


def test_smoke_run_sees_the_release_and_nothing_of_the_caller(installed: tuple[Path, Any]) -> None:
    root, _ = installed
    seen = smoke_output(root, 1)
    assert seen["arguments"] == ["annotate", "-x"]
    assert smoke_output(root, 2)["arguments"] == ["train"]
    assert seen["bad"] == ["PIP_CONFIG_FILE", "PIP_DISABLE_PIP_VERSION_CHECK"]  # set by the installer
    assert (seen["models"], seen["offline"]) == (["tiny"], "1")
    assert seen["release"] == str(current(root))
    assert [each for each in seen["path"] if str(root) in each] != []
    assert "" not in seen["path"]


def test_evidence_tells_what_ran_where_and_what_came_out(installed: tuple[Path, Any], template: Bundle) -> None:
    root, done = installed
    found = evidence(root)
    assert [step["name"] for step in found["steps"]] == ["imports-main", "smoke-1", "smoke-2"]
    assert [step["exit_code"] for step in found["steps"]] == [0, 0, 0]
    assert {row["path"] for row in found["outputs"]} == {"result-annotate.json", "result-train.json"}
    assert found["imported"]["main"]["tiny-one"] == {"version": "1.0", "modules": ["tiny_one"], "fault": ""}
    assert found["verification"]["bundle"]["bundle_id"] == template.manifest["bundle_id"]
    assert found["installer"]["is_the_bundles"] is found["verifier"]["is_the_bundles"] is True
    text = (current(root) / "evidence/install.json").read_text()
    assert str(root) not in text
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4
    if not probe().fault:
        networks = [step["network"] for step in [*found["steps"], *found["environments"]["main"]["steps"]]]
        assert all(each["isolated"] and each["interfaces"] == ["lo"] for each in networks)
        assert found["not_proven"] == []
        assert "had no network but loopback" in done.stdout
        assert smoke_output(root, 1)["interfaces"] == ["lo"]


def test_whole_environment_can_be_read_by_every_user(installed: tuple[Path, Any]) -> None:
    for path in current(installed[0]).rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o044 == 0o044, path
    assert not [path for path in current(installed[0]).iterdir() if path.name.startswith(".")]


def test_command_in_bin_works_from_anywhere_and_takes_models_of_ones_own(
    installed: tuple[Path, Any], tmp_path: Path
) -> None:
    link = tmp_path / "distill-offline"
    link.symlink_to(installed[0] / "current/bin/distill-offline")
    (tmp_path / "models/mine").mkdir(parents=True)
    (tmp_path / "tiny_one.py").write_text("raise SystemExit('OWNED')\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([link, "doctor", "a b"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    seen = json.loads(done.stdout)
    assert (seen["arguments"], seen["models"]) == (["doctor", "a b"], ["tiny"])
    environment["DISTILL_MODELS"] = str(tmp_path / "models")
    done = subprocess.run([link, "doctor"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert json.loads(done.stdout)["models"] == ["mine"]


def test_offline_switches_are_those_of_the_package() -> None:
    assert dict(ENVIRONMENT) == installer.OFFLINE


# ------------------------------------------------------------------------------------------------------------ slow ones


@pytest.mark.slow
def test_failing_smoke_run_leaves_the_older_release_current_and_keeps_the_environment(
    installed: tuple[Path, Any], template: Bundle, tmp_path: Path
) -> None:
    root, _ = installed
    later = successor(template, tmp_path / "later")
    (tmp_path / "smoke.json").write_text('[["fail"]]')
    done = install(later, root, "--smoke", tmp_path / "smoke.json")
    assert (done.returncode, "this smoke run was told to fail" in done.stderr) == (1, True)
    assert current(root).name == template.manifest["bundle_id"]
    half = root / "releases" / later.manifest["bundle_id"]
    assert (half / "environments/main.1").is_dir()
    assert not (half / "release.json").exists()
    again = install(later, root)
    assert (again.returncode, "building the environment" in again.stderr) == (0, False)
    assert current(root) == half


@pytest.mark.slow
def test_host_that_permits_no_namespace_gets_an_installation_and_is_told_so(bundle: Bundle, tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && ! unshare -n true 2>/dev/null && exec "$@"'
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-r", "sh", "-c", forbid, "sh", "true"]).returncode
    ):
        pytest.skip("no user namespaces here, in which others could be forbidden")
    line: list[str | Path] = [sys.executable, "-I", "-S", "-B", INSTALLER, "install", bundle.path]
    words: list[str | Path] = ["--root", tmp_path / "root", *trust(bundle)]
    done = subprocess.run(["unshare", "-r", "sh", "-c", forbid, "sh", *line, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "NOT proven: That nothing reaches for the network: no namespace" in done.stdout
    assert not any(step["network"]["isolated"] for step in evidence(tmp_path / "root")["steps"])


@pytest.mark.slow
def test_carried_pip_is_used_and_listed(bundle: Bundle, tmp_path: Path) -> None:
    import ensurepip

    wheel = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    put_wheel(bundle, f"python/wheels/{wheel.name}", wheel.read_bytes())
    lock(bundle)
    bundle.seal()
    done = install(bundle, tmp_path / "root")
    assert done.returncode == 0, done.stderr
    command = evidence(tmp_path / "root")["environments"]["main"]["steps"][1]["command"]
    assert f"<release>/python/wheels/{wheel.name}/pip" in command
    assert "pip" in evidence(tmp_path / "root")["environments"]["main"]["installed"]


@pytest.mark.slow
def test_killed_at_any_moment_it_finishes_when_it_is_run_again(bundle: Bundle, tmp_path: Path) -> None:
    root, line = tmp_path / "root", [sys.executable, "-I", "-S", "-B", str(INSTALLER), "install"]
    words = [str(bundle.path), "--root", str(root), *trust(bundle)]
    for tenths in (2, 4, 6, 8, 11, 14, 18, 22, 27, 33, 40, 50):
        child = subprocess.Popen([*line, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(tenths / 10)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if (root / "current").is_symlink():
            assert (current(root) / "release.json").is_file()
    deadline = time.monotonic() + 20
    while (done := install(bundle, root)).returncode == 4 and time.monotonic() < deadline:
        time.sleep(0.2)  # a child of the killed one still holds the lock
    assert done.returncode == 0, done.stderr
    folders = [path.name for path in (current(root) / "environments").iterdir() if path.is_dir()]
    assert len([name for name in folders if name.startswith("main.")]) == 1


@pytest.mark.slow
def test_children_of_a_killed_installer_end_with_it(installed: tuple[Path, Any], tmp_path: Path) -> None:
    folder = current(installed[0])
    code = (
        f"import runpy, sys; m = runpy.run_path({str(INSTALLER)!r}); import os; "
        f"c = m['Children']({str(folder)!r}, os.open(os.devnull, 0)); "
        f"c.run('sleep', ['/bin/sleep', '4321'], {str(tmp_path)!r}, {str(tmp_path)!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while not sleepers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sleepers()
    child.kill()
    child.wait()
    while sleepers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sleepers()


def sleepers() -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == b"/bin/sleep\x004321\x00":
                found.append(path)
        except OSError:
            continue
    return found


FULL = """
mount -t tmpfs -o size=1700k,mode=755 tmpfs "$0" && cd / || exit 99
"$@"; echo "first: $?"
ls "$0/releases"/*/release.json "$0/current" 2>/dev/null
mount -o remount,size=40m "$0" && "$@"; echo "second: $?"
ls "$0/current/release.json"
"""


@pytest.mark.slow
def test_disk_that_fills_while_pip_works_is_told_and_the_step_starts_over(bundle: Bundle, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no mount namespaces here")
    big = {"tiny_one/data.bin": os.urandom(600_000)}
    bundle.file(TINY).unlink()  # it will lie there in parts
    put_wheel(bundle, TINY, installable("tiny_one", "1.0", big))
    bundle.manifest["totals"]["installed_bytes"] = 1
    lock(bundle)
    bundle.seal()
    root = tmp_path / "root"
    root.mkdir()
    line = line_for(bundle, root)
    done = subprocess.run(["unshare", "-rm", "sh", "-c", FULL, root, *line], capture_output=True, text=True)
    lines = [each for each in done.stdout.splitlines() if each.startswith(("first", "second", str(root)))]
    assert lines == ["first: 4", "second: 0", f"{root}/current/release.json"], done.stderr + done.stdout
    assert "bytes are free on the disk" in done.stderr
