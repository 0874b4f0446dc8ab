"""A training run on the demo corpus that takes seconds, for the tests of the train verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from annotated_runs import TYPES

from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Settings

__all__ = ["training_settings"]


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
