"""What the tests of adapt share: a small configuration, whose adapter is made within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotated_runs import TYPES
from model_fixtures import tiny_llama

from distill_offline import pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Settings
from distill_offline.errors import DistillError
from distill_offline.run.folder import RunFolder

QUICK: dict[str, Any] = {
    "targets": ["v_proj", "down_proj"],
    "rank": 4,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.03,
    "checkpoint_every": 1,
}


def tiny_base(factory: pytest.TempPathFactory) -> Path:
    """A random model to adapt."""
    return tiny_llama(factory.mktemp("models") / "tiny", context=1024)


def adapted(base: Path, factory: pytest.TempPathFactory) -> Path:
    """A run whose adapter is made."""
    folder = RunFolder(factory.mktemp("runs") / "made", settings(base, {}))
    folder.open()
    pipeline.adapt(folder)
    return folder.path


def settings(base: Path, adapt: dict[str, Any] | None, *, count: int = 20, **annotate: Any) -> Settings:
    """`count` gold training sentences and 5 of dev, all of the demo corpus."""
    return parse_settings(
        {
            "name": "tiny",
            "seed": 1,
            "task": {"types": TYPES, "prompt": "brief"},
            "corpus": {
                "original": {
                    "train": {"path": "package:demo/train.jsonl", "limit": count},
                    "dev": {"path": "package:demo/dev.jsonl", "limit": 5},
                },
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 60, "limit": 3},
            },
            "backend": {"name": "transformers", "model": str(base)},
            "annotate": {"sampling": {"max_tokens": 4}, "max_quarantined": 1.0, "max_failure_rate": 1.0, **annotate},
            **({} if adapt is None else {"adapt": QUICK | adapt}),
        },
        "test",
    )


def refused(folder: RunFolder, error: type[DistillError], words: str) -> None:
    with pytest.raises(error, match=words):
        pipeline.adapt(folder)
