"""One writer at a time, on local and on shared filesystems."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from distill_offline.storage.files import check_plain

__all__ = ["Lock"]


class Lock:
    """An exclusive lock for the file at `path`. Raises BlockingIOError if another process holds it,
    InputError where the lock file's name is taken by a link or no plain file.

    The file's folder is what is locked, so that no lock file is left behind and readers are not shut out. Filesystems
    that other machines share (`is_shared`) lock no folders: there it is a file beside it, removed at the end.
    """

    def __init__(self, path: Path, *, is_shared: bool) -> None:
        self._name = path.with_name(path.name + ".lock") if is_shared else path.parent
        self._is_file = is_shared
        self._descriptor: int | None = None
        if is_shared:
            check_plain(self._name)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW if is_shared else os.O_RDONLY | os.O_DIRECTORY
        while self._descriptor is None:
            descriptor = os.open(self._name, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may just have removed the very file that we opened and locked.
                if os.path.samestat(os.fstat(descriptor), self._name.stat()):
                    self._descriptor = descriptor
            except FileNotFoundError:
                pass
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def release(self) -> None:
        """Let the next process in. Calling it twice is harmless."""
        if self._descriptor is None:
            return
        if self._is_file:
            with suppress(OSError):
                self._name.unlink()
        os.close(self._descriptor)
        self._descriptor = None
