"""The installer's parts that meet hostile bytes: a medium that changes after it was verified, a carried interpreter."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import LONG, TOOLS, Bundle, Keys
from installing import HERE, installer_module, plain_bundle
from spoiling import part

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")
installer: Any = installer_module()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("template")
    (folder / "keys").mkdir()
    return plain_bundle(folder / "bundle", Keys.make(folder / "keys"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "bundle")


# ------------------------------------------------------------------------------- a medium that changes after the check


def verified_then(bundle: Bundle, change: Callable[[], Any], folder: Path) -> None:
    """Verify, change the medium, and go on as an installation does."""
    options = installer.verifier.Options(openssl_key=bundle.keys("own.pub.pem"))
    report = installer.verifier.verify(str(bundle.path), options)
    assert report.verdict == "valid"
    medium = installer.verifier.Medium(str(bundle.path))
    try:
        change()
        folder.mkdir()
        installer.copy_all(medium, report.manifest, str(folder))
        installer.copy_manifest(medium, report, options, str(folder))
    finally:
        medium.close()


def rewrite(file: Path) -> None:
    """Other bytes of the same size, and the old time put back."""
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(file: Path) -> None:
    file.rename(file.parent.parent.parent / "kept")
    file.symlink_to(file.parent.parent.parent / "kept")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data/train.conll", rewrite, "data/train.conll has another SHA-256"),
        ("data/train.conll", Path.unlink, "data/train.conll is missing"),
        ("data/train.conll", relink, "data/train.conll is a symbolic link"),
        ("data/train.conll", lambda p: p.write_bytes(b"Rome"), "data/train.conll is shorter than it was"),
        ("install.py", rewrite, "install.py has another SHA-256"),
        (part(1), rewrite, "00001.part has another SHA-256"),
        (part(2), Path.unlink, "00002.part is missing"),
        ("manifest.json.p256", rewrite, "manifest.json.p256 does not belong to this manifest"),
        ("manifest.json.p256", Path.unlink, "manifest.json.p256 is missing"),
    ],
)
def test_medium_that_changes_after_it_was_verified_is_caught(
    bundle: Bundle, tmp_path: Path, name: str, change: Callable[[Path], Any], message: str
) -> None:
    release = tmp_path / "release"
    with pytest.raises(installer.Fault, match=message) as caught:
        verified_then(bundle, lambda: change(bundle.file(name)), release)
    assert caught.value.code == 1
    if not name.startswith("manifest"):
        assert not (release / (LONG if "part" in name else name)).exists()


def test_another_manifest_put_there_later_is_not_the_one_that_is_installed(bundle: Bundle, tmp_path: Path) -> None:
    before = bundle.file("manifest.json").read_bytes()
    verified_then(bundle, lambda: bundle.file("manifest.json").write_bytes(b"{}"), tmp_path / "release")
    assert (tmp_path / "release/manifest.json").read_bytes() == before


def test_file_that_grows_gives_what_was_verified(bundle: Bundle, tmp_path: Path) -> None:
    longer = bundle.file("README.txt").read_bytes() + b"more"
    verified_then(bundle, lambda: bundle.file("README.txt").write_bytes(longer), tmp_path / "release")
    assert (tmp_path / "release/README.txt").read_bytes() == b"Verify first.\n"


def test_link_in_the_release_is_replaced_and_not_written_through(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    options = installer.verifier.Options(openssl_key=bundle.keys("own.pub.pem"))
    report, medium = installer.verifier.verify(str(bundle.path), options), installer.verifier.Medium(str(bundle.path))
    release = tmp_path / "release"
    release.mkdir()
    (release / "README.txt").symlink_to(outside)
    installer.copy_all(medium, report.manifest, str(release))
    medium.close()
    assert (release / "README.txt").read_bytes() == b"Verify first.\n"
    assert not (release / "README.txt").is_symlink()
    assert outside.read_bytes() == b"kept"


# ---------------------------------------------------------------------------------------------- a carried interpreter

LAUNCHER = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode()


def archive(path: Path, *members: tuple[str, Any], compression: str = "") -> Path:
    """A tar of (name, content | ("link" | "hard" | type, target)); the order is kept."""
    with tarfile.open(str(path), f"w:{compression}") as made:  # type: ignore[call-overload]
        for name, what in members:
            information = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                information.size, information.mode = len(what), 0o4777 if "bin/" in name else 0o600
                made.addfile(information, io.BytesIO(what))
                continue
            kind, information.linkname = what
            types = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "folder": tarfile.DIRTYPE}
            information.type = types.get(kind, kind)
            made.addfile(information)
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil", b"x")], "leads outside"),
        ([("/evil", b"x")], "leads outside"),
        ([("python/../../evil", b"x")], "leads outside"),
        ([("python/evil", ("link", "../../outside"))], "leads outside"),
        ([("python/evil", ("link", "/etc/passwd"))], "leads outside"),
        ([("python/evil", ("hard", "../outside"))], "leads outside"),
        ([("python/evil", ("hard", "/etc/passwd"))], "leads outside"),
        ([("python/null", (tarfile.CHRTYPE, ""))], "neither file, folder nor link"),
        ([("python/pipe", (tarfile.FIFOTYPE, ""))], "neither file, folder nor link"),
        ([("python/x", b"x"), ("python/x", b"y")], "cannot be unpacked"),
        ([("python/x", b"x"), ("python/x", ("link", "y"))], "cannot be unpacked"),
    ],
)
@pytest.mark.attack("bad archives")
def test_archive_that_leads_outside_is_refused(tmp_path: Path, members: list[Any], message: str) -> None:
    (tmp_path / "outside").write_bytes(b"kept")
    (tmp_path / "in").mkdir()
    with pytest.raises(installer.Fault, match=message):
        installer.unpack(str(archive(tmp_path / "a.tar", *members)), str(tmp_path / "in"))
    assert (tmp_path / "outside").read_bytes() == b"kept"
    assert not (tmp_path / "evil").exists()


def test_file_below_a_link_of_the_archive_is_not_written_through_it(tmp_path: Path) -> None:
    """The two steps of CVE-2025-45582: a link to a folder, then a file in it."""
    members = [("python", ("folder", "")), ("python/a", ("link", ".")), ("python/a/x", b"x")]
    (tmp_path / "in").mkdir()
    with pytest.raises(installer.Fault, match="cannot be unpacked"):
        installer.unpack(str(archive(tmp_path / "a.tar", *members)), str(tmp_path / "in"))
    assert not (tmp_path / "in/python/x").exists()


def carried(folder: Path, *members: tuple[str, Any], compression: str = "gz") -> dict[str, Any]:
    (folder / "runtime").mkdir()
    archive(folder / "runtime/python.tar.gz", *members, compression=compression)
    return {"target": {"python": HERE, "interpreter": "runtime/python.tar.gz"}}


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_carried_interpreter_is_unpacked_and_used(tmp_path: Path, compression: str) -> None:
    program = f"python/bin/python{HERE}"
    members = [
        (program, LAUNCHER), ("python/bin/python3", ("link", f"python{HERE}")), ("python/lib/x", b"x"),
        ("python/lib/y", ("hard", "python/lib/x")),
    ]  # fmt: skip
    manifest = carried(tmp_path, *members, compression=compression)
    for _ in range(2):  # it is unpacked once
        found = installer.interpreter_of(manifest, str(tmp_path), None)
        assert found == str(tmp_path / "interpreter" / program)
        (tmp_path / "runtime/python.tar.gz").write_bytes(b"no longer read")
    assert stat.S_IMODE(os.lstat(found).st_mode) & 0o7000 == 0
    assert (tmp_path / "interpreter/python/bin/python3").readlink() == Path(f"python{HERE}")
    assert (tmp_path / "interpreter/python/lib/y").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("python/readme", b"x")], f"holds no bin/python{HERE}"),
        ([(f"python/bin/python{HERE}", b"#!/bin/sh\necho 2.7\n")], f"is not a Python {HERE} that runs here"),
    ],
)
def test_carried_interpreter_of_another_kind_is_told(tmp_path: Path, members: list[Any], message: str) -> None:
    manifest = carried(tmp_path, *members)
    with pytest.raises(installer.Fault, match=message) as caught:
        installer.interpreter_of(manifest, str(tmp_path), None)
    assert caught.value.code == 4


def test_interrupted_unpacking_starts_over(tmp_path: Path) -> None:
    manifest = carried(tmp_path, (f"python/bin/python{HERE}", LAUNCHER))
    (tmp_path / "interpreter.partial/python/bin").mkdir(parents=True)
    (tmp_path / f"interpreter.partial/python/bin/python{HERE}").write_bytes(b"half")
    assert installer.interpreter_of(manifest, str(tmp_path), None).endswith(f"bin/python{HERE}")


def test_without_a_carried_one_the_hosts_python_of_that_version_is_used(tmp_path: Path) -> None:
    manifest = {"target": {"python": HERE, "interpreter": None}}
    assert installer.interpreter_of(manifest, str(tmp_path), None) == sys.executable
    manifest["target"]["python"] = "3.99"
    with pytest.raises(installer.Fault, match=r"this machine has no Python 3\.99\. Name one with --python"):
        installer.interpreter_of(manifest, str(tmp_path), None)
    with pytest.raises(installer.Fault, match=r"is not a Python 3\.99 that runs here"):
        installer.interpreter_of(manifest, str(tmp_path), sys.executable)
