"""The files of a model folder: which count, which are refused, whether they are the pinned ones, and one digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from distill_offline.errors import MissingModel
from distill_offline.models.folder import WEIGHTS, content_problems, is_model_file
from distill_offline.storage.digests import digest_of, file_digests

__all__ = [
    "WEIGHTS",
    "FileDigest",
    "ModelFinding",
    "differences",
    "is_model_file",
    "model_digest",
    "model_files",
    "refusals",
    "size_of",
]

_RUNS_CODE = {".bin", ".ckpt", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".py"}
_REMEMBERED = 4096  # entries of the digest cache


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """What a file must be; `size` counts bytes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.size < 0:
            raise ValueError("sha256 must be 64 lower-case hex digits, and size a number of bytes")


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """One way in which a model's folder differs from the catalogue; `file` is relative to the folder."""

    model: str
    file: str
    problem: str


def model_digest(path: Path) -> str:
    """Hex SHA-256 that stands for a model's weights, configuration and tokenizer, wherever the folder lies.

    Of a file, its own digest; of a folder, the digest of its sorted (name, file digest) pairs. Digests of files that
    have not changed since come from a cache in the user's cache folder: path, inode, size, and both times, of which one
    cannot be set back.
    Raises MissingModel if there are no weights.
    """
    if path.is_file():
        return _cached_digests([path])[path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and is_model_file(file.relative_to(path))]
    if not any(file.suffix.lower() in WEIGHTS for file in files):
        raise MissingModel(f"{path}: there are no weights (.safetensors or .gguf). Is it the folder of a model?")
    digests = _cached_digests(files)
    return digest_of({file.relative_to(path).as_posix(): digests[file] for file in files})


def _cached_digests(paths: list[Path]) -> dict[Path, str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distill_offline" / "digests.json"
    known = _read_cache(cache)
    keys = {path: _cache_key(path) for path in paths}
    fresh = file_digests(path for path in paths if keys[path] not in known)
    # A file written in this very second could change once more without a new time stamp, so it isn't remembered.
    # Nor is one that changed while it was read, nor one that by this clock was written or changed later than now.
    settled = {
        keys[path]: digest for path, digest in fresh.items() if _is_settled(path) and keys[path] == _cache_key(path)
    }
    if settled:
        _write_cache(cache, dict(list({**known, **settled}.items())[-_REMEMBERED:]))
    return {path: fresh.get(path) or known[keys[path]] for path in paths}


def _cache_key(path: Path) -> str:
    status = path.stat()
    path_digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{path_digest}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _is_settled(path: Path) -> bool:
    status = path.stat()
    return time.time() - max(status.st_mtime, status.st_ctime) > 2


def _read_cache(cache: Path) -> dict[str, str]:
    """What is remembered; a cache that is missing or damaged is an empty one, since it only saves time."""
    try:
        content = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        key: value for key, value in content.items() if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value)
    }


def _write_cache(cache: Path, content: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # a read-only home costs time, nothing else
        cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=cache.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        Path(temporary).replace(cache)


def size_of(path: Path) -> int | None:
    """Bytes of a file, None if there is none."""
    return path.stat().st_size if path.is_file() else None


def model_files(folder: Path) -> list[str]:
    """Sorted relative names of the weights, configuration and tokenizer files below a folder."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if is_model_file(path))


def differences(model: str, files: Mapping[str, FileDigest], folder: Path) -> list[ModelFinding]:
    """Missing and changed files, by size first, so that only candidates are read."""
    sizes = {name: size_of(folder / name) for name in files}
    findings = [
        ModelFinding(model, name, "is missing" if sizes[name] is None else f"has {sizes[name]} bytes, not {file.size}")
        for name, file in files.items()
        if sizes[name] != file.size
    ]
    alike = [name for name, file in files.items() if sizes[name] == file.size]
    digests = file_digests(folder / name for name in alike)
    changed = [name for name in alike if digests[folder / name] != files[name].sha256]
    return findings + [ModelFinding(model, name, "has another SHA-256 than the catalogue says") for name in changed]


def refusals(model: str, folder: Path) -> list[ModelFinding]:
    """Files that can run code when a model is loaded, that no model of ours consists of (an allow-list), that are not
    what their names say, or that are missing parts."""
    findings = [ModelFinding(model, name, problem) for name, problem in content_problems(folder)]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if path.suffix.lower() in _RUNS_CODE:
            findings.append(ModelFinding(model, name.as_posix(), "is of a kind that can run code when it is loaded"))
        elif not is_model_file(name) and path.suffix.lower() not in {".md", ""}:
            findings.append(ModelFinding(model, name.as_posix(), "is neither weights, configuration nor tokenizer"))
    return findings
