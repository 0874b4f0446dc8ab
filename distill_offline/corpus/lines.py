"""Text files line by line, decoded strictly, and how a fault in one is worded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill_offline.errors import CorpusError

__all__ = ["fault", "read_text", "text_lines"]

_BOM = b"\xef\xbb\xbf"


def fault(shown: str, line: int, problem: str) -> CorpusError:
    """The error `file:line: problem`."""
    return CorpusError(f"{shown}:{line}: {problem}")


def text_lines(path: Path, shown: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end), read as asked for. Only a line feed ends a line."""
    position = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                content = raw.removeprefix(_BOM) if number == 1 else raw
                yield number, _decode(content, shown, number, position + len(raw) - len(content)).rstrip("\r\n")
                position += len(raw)
    except OSError as error:
        raise _unreadable(shown, error) from error


def read_text(path: Path, shown: str) -> str:
    """The whole file, its line ends untouched."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(shown, error) from error
    return _decode(raw.removeprefix(_BOM), shown, 1, len(_BOM) if raw.startswith(_BOM) else 0)


def _unreadable(shown: str, error: OSError) -> CorpusError:
    return CorpusError(f"{shown}: cannot be read ({error.strerror or type(error).__name__}).")


def _decode(raw: bytes, shown: str, first_line: int, position: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise fault(
            shown,
            line,
            f"byte {position + error.start} of the file is not UTF-8. "
            "Convert the file, for example with: iconv -f WINDOWS-1252 -t UTF-8",
        ) from error
