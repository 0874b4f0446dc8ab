"""A run whose labels people look at, and what a decision is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from annotated_runs import TYPES, run_of

from distill_offline import pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.run.folder import RunFolder

__all__ = ["GOOD", "run_to_review"]

GOOD: dict[str, Any] = {
    "id": "d:1", "document": "d", "text": "00", "reviewer": "ana", "at": "2026-01-01T00:00:00Z", "action": "accept",
    "spans": [[0, 1, "PERSON"]], "suggested": [], "source": "teacher", "seconds": 1.5, "keys": 1, "guideline": "g",
}  # fmt: skip


def run_to_review(tmp_path: Path) -> RunFolder:
    """Twenty sentences that a noisy teacher has labelled, and six that are learnt from beside them."""
    settings = {
        "name": "looked-at",
        "task": {"types": TYPES, "guidelines": "Names only."},
        "corpus": {
            "original": {"train": {"path": "package:demo/train.jsonl", "limit": 6}},
            "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 20},
        },
        "backend": {"name": "scripted", "options": {"noise": 0.3}},
        "annotate": {"demonstrations": {"strategy": "none"}, "max_quarantined": 0.9},
        "train": {"encoder": "none"},
    }
    folder = run_of(tmp_path, parse_settings(settings, "test"))
    pipeline.annotate(folder)
    return folder
