"""What a wheel may do: every way that was tried to make one write, run or hide what it should not is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, WHEEL, Bundle, made, record_of, small_bundle, wheel
from verifying import check, said, verifier

NAME, VERSION = "tiny_one", "1.0"
INFO = f"{NAME}-{VERSION}.dist-info"
DATA = f"{NAME}-{VERSION}.data"
COMPONENT = {"name": "tiny-one", "version": VERSION, "file": WHEEL}
ROOMY = 1 << 30


def tiny(extra: dict[str, bytes] | None = None) -> bytes:
    return wheel(NAME, VERSION, "py3-none-any", extra=extra)


def problems(
    content: bytes, size: int = ROOMY, allowed: set[tuple[str, str, str]] | None = None, **more: Any
) -> list[str]:
    policy = verifier.WheelPolicy(size, allowed or set())
    found: list[str] = verifier.inner_wheel_problems(io.BytesIO(content), {**COMPONENT, **more}, policy)
    return found


def test_a_plain_wheel_with_all_that_wheels_may_have_is_good() -> None:
    entry = (
        b"[console_scripts]\ntiny-one = tiny_one:main\ntiny.two=tiny_one.cli:a.b [x,y]\n\n# c\n[pytest11]\nany = one\n"
    )
    extra = {
        f"{DATA}/scripts/tiny": b"#!python\n", f"{DATA}/data/share/man/man1/tiny.1": b"", f"{DATA}/headers/tiny.h": b"",
        f"{DATA}/purelib/tiny_other/__init__.py": b"", f"{DATA}/data/etc/tiny.conf": b"",
        f"{DATA}/data/lib/tiny/libt.so": b"",
        f"{INFO}/entry_points.txt": entry, f"{NAME}/data (old)/a,b.txt": b"x", f"{NAME}/nested/evil.pth": b"weights",
        f"{INFO}/licenses/LICENSE": b"Free.", f"{NAME}/sitecustomize.py": b"",
    }  # fmt: skip
    assert problems(tiny(extra)) == []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert problems(rebuilt(tiny(extra), compression)) == []


def rebuilt(content: bytes, compression: int = zipfile.ZIP_DEFLATED, folders: bool = True) -> bytes:
    """The same wheel, written as a stream, with entries for folders."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(Stream(out), "w", compression) as new:
        if folders:
            new.writestr(f"{NAME}/", b"")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


class Stream(io.RawIOBase):
    """A file that cannot be sought, so that sizes stand behind each member."""

    def __init__(self, out: io.BytesIO) -> None:
        self.out = out

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return self.out.write(content)


# ------------------------------------------------------------------------------------------------ what it would install

HOOKS = {
    "evil.pth": b"import os\n", "EVIL.PTH": b"import os\n", "evil.\uff50\uff54\uff48": b"import os\n",
    "sitecustomize.py": b"", "usercustomize.py": b"", "SiteCustomize.py": b"", "sitecustomize/__init__.py": b"",
    "usercustomize/x.py": b"", "sitecustomize.cpython-311-x86_64-linux-gnu.so": b"", "sitecustomize.pyc": b"",
    "evil.egg-link": b"/tmp\n", "evil.start": b"x", "evil.egg": b"", "evil.egg-info": b"",
    "numpy.egg-info/PKG-INFO": b"",
    "numpy-9.9.DIST-INFO/METADATA": b"", f"{NAME}/__pycache__/x.cpython-311.pyc": b"", f"{NAME}/hidden.pyc": b"",
    "__pycache__/sitecustomize.cpython-311.pyc": b"", f"{DATA}/purelib/evil.pth": b"",
    f"{DATA}/platlib/sitecustomize.py": b"",
    f"{DATA}/purelib/numpy-1.0.dist-info/METADATA": b"",
}  # fmt: skip


@pytest.mark.parametrize("path", HOOKS)
@pytest.mark.attack("bad wheels")
def test_what_runs_at_each_start_is_refused_unless_the_manifest_names_it(path: str) -> None:
    content = tiny({path: HOOKS[path]})
    (problem,) = problems(content)
    assert problem.startswith("would install ")
    place, digest = path.split(DATA + "/purelib/")[-1].split(DATA + "/platlib/")[-1], verifier.sha256(HOOKS[path])
    assert problems(content, allowed={(WHEEL, place, digest)}) == []
    assert problems(content, allowed={(WHEEL, place, "0" * 64)}) == [problem]
    assert problems(content, allowed={("python/wheels/other.whl", place, digest)}) == [problem]


PLACES = (
    "data/bin/python", "data/bin/tiny", "data/lib/python3.11/site-packages/evil.pth", "data/lib/python3.11/os.py",
    "data/Lib/Python3.11/os.py", "data/lib64/python3.11/x.py", "data/pyvenv.cfg", "data/share", "data/sbin/x",
    "data/lib/pypy3.10/x.py", "data/tiny/__init__.py", "data/local/lib/python3.11/x.py", "data/.bashrc", "nowhere/x",
    "stdlib/os.py", "platstdlib/os.py", "PURELIB/x.py", "Scripts/x", "include/x.h", "x",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.attack("bad wheels")
def test_files_that_would_go_elsewhere_than_wheels_put_files_are_refused(place: str) -> None:
    assert "would go where no wheel may" in problems(tiny({f"{DATA}/{place}": b"x"}))[0] or place == "x"
    assert problems(tiny({f"{DATA}/{place}": b"x"}))


@pytest.mark.parametrize("folder", ["other-1.0.data", "tiny_one-1.0.DATA", "tiny-one-1.0.data", "x.data", ".data"])
@pytest.mark.attack("bad wheels")
def test_a_folder_for_data_that_is_not_its_own_is_refused(folder: str) -> None:
    assert "in no folder for data of its own" in problems(tiny({f"{folder}/scripts/x": b"x"}))[0]


COMMANDS = (
    "python", "python3", "python3.11", "Python", "pypy3", "pip", "pip3", "pip3.11", "PIP", "activate", "activate.fish",
    "Activate.ps1", "deactivate", "sh", "bash", "env", "ssh-keygen", "ssh", "openssl", "sudo", "unshare", "ls", "gcc",
    "distill-offline", "distill-offline-main", "sha256sum", "git", "test", "[", "../evil", "a/b", "/tmp/x", "a b",
    "a;b",
    "-rf", ".hidden", "a\\b", "a$b", "a`b", "\u0430bc", "a'b", "x" * 200, "a:b", "a.",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.attack("bad wheels")
def test_a_command_that_stands_for_another_or_has_no_plain_name_is_refused(name: str) -> None:
    for group in ("console_scripts", "gui_scripts"):
        entry = f"[{group}]\n{name} = tiny_one:main\n".encode()
        assert problems(tiny({f"{INFO}/entry_points.txt": entry}))
    assert problems(tiny({f"{DATA}/scripts/{name}": b"#!python\n"}))


def test_whose_name_it_is_may_bring_a_command() -> None:
    pip = wheel(
        "pip",
        "26.0",
        "py3-none-any",
        extra={"pip-26.0.dist-info/entry_points.txt": b"[console_scripts]\npip = pip:main\n"},
    )
    assert problems(pip, name="pip", version="26.0", file="python/wheels/pip-26.0-py3-none-any.whl") == []


ENTRIES = (
    "[console_scripts]\nx = os:system;evil()\n", "[console_scripts]\nx = os\n", "[console_scripts]\nx\n",
    "[console_scripts]\nx = a:b\n y = c:d\n", "[console_scripts]\nx = a:b\n[console_scripts]\ny = c:d\n",
    "[console_scripts]\nx = a:b\nx = c:d\n", "[Console_Scripts]\nx = a:b\n", "[console-scripts]\nx = a:b\n",
    "[ console_scripts ]\nx = a:b\n", "x = a:b\n", "[console_scripts]\nx = a:b\r[gui_scripts]\rsh = a:b\n",
    "[console_scripts]\nx = a:b\x0bsh = a:b\n", "[console_scripts]\nx = a:b\u2028sh = a:b\n",
    "\ufeff[console_scripts]\nx = a:b\n",
    "[console_scripts]\nx = a:b\x85sh = a:b\n", "[console_scripts\nx = a:b\n", "[console_scripts]\nx = a:b(1)\n",
    "[console_scripts]\nx = a:b\nX = a:b\n", "[console_scripts]\nx : a:b\n", "[x]\x00\n",
)  # fmt: skip


@pytest.mark.parametrize("text", ENTRIES)
@pytest.mark.attack("bad wheels")
def test_entry_points_that_can_be_taken_in_two_ways_are_refused(text: str) -> None:
    assert problems(tiny({f"{INFO}/entry_points.txt": text.encode()}))


@pytest.mark.attack("bad wheels")
def test_entry_points_that_are_not_utf8_are_refused() -> None:
    assert problems(tiny({f"{INFO}/entry_points.txt": b"[x]\n\xff = a:b\n"}))


TWICE = (
    {f"{DATA}/purelib/{NAME}/__init__.py": b"evil"},
    {f"{DATA}/platlib/{NAME}/__init__.py": b"import re\n"},
    {f"{NAME}/__INIT__.py": b""},
    {f"{NAME}/\uff41.py": b"", f"{NAME}/a.py": b""},
    {f"{DATA}/scripts/x": b"", f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a:b\n"},
    {f"{DATA}/scripts/x": b"", f"{INFO}/entry_points.txt": b"[console_scripts]\nX = a:b\n"},
)


@pytest.mark.parametrize("extra", TWICE)
def test_one_place_has_one_file(extra: dict[str, bytes]) -> None:
    assert problems(tiny(extra))


# ------------------------------------------------------------------------------------------------------------- RECORD


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_record(change: Callable[[str], str]) -> bytes:
    members = members_of(tiny())
    record = members.pop(f"{INFO}/RECORD").decode()
    assert change(record) != record
    return tiny({**members, f"{INFO}/RECORD": change(record).encode()})


RECORDS: dict[str, Callable[[str], str]] = {
    "empty": lambda record: "",
    "without hashes": lambda record: "".join(line.split(",")[0] + ",,\n" for line in record.splitlines()),
    "another hash": lambda record: record.replace("sha256=", "sha256=AA", 1),
    "another kind of hash": lambda record: record.replace("sha256=", "md5=", 1),
    "padded hash": lambda record: record.replace(",10\n", "=,10\n", 1),
    "another size": lambda record: record.replace(",10\n", ",11\n", 1),
    "a size with a sign": lambda record: record.replace(",10\n", ",+10\n", 1),
    "a file more": lambda record: record + "tiny_one/more.py,sha256=x,1\n",
    "a file outside": lambda record: record + "../../bin/python,,\n",
    "a file less": lambda record: record.partition("\n")[2],
    "a line twice": lambda record: record.splitlines()[0] + "\n" + record,
    "itself with a hash": lambda record: record.replace("RECORD,,", "RECORD,sha256=x,1"),
    "not itself": lambda record: record.replace(f"{INFO}/RECORD,,\n", ""),
    "four fields": lambda record: record.replace(",,\n", ",,,\n"),
    "two fields": lambda record: record.replace(",,\n", ",\n"),
    "a blank line": lambda record: record + "\n",
    "a quote that does not end": lambda record: '"' + record,
    "CR alone": lambda record: record.replace("\n", "\r", 1),
    "NUL": lambda record: record + "\x00,,\n",
    "another spelling": lambda record: record.replace("tiny_one/__init__.py", "./tiny_one/__init__.py"),
}


@pytest.mark.parametrize("case", RECORDS)
@pytest.mark.attack("bad wheels")
def test_a_record_that_is_not_the_content_is_refused(case: str) -> None:
    assert "RECORD" in problems(with_record(RECORDS[case]))[0]


@pytest.mark.parametrize("name", ["RECORD.jws", "RECORD.p7s"])
@pytest.mark.attack("bad wheels")
def test_a_signature_that_nobody_checks_is_refused(name: str) -> None:
    assert "that nobody checks" in problems(tiny({f"{INFO}/{name}": b"{}"}))[0]


# -------------------------------------------------------------------------------------------------------- the archive


def replaced_once(content: bytes, old: bytes, new: bytes, last: bool = False) -> bytes:
    at = content.rfind(old) if last else content.find(old)
    assert at >= 0
    return content[:at] + new + content[at + len(old) :]


def central(content: bytes, offset: int, value: bytes) -> bytes:
    """The first entry of the list of members with other bytes at an offset."""
    at = content.find(b"PK\x01\x02") + offset
    return content[:at] + value + content[at + len(value) :]


def local(content: bytes, offset: int, value: bytes) -> bytes:
    return content[:offset] + value + content[offset + len(value) :]


def both(content: bytes, offset: int, value: bytes) -> bytes:
    """A field of the first member changed in both places; offset is that of the local one."""
    return central(local(content, offset, value), offset + 2, value)


def bomb(size: int) -> bytes:
    members = {**members_of(tiny()), f"{NAME}/zeros.bin": bytes(size)}
    members.pop(f"{INFO}/RECORD")
    members[f"{INFO}/RECORD"] = record_of(members, INFO)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def lying(shrink: bool) -> bytes:
    """A member that unpacks to more (or less) than both places say."""
    content = bomb(3_000_000)
    size = struct.pack("<I", 3_000_000)
    assert content.count(size) == 2
    return content.replace(size, struct.pack("<I", 100 if shrink else 3_000_001))


def of_kind(mode: int, name: str = f"{NAME}/x", content: bytes = b"/etc/passwd") -> bytes:
    members = members_of(tiny({name: content}))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, value in members.items():
            information = zipfile.ZipInfo(each)
            information.external_attr = (mode if each == name else stat.S_IFREG | 0o644) << 16
            archive.writestr(information, value)
    return out.getvalue()


def second_name() -> bytes:
    """A member with a Unicode path extra field, which some readers prefer to the name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, value in members_of(tiny()).items():
            information = zipfile.ZipInfo(each)
            if each.endswith("__init__.py"):
                path = b"\x01" + struct.pack("<I", zlib.crc32(each.encode())) + b"sitecustomize.py"
                information.extra = struct.pack("<HH", 0x7075, len(path)) + path
            archive.writestr(information, value)
    return out.getvalue()


def doubled() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, value in members_of(tiny()).items():
            archive.writestr(each, value)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(f"{NAME}/__init__.py", b"evil")
    return out.getvalue()


def with_gap() -> bytes:
    """Bytes between the last member and the list, with an end that knows of them."""
    content, more = tiny(), b"hidden bytes"
    start = content.find(b"PK\x01\x02")
    moved = content[:start] + more + content[start:]
    return moved[:-6] + struct.pack("<I", start + len(more)) + moved[-2:]


def overlapping() -> bytes:
    """Two entries of the list lead to the same member."""
    content = tiny()
    start, end = content.find(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
    first = content[start : content.find(b"PK\x01\x02", start + 4)]
    again = first.replace(b"__init__.py", b"__evil__.py")
    count = struct.unpack("<H", content[end + 10 : end + 12])[0] + 1
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, end - start + len(again), start, 0)
    return content[:end] + again + tail


BROKEN: dict[str, Callable[[], bytes]] = {
    "data behind": lambda: tiny() + b"more",
    "a comment": lambda: tiny()[:-2] + b"\x04\x00more",
    "data before": lambda: b"#!/bin/sh\n" + tiny(),
    "data before, offsets mended": lambda: prepended(),
    "data between": with_gap,
    "overlapping": overlapping,
    "a name twice": doubled,
    "a second name": second_name,
    "more counted than listed": lambda: tiny()[:-12] + b"\x09\x00" + tiny()[-10:],
    "encrypted": lambda: both(tiny(), 6, b"\x01\x00"),
    "strong encryption": lambda: both(tiny(), 6, b"\x41\x00"),
    "masked names": lambda: both(tiny(), 6, b"\x00\x20"),
    "another packing": lambda: both(tiny(), 8, b"\x0c\x00"),
    "an unknown packing": lambda: both(tiny(), 8, b"\x63\x00"),
    "local flags": lambda: local(tiny(), 6, b"\x02\x00"),
    "local packing": lambda: local(tiny(), 8, b"\x08\x00"),
    "local checksum": lambda: local(tiny(), 14, b"evil"),
    "local size": lambda: local(tiny(), 22, b"\x01\x00\x00\x00"),
    "local name": lambda: replaced_once(tiny(), b"tiny_one/__init__.py", b"tiny_one/__evil__.py"),
    "listed name": lambda: replaced_once(tiny(), b"tiny_one/__init__.py", b"tiny_one/__evil__.py", last=True),
    "listed checksum": lambda: central(tiny(), 16, b"evil"),
    "listed size": lambda: central(tiny(), 24, b"\x01\x00\x00\x00"),
    "both checksums": lambda: both(tiny(), 14, b"evil"),
    "both sizes": lambda: both(tiny(), 22, b"\x01\x00\x00\x00"),
    "unpacks to more": lambda: lying(shrink=True),
    "unpacks to less": lambda: lying(shrink=False),
    "cut off": lambda: tiny()[:-30],
    "a link": lambda: of_kind(stat.S_IFLNK | 0o777),
    "a device": lambda: of_kind(stat.S_IFCHR | 0o666),
    "a FIFO": lambda: of_kind(stat.S_IFIFO | 0o666),
    "a folder as a file": lambda: of_kind(stat.S_IFDIR | 0o755),
    "setuid": lambda: of_kind(stat.S_IFREG | 0o4755),
    "a folder with content": lambda: tiny({f"{NAME}/x/": b"more"}),
    **{
        f"the name {name!r}": lambda name=name: tiny({name: b"x"})  # type: ignore[misc]
        for name in (
            "/etc/passwd", "../x.py", "tiny_one/../../x.py", "tiny_one/./x.py", "tiny_one//x.py", "tiny_one\\x.py",
            "C:\\x.py", "tiny_one/x\n.py", "tiny_one/x\u202e.py", "tiny_one/x\x7f", "tiny_one/" + "x" * 2_000, "./x.py",
            "tiny_one/\u200bx.py",
        )
    },
}  # fmt: skip


def prepended() -> bytes:
    """Bytes before the first member, with a list that knows of them."""
    out = io.BytesIO(b"#!/bin/sh\n")
    out.seek(10)
    with zipfile.ZipFile(out, "a") as archive:
        for each, value in members_of(tiny()).items():
            archive.writestr(each, value)
    return out.getvalue()


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.attack("bad wheels")
def test_an_archive_that_readers_could_read_in_two_ways_is_refused(case: str) -> None:
    assert problems(BROKEN[case]())


def test_a_wheel_that_unpacks_to_more_than_is_declared_is_not_unpacked() -> None:
    content = bomb(60_000_000)
    assert len(content) < 80_000
    assert "more than the 1000000 that the manifest allows" in problems(content, size=1_000_000)[0]
    assert "but the manifest says 5" in problems(content, unpacked_bytes=5)[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f"{INFO}/WHEEL", b"Wheel-Version: 1.0\nTag: py3-none-any\nTag: cp311-cp311-linux_x86_64\n"),
        (f"{INFO}/METADATA", b"Name: tiny_one\nName: evil\nVersion: 1.0\n"),
        (f"{INFO}/METADATA", b"Name: tiny_one\nVersion: 9.0\n"),
        ("other-1.0.dist-info/METADATA", b"Name: other\nVersion: 1.0\n"),
    ],
)
def test_what_it_says_of_itself_is_what_its_name_says(name: str, content: bytes) -> None:
    assert problems(tiny({name: content}))


# --------------------------------------------------------------------------------------------- several, in one bundle

pytest_bundle = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(small_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    bundle = template.copy(tmp_path / "a bundle")
    bundle.unsign()
    return bundle


def with_second(bundle: Bundle, extra: dict[str, bytes]) -> Bundle:
    """The bundle, whose second wheel has more files."""
    path = next(each["file"] for each in bundle.manifest["components"] if each["name"] == "tiny-two")
    tag = path.rpartition("/")[2][: -len(".whl")].split("-", 2)[2]
    bundle.add(path, rebuilt(wheel("tiny_two", "2.0", tag, extra=extra), folders=False))
    bundle.seal()
    return bundle


def verdict(bundle: Bundle, **options: Any) -> Any:
    return check(bundle, allowed_signers=None, openssl_key=None, **options)


@pytest_bundle
@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"tiny_one/__init__.py": b"evil"}, "would overwrite tiny_one/__init__.py"),
        ({"tiny_one/__init__.py": b"import re\n"}, "would overwrite tiny_one/__init__.py"),
        ({"Tiny_One/__init__.py": b"evil"}, "would overwrite"),
        ({"\uff54iny_one/__init__.py": b"evil"}, "would overwrite"),
        ({"tiny_two-2.0.data/purelib/tiny_one/__init__.py": b"evil"}, "would overwrite"),
        ({"tiny_one": b"a file"}, "would put the file tiny_one where"),
        ({"tiny_one/__init__.py/x": b"a folder"}, "would put the file tiny_one/__init__.py where"),
        ({"tiny_one/evil.py": b""}, "would put tiny_one/evil.py into a package of"),
        ({"tiny_one/deep/er/evil.py": b""}, "would put tiny_one/deep/er/evil.py into a package of"),
        ({"tiny_one-1.0.dist-info/direct_url.json": b""}, "has 2 .dist-info folders"),
        ({"tiny_two-2.0.data/purelib/tiny_one-1.0.dist-info/INSTALLER": b""}, "another distribution"),
        ({"evil.pth": b"import os"}, "would install evil.pth, which Python reads at each start"),
        ({"tiny_two-2.0.data/scripts/python": b""}, "would put the command 'python' into bin/"),
        ({"zeros": bytes(1_100_000)}, "unpacks to"),
    ],
)  # fmt: skip
@pytest.mark.attack("bad wheels")
def test_what_one_wheel_would_do_to_another_is_a_reason_to_refuse_the_bundle(
    bundle: Bundle, extra: dict[str, bytes], reason: str
) -> None:
    report = verdict(with_second(bundle, extra))
    assert report.exit_code == verifier.INVALID
    assert any(reason in line for line in said(report)), said(report)


@pytest_bundle
def test_wheels_of_different_environments_may_have_the_same_files(bundle: Bundle) -> None:
    bundle.manifest["resolution"]["environments"].append({"name": "other", "lock": "python/main.lock"})
    next(each for each in bundle.manifest["components"] if each["name"] == "tiny-two")["environments"] = ["other"]
    assert verdict(with_second(bundle, {"tiny_one/__init__.py": b"x"})).exit_code == verifier.INTEGRITY_ONLY


@pytest_bundle
def test_what_the_manifest_allows_by_digest_is_allowed_and_told(bundle: Bundle) -> None:
    with_second(bundle, {"known.pth": b"import os\n", "tiny_one/__init__.py": b"import re\n"})
    path = next(each["file"] for each in bundle.manifest["components"] if each["name"] == "tiny-two")
    digest, shared = verifier.sha256(b"import os\n"), verifier.sha256(b"import re\n")
    bundle.manifest["policy"]["unusual_files"] = sorted(
        [
            {"wheel": path, "path": "known.pth", "sha256": digest},
            {"wheel": path, "path": "tiny_one/__init__.py", "sha256": shared},
            {"wheel": WHEEL, "path": "tiny_one/__init__.py", "sha256": shared},
        ],
        key=lambda each: (each["wheel"], each["path"]),
    )
    bundle.seal()
    report = verdict(bundle)
    assert report.exit_code == verifier.INTEGRITY_ONLY, said(report)
    assert any("known.pth" in note for note in report.notes)
    bundle.manifest["policy"]["unusual_files"][-1]["sha256"] = "0" * 64
    bundle.seal()
    assert verdict(bundle).exit_code == verifier.INVALID


@pytest_bundle
def test_a_state_of_an_earlier_run_does_not_hide_what_wheels_do_to_each_other(bundle: Bundle, tmp_path: Path) -> None:
    with_second(bundle, {"tiny_one/__init__.py": b"evil"})
    state = str(tmp_path / "state.json")
    for _ in range(2):
        report = verdict(bundle, state=state)
        assert report.exit_code == verifier.INVALID
        assert any("would overwrite" in line for line in said(report))
    assert report.checked["reused_files"] > 5


@pytest_bundle
def test_all_wheels_together_stay_within_what_the_manifest_declares(bundle: Bundle) -> None:
    bundle.manifest["totals"]["installed_bytes"] = 1_500_000
    bundle.add(WHEEL, rebuilt(tiny({"one": bytes(1_000_000)})))
    report = verdict(with_second(bundle, {"two": bytes(1_000_000)}))
    assert any("its wheels unpack to" in line for line in said(report)), said(report)
