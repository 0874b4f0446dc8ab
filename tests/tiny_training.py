"""A training run on the demo corpus that takes seconds, for the tests of the train verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from annotated_runs import TYPES

from distill_offline import pipeline
from distill_offline.config.loading import dump, parse_settings
from distill_offline.config.settings import Settings
from distill_offline.run.folder import RunFolder

__all__ = ["TINY", "selected_and_trained", "training_child", "training_settings"]

TINY: dict[str, Any] = {"updates": 6, "batch_size": 5, "learning_rate": 3e-3, "micro_batch_tokens": 60}
_CHILD = """
import os, sys
from pathlib import Path
from distill_offline.offline.connections import ENVIRONMENT
os.environ.update(ENVIRONMENT)
from distill_offline import config, pipeline
from distill_offline.run.folder import RunFolder
if __name__ == "__main__":
    folder = RunFolder(
        Path(sys.argv[2]), config.load(Path(sys.argv[1])), watch=lambda each: print(each.stage, each.done, flush=True)
    )
    folder.open()
    pipeline.select(folder)
    pipeline.train(folder)
"""


def selected_and_trained(path: Path, given: Settings, **more: Any) -> dict[str, dict[str, Any]]:
    """What `train` counts of each student; `more` is what a RunFolder takes: watch, stop and so on."""
    folder = RunFolder(path, given, **more)
    folder.open()
    pipeline.select(folder)
    return pipeline.train(folder)


def training_child(path: Path, given: Settings) -> subprocess.Popen[str]:
    """The same in a process of its own, to be killed: it prints each stage and how many updates are done."""
    config = path.with_suffix(".yaml")
    config.write_text(dump(given))
    arguments = [sys.executable, "-c", _CHILD, str(config), str(path)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def training_settings(encoder: Path, **train: Any) -> Settings:
    """30 original and 40 distilled sentences; `train` is what stands under that key, beside the encoder."""
    return parse_settings(
        {
            "name": "tiny",
            "seed": 1,
            "task": {"types": TYPES},
            "corpus": {
                "original": {
                    "train": {"path": "package:demo/train.jsonl", "limit": 30},
                    "dev": {"path": "package:demo/dev.jsonl", "limit": 11},
                },
                "distilled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 40},
            },
            "train": {"encoder": str(encoder), "eval_every": 2, **train},
        },
        "test",
    )
