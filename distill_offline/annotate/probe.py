"""How long the rest will take: a timed sample of the rows that are missing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from distill_offline.annotate.asking import ask, prompts
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore
from distill_offline.errors import InputError, Interrupted
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Progress
from distill_offline.storage.files import STORE

__all__ = ["probe"]


def probe(folder: RunFolder, rows: int) -> dict[str, Any]:
    """Ask for `rows` of the missing rows and time them, the engine's start apart; the answers are kept.

    Gives `start_s`, `asked`, `seconds`, `rows_per_s`, input and output tokens/s, the share of `unusable` answers,
    `missing` (rows that are then left), and `eta_s` for those.
    """
    work = AnnotateInputs.of(folder)
    stage = work.stage()
    if stage.is_fresh():
        raise InputError(f"{stage.folder}: every row is annotated already; there is nothing to time.")
    target = stage.begin()
    began = time.monotonic()
    loaded: float | None = None
    last = Progress("", 0, 0)
    with CompletionStore(target / STORE) as store, work.engine() as engine:

        def load() -> Backend:
            nonlocal loaded
            backend = engine()
            loaded = loaded or time.monotonic()
            return backend

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            folder.watch(progress)

        def enough() -> bool:
            return last.counts.get("asked", 0) >= rows or folder.stop()

        asking = replace(work.asking(store, load), stop=enough, watch=watch)
        try:
            ask("unlabelled", work.sentences("unlabelled"), asking, total=rows)
        except Interrupted:
            if folder.stop():
                raise
        loaded = loaded or time.monotonic()
        seconds = time.monotonic() - loaded
        wanted = {digest for _, _, digest in prompts(work.sentences("unlabelled"), asking)}
        missing = len(wanted) - len(store.known(wanted))
    asked = last.counts.get("asked", 0)
    rate = asked / seconds if asked else 0.0
    return {
        "start_s": round(loaded - began, 2),
        "asked": asked,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rate, 3),
        "input_tokens_per_s": round(last.counts.get("prompt_tokens", 0) / seconds, 1) if asked else 0.0,
        "output_tokens_per_s": round(last.counts.get("completion_tokens", 0) / seconds, 1) if asked else 0.0,
        "unusable": last.counts.get("unusable", 0) / asked if asked else 0.0,
        "missing": missing,
        "eta_s": round(missing / rate) if rate else None,
    }
