"""The files of a sealed folder: what its manifest covers, what it may not hold, and what it was made from."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from distill_offline.errors import InputError
from distill_offline.manifest.statement import describe, shown
from distill_offline.storage.digests import digest_of

__all__ = [
    "NAME",
    "RELEASE",
    "RUN",
    "SIGNATURES",
    "dependencies_of",
    "files_below",
    "is_inner_name",
    "is_journal",
    "unsealable",
]

NAME = "manifest.json"
SIGNATURES = (f"{NAME}.sig", f"{NAME}.p256", f"{NAME}.dsse")  # made by others after sealing
RUN = "run"  # the stage of a run's own manifest
RELEASE = "release"  # that of a student that was carried out


def files_below(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Everything but folders, sorted by name, without the folder's own manifest and what `patterns` exclude."""
    files = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        files += [Path(parent) / name for name in [*names, *links]]
    kept = {path.relative_to(folder).as_posix(): path for path in files}
    return [
        kept[name]
        for name in sorted(kept)
        if name not in (NAME, *SIGNATURES) and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


def is_journal(path: Path) -> bool:
    return path.name.endswith(("-wal", "-shm", ".sqlite.lock"))


def unsealable(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return "is a link or a special file; only regular files can be sealed"
    if path.name.endswith("-wal") and path.stat().st_size:
        return "holds rows that are not in its database yet; checkpoint the database first"
    return None


def is_inner_name(name: str) -> bool:
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts


def dependencies_of(folder: Path, inputs: Iterable[Path], parents: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in inputs:
        if path.is_dir():
            parts = describe(
                {file.relative_to(path).as_posix(): file for file in files_below(path, ()) if file.is_file()}
            )
            pairs = {part["name"]: part["digest"]["sha256"] for part in parts}
            size = sum(part["annotations"]["size"] for part in parts)
            annotations = {"size": size, "kind": "folder", "files": len(parts)}
            yield {"name": shown(path), "digest": {"sha256": digest_of(pairs)}, "annotations": annotations}
        elif path.is_file():
            yield from describe({shown(path): path}, kind="input")
        else:
            raise InputError(f"{shown(path)}: an input of this stage is no longer there. Put it back and run again.")
    for path in parents:
        above = folder.resolve().parents
        base = next((parent for parent in above[:2] if path.resolve().is_relative_to(parent)), None)
        name = path.resolve().relative_to(base).as_posix() if base else f"{path.resolve().parent.name}/{path.name}"
        yield from describe({name: path}, kind="manifest")
