"""What stops an installation before it is current: locks, imports, smoke runs; and what it cannot prove."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Bundle, Keys
from installing import install, installable, installable_bundle, installer_module, lock, put_wheel

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")
installer: Any = installer_module()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("template")
    (folder / "keys").mkdir()
    bundle = installable_bundle(folder / "bundle", Keys.make(folder / "keys"))
    bundle.drop_ssh()
    return bundle


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "bundle")


def locked_to(bundle: Bundle, text: bytes) -> None:
    bundle.add("python/main.lock", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: lock(b, "--index-url https://example.org/simple\n"), "is not a requirement with hashes"),
        (lambda b: lock(b, "--find-links https://example.org\n"), "is not a requirement with hashes"),
        (lambda b: lock(b, "-r other.lock\n"), "is not a requirement with hashes"),
        (lambda b: lock(b, "x @ https://example.org/x.whl --hash=sha256:" + "0" * 64), "is not a requirement"),
        (lambda b: lock(b, "x==1.0\n"), "is not a requirement with hashes"),
        (lambda b: lock(b, "x==1.0 --hash=md5:0\n"), "is not a requirement with hashes"),
        (lambda b: lock(b, "-e .\n"), "is not a requirement with hashes"),
        (lambda b: locked_to(b, b""), "does not lock distill-offline to the wheel"),
        (lambda b: put_wheel(b, TINY, installable("tiny_one", "1.0", code=b"1\n")), "does not lock tiny-one"),
    ],
)
@pytest.mark.slow
def test_lock_that_is_more_or_less_than_hashed_requirements_is_refused(
    bundle: Bundle, tmp_path: Path, change: Any, message: str
) -> None:
    change(bundle)
    bundle.seal()
    done = install(bundle, tmp_path / "root")
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "root/current").exists()


TINY = "python/wheels/tiny_one-1.0-py3-none-any.whl"


def fake_environment(folder: Path) -> dict[str, Any]:
    """An environment whose Python is the tests' own."""
    (folder / "environments/main.1/bin").mkdir(parents=True)
    python = folder / "environments/main.1/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return {"main": {"folder": "environments/main.1"}}


def manifest_with(*names: str) -> dict[str, Any]:
    requirements = [{"name": name, "environment": "main", "floor": "1", "resolved": "1"} for name in names]
    return {"direct_requirements": requirements, "target": {"accelerator": "cpu"}}


def children_of(folder: Path) -> Any:
    return installer.Children(str(folder), os.open(os.devnull, os.O_RDONLY))


def test_where_no_namespace_can_be_made_it_works_and_says_what_is_not_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer.verifier, "PROGRAM_FOLDERS", (str(tmp_path / "nowhere"),))
    children = children_of(tmp_path)
    proof = installer.prove(manifest_with("pytest"), fake_environment(tmp_path), str(tmp_path), children, None)
    os.close(children.lock_descriptor)
    assert proof.steps[0]["network"]["isolated"] is False
    assert proof.proven == ["1 direct requirements of main are imported."]
    assert "That nothing reaches for the network: no namespace" in proof.not_proven[1]
    assert "unshare is not in" in proof.not_proven[1]


def test_requirement_that_does_not_import_stops_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name, code in (("bad_one", "import nowhere_at_all"), ("good_one", "")):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}-1.0.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (site / f"{name}-1.0.dist-info/RECORD").write_text(f"{name}.py,,\n")
        (site / f"{name}.py").write_text(code)
    environments = fake_environment(tmp_path)
    python = tmp_path / "environments/main.1/bin/python"
    python.write_text(
        f"#!/bin/sh\nshift 2\ncode=\"import sys; sys.path.insert(0, '{site}'); $1\"; shift\n"
        f'exec "{sys.executable}" -c "$code" "$@"\n'
    )
    children = children_of(tmp_path)
    manifest = manifest_with("bad-one", "good-one")
    with pytest.raises(installer.Fault, match=r"do not import: bad-one: ModuleNotFoundError: .*nowhere_at_all"):
        installer.prove(manifest, environments, str(tmp_path), children, None)
    os.close(children.lock_descriptor)


def test_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    children = children_of(tmp_path)
    with pytest.raises(installer.Fault, match="sleeper did not end within 1 seconds"):
        children.run("sleeper", ["/bin/sh", "-c", "sleep 300 & wait"], str(tmp_path), str(tmp_path), 1)
    os.close(children.lock_descriptor)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[["doctor"], ["run", "x"]]', [["doctor"], ["run", "x"]]),
        ("[]", "is not a JSON list of argument lists"),
        ('["doctor"]', "is not a JSON list of argument lists"),
        ('[["doctor", 1]]', "is not a JSON list of argument lists"),
        ("[[]]", "is not a JSON list of argument lists"),
        ("{", "is not a JSON list of argument lists"),
    ],
)
def test_smoke_commands_are_a_parameter(tmp_path: Path, content: str, expected: Any) -> None:
    (tmp_path / "own.json").write_text(content)
    if isinstance(expected, str):
        with pytest.raises(installer.Fault, match=expected):
            installer.smoke_commands(str(tmp_path), str(tmp_path / "own.json"), False)
    else:
        assert installer.smoke_commands(str(tmp_path), str(tmp_path / "own.json"), False) == expected


def test_without_commands_the_quickstart_is_run_small_and_without_one_there_is_no_smoke(tmp_path: Path) -> None:
    assert installer.smoke_commands(str(tmp_path), None, False) is None
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.yaml").touch()
    commands = installer.smoke_commands(str(tmp_path), None, False)
    assert [command[:2] for command in commands] == [
        [verb, "configs/quickstart.yaml"] for verb in ("annotate", "train", "run")
    ]
    assert "annotate.limit=8" in commands[0]
    assert all("adapt=null" in command for command in commands)  # it would take the longest of all
    assert installer.smoke_commands(str(tmp_path), None, True) is None
