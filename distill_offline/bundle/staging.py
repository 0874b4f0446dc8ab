"""The folder in which a bundle grows: each file copied, hashed, split where it is long, and listed for the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from distill_offline.bundle.verifier.verify import fold, kind_of, name_problem
from distill_offline.errors import ConfigError, IntegrityError
from distill_offline.storage.files import check_own

__all__ = ["Staging"]

_CHUNK = 1 << 20


class Staging:
    """`entries` is the manifest's list of files so far. A file that is here already with the same bytes is kept."""

    def __init__(self, folder: Path, volume_limit: int) -> None:
        check_own(folder)
        self.folder, self.volume_limit = folder, volume_limit
        self.entries: dict[str, dict[str, Any]] = {}
        self._folded: dict[str, str] = {}

    def add(self, path: str, source: Path | bytes, sha256: str | None = None) -> None:
        """Put a file at `path`. Raises IntegrityError if it isn't the one of `sha256`, ConfigError for a bad name."""
        self._check_name(path)
        if isinstance(source, bytes):
            digest, size = hashlib.sha256(source).hexdigest(), len(source)
        else:
            digest, size = _digest(source)
        if sha256 is not None and digest != sha256:
            raise IntegrityError(f"{path}: has the SHA-256 {digest}, not {sha256}. It has changed since it was pinned.")
        entry: dict[str, Any] = {"path": path, "kind": kind_of(path), "size": size, "sha256": digest}
        if size > self.volume_limit and entry["kind"] != "script":  # those are run from the medium
            entry["parts"] = self._split(source, digest)
        else:
            self._copy(source, path, digest)
        self.entries[path] = entry

    def add_tree(self, path: str, source: Path) -> None:
        """A file, or every regular file below a folder. Raises ConfigError for links and bad names."""
        if source.is_file():
            self.add(path, source)
            return
        files = sorted(path for path in source.rglob("*") if not path.is_dir())
        if not files:
            raise ConfigError(f"{source}: there is no such file or folder, or it is empty.")
        for file in files:
            if file.is_symlink() or not file.is_file():
                raise ConfigError(f"{file}: is a link or no regular file; a bundle carries plain files only.")
            self.add(f"{path}/{file.relative_to(source).as_posix()}", file)

    def prune(self) -> None:
        """Remove what an earlier, interrupted build left and this one did not list, and folders without files."""
        wanted = {part["path"] for entry in self.entries.values() for part in entry.get("parts", [entry])}
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.folder).as_posix() not in wanted:
                path.unlink()

    def _check_name(self, path: str) -> None:
        bad = name_problem(path) or ("" if kind_of(path) else "has no place in a bundle")
        if bad:
            raise ConfigError(f"{path}: {bad}. Rename it before it is carried.")
        pieces = path.split("/")
        for end in range(1, len(pieces) + 1):
            name = "/".join(pieces[:end])
            other = self._folded.setdefault(fold(name), name)
            if other != name:
                raise ConfigError(f"{path}: differs from {other} only by letter case. Rename one of them.")
        if path in self.entries:
            raise ConfigError(f"{path}: two files would go there.")

    def _copy(self, source: Path | bytes, path: str, digest: str) -> None:
        target = self.folder / path
        if target.is_file() and _digest(target)[0] == digest:
            return
        with _written(target) as file:
            for chunk in _chunks(source):
                file.write(chunk)
        if _digest(target)[0] != digest:
            raise IntegrityError(f"{path}: changed while it was being copied, or the disk lies.")

    def _split(self, source: Path | bytes, digest: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        stream, left = _chunks(source, min(_CHUNK, self.volume_limit)), b""
        while True:
            path = f"volumes/{digest}.{len(parts):05d}.part"
            target, part, size = self.folder / path, hashlib.sha256(), 0
            with _written(target) as file:
                while size < self.volume_limit and (chunk := left or next(stream, b"")):
                    piece, left = chunk[: self.volume_limit - size], chunk[self.volume_limit - size :]
                    file.write(piece)
                    part.update(piece)
                    size += len(piece)
            if size == 0:
                target.unlink()
                return parts
            parts.append({"path": path, "size": size, "sha256": part.hexdigest()})


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _chunks(source: Path | bytes, length: int = _CHUNK) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield from (source[at : at + length] for at in range(0, len(source), length))
        return
    with source.open("rb") as file:
        while chunk := file.read(length):
            yield chunk


@contextlib.contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only once it is whole, with mode 0644."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)  # never written through: it may be a link
    with partial.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.chmod(0o644)
    partial.replace(target)
