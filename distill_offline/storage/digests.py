"""SHA-256 of values and files: what fingerprints, manifests and completion keys are made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distill_offline.schema import canonical_json

__all__ = ["digest_of", "file_digests"]


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON value's canonical form: the fingerprint by which a stage knows that it is up to date."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Hex SHA-256 of each file, read anew by two threads (hashing frees the interpreter lock)."""
    listed = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        return dict(zip(listed, pool.map(_file_digest, listed), strict=True))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
