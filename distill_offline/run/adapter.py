"""The adapter that a run's teacher has learnt, where its configuration asks for one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.backends.adapter import CONFIG, GGUF, WEIGHTS
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.storage.files import check_plain

__all__ = [
    "ADAPT",
    "ADAPTER",
    "FOLDS",
    "FOLD_OF",
    "MADE",
    "Adapter",
    "adapter_digest",
    "adapter_of",
    "gguf_digest",
    "made_of",
]

ADAPT = "adapt"  # the stage
ADAPTER = "adapter"  # the folder within adapt/
FOLDS = "folds"  # within adapt/: a folder for each further adapter, and which sentence belongs to which
FOLD_OF = "fold_of.json"  # within adapt/folds/
MADE = "made.json"  # beside an adapter's weights: what it was made from
_WEIGHED = (CONFIG, WEIGHTS)  # the GGUF file says the same


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's folder, its digest, and the digest of its base; where it is still to be made, all are empty.

    `folds` are further ones, each trained without a part of the gold training sentences; `fold_of` says by content
    digest which part a sentence is in.
    """

    folder: Path | None = None
    digest: str = ""
    base: str = ""
    folds: tuple[Adapter, ...] = ()
    fold_of: Mapping[str, int] = field(default_factory=dict)


def adapter_of(folder: RunFolder, *, may_lack: bool = False) -> Adapter | None:
    """The run's adapter; None if the configuration has no section `adapt`.

    Raises InputError if it has not been made, with `may_lack` that is an empty one; and if it was changed since.
    """
    if folder.settings.adapt is None:
        return None
    if may_lack and not manifest.is_whole(folder.folder("adapt")):
        return Adapter()
    place = folder.whole("adapt")
    found, parts = _read(place / ADAPTER), sorted((place / FOLDS).glob(f"*/{ADAPTER}"), key=_number)
    if not parts:
        return found
    try:
        fold_of = dict(json.loads((place / FOLDS / FOLD_OF).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{place / FOLDS / FOLD_OF}: cannot be read. Run adapt again.") from error
    return Adapter(found.folder, found.digest, found.base, tuple(map(_read, parts)), fold_of)


def made_of(folder: Path) -> dict[str, Any] | None:
    """What made.json says of an adapter; None if the adapter is not there, or not as it was made."""
    try:
        made = json.loads((folder / MADE).read_bytes())
        is_same = made["digest"] == adapter_digest(folder) and made.get("gguf", "") in ("", gguf_digest(folder))
        return dict(made) if is_same and isinstance(made["base"], str) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return None


def adapter_digest(folder: Path) -> str:
    """Hex SHA-256 over the adapter's settings and weights."""
    files = [folder / name for name in _WEIGHED]
    for file in files:
        check_plain(file)
    return digest_of({file.name: digest for file, digest in file_digests(files).items()})


def gguf_digest(folder: Path) -> str | None:
    """Hex SHA-256 of the adapter as GGUF; None if it could not be written as one."""
    file = folder / GGUF
    return file_digests([file])[file] if file.is_file() else None


def _read(folder: Path) -> Adapter:
    made = made_of(folder)
    if made is None:
        raise InputError(f"{folder}: the adapter is damaged, or not as it was made. Run adapt again.")
    return Adapter(folder, str(made["digest"]), str(made["base"]))


def _number(path: Path) -> int:
    return int(path.parent.name) if path.parent.name.isdecimal() else 0
