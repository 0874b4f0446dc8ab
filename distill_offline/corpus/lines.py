"""Text files line by line, decoded strictly, and how a fault in one is worded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from distill_offline.errors import CorpusError
from distill_offline.text.encoding import BOM, NotUTF8, decoded, decoded_part, foreign

__all__ = ["fault", "read_text", "text_lines"]

_CHUNK = 1 << 20


def fault(shown: str, line: int, problem: str) -> CorpusError:
    """The error `file:line: problem`."""
    return CorpusError(f"{shown}:{line}: {problem}")


def text_lines(path: Path, shown: str, *, strict: bool = True) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end), read as asked for.

    Only a line feed ends a line; in a file without any, carriage returns do, as on old Macs. Raises CorpusError for
    what is no UTF-8 text; a faulty byte in it only if `strict`, for a first look that must not run ahead of the reader.
    """
    position = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(_raw_lines(file, shown), start=1):
                content = raw.removeprefix(BOM) if number == 1 else raw
                try:
                    text = content.decode("utf-8")
                    if strict and "\0" in text:
                        raise ValueError
                except ValueError:
                    if strict:
                        _refuse(content, shown, number, position + len(raw) - len(content))
                    text = content.decode("utf-8", "replace")
                yield number, text.rstrip("\r\n")
                position += len(raw)
    except OSError as error:
        raise _unreadable(shown, error) from error


def read_text(path: Path, shown: str) -> str:
    """The whole file, its line ends untouched."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(shown, error) from error
    try:
        return decoded(raw)
    except NotUTF8 as error:
        raise fault(shown, error.line, error.problem) from error


def _raw_lines(file: IO[bytes], shown: str) -> Iterator[bytes]:
    if problem := foreign(file.read(_CHUNK)):
        raise fault(shown, 1, problem)
    ends_with_cr = _has_cr_alone(file)
    file.seek(0)
    if not ends_with_cr:
        yield from file
        return
    rest = b""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\r")
        yield from (line + b"\r" for line in lines)
    if rest.strip(b"\n"):
        yield rest


def _has_cr_alone(file: IO[bytes]) -> bool:
    """Whether carriage returns end the lines: there are some, and no line feed but perhaps as the last byte."""
    file.seek(0)
    has_cr, end = False, b""
    while chunk := file.read(_CHUNK):
        chunk, end = end + chunk, b""
        if b"\n" in chunk[:-1]:
            return False
        if chunk[-1:] in (b"\n", b"\r"):
            chunk, end = chunk[:-1], chunk[-1:]
        has_cr = has_cr or b"\r" in chunk
        if end == b"\n" and file.read(1):
            return False
    return has_cr


def _unreadable(shown: str, error: OSError) -> CorpusError:
    return CorpusError(f"{shown}: cannot be read ({error.strerror or type(error).__name__}).")


def _refuse(raw: bytes, shown: str, first_line: int, position: int) -> None:
    """Raises the error of bytes that do not decode."""
    try:
        decoded_part(raw, position, first_line)
    except NotUTF8 as error:
        raise fault(shown, error.line, error.problem) from error
