"""A run over the demo corpus with a scripted teacher and a pool of the site's own, for tests of annotate's ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.run.folder import RunFolder

__all__ = ["TYPES", "grow", "labels", "perfect", "pool", "run_of", "settings"]

TYPES = {name: name.lower() for name in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Thirty labelled sentences in a file of the site's own."""
    path = tmp_path / "pool.jsonl"
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))
    write_examples(path, examples[:30])
    return path


@pytest.fixture
def settings(pool: Path, tmp_path: Path) -> Settings:
    guidelines = tmp_path / "guidelines.md"
    guidelines.write_text("Label what stands there.")
    return parse_settings(
        {
            "name": "modes",
            "task": {"types": TYPES, "guidelines": str(guidelines)},
            "corpus": {
                "original": {"train": str(pool), "test": {"path": "package:demo/test.jsonl", "limit": 10}},
                # gold text, so that the scripted teacher knows what a perfect one would say
                "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 40},
            },
            "backend": {"name": "scripted", "options": {"noise": 0.2}},
            "annotate": {"gold": ["test"], "demonstrations": {"k": 2}, "max_quarantined": 0.9},
            "train": {"encoder": "none"},
        },
        "test",
    )


def run_of(tmp_path: Path, settings: Settings, said: list[str] | None = None, **more: Any) -> RunFolder:
    folder = RunFolder(tmp_path / "run", settings, say=(said if said is not None else []).append, **more)
    folder.open()
    return folder


def labels(folder: RunFolder) -> list[bytes]:
    found = sorted(folder.folder("annotate").rglob("*.jsonl"))
    return [path.read_bytes() for path in found if "frozen" not in path.parts]


def grow(pool: Path) -> None:
    write_examples(pool, list(read_examples("package:demo/train.jsonl", origin="original"))[:130])


def perfect(settings: Settings) -> Settings:
    assert settings.backend is not None
    return replace(settings, backend=replace(settings.backend, options={}))
