"""Licence texts of the wheels, under names that a bundle may hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from distill_offline.bundle import wheel_metadata
from distill_offline.bundle.staging import Staging
from distill_offline.bundle.verifier.verify import fold

__all__ = ["stage"]

_LONGEST = 100  # bytes of one file name


def stage(wheels: Iterable[tuple[str, Path]], staging: Staging) -> list[str]:
    """Copy each wheel's texts to licenses/python/<name-version>/; the labels of those that bring none."""
    without = []
    for label, wheel in sorted(wheels):
        texts = wheel_metadata.licence_texts(wheel)
        without += [] if texts else [label]
        used: set[str] = set()
        for inner, content in sorted(texts.items()):
            name = _plain(inner)
            if fold(name) in used:
                name = f"{hashlib.sha256(inner.encode('utf-8')).hexdigest()[:8]}-{name}"
            used.add(fold(name))
            staging.add(f"licenses/python/{label}/{name}", content)
    return without


def _plain(inner: str) -> str:
    """licenses/third_party/x y/LICENSE → third_party+x_y+LICENSE; a long one keeps its end and a digest."""
    name = re.sub(r"[^A-Za-z0-9._+@-]", "_", inner.removeprefix("licenses/").replace("/", "+")).strip(".-") or "LICENCE"
    if len(name) <= _LONGEST:
        return name
    return f"{hashlib.sha256(inner.encode('utf-8')).hexdigest()[:8]}-{name[-(_LONGEST - 9) :].lstrip('.-')}"
