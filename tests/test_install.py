"""The installer on bundles without environments: copying, kills, the lock, sequence, rollback, uninstall."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import LONG, MODEL, TOOLS, Bundle, made
from installing import (
    INSTALLER,
    VERIFIER,
    current,
    evidence,
    install,
    line_for,
    plain_bundle,
    run,
    successor,
    tree,
    trust,
)
from test_verify_command import interpreter

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(plain_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a root"


def contents(folder: Path) -> dict[str, bytes]:
    """What a release holds, but for times and what was told of the run."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in ("release.json", "install.json")
    }


# ------------------------------------------------------------------------------------------------ what is installed


def test_release_holds_the_bundles_files_with_parts_joined_and_is_current(bundle: Bundle, root: Path) -> None:
    done = install(bundle, root)
    assert done.returncode == 0, done.stderr
    release = current(root)
    assert release.name == bundle.manifest["bundle_id"]
    found = contents(release)
    assert set(found) == {each["path"] for each in bundle.manifest["files"]} | {"manifest.json", "manifest.json.p256"}
    assert found[LONG] == b"".join(b"%09d\n" % number for number in range(50_000))
    assert found["manifest.json"] == bundle.file("manifest.json").read_bytes()
    assert (release / "models-by-id/tiny").resolve() == release / MODEL
    last = json.loads((root / "last-installed.json").read_bytes())
    assert (last["name"], last["sequence"]) == ("demo", 3)
    assert "NOT proven: No smoke run" in done.stdout
    assert evidence(root)["verifier"]["is_the_bundles"] is evidence(root)["installer"]["is_the_bundles"] is True


def test_catalogue_in_the_bundles_configs_is_the_one_beside_its_models(bundle: Bundle, root: Path) -> None:
    bundle.add("configs/catalogue.yaml", b"models: []\n")
    bundle.seal()
    assert install(bundle, root).returncode == 0
    assert (current(root) / "models-by-id/catalogue.yaml").read_bytes() == b"models: []\n"


def test_installed_copy_of_the_installer_installs_the_next_bundle(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    install(bundle, root)
    later = successor(bundle, tmp_path / "later")
    words: list[str | Path] = [later.path, "--root", root, *trust(later)]
    done = run("install", *words, program=current(root) / "install.py")
    assert done.returncode == 0, done.stderr
    assert current(root).name == later.manifest["bundle_id"]


def test_installing_again_changes_nothing_but_puts_damaged_files_back(bundle: Bundle, root: Path) -> None:
    install(bundle, root)
    before = tree(current(root))
    assert "is installed already" in install(bundle, root).stderr
    after = {path: state for path, state in tree(current(root)).items() if path in before}
    assert after == before
    (current(root) / LONG).write_bytes(b"damaged")
    assert "1 files of it were damaged" in install(bundle, root).stderr
    assert (current(root) / LONG).stat().st_size == 500_000


def test_umask_is_not_taken_over_so_that_every_user_can_read_a_release(bundle: Bundle, root: Path) -> None:
    line = ["sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-I", "-S", "-B", str(INSTALLER), "install"]
    done = subprocess.run([*line, str(bundle.path), "--root", str(root), *trust(bundle)], capture_output=True)
    assert done.returncode == 0, done.stderr
    for path in current(root).rglob("*"):
        assert path.stat().st_mode & 0o077 == (0o055 if path.is_dir() or path.suffix == ".sh" else 0o044), path


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--root", "{root}"], 3, "nobody whom you trust signed"),
        (["--root", "{root}", "--openssl-key", "{keys}/foreign.pub.pem"], 1, "the bundle was refused"),
        (["--root", "{bundle}/inside", "--openssl-key", "{keys}/own.pub.pem"], 2, "--root lies inside the bundle"),
        (["--root", "{root}:x"], 2, "may not hold quotes"),
        (["--root", "{root}", "--not-the-target"], 2, "are the installer's own to say"),
        (["--root", "{root}", "--last-sequence-file", "x"], 2, "are the installer's own to say"),
        (["--root", "{root}", "--unsigned"], 2, "unrecognized arguments"),
        ([], 2, "the following arguments are required: --root"),
        (["--root", "{root}", "--smoke", "{bundle}/README.txt", "--openssl-key", "{keys}/own.pub.pem"], 2, "JSON list"),
    ],
)
@pytest.mark.slow
def test_refused_bundle_or_wrong_usage_leaves_nothing_current(
    bundle: Bundle, root: Path, words: list[str], code: int, message: str
) -> None:
    places = {"root": root, "bundle": bundle.path, "keys": bundle.keys.folder}
    done = run("install", bundle.path, *(word.format(**places) for word in words))
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert not (root / "current").exists()
    assert not (bundle.path / "inside").exists()


def test_spoiled_bundle_is_not_installed(bundle: Bundle, root: Path) -> None:
    bundle.file("data/train.conll").write_bytes(b"Rome B-PER\n")
    done = install(bundle, root)
    assert done.returncode == 1
    assert "data/train.conll: has another SHA-256" in done.stdout
    assert list((root / "releases").iterdir()) == []


def test_unsigned_bundle_is_installed_when_that_is_said_and_the_evidence_tells(bundle: Bundle, root: Path) -> None:
    assert run("install", bundle.path, "--root", root, "--unsigned-ok", "--quiet").returncode == 0
    assert any("no key was given" in line for line in evidence(root)["not_proven"])


def test_it_does_not_run_unless_isolated_or_without_its_verifier(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    plain = subprocess.run([sys.executable, str(INSTALLER), "list", "--root", str(root)], capture_output=True)
    assert (plain.returncode, b"python3 -I -S -B" in plain.stderr) == (2, True)
    alone = tmp_path / "install.py"
    shutil.copy(INSTALLER, alone)
    done = run("list", "--root", root, program=alone)
    assert (done.returncode, "verify.py does not lie beside me" in done.stderr) == (1, True)


def test_compiled_code_beside_the_verifier_is_not_run(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    """A .pyc made to fit verify.py's time and size, which an ordinary import would take."""
    for file in (INSTALLER, VERIFIER):
        shutil.copy2(file, tmp_path / file.name)
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('OWNED')\n")
    compile_it = (
        "import importlib._bootstrap_external as b, sys; s = open(sys.argv[1]).read(); import os; "
        "t = os.stat(sys.argv[2]); d = b._code_to_timestamp_pyc(compile(s, 'x', 'exec'), int(t.st_mtime), t.st_size); "
        "p = b.cache_from_source(sys.argv[2]); os.makedirs(os.path.dirname(p)); open(p, 'wb').write(d)"
    )
    subprocess.run([sys.executable, "-c", compile_it, str(evil), str(tmp_path / "verify.py")], check=True)
    done = run("install", bundle.path, "--root", root, *trust(bundle), program=tmp_path / "install.py")
    assert done.returncode == 0, done.stderr


def test_root_where_everyone_may_write_is_refused(bundle: Bundle, root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    done = install(bundle, root)
    assert (done.returncode, "everyone may write there" in done.stderr) == (2, True)


def test_root_that_cannot_be_written_is_told(bundle: Bundle, root: Path) -> None:
    root.touch()
    done = install(bundle, root)
    assert (done.returncode, "Is --root a folder where you may write?" in done.stderr) == (4, True)


def test_medium_that_cannot_be_written_is_installed_from_and_stays_as_it_is(bundle: Bundle, root: Path) -> None:
    inside = (
        'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && ! touch "$1/x" 2>/dev/null && shift && exec "$@"'
    )
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no mount namespaces here")
    before = tree(bundle.path)
    line: list[str | Path] = [
        sys.executable,
        "-I",
        "-S",
        "-B",
        bundle.path / "install.py",
        "install",
        bundle.path,
        "--root",
        root,
    ]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside, "sh", bundle.path, *line, *trust(bundle)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert tree(bundle.path) == before
    assert current(root).name == bundle.manifest["bundle_id"]


@pytest.mark.parametrize("minor", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 8, 9, 10, 12)), 13])
def test_other_pythons_install_the_same(bundle: Bundle, root: Path, minor: int) -> None:
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    words: list[str | Path] = [bundle.path, "--root", root, *trust(bundle), "--python", sys.executable]
    done = run("install", *words, python=python, env={"LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert current(root).name == bundle.manifest["bundle_id"]
    for verb, code in (("list", 0), ("rollback", 1), ("uninstall", 1)):
        assert run(verb, "--root", root, python=python).returncode == code


# ------------------------------------------------------------------------------------------------------ interruption

# Ends itself by SIGKILL at the n-th call that changes the disk; 0 never, and then tells how many there were.
KILLED = """
import os, runpy, signal, sys
at, calls = int(sys.argv[1]), [0]
def counted(original):
    def call(*given, **named):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **named)
    return call
for name in ("mkdir", "replace", "rename", "symlink", "unlink", "rmdir", "fsync", "sync"):
    setattr(os, name, counted(getattr(os, name)))
sys.argv = sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write("%d" % calls[0])
"""


def killed_at(call: int, bundle: Bundle, root: Path) -> Any:
    line = [sys.executable, "-I", "-S", "-B", "-c", KILLED, str(call), str(INSTALLER), "install", str(bundle.path)]
    return subprocess.run([*line, "--root", str(root), *trust(bundle)], capture_output=True, text=True)


@pytest.mark.slow
def test_killed_at_ten_points_one_after_the_other_it_goes_on_and_half_a_release_is_never_current(
    bundle: Bundle, root: Path, tmp_path: Path
) -> None:
    counted = killed_at(0, bundle, tmp_path / "other")
    assert counted.returncode == 0
    clean, total = contents(current(tmp_path / "other")), int(counted.stderr.rpartition("\n")[2])
    assert total > 60
    for step in range(10):  # each run repeats little of the one before, so it is killed a little further on
        done = killed_at(2 + step * 4, bundle, root)
        assert done.returncode in (-9, 0)
        if (root / "current").is_symlink():
            assert (current(root) / "release.json").is_file()
    assert install(bundle, root).returncode == 0
    assert contents(current(root)) == clean


@pytest.mark.slow
def test_killed_at_every_point_it_finishes_when_it_is_run_again(bundle: Bundle, tmp_path: Path) -> None:
    older = install(bundle, tmp_path / "clean")
    assert older.returncode == 0
    clean = contents(current(tmp_path / "clean"))
    total = int(killed_at(0, bundle, tmp_path / "counted").stderr.rpartition("\n")[2])
    for call in range(1, total + 1):
        root = tmp_path / f"root{call}"
        assert killed_at(call, bundle, root).returncode == -9
        if (root / "current").is_symlink():
            assert (current(root) / "release.json").is_file(), call
        assert install(bundle, root).returncode == 0, call
        assert contents(current(root)) == clean, call


FULL = """
mount -t tmpfs -o size=300k,mode=755 tmpfs "$1" && shift && cd / || exit 99
"$@"; echo "first: $?"
ls "$0/releases"/*/release.json "$0/current" 2>/dev/null
mount -o remount,size=4m "$0" && "$@"; echo "second: $?"
ls "$0/current/release.json"
"""


def test_full_disk_is_told_and_after_making_room_it_goes_on(bundle: Bundle, root: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no mount namespaces here")
    bundle.manifest["totals"]["installed_bytes"] = 1  # a manifest that asks for too little
    bundle.seal()
    root.mkdir()
    line = line_for(bundle, root)
    done = subprocess.run(["unshare", "-rm", "sh", "-c", FULL, root, root, *line], capture_output=True, text=True)
    assert "No space left on device. Make room. Run the same command again" in done.stderr
    lines = [each for each in done.stdout.splitlines() if each.startswith(("first", "second", str(root)))]
    assert lines == ["first: 4", "second: 0", f"{root}/current/release.json"], done.stderr


def test_too_little_room_is_told_before_anything_is_copied(bundle: Bundle, root: Path) -> None:
    bundle.manifest["totals"]["installed_bytes"] = 1 << 52
    bundle.seal()
    done = install(bundle, root)
    assert (done.returncode, "bytes free for the target directory" in done.stdout) == (4, True)
    assert list((root / "releases").iterdir()) == []
