"""Ways of annotate that need the run's adapter, and do not make it: several processes may go them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_offline.adapt.stage import is_adapted
from distill_offline.annotate import probe as timing
from distill_offline.annotate import sample as sampling
from distill_offline.annotate import stage
from distill_offline.annotate.work import Shard
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder

__all__ = ["annotate_shard", "merge", "probe", "sample"]


def annotate_shard(folder: RunFolder, shard: Shard) -> dict[str, Any]:
    """As annotate.stage has it. Raises InputError if the teacher is to be adapted first."""
    _check_adapted(folder)
    return stage.annotate_shard(folder, shard)


def merge(folder: RunFolder, stores: tuple[Path, ...] = ()) -> dict[str, Any]:
    """As annotate.stage has it. Raises InputError if the teacher is to be adapted first."""
    _check_adapted(folder)
    return stage.merge(folder, stores)


def probe(folder: RunFolder, rows: int) -> dict[str, Any]:
    """As annotate.probe has it. Raises InputError if the teacher is to be adapted first."""
    _check_adapted(folder)
    return timing.probe(folder, rows)


def sample(folder: RunFolder, rows: int) -> dict[str, Any]:
    """As annotate.sample has it. Raises InputError if the teacher is to be adapted first."""
    _check_adapted(folder)
    return sampling.sample(folder, rows)


def _check_adapted(folder: RunFolder) -> None:
    """Raises InputError if adapt/ does not stand for configuration, base and gold as they are now."""
    if not is_adapted(folder):
        raise InputError(
            f"{folder.folder('adapt')}: the teacher has not learnt from gold as the configuration asks now. "
            "Run adapt first; no label would be of the teacher that is asked for."
        )
