"""The files of a run: JSON lines and text, written atomically and readable by their owner alone (0600).

Nothing here writes through a link. A run folder may come from elsewhere, unpacked from an archive, say, and a name in
it that leads out of it would let whoever made it choose which file of yours is written over.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from distill_offline.errors import InputError

__all__ = [
    "ANNOTATIONS", "QUARANTINE", "STORE", "check_own", "check_plain", "fresh_folder", "make_folder", "open_in_place",
    "read_rows", "remove_folder", "replacing", "write_rows", "write_text",
]  # fmt: skip

ANNOTATIONS, QUARANTINE, STORE = "annotations.jsonl", "quarantine.jsonl", "completions.sqlite"


_WRITTEN_IN_PLACE = (".partial", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal", ".lock")
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_REMEDY = "Look at what it is, and move it away: nothing was written."


def check_own(folder: Path) -> None:
    """Raises InputError for the first thing below `folder` that is neither plain file nor folder, or that has another
    name elsewhere and would be written in place. `folder` itself may be a link; one that is not there has nothing."""
    for parent, folders, names in os.walk(folder, onerror=_raise_unless_gone):
        folders.sort()
        for name in sorted([*folders, *names]):
            check_plain(Path(parent) / name, is_folder=name in folders)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def check_plain(path: Path, *, is_folder: bool = False) -> None:
    """Raises InputError if `path` is a link or special file, or one with a second name that is written in place.

    `is_folder`: a regular file is refused, too. (A folder in a file's place takes no byte: to open it fails.)
    """
    try:
        status = path.lstat()
    except FileNotFoundError:  # or gone meanwhile: shards of one run work side by side
        return
    if problem := _problem(path.name, status, is_folder=is_folder):
        raise InputError(f"{path}: {problem}. {_REMEDY}")


def _problem(name: str, status: os.stat_result, *, is_folder: bool) -> str:
    wanted = stat.S_IFDIR if is_folder else stat.S_IFREG
    if (kind := stat.S_IFMT(status.st_mode)) not in (wanted, stat.S_IFDIR):
        kind_in_words = _KINDS.get(kind, "a file" if kind == stat.S_IFREG else "of an unknown kind")
        return f"is {kind_in_words}, where a run has {'folders' if is_folder else 'plain files'} of its own"
    if kind == stat.S_IFREG and status.st_nlink > 1 and name.endswith(_WRITTEN_IN_PLACE):
        return f"has {status.st_nlink} names (hard links), and writing it would change the file of the other name"
    return ""


def make_folder(path: Path) -> None:
    """The folder is there, private where it was made now. Raises InputError if a link has its name."""
    if path.is_symlink():
        check_plain(path, is_folder=True)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def remove_folder(path: Path) -> None:
    """The folder is gone, with all that was in it. Raises InputError if a link or a file has its name."""
    check_plain(path, is_folder=True)
    if path.is_dir():
        shutil.rmtree(path)


def fresh_folder(path: Path) -> None:
    """A folder with nothing in it, private. Raises InputError if a link or a file has its name."""
    remove_folder(path)
    path.mkdir(parents=True, mode=0o700)


def open_in_place(path: Path, flags: int = os.O_RDWR) -> int:
    """A descriptor of a file that is written where it is, made (0600) where it is not there.

    Raises InputError for a link, for a file with a second name, and for anything but a regular file.
    """
    check_plain(path)
    # Without O_NONBLOCK a FIFO that was put here just now would hold us for ever.
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        problem = _problem(path.name, status, is_folder=False) or f"has {status.st_nlink} names (hard links)"
        raise InputError(f"{path}: {problem}. {_REMEDY}")
    return descriptor


@contextmanager
def replacing(path: Path, partial: Path | None = None) -> Iterator[TextIO]:
    """A text file that takes its name only when the block ends well; until then an older one stays as it is.

    `partial`, beside it, is its name until then. What has that name already is removed, and never written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = partial or path.with_name(path.name + ".partial")
    for target in (path, partial):
        if target.is_dir() and not target.is_symlink():
            raise InputError(f"{target}: is a folder, and a run has a file there. {_REMEDY}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON value a line; gives their number."""
    count = 0
    with replacing(path) as file:
        for row in rows:
            file.write(json_line(row))
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of ours. Raises InputError with file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not a line of JSON"
                raise InputError(f"{path}:{number}: {problem}. Run its stage again.") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: not a JSON object. Run its stage again.")
            yield row


def json_line(row: Mapping[str, Any]) -> str:
    """One line of JSON, UTF-8 as it is; escaped where it holds lone surrogates, which a teacher's answer can."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text + "\n"
