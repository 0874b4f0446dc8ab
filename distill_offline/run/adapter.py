"""The adapter that a run's teacher has learnt, where its configuration asks for one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.storage.files import check_plain

__all__ = ["ADAPT", "ADAPTER", "FOLDS", "MADE", "Adapter", "adapter_digest", "adapter_of"]

ADAPT = "adapt"  # the stage
ADAPTER = "adapter"  # the folder within adapt/
FOLDS = "folds"  # within adapt/: a folder for each further adapter, and which sentence belongs to which
MADE = "made.json"  # beside an adapter's weights: what it was made from
_WEIGHED = ("adapter_config.json", "adapter_model.safetensors")  # the GGUF file says the same


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

    Raises InputError if it has not been made; with `may_lack` that is an empty one.
    """
    if folder.settings.adapt is None:
        return None
    if may_lack and not manifest.is_whole(folder.folder("adapt")):
        return Adapter()
    place = folder.whole("adapt")
    found, parts = _read(place / ADAPTER), sorted((place / FOLDS).glob(f"*/{ADAPTER}"), key=_number)
    if not parts:
        return found
    fold_of = json.loads((place / FOLDS / "fold_of.json").read_text("utf-8"))
    return Adapter(found.folder, found.digest, found.base, tuple(map(_read, parts)), fold_of)


def adapter_digest(folder: Path) -> str:
    """Hex SHA-256 over the adapter's settings and weights."""
    files = [folder / name for name in _WEIGHED]
    for file in files:
        check_plain(file)
    return digest_of({file.name: digest for file, digest in file_digests(files).items()})


def _read(folder: Path) -> Adapter:
    try:
        made: dict[str, Any] = json.loads((folder / MADE).read_text("utf-8"))
        return Adapter(folder, adapter_digest(folder), str(made["base"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: cannot be read ({type(error).__name__}). Run adapt again.") from error


def _number(path: Path) -> int:
    return int(path.parent.name) if path.parent.name.isdecimal() else 0
