"""What the program says that it runs from: a release is taken for one only where its bytes say so."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installing import PACKAGE, installer_module

from distill_offline import __version__, manifest
from distill_offline.manifest.installation import RELEASE, Installation, installation

COMMIT, KEY = "c" * 40, "SHA256:0123456789"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """An installed release as the installer leaves it, with the package in its environment."""
    folder = tmp_path / "releases" / "demo-1.0-x"
    (folder / "environments/main.1/distill_offline").mkdir(parents=True)
    raw = json.dumps({
        "bundle_id": "demo-1.0-x", "version": "1.0", "sequence": 7, "builder": {"commit": COMMIT, "version": "0.1"},
    }).encode()  # fmt: skip
    (folder / "manifest.json").write_bytes(raw)
    seal = {
        "bundle_id": "demo-1.0-x",
        "manifest_sha256": hashlib.sha256(raw).hexdigest(),
        "signers": [f"me@site {KEY}"],
    }
    (folder / "release.json").write_text(json.dumps(seal))
    return folder


def found(release: Path) -> Installation:
    return installation({RELEASE: str(release)}, release / "environments/main.1/distill_offline")


def test_installed_release_names_its_bundle_commit_and_key(release: Path) -> None:
    told = found(release)
    assert told.made_by == "bundle demo-1.0-x"
    assert told.bundle == {
        "name": "demo-1.0-x",
        "digest": {"sha256": hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()},
        "annotations": {"kind": "bundle", "version": "1.0", "sequence": 7, "commit": COMMIT, "signers": [KEY]},
    }


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: (r / "manifest.json").write_text('{"bundle_id": "other"}'), "not the one that was installed"),
        (lambda r: (r / "manifest.json").unlink(), "manifest.json is not there"),
        (lambda r: (r / "release.json").unlink(), "release.json is not there: the release is not whole"),
        (lambda r: (r / "release.json").write_text("{"), "release.json is damaged"),
        (lambda r: (r / "release.json").write_text("[]"), "release.json is damaged"),
    ],
)
def test_release_that_was_changed_is_no_bundle(release: Path, spoil: Callable[[Path], object], reason: str) -> None:
    spoil(release)
    told = found(release)
    assert told.bundle is None
    assert f"version {__version__}" in told.made_by
    assert reason in told.made_by
    assert str(release) not in told.made_by


def test_release_in_which_this_program_does_not_lie_is_not_believed(release: Path) -> None:
    told = installation({RELEASE: str(release)})
    assert told.bundle is None
    assert "this program does not lie in that release" in told.made_by


def test_checkout_and_installed_package_are_told_apart(tmp_path: Path) -> None:
    assert installation({}).made_by == f"a checkout, version {__version__}"
    assert installation({}, tmp_path / "site-packages/distill_offline").made_by.startswith("an installed package, ")


def test_manifest_says_that_no_bundle_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RELEASE, raising=False)
    manifest.seal(tmp_path, stage="x", config={}, seeds={}, inputs=[], models={})
    view, statement = manifest.show(tmp_path), manifest.read(tmp_path)
    assert (view["bundle"], view["made_by"]) == (None, f"a checkout, version {__version__}")
    assert statement["predicate"]["buildDefinition"]["internalParameters"]["bundle"] is None
    assert statement["predicate"]["runDetails"]["builder"]["builderDependencies"] == []


@pytest.mark.slow
def test_command_of_a_release_writes_its_bundle_into_the_manifests_of_a_run(release: Path, tmp_path: Path) -> None:
    """The installer's own wrapper starts our package, which lies in the release; only the interpreter is a stand-in."""
    place, command = release / "environments/main.1", release / "bin/distill-offline"
    shutil.copytree(PACKAGE, place / "distill_offline", dirs_exist_ok=True)
    for folder in (place / "bin", release / "bin", release / "models-by-id"):
        folder.mkdir()
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(place)!r}); runpy.run_module('distill_offline', None, '__main__')"
    )
    interpreter = f'#!/bin/sh\nshift 3\nexec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)} "$@"\n'
    for path, content in (
        (place / "bin/python", interpreter.encode()),
        (command, installer_module().wrapper(str(release), "environments/main.1")),
    ):
        path.write_bytes(content)
        path.chmod(0o755)
    config = {
        "name": "small", "task": {"types": {"PERSON": "a person"}}, "backend": {"name": "scripted"},
        "corpus": {"unlabelled": str(tmp_path / "plain.conll"), "original": {"train": str(tmp_path / "plain.conll")}},
    }  # fmt: skip
    (tmp_path / "plain.conll").write_text("Ada B-PERSON\nleft O\n\n")
    (tmp_path / "small.yaml").write_text(json.dumps(config))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), RELEASE: "/elsewhere"}
    done = subprocess.run(
        [command, "annotate", "small.yaml"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    view = manifest.show(tmp_path / "runs/small/annotate")
    assert view["made_by"] == "bundle demo-1.0-x"
    assert (view["bundle"]["id"], view["bundle"]["commit"], view["bundle"]["signers"]) == ("demo-1.0-x", COMMIT, [KEY])
