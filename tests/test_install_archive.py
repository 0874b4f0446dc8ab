"""A carried interpreter's archive, made hostile: nothing is written outside, and each refusal is one clear line."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from installing import installer_module
from test_install_medium import archive

installer: Any = installer_module()
verifier = installer.verifier


def raw(path: Path, *members: tuple[bytes, bytes, bytes, int], extra: bytes = b"") -> Path:
    """A tar of headers by hand: (name, type, link name, size that the header says)."""
    blocks = b""
    for name, kind, target, size in members:
        header = bytearray(512)
        header[:100] = name[:100].ljust(100, b"\0")
        header[100:136] = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size
        header[136:148] = b"00000000000\0"
        header[156:157], header[157:257] = kind, target[:100].ljust(100, b"\0")
        header[257:265] = b"ustar\x0000"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks += bytes(header)
    path.write_bytes(blocks + extra)
    return path


def link(name: str, target: str) -> tuple[str, Any]:
    return name, ("link", target)


CHAINS: dict[str, list[tuple[str, Any]]] = {
    "two links": [link("a", "."), link("a2", "a/.."), link("x", "a2/outside")],
    "link of a link": [("d", ("folder", "")), link("d/up", ".."), link("x", "d/up/../outside")],
    "deep chain": [("d/e/f", b"x"), link("d/e/1", "../.."), link("d/e/2", "1/.."), link("x", "d/e/2/outside")],
    "later link": [link("x", "l/outside"), ("d", ("folder", "")), link("l", "d/../..")],
    "absolute in a chain": [link("a", "/"), link("x", "a/etc")],
    "circle": [link("a", "b"), link("b", "a")],
    "own circle": [link("a", "a")],
    "hard link through a link": [link("a", "."), ("x", ("hard", "a/../outside"))],
    "hard link to a link": [("f", b"x"), link("a", "f"), ("x", ("hard", "a"))],
    "hard link to what comes later": [("x", ("hard", "f")), ("f", b"x")],
    "hard link to nothing": [("x", ("hard", "nothing"))],
    "hard link to a folder": [("d", ("folder", "")), ("x", ("hard", "d"))],
    "file below a link": [("d", ("folder", "")), link("a", "d"), ("a/x", b"x")],
    "file below a link that comes later": [("a/x", b"x"), link("a", "d"), ("d", ("folder", ""))],
    "link below a link": [link("a", "."), link("a/b", ".")],
    "folder below a file": [("a", b"x"), ("a/b", ("folder", ""))],
    "file for a folder": [("a", ("folder", "")), ("a", b"x")],
    "link for a folder": [("a", ("folder", "")), link("a", ".")],
    "twice by ./": [("./a", b"x"), ("a", b"y")],
    "case": [("bin/python", b"x"), ("bin/Python", b"y")],
    "case of a link": [("lib/x", b"x"), link("LIB", "lib")],
    "case of a link among terminals": [("terminfo/x", b"x"), link("terminfo/X", "x")],
    "Unicode form": [("a\u0308", b"x"), ("\u00e4", b"y")],
    "5,000 bytes": [("x" * 5_000, b"x")],
    "300 bytes": [("d/" + "x" * 300, b"x")],
    "2,000 levels": [("/".join("d" * 2_000), b"x")],
    "60 levels": [("/".join("d" * 60), b"x")],
    "long link name": [link("a", "d/" * 3_000)],
    "link to 60 levels": [link("a", "d/" * 60)],
    "empty link": [link("a", "")],
    "link to a line break": [link("a", "b\nc")],
    "newline": [("a\nb", b"x")],
    "escape": [("a\x1b[2Jb", b"x")],
    "unseen": [("a\u200bb", b"x")],
    "no encoding": [("a\udcffb", b"x")],
    "empty part": [("a//b", b"x")],
    "dot": [("a/./b", b"x")],
    "up": [("a/../b", b"x")],
    "block device": [("x", (tarfile.BLKTYPE, ""))],
    "contiguous": [("x", (tarfile.CONTTYPE, ""))],
    "sparse": [("x", (tarfile.GNUTYPE_SPARSE, ""))],
    "unknown kind": [("x", (b"Z", ""))],
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.attack("bad archives")
def test_archive_that_is_no_plain_tree_is_refused(
    tmp_path: Path, name: str, form: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarfile, "DEFAULT_FORMAT", form)
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    (tmp_path / "outside").write_bytes(b"kept")
    (tmp_path / "in").mkdir()
    made = archive(tmp_path / "a.tar", *CHAINS[name])
    with pytest.raises(installer.Fault, match="the carried interpreter cannot be unpacked: it ") as caught:
        installer.unpack(str(made), str(tmp_path / "in"), 1 << 20)
    assert caught.value.code == 1
    assert (tmp_path / "outside").read_bytes() == b"kept"
    assert list((tmp_path / "in").iterdir()) == []  # judged before anything is written


def test_plain_tree_with_links_among_its_files_is_unpacked(tmp_path: Path) -> None:
    members = [
        ("./", ("folder", "")), ("python/bin/python3.11", b"x"), link("python/bin/python3", "python3.11"),
        link("python/bin/python", "../bin/python3"), link("python/lib64", "lib"), ("python/lib/m.py", b"y"),
        ("python/lib/n.py", ("hard", "python/lib/m.py")), link("python/here", "."), link("python/gone", "lib/no"),
        ("python/share/terminfo/2/2621A", b"a"), ("python/share/terminfo/2/2621a", b"b"),
        ("python/lib", ("folder", "")), ("python/lib", ("folder", "")), ("python/empty", b""),
    ]  # fmt: skip
    (tmp_path / "in").mkdir()
    installer.unpack(str(archive(tmp_path / "a.tar", *members)), str(tmp_path / "in"), 100)
    python = tmp_path / "in/python"
    assert (python / "bin/python").read_bytes() == b"x"
    assert (python / "lib64/n.py").read_bytes() == b"y"
    assert (python / "lib/n.py").stat().st_nlink == 1
    assert (python / "share/terminfo/2/2621a").read_bytes() == b"b"
    assert (python / "empty").read_bytes() == b""


# ------------------------------------------------------------------------------------------------------------ sizes


def refused(path: Path, limit: int = 1 << 20) -> str:
    with pytest.raises(installer.Fault) as caught:
        installer.unpack(str(path), str(path.parent), limit)
    return str(caught.value)


@pytest.mark.attack("bad archives")
def test_archive_that_unpacks_to_more_than_is_declared_is_refused(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.tar.gz", ("x", bytes(3 << 20)), compression="gz")
    assert bomb.stat().st_size < 10_000
    assert "unpacks to more than 1048576 bytes" in refused(bomb)
    copies = [("x", bytes(300_000)), *((f"y{number}", ("hard", "x")) for number in range(4))]
    assert "unpacks to more than 1048576 bytes" in refused(archive(tmp_path / "b.tar", *copies))
    small = archive(tmp_path / "c.tar", ("x", bytes(5_000)))
    assert "unpacks to more than 4999 bytes" in refused(small, 4_999)


@pytest.mark.attack("bad archives")
def test_headers_that_ask_for_gigabytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (b"L", b"K", b"x", b"g"):
        path = raw(tmp_path / "a.tar", (b"././@LongLink", kind, b"", 1 << 32), extra=bytes(4096))
        assert "has a header of more than 1048576 bytes" in refused(path)
    monkeypatch.setattr(verifier, "HEADROOM", 1 << 20)
    many = tmp_path / "b.tar.gz"
    many.write_bytes(gzip.compress(raw(tmp_path / "x", (b"d", b"5", b"", 0)).read_bytes() * 5_000))
    assert "unpacks to more than" in refused(many)


@pytest.mark.attack("bad archives")
def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "LIMIT_MEMBERS", 5)
    assert "has more than 5 members" in refused(archive(tmp_path / "a.tar", *((f"f{n}", b"") for n in range(7))))


@pytest.mark.attack("bad archives")
def test_links_that_lead_through_too_many_names_are_not_followed_for_hours(tmp_path: Path) -> None:
    """A hundred thousand of these are a small file, and followed one through the other they would take days."""
    chain = [link(f"c{number}", "x/../" * 150 + f"c{number + 1}") for number in range(39)]
    with pytest.raises(installer.Fault, match="links before it that lead through more than 1000000 names"):
        installer.unpack(str(archive(tmp_path / "a.tar", *chain, *(link(f"l{each}", "c0") for each in range(100)))), "")


@pytest.mark.attack("bad archives")
def test_header_that_gives_a_file_another_size_or_place_is_refused(tmp_path: Path) -> None:
    for headers in ({"size": "7"}, {"GNU.sparse.size": "99", "GNU.sparse.map": "0,1"}, {"path": "../x"}):
        path = tmp_path / "a.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as made:
            information = tarfile.TarInfo("python/x")
            information.pax_headers, information.size = headers, 1
            made.addfile(information, io.BytesIO(b"x"))
        assert "cannot be unpacked: it " in refused(path)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"path": "/etc/x"}) as made:
        made.addfile(tarfile.TarInfo("python/x"))
    assert "leads outside" in refused(path)


@pytest.mark.attack("bad archives")
def test_chain_of_headers_is_refused_and_not_followed_for_ever(tmp_path: Path) -> None:
    long_name = (b"././@LongLink", b"L", b"", 0)
    assert "is no tar archive that can be read" in refused(raw(tmp_path / "a.tar", *[long_name] * 5_000))


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.attack("bad archives")
def test_damaged_archive_is_told_and_never_a_traceback(tmp_path: Path, compression: str) -> None:
    chance = random.Random(compression)
    members = [("python/bin/p", bytes(range(256)) * 40), link("python/l", "bin/p"), ("h", ("hard", "python/bin/p"))]
    good = archive(tmp_path / "a.tar", *members, compression=compression).read_bytes()
    for number in range(60):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            bad[chance.randrange(min(len(bad), 2_000))] = chance.randrange(256)
        bad = bad[: chance.randrange(len(bad))] if number % 3 == 0 else bad
        (tmp_path / "b.tar").write_bytes(bad)
        folder = tmp_path / f"in{number}"
        folder.mkdir()
        try:
            installer.unpack(str(tmp_path / "b.tar"), str(folder), 1 << 20)
        except installer.Fault as fault:
            assert "cannot be unpacked: " in str(fault)  # noqa: PT017
        assert {path.name for path in tmp_path.iterdir()} >= {"a.tar", "b.tar"}


def test_interpreter_with_too_much_inside_does_not_reach_the_release(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    made = archive(tmp_path / "runtime/p.tar.gz", ("python/bin/python3.11", bytes(3 << 20)), compression="gz")
    size = made.stat().st_size
    manifest = {
        "target": {"python": "3.11", "interpreter": "runtime/p.tar.gz"}, "totals": {"installed_bytes": 1_000_000},
        "files": [{"path": "runtime/p.tar.gz", "size": size}],
    }  # fmt: skip
    with pytest.raises(installer.Fault, match="unpacks to more than 1000000 bytes"):
        installer.interpreter_of(manifest, str(tmp_path), None)
    assert not (tmp_path / "interpreter").exists()
