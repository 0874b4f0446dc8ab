"""Ways of annotate that need the run's adapter, and do not make it: several processes may go them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from distill_offline.adapt.stage import is_adapted
from distill_offline.annotate import probe as timing
from distill_offline.annotate import sample as sampling
from distill_offline.annotate import stage
from distill_offline.errors import InputError
from distill_offline.run.folder import RunFolder

__all__ = ["annotate_shard", "merge", "probe", "sample"]

P = ParamSpec("P")
T = TypeVar("T")


def _when_adapted(verb: Callable[Concatenate[RunFolder, P], T]) -> Callable[Concatenate[RunFolder, P], T]:
    """`verb`, which raises InputError, too, if adapt/ does not stand for configuration, base and gold as they are."""

    @wraps(verb)
    def checked(folder: RunFolder, /, *arguments: P.args, **named: P.kwargs) -> T:
        if not is_adapted(folder):
            raise InputError(
                f"{folder.folder('adapt')}: the teacher has not learnt from gold as the configuration asks now. "
                "Run adapt first; no label would be of the teacher that is asked for."
            )
        return verb(folder, *arguments, **named)

    return checked


annotate_shard = _when_adapted(stage.annotate_shard)
merge = _when_adapted(stage.merge)
probe = _when_adapted(timing.probe)
sample = _when_adapted(sampling.sample)
