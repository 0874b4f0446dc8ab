"""Which release is current: two installers at once, older sequences, rollback, uninstall, and halves of releases."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest
from bundles import TOOLS, Bundle, made
from installing import current, install, line_for, plain_bundle, run, successor, trust

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(plain_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a root"


def test_second_installer_is_kept_out(bundle: Bundle, root: Path) -> None:
    install(bundle, root)
    with (root / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for verb, *words in (["install", bundle.path, *trust(bundle)], ["rollback"], ["uninstall"]):
            done = run(str(verb), *words, "--root", root)
            assert (done.returncode, "another installer is at work" in done.stderr) == (4, True), verb
        assert run("list", "--root", root).returncode == 0
    assert install(bundle, root).returncode == 0


def test_of_two_installers_at_once_both_end_well_or_one_is_kept_out(bundle: Bundle, root: Path) -> None:
    line = line_for(bundle, root)
    both = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = sorted(each.wait() for each in both)
    assert codes in ([0, 4], [0, 0])
    assert (current(root) / "release.json").is_file()


def states(root: Path) -> dict[str, str]:
    rows = json.loads(run("list", "--root", root, "--json").stdout)
    return {row["release"]: row["state"] for row in rows}


def test_older_bundle_is_refused_unless_it_is_asked_for(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    newer = successor(bundle, tmp_path / "newer", 5)
    assert install(newer, root).returncode == 0
    done = install(bundle, root)
    assert (done.returncode, "older than the installed 5" in done.stdout) == (1, True)
    assert current(root).name == newer.manifest["bundle_id"]
    assert install(bundle, root, "--allow-older").returncode == 0
    assert current(root).name == bundle.manifest["bundle_id"]
    assert json.loads((root / "last-installed.json").read_bytes())["sequence"] == 5
    assert install(successor(bundle, tmp_path / "other", 4), root).returncode == 1


@pytest.mark.parametrize("words", [[], ["--allow-older"]])
def test_same_sequence_or_another_name_is_refused_even_where_older_ones_are_allowed(
    bundle: Bundle, root: Path, tmp_path: Path, words: list[str]
) -> None:
    install(bundle, root)
    for key, value, message in (("version", "1.1", "as another installed bundle has"), ("name", "else", "is of else")):
        other = bundle.copy(tmp_path / key)
        other.with_ssh = False
        other.manifest[key] = value
        other.seal()
        done = install(other, root, *words)
        assert (done.returncode, message in done.stdout + done.stderr) == (1, True), done.stderr


def test_rollback_goes_back_step_by_step_and_forth_by_name(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    ids = [bundle.manifest["bundle_id"]]
    install(bundle, root)
    for sequence in (4, 5):
        ids.append((later := successor(bundle, tmp_path / str(sequence), sequence)).manifest["bundle_id"])
        assert install(later, root).returncode == 0, sequence
    for expected in (ids[1], ids[0]):
        assert run("rollback", "--root", root).stdout == f"current: {expected}\n"
        assert current(root).name == expected
    done = run("rollback", "--root", root)
    assert (done.returncode, "no earlier release" in done.stderr) == (1, True)
    assert run("rollback", "--root", root, ids[2]).returncode == 0
    assert states(root) == {ids[0]: "whole", ids[1]: "whole", ids[2]: "current"}
    assert run("rollback", "--root", root).stdout == f"current: {ids[1]}\n"
    install(later6 := successor(bundle, tmp_path / "6", 6), root)
    assert current(root).name == later6.manifest["bundle_id"]
    assert run("rollback", "--root", root).stdout == f"current: {ids[1]}\n"  # what was in use, not what was left before


def test_nothing_switches_to_half_a_release(bundle: Bundle, root: Path, tmp_path: Path) -> None:
    install(bundle, root)
    later = successor(bundle, tmp_path / "later")
    install(later, root)
    (root / "releases" / bundle.manifest["bundle_id"] / "release.json").unlink()
    assert states(root)[bundle.manifest["bundle_id"]] == "unfinished"
    for words in ([], [bundle.manifest["bundle_id"]]):
        assert run("rollback", "--root", root, *words).returncode == 1
    assert current(root).name == later.manifest["bundle_id"]


def test_uninstall_never_removes_the_current_release_unless_it_is_forced(
    bundle: Bundle, root: Path, tmp_path: Path
) -> None:
    later = successor(bundle, tmp_path / "later")
    install(bundle, root)
    install(later, root)
    old, new = bundle.manifest["bundle_id"], later.manifest["bundle_id"]
    for words in ([], [new]):
        done = run("uninstall", "--root", root, *words)
        assert (done.returncode, "is the current release" in done.stderr) == (1, True)
    assert states(root) == {old: "whole", new: "current"}
    assert run("uninstall", "--root", root, "nothing").returncode == 2
    assert run("uninstall", "--root", root, old).stdout == f"removed: {old}\n"
    assert states(root) == {new: "current"}
    assert run("uninstall", "--root", root, "--force").returncode == 0
    assert states(root) == {}
    assert not os.path.lexists(root / "current")
    assert install(bundle, root).returncode == 1  # the sequence is remembered
    assert install(later, root).returncode == 0


def test_what_an_interrupted_removal_left_is_cleared_away(bundle: Bundle, root: Path) -> None:
    install(bundle, root)
    left = root / "releases/.removed-x"
    left.mkdir()
    (left / "file").touch()
    assert run("rollback", "--root", root).returncode == 1
    assert not left.exists()
    assert run("list", "--root", root / "nowhere").returncode == 2
