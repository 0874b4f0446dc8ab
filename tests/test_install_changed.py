"""A root that somebody changed between two commands: links in it, older sequences, releases that were changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Bundle, made, sha256
from installing import INSTALLER, current, install, installable_bundle, line_for, plain_bundle, run, successor, trust

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine"),
]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle, Path]:
    """An older bundle, a newer one, and a root with both; the newer is current."""
    place = tmp_path_factory.mktemp("two")
    older = made(plain_bundle, place)
    newer = successor(older, place / "newer")
    for bundle in (older, newer):
        assert install(bundle, place / "root").returncode == 0
    return older, newer, place / "root"


@pytest.fixture
def root(two: tuple[Bundle, Bundle, Path], tmp_path: Path) -> Path:
    shutil.copytree(two[2], tmp_path / "root", symlinks=True)
    return tmp_path / "root"


def states(root: Path) -> dict[str, Any]:
    return {row["release"]: row for row in json.loads(run("list", "--root", root, "--json").stdout)}


def name(bundle: Bundle) -> str:
    return str(bundle.manifest["bundle_id"])


# --------------------------------------------------------------------------------------------------------- sequences


def test_an_older_bundle_stays_out_when_the_record_is_gone(two: tuple[Bundle, Bundle, Path], root: Path) -> None:
    older, newer, _ = two
    assert run("uninstall", "--root", root, name(older)).returncode == 0
    (root / "last-installed.json").unlink()
    done = install(older, root)
    assert (done.returncode, "older than the installed 4" in done.stdout) == (1, True), done.stderr
    assert current(root).name == name(newer)
    assert json.loads((root / "last-installed.json").read_bytes())["sequence"] == 4


def test_a_record_that_was_lowered_is_raised_again(two: tuple[Bundle, Bundle, Path], root: Path) -> None:
    older, _, _ = two
    record = json.loads((root / "last-installed.json").read_bytes())
    (root / "last-installed.json").write_text(json.dumps({**record, "sequence": 1}))
    done = install(older, root)
    assert (done.returncode, "older than the installed 4" in done.stdout) == (1, True), done.stderr
    assert json.loads((root / "last-installed.json").read_bytes()) == record


def test_uninstalling_after_the_record_is_gone_remembers_what_goes(
    two: tuple[Bundle, Bundle, Path], root: Path
) -> None:
    (root / "last-installed.json").unlink()
    assert run("uninstall", "--root", root, "--force").returncode == 0
    done = install(two[0], root)
    assert (done.returncode, "older than the installed 4" in done.stdout) == (1, True), done.stderr


NO_RECORDS = {
    "true": '"sequence": true', "a half": '"sequence": 3.5', "a whole with a point": '"sequence": 3.0',
    "an exponent": '"sequence": 3e0', "NaN": '"sequence": NaN', "infinity": '"sequence": Infinity',
    "negative": '"sequence": -1', "nought": '"sequence": 0', "huge": '"sequence": ' + "9" * 400,
    "beyond 2^53": '"sequence": 9007199254740992', "text": '"sequence": "3"', "null": '"sequence": null',
    "a list": '"sequence": [3]', "twice": '"sequence": 4, "sequence": 1', "none": '"other": 3',
    "more": '"sequence": 3, "more": 1',
}  # fmt: skip


@pytest.mark.parametrize("case", [*NO_RECORDS, "empty", "no JSON", "a link", "a FIFO", "a folder", "deep"])
@pytest.mark.attack("changed releases")
def test_a_record_that_is_no_whole_number_lets_nothing_in(
    two: tuple[Bundle, Bundle, Path], root: Path, tmp_path: Path, case: str
) -> None:
    record = root / "last-installed.json"
    good = record.read_text()
    record.unlink()
    if case in NO_RECORDS:
        record.write_text(good.replace('"sequence": 4', NO_RECORDS[case]))
        assert record.read_text() != good
    elif case == "a link":
        record.symlink_to(tmp_path / "nowhere")
    elif case == "a FIFO":
        os.mkfifo(record)
    elif case == "a folder":
        record.mkdir()
    else:
        record.write_text({"empty": "", "no JSON": "{", "deep": "[" * 100_000}[case])
    newest = successor(two[1], tmp_path / "newest", 9)
    for bundle in (two[0], newest):
        done = install(bundle, root, timeout=60)
        assert (done.returncode, "is not a record of the last installed bundle" in done.stderr) == (4, True), done
    assert current(root).name == name(two[1])


def test_another_bundle_of_the_same_sequence_stays_out_when_the_record_names_it(
    two: tuple[Bundle, Bundle, Path], root: Path, tmp_path: Path
) -> None:
    other = two[1].copy(tmp_path / "other")
    other.with_ssh = False
    other.manifest["version"] = "6.6"
    other.seal()
    record = json.loads((root / "last-installed.json").read_bytes())
    digest = sha256(other.file("manifest.json").read_bytes())
    (root / "last-installed.json").write_text(json.dumps({**record, "manifest_sha256": digest}))
    done = install(other, root)
    assert (done.returncode, "contradicts the installed" in done.stderr) == (1, True), done.stdout
    (root / "last-installed.json").unlink()
    done = install(other, root)
    assert (done.returncode, "as another installed bundle has" in done.stdout) == (1, True), done.stderr


def test_a_release_that_cannot_say_its_sequence_any_more_lets_nothing_else_in(
    two: tuple[Bundle, Bundle, Path], root: Path, tmp_path: Path
) -> None:
    older, newer, _ = two
    manifest = root / "releases" / name(newer) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"sequence": 4', b'"sequence": 1'))
    (root / "last-installed.json").unlink()
    newest = successor(newer, tmp_path / "newest", 9)
    for bundle in (older, newest):
        done = install(bundle, root)
        assert done.returncode == 1, done.stdout
    assert "is not the one that it was installed with. Uninstall it first" in done.stderr
    assert install(newer, root).returncode == 0  # itself it may be put right
    assert states(root)[name(newer)]["state"] == "current"


# ------------------------------------------------------------------------------------------- releases that are changed


def rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(bytes(len(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def into_link(path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to(kept)


def relinked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file of the same size and time": lambda release: rewrite(release / "configs/demo.yaml"),
    "the installer": lambda release: (release / "install.py").write_text("print('OWNED')\n"),
    "the verifier": lambda release: (release / "verify.py").write_text("print('OWNED')\n"),
    "a file more": lambda release: (release / "configs/sitecustomize.py").write_text("print('OWNED')\n"),
    "a folder more": lambda release: (release / "environments").mkdir(),
    "a command more": lambda release: (release / "bin/sh").write_text("#!/bin/sh\necho OWNED\n"),
    "a file less": lambda release: (release / "data/train.conll").unlink(),
    "a file's mode": lambda release: (release / "install.py").chmod(0o666),
    "a folder's mode": lambda release: (release / "configs").chmod(0o777),
    "a file that is a link now": lambda release: into_link(release / "install.py"),
    "a folder that is a link now": lambda release: into_link(release / "configs"),
    "a link that leads elsewhere": lambda release: relinked(release / "models-by-id/tiny"),
    "a FIFO": lambda release: os.mkfifo(release / "configs/fifo"),
    "the seal": lambda release: (release / "release.json").write_text(
        (release / "release.json").read_text().replace('"not_proven": [', '"not_proven": ["",')
    ),
    "evidence": lambda release: (release / "evidence/install.json").write_text("{}"),
    "the manifest": lambda release: (release / "manifest.json").write_text("{}"),
    "all of it": lambda release: into_link(release),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_release_does_not_become_current_and_is_listed_as_changed(
    two: tuple[Bundle, Bundle, Path], root: Path, change: str
) -> None:
    older, newer, _ = two
    CHANGES[change](root / "releases" / name(older))
    for words in ([], [name(older)]):
        done = run("rollback", "--root", root, *words, timeout=60)
        assert done.returncode in (1, 2), done.stdout
        assert "OWNED" not in done.stdout
    assert current(root).name == name(newer)
    done = run("list", "--root", root, timeout=60)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if name(older) in line)
    assert row.startswith("changed"), row
    assert states(root)[name(older)]["changes"]
    assert states(root)[name(newer)]["state"] == "current"


@pytest.mark.parametrize("change", ["the installer", "a file more", "a folder's mode", "a FIFO", "the seal"])
def test_a_changed_current_release_is_told_and_put_right_by_its_bundle(
    two: tuple[Bundle, Bundle, Path], root: Path, change: str
) -> None:
    _, newer, _ = two
    CHANGES[change](root / "releases" / name(newer))
    row = states(root)[name(newer)]
    assert (row["state"], row["is_current"]) == ("changed", True)
    done = install(newer, root)
    if change == "a FIFO":
        assert (done.returncode, "is neither file, folder nor link" in done.stderr) == (1, True)
        return
    assert done.returncode == 0, done.stderr
    assert states(root)[name(newer)]["state"] == "current"
    assert run("rollback", "--root", root).returncode == 0


def test_what_was_noted_of_a_release_cannot_be_taken_away_to_have_it_believed(
    two: tuple[Bundle, Bundle, Path], root: Path
) -> None:
    older, newer, _ = two
    (root / "releases" / name(older) / "configs/demo.yaml").write_text("seed: 6\n")
    (root / "installed" / f"{name(older)}.json").unlink()
    done = run("rollback", "--root", root)
    assert (done.returncode, "nothing here says what it was like" in done.stderr) == (1, True)
    assert current(root).name == name(newer)


@pytest.mark.parametrize("change", CHANGES)
def test_uninstalling_a_changed_release_touches_nothing_else(
    two: tuple[Bundle, Bundle, Path], root: Path, tmp_path: Path, change: str
) -> None:
    older, newer, _ = two
    release = root / "releases" / name(older)
    CHANGES[change](release)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (release / "more").symlink_to(outside)
    done = run("uninstall", "--root", root, name(older))
    assert done.returncode == 0, done.stderr
    assert not os.path.lexists(release)
    assert (outside / "mine").read_text() == "mine"
    assert states(root)[name(newer)]["state"] == "current"


def test_a_release_removed_while_another_is_changed_is_still_counted(
    two: tuple[Bundle, Bundle, Path], root: Path
) -> None:
    older, newer, _ = two
    CHANGES["the manifest"](root / "releases" / name(older))
    (root / "last-installed.json").unlink()
    assert run("uninstall", "--root", root, "--force").returncode == 0
    assert json.loads((root / "last-installed.json").read_bytes())["sequence"] == newer.manifest["sequence"]


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
for name in ("mkdir", "replace", "rename", "symlink", "unlink", "rmdir", "fsync", "sync", "chmod"):
    setattr(os, name, counted(getattr(os, name)))
sys.argv = sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write("%d" % calls[0])
"""


def killed_at(call: int, *words: str | Path) -> Any:
    line = [sys.executable, "-I", "-S", "-B", "-c", KILLED, str(call), str(INSTALLER), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True)


def test_killed_at_many_points_of_a_rollback_or_a_removal_something_whole_is_current(
    two: tuple[Bundle, Bundle, Path], tmp_path: Path
) -> None:
    older, newer, original = two
    for verb, *more in (["rollback"], ["uninstall", name(older)]):
        place = tmp_path / f"{verb}-counted"
        shutil.copytree(original, place, symlinks=True)
        total = int(killed_at(0, verb, "--root", place, *more).stderr.rpartition("\n")[2])
        assert total > 2
        for call in [*range(1, min(total, 8)), *range(8, total + 1, 12), total]:
            place = tmp_path / f"{verb}-{call}"
            shutil.copytree(original, place, symlinks=True)
            assert killed_at(call, verb, "--root", place, *more).returncode == -9
            now = current(place).name
            assert now in ({name(older), name(newer)} if verb == "rollback" else {name(newer)})
            assert states(place)[now]["state"] == "current"
            assert run(verb, "--root", place, *more).returncode in (0, 1, 2)
            assert states(place)[current(place).name]["state"] == "current"


# ------------------------------------------------------------------------------------------------------------ the root


@pytest.fixture
def bundle(two: tuple[Bundle, Bundle, Path]) -> Bundle:
    return two[0]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "mine").write_text("mine")
    return place


def planted(place: Path, outside: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside)


@pytest.mark.parametrize(
    "where",
    [
        "releases", "installed", "releases/{id}", "releases/{id}/configs", "releases/{id}/models", "releases/{id}/data",
        "releases/{id}/python", "releases/{id}/bin", "releases/{id}/evidence", "releases/{id}/environments",
        "releases/{id}/environments/main-logs", "releases/{id}/models/tiny@{commit}", "releases/{id}/.partial",
        "releases/{id}/environments/main.1", "releases/{id}/interpreter", "current",
    ],
)  # fmt: skip
def test_a_folder_of_the_root_that_is_a_link_is_not_followed(
    bundle: Bundle, tmp_path: Path, outside: Path, where: str
) -> None:
    root = tmp_path / "fresh"
    planted(root / where.format(id=name(bundle), commit="0123456789abcdef0123456789abcdef01234567"), outside)
    done = install(bundle, root)
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    assert sorted(path.name for path in outside.iterdir()) == ["mine"]
    for verb in ("rollback", "uninstall", "list"):
        run(verb, "--root", root, *(["--force"] if verb == "uninstall" else []))
        assert sorted(path.name for path in outside.iterdir()) == ["mine"], verb


@pytest.mark.parametrize("own", ["last-installed.json", "history.json", ".lock"])
def test_a_file_of_the_root_that_is_a_link_is_not_written_through(
    bundle: Bundle, tmp_path: Path, outside: Path, own: str
) -> None:
    root = tmp_path / "fresh"
    for place in (root / own, root / f"{own}.partial"):
        planted(place, outside / "mine")
    install(bundle, root)
    assert (outside / "mine").read_text() == "mine"
    assert sorted(path.name for path in outside.iterdir()) == ["mine"]


@pytest.mark.parametrize("target", ["{outside}", "releases/../../outside", "/releases/{id}", "releases", ".", "x/{id}"])
@pytest.mark.attack("changed releases")
def test_current_that_leads_anywhere_but_to_a_release_is_refused(
    two: tuple[Bundle, Bundle, Path], root: Path, outside: Path, target: str, tmp_path: Path
) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to(target.format(outside=outside, id=name(two[1])))
    newest = successor(two[1], tmp_path / "newest", 9)
    for done in (install(newest, root), run("rollback", "--root", root), run("uninstall", "--root", root)):
        assert (done.returncode, "which is no release of this root" in done.stderr) == (1, True), done.stderr
    assert run("list", "--root", root).returncode == 0


@pytest.mark.parametrize("place", ["", "releases", "installed"])
@pytest.mark.attack("changed releases")
def test_a_root_where_everyone_may_write_is_refused_by_every_command(
    two: tuple[Bundle, Bundle, Path], root: Path, place: str
) -> None:
    (root / place).chmod(0o777)
    for done in (install(two[1], root), run("rollback", "--root", root), run("uninstall", "--root", root, "--force")):
        assert (done.returncode, "everyone may write there" in done.stderr) == (2, True), done.stderr
    (root / place).chmod(0o1777)
    assert run("rollback", "--root", root).returncode == 2


def test_a_folder_above_the_root_where_everyone_may_rename_it_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "root").mkdir(parents=True)
    above.chmod(0o777)
    done = install(bundle, above / "root")
    assert (done.returncode, f"everyone may write there, in {above}" in done.stderr) == (2, True), done.stderr
    above.chmod(0o1777)
    assert install(bundle, above / "root").returncode == 0


@pytest.mark.parametrize("place", ["", "releases"])
def test_who_else_may_write_is_said(two: tuple[Bundle, Bundle, Path], root: Path, place: str) -> None:
    (root / place).chmod(0o775)
    done = run("rollback", "--root", root)
    assert (done.returncode, "may write in" in done.stderr) == (0, True), done.stderr
    (root / place).chmod(0o755)
    if os.geteuid() == 0:
        os.chown(root / place, 4321, 0)
        done = install(two[1], root)
        assert (done.returncode, "belongs to user 4321" in done.stderr) == (0, True), done.stderr


def test_a_planted_environment_or_file_of_a_half_release_is_not_believed(bundle: Bundle, tmp_path: Path) -> None:
    root = tmp_path / "fresh"
    half = root / "releases" / name(bundle)
    (half / "bin").mkdir(parents=True)
    (half / "bin/evil").write_text("OWNED")
    (half / "configs").mkdir()
    (half / "configs/demo.yaml").write_bytes(bundle.file("configs/demo.yaml").read_bytes())
    (half / "configs/demo.yaml").chmod(0o666)
    os.link(half / "configs/demo.yaml", tmp_path / "other-name")
    (half / "configs/sitecustomize.py").write_text("OWNED")
    done = install(bundle, root)
    assert done.returncode == 0, done.stderr
    assert not [path for path in half.rglob("*") if path.is_file() and b"OWNED" in path.read_bytes()]
    (tmp_path / "other-name").write_text("OWNED")
    assert (half / "configs/demo.yaml").read_bytes() == bundle.file("configs/demo.yaml").read_bytes()
    assert (half / "configs/demo.yaml").stat().st_mode & 0o777 == 0o644


# ---------------------------------------------------------------------------------------------- with a real environment


NOEXEC = 'mount -t tmpfs -o noexec,mode=755,size=200m tmpfs "$1" && shift && exec "$@"'


def test_a_root_that_starts_nothing_proves_nothing(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no mount namespaces here")
    bundle = made(installable_bundle, tmp_path)
    (tmp_path / "root").mkdir()
    line = line_for(bundle, tmp_path / "root")
    inside = ["unshare", "-rm", "sh", "-c", NOEXEC, "sh", str(tmp_path / "root"), *line]
    done = subprocess.run(inside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "NOT proven: Anything: --root lies on a filesystem that is mounted noexec" in done.stdout
    assert not [row for row in done.stdout.splitlines() if row.startswith("proven:")]


def test_a_changed_environment_is_noticed_and_made_anew(tmp_path: Path) -> None:
    bundle = made(installable_bundle, tmp_path)
    root = tmp_path / "root"
    assert install(bundle, root).returncode == 0
    module = next(current(root).glob("environments/main.1/lib/python*/site-packages/tiny_one/__init__.py"))
    assert run("list", "--root", root).stdout.startswith("current")
    subprocess.run([root / "current/bin/distill-offline", "doctor"], check=True, capture_output=True, cwd=tmp_path)
    assert run("list", "--root", root).stdout.startswith("current")  # to use it is not to change it
    (module.parent.parent / "evil.pth").write_text("import os\n")
    assert "evil.pth was added" in run("list", "--root", root).stdout
    done = install(bundle, root)
    assert (done.returncode, "it is made anew" in done.stderr) == (0, True), done.stderr
    assert not (module.parent.parent / "evil.pth").exists()
    assert run("list", "--root", root).stdout.startswith("current")


def test_a_planted_environment_of_a_half_release_is_built_anew(tmp_path: Path) -> None:
    bundle = made(installable_bundle, tmp_path)
    root = tmp_path / "root"
    (tmp_path / "smoke.json").write_text('[["fail"]]')
    assert install(bundle, root, "--smoke", tmp_path / "smoke.json").returncode == 1
    half = root / "releases" / name(bundle)
    module = next(half.glob("environments/main.1/lib/python*/site-packages/tiny_one/__init__.py"))
    module.write_text("raise SystemExit('OWNED')\n")
    done = install(bundle, root, *trust(bundle)[:0])
    assert (done.returncode, "building the environment main" in done.stderr) == (0, True), done.stderr
    assert not [path for path in half.rglob("*.py") if "OWNED" in path.read_text()]
