"""Wheels that cost hours, are read in two ways, or cannot be installed: refused before pip sees them."""

from __future__ import annotations

import io
import struct
import time
from typing import Any

import pytest
from bundles import WHEEL, wheel
from verifying import verifier

NAME, VERSION = "tiny_one", "1.0"
INFO, DATA = f"{NAME}-{VERSION}.dist-info", f"{NAME}-{VERSION}.data"
COMPONENT = {"name": "tiny-one", "version": VERSION, "file": WHEEL}
ENTRIES = f"{INFO}/entry_points.txt"
HEAD = b"Name: tiny_one\nVersion: 1.0\n\n"


def problems(extra: dict[str, bytes]) -> list[str]:
    return of_bytes(wheel(NAME, VERSION, "py3-none-any", extra=extra))


def of_bytes(content: bytes) -> list[str]:
    policy = verifier.WheelPolicy(1 << 30, set())
    found: list[str] = verifier.inner_wheel_problems(io.BytesIO(content), COMPONENT, policy)
    return found


def tags(*numbers: int) -> bytes:
    """One line that stands for the product of these numbers of tags."""
    fields = (
        ".".join(f"{letter}{each}" for each in range(count)) for letter, count in zip("pao", numbers, strict=True)
    )
    return f"Wheel-Version: 1.0\nTag: {'-'.join(fields)}\n".encode()


BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "a command in what some take for a comment": (
        {ENTRIES: b"[console_scripts]\n; python9 = tiny_one:main\n"}, "line 2 starts with ';'"),
    "a command in such a comment of another group": ({ENTRIES: b";[x]\n[x]\n ; sh = a:b\n"}, "starts with ';'"),
    "a file where it has a folder": ({"a": b"x", "a/b": b"y"}, "would put a/b below the file a"),
    "a file where it has a folder, deeper": ({"a/b/c/d": b"x", "a/b": b"y"}, "would put a/b/c/d below the file a/b"),
    "a file where it has a folder, by case": ({"A": b"x", "a/b": b"y"}, "would put a/b below the file A"),
    "a file where it has a folder, by purelib": (
        {f"{DATA}/purelib/{NAME}": b"x"}, "would put tiny_one/__init__.py below the file tiny_one"),
    "a file where it has a folder, by platlib": ({f"{DATA}/platlib/x": b"x", "x/y": b"y"}, "below the file x"),
    "a name that no disk holds": ({"a" * 256: b"x"}, "whose name is too long"),
    "a name that no disk holds, in bytes": ({f"{NAME}/" + "\u00e4" * 128: b"x"}, "whose name is too long"),
    "a million tags in one line": ({f"{INFO}/WHEEL": tags(100, 100, 100)}, "claims more than 10000 tags inside"),
    "a thousand million tags": ({f"{INFO}/WHEEL": tags(1000, 1000, 1000)}, "claims more than 10000 tags inside"),
    "many tags in many lines": (
        {f"{INFO}/WHEEL": b"Wheel-Version: 1.0\n" + b"".join(b"Tag: py3-none-o%d\n" % each for each in range(10_001))},
        "claims more than 10000 tags inside"),
    "another version of the format": ({f"{INFO}/WHEEL": b"Wheel-Version: 2.0\nTag: py3-none-any\n"}, "a version of"),
    "no version of the format": ({f"{INFO}/WHEEL": b"Tag: py3-none-any\n"}, "a version of the format that pip"),
    "two versions of the format": (
        {f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nWheel-Version: 9\nTag: py3-none-any\n"}, "a version of the format"),
    "a second name behind a carriage return": (
        {f"{INFO}/METADATA": b"X: y\rName: evil\n" + HEAD}, "METADATA with a carriage return within a line"),
    "a second tag behind a carriage return": (
        {f"{INFO}/WHEEL": b"Wheel-Version: 1.0\rRoot-Is-Purelib: false\nTag: py3-none-any\n"},
        "WHEEL with a carriage return within a line"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.attack("bad wheels")
def test_a_wheel_that_costs_or_misleads_is_refused_at_once(case: str) -> None:
    extra, message = BAD[case]
    before = time.process_time()
    assert any(message in each for each in problems(extra)), problems(extra)
    assert time.process_time() - before < 2


def test_what_real_wheels_have_is_good() -> None:
    windows = b"Name: tiny_one\r\nVersion: 1.0\r\nSummary: x\r\n\r\ntext\rwith\rold ends"
    assert problems({f"{INFO}/METADATA": windows, "a" * 255: b"x", ENTRIES: b"# c\n[console_scripts]\n"}) == []


def listed(count: int, length: int, wide: bool = False) -> bytes:
    """An archive of nothing but a list of this many members, of which the end says that it has this length."""
    member = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, *(0,) * 7, 6, *(0,) * 6)
    content = b"".join(member + b"%06d" % number for number in range(count))
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, *(min(count, 0xFFFF),) * 2, 1 if wide else length, 0, 0)
    if wide:
        record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, length, 0)
        end = record + struct.pack("<IIQI", 0x07064B50, 0, len(content), 1) + end
    return content + end


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.attack("bad wheels")
def test_a_list_of_members_that_is_longer_than_any_is_not_read(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise AssertionError("the list was read")

    monkeypatch.setattr(verifier.zipfile, "ZipFile", read)
    assert of_bytes(listed(2, verifier.LIMIT_LIST + 1, wide)) == ["has a list of members of more than 8388608 bytes"]


@pytest.mark.attack("bad wheels")
def test_more_members_than_any_wheel_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "LIMIT_MEMBERS", 100)
    assert of_bytes(listed(101, 101 * 52)) == ["has more than 100 members"]
