"""What lies in the installer's root is damaged, or deeper than any release: told in a line, and it can be removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installing import INSTALLER, VERIFIER, installer_module, run

installer = installer_module()


def dig(folder: Path, levels: int, name: str = "d") -> None:
    """Folders one in the other, whose whole path no system call takes."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.fixture
def root(tmp_path: Path) -> Any:
    made = installer.Root(str(tmp_path / "root"))
    made.make()
    (tmp_path / "root/releases/one").mkdir()
    return made


@pytest.mark.parametrize(
    ("levels", "name"), [(101, "d"), pytest.param(1100, "d", marks=pytest.mark.slow), (60, "n" * 200), (150, "n" * 255)]
)
@pytest.mark.attack("changed releases")
def test_folders_that_are_too_deep_are_told_and_can_be_removed(root: Any, levels: int, name: str) -> None:
    folder = Path(root.folder("one"))
    dig(folder, levels, name)
    (folder / "outside").symlink_to(root.path)
    if levels > 100:
        with pytest.raises(installer.Fault, match=r"nested deeper than 100 levels\. Uninstall this release"):
            installer.check_own({"files": [{"path": "outside"}]}, str(folder))
        root.note("one", contents={}, seal="x")
        (change,) = root.changes("one")
        assert "nested deeper than 100 levels" in change
    assert installer.tree_bytes(str(folder)) >= 0
    installer.remove_tree(str(folder))
    assert list(Path(root.releases).iterdir()) == []


def test_what_a_killed_self_test_left_is_no_link_to_be_afraid_of(root: Any, tmp_path: Path) -> None:
    folder = Path(root.folder("one"))
    (folder / ".work-4f_kg3n9").mkdir()
    (folder / ".work-4f_kg3n9" / "configs").symlink_to(tmp_path)
    installer.check_own({"files": []}, str(folder))
    installer.clear({"files": []}, str(folder))
    assert list(folder.iterdir()) == []
    assert tmp_path.is_dir()
    for name in (".work-4f_kg3n9", "configs"):
        (folder / name).symlink_to(tmp_path)
        with pytest.raises(installer.Fault, match="is a symbolic link, which is not followed"):
            installer.check_own({"files": []}, str(folder))
        (folder / name).unlink()


@pytest.mark.parametrize("what", ["5", '"x"', "{}", "[5]", "[[]]", "null", "true"])
@pytest.mark.attack("changed releases")
def test_a_damaged_history_is_an_empty_one(root: Any, what: str) -> None:
    Path(root.history_file).write_text('{"activated": ' + what + "}")
    assert root.history() == []


@pytest.mark.parametrize("parts", [[1], "text", 5, True])
@pytest.mark.attack("changed releases")
def test_damaged_facts_of_a_release_are_none(root: Any, parts: Any, tmp_path: Path) -> None:
    facts = {"schema": installer.INSTALLED_SCHEMA, "release": "one", "parts": parts, "contents": {}}
    (tmp_path / "root/installed/one.json").write_text(json.dumps(facts))
    assert not root.holds_part("one", "interpreter", root.folder("one"))
    root.note_part("one", "interpreter", "0" * 64)
    assert root.facts("one")["parts"] == {"interpreter": "0" * 64}


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "a\udfffb"])
@pytest.mark.attack("changed releases")
def test_smoke_commands_that_no_program_can_be_given_are_refused(tmp_path: Path, word: str) -> None:
    place = tmp_path / "smoke.json"
    place.write_text(json.dumps([["annotate", word]]))
    with pytest.raises(installer.Fault, match="is not a JSON list of argument lists"):
        installer.smoke_commands(str(tmp_path), str(place), False)


@pytest.mark.attack("changed releases")
def test_a_folder_in_the_place_of_a_file_is_named(root: Any, tmp_path: Path) -> None:
    (tmp_path / "root/.lock").mkdir()
    done = run("rollback", "--root", root.path, "one")
    assert (done.returncode, "A folder lies where a file belongs. Move it away" in done.stderr) == (4, True), (
        done.stderr
    )


@pytest.mark.attack("changed releases")
def test_a_root_with_too_long_a_name_is_no_reason_to_try_again(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    done = run("install", bundle, "--root", tmp_path / ("y" * 300), "--fingerprint", "SHA256:" + "A" * 43)
    assert (done.returncode, "Take a shorter path" in done.stderr) == (4, True), done.stderr


# A setting of OpenSSL that makes SHA-256 unknown; another one would load a library of the caller's choice.
SETTING = "openssl_conf = i\n[i]\nalg_section = a\n[a]\ndefault_properties = fips=yes\n"


@pytest.mark.parametrize("program", [VERIFIER, INSTALLER])
@pytest.mark.attack("hostile hosts")
def test_openssls_setting_of_the_caller_is_not_read(tmp_path: Path, program: Path) -> None:
    (tmp_path / "openssl.cnf").write_text(SETTING)
    environment = {**os.environ, "OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "OPENSSL_MODULES": str(tmp_path)}
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/manifest.json").write_text("{}")
    words = [tmp_path / "bundle"] if program == VERIFIER else ["list", "--root", tmp_path]
    line = [sys.executable, "-I", "-S", "-B", str(program), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert "Traceback" not in done.stderr
    assert ("manifest.json: is not in canonical form" in done.stdout) or (
        "nothing was ever installed there" in done.stderr
    )


@pytest.mark.parametrize("files", [4, 5, 7])
@pytest.mark.attack("hostile hosts")
def test_a_process_that_may_open_nothing_decides_nothing(tmp_path: Path, files: int) -> None:
    """The bundle is no worse for it: INVALID would send a good medium away."""
    (tmp_path / "manifest.json").write_text("{}")
    line = f'ulimit -n {files}; exec "$@"'
    words = [sys.executable, "-I", "-S", "-B", str(VERIFIER), str(tmp_path)]
    done = subprocess.run(["/bin/sh", "-c", line, "sh", *words], capture_output=True, text=True)
    assert "Too many open files" not in done.stdout
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
