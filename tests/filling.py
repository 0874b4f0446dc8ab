"""A disk that fills up in each stage of a run: `filling.py CONFIG WHOLE DISK`, where DISK may be filled.

WHOLE is the run as it should be. For each stage, the run up to it is put on the disk, the stage is run with too little
room for it, room is made, and the same command is run again. Prints what was seen, as JSON lines.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from distill_offline.cli import main
from distill_offline.pipeline import run as _imported_before_the_forks  # noqa: F401

STAGES = {
    "annotate": 0.6,
    "select": 0.0,
    "train": 0.6,
    "evaluate": 0.0,
    "report": 0.0,
}  # the share that there is room for


def call(verb: str, config: Path, run: Path, said: Path) -> int:
    """The exit code of the command; what it says goes into a file."""
    if (child := os.fork()) == 0:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["distill-offline", verb, str(config), "-o", str(run)]
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 99
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(run: Path) -> dict[str, str]:
    """What a run is for: labels, weights, histories and scores, as digests."""
    import hashlib

    names = ("annotations.jsonl", "quarantine.jsonl", "history.jsonl", "report.json", "model.safetensors", "index.html")
    files = sorted(path for path in run.rglob("*") if path.name in names)
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free."""
    ballast, status = disk / "ballast", os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - left, 1))
    return ballast


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def trial(config: Path, whole: Path, disk: Path, stage: str, share: float) -> dict[str, object]:
    run, said, verb = disk / "run", disk.parent / "said.txt", "run" if stage in ("evaluate", "report") else stage
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run)
    (run / "manifest.json").unlink()
    for later in list(STAGES)[list(STAGES).index(stage) :]:
        shutil.rmtree(run / later)
    before = contents(run)
    ballast = fill(disk, int(share * size(whole / stage)))
    first = call(verb, config, run, said)
    found = said.read_text("utf-8")
    lost = before.items() - contents(run).items()
    ballast.unlink()
    second = call(verb, config, run, said)
    same = contents(run / stage) == contents(whole / stage) and contents(run).items() >= before.items() and not lost
    left = [str(path.relative_to(run)) for path in run.rglob("*") if "partial" in path.name]
    return {"stage": stage, "first": first, "said": found, "second": second, "same": same, "left": left}


if __name__ == "__main__":
    config, whole, disk = map(Path, sys.argv[1:])
    for stage, share in STAGES.items():
        sys.stdout.write(json.dumps(trial(config, whole, disk, stage, share)) + "\n")
