"""Files of a run: atomic, private, one JSON value a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_offline.errors import InputError
from distill_offline.storage.files import read_rows, replacing, write_rows, write_text


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": "ä\u2028\x85\r\n\x00𝐀"}, {"half": "\ud800", "n": [1, None, 0.1]}, {}]
    assert write_rows(tmp_path / "new" / "x.jsonl", rows) == 3
    assert list(read_rows(tmp_path / "new" / "x.jsonl")) == rows
    assert (tmp_path / "new" / "x.jsonl").read_bytes().count(b"\n") == 3


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "x", "secret")
    assert (tmp_path / "new" / "x").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def _write_half(path: Path) -> None:
    with replacing(path) as file:
        file.write("half")
        raise RuntimeError


def test_what_fails_half_way_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with pytest.raises(RuntimeError):
        _write_half(tmp_path / "x")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]


def test_a_partial_file_of_a_killed_process_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.partial").write_text("left over, and longer than the new one")
    write_text(tmp_path / "x", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "new")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not a line of JSON"),
        (b"", "not a line of JSON"),
        (b"\xff", "not UTF-8"),
        (b"3", "not a JSON object"),
        (b'["secret"]', "not a JSON object"),
        (b"[" * 100_000, "not a line of JSON"),
    ],
)
def test_a_damaged_line_is_named_without_its_text(tmp_path: Path, line: bytes, problem: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"{}\n" + line + b"\n")
    with pytest.raises(InputError, match=rf"x\.jsonl:2: {problem}\. Run its stage again\.$"):
        list(read_rows(file))
