"""Work that is killed (SIGKILL) at random moments, and goes on: `killing.py annotate|study CONFIG FOLDER KILLS`.

The work is done once undisturbed in FOLDER/whole, then in FOLDER/killed, in processes whose first KILLS are killed
before their end. Prints, as JSON, how many were.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from distill_offline import config, pipeline
from distill_offline.run.folder import RunFolder
from distill_offline.study import Results, Runner, Study


def annotate(settings: Path, folder: Path) -> None:
    run = RunFolder(folder, config.load(settings))
    run.open()
    pipeline.annotate(run)


def study(settings: Path, folder: Path) -> None:
    Runner(Study.load(settings), folder / "cells", Results(folder / "rows.jsonl")).run()


def started(work: Callable[[Path, Path], None], settings: Path, folder: Path) -> int:
    """A child that does the work; its exit code is 0 at the end."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            work(settings, folder)
            status = 0
        finally:
            os._exit(status)
    return child


def main(what: str, settings: Path, folder: Path, kills: int) -> int:
    work = {"annotate": annotate, "study": study}[what]
    began = time.monotonic()
    _, status = os.waitpid(started(work, settings, folder / "whole"), 0)
    assert status == 0
    whole, chance, killed = time.monotonic() - began, random.Random(7), 0
    while True:
        child = started(work, settings, folder / "killed")
        if killed < kills:
            # What is done is not done again, so that the work gets shorter: a tenth of it is left at any rate.
            time.sleep(chance.uniform(0, whole / 10 if killed else whole))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            assert status == 0
            return killed
        killed += 1


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
