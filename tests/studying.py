"""A small study over the demo corpus with a tiny encoder, for the tests of study."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from distill_offline.corpus import read_examples, write_examples
from distill_offline.manifest.method import method
from distill_offline.study import Results, Row, Runner, Study
from distill_offline.study.counts import pack

__all__ = ["made_row", "on_another_gold_set", "runner", "write_config"]

TYPES = ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")


def write_config(path: Path, encoder: Path | str, **study: Any) -> Path:
    """Two arms, one size, two seeds, unless `study` says otherwise; its corpus lies beside it, in tokens."""
    for split, count in (("train", 120), ("test", 20)):
        examples = read_examples(f"package:demo/{split}.jsonl", origin="original")
        if not (path.parent / f"{split}.conll").exists():
            write_examples(path.parent / f"{split}.conll", islice(examples, count))
    value: dict[str, Any] = {
        "name": "small-study",
        "task": {"types": dict.fromkeys(TYPES, "as its name says")},
        "corpus": {
            "on_overlap": "drop",
            "original": {
                "train": str(path.parent / "train.conll"),
                "test": str(path.parent / "test.conll"),
            },
            "distilled": {"path": str(path.parent / "train.conll"), "skip": 60, "limit": 40},
        },
        "train": {
            "encoder": str(encoder),
            "updates": 3,
            "batch_size": 4,
            "learning_rate": 1.0e-2,
            "arms": [{"name": "original_only"}, {"name": "union"}],
        },
        "study": {"sizes": [20], "seeds": [0, 1], "dev_share": 0.2, "reshuffle": ["distilled"], "draws": 200, **study},
    }
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def runner(config: Path, changes: tuple[str, ...] = (), **more: Any) -> Runner:
    place = config.parent
    return Runner(Study.load(config, changes), place / "study", Results(place / "rows.jsonl"), **more)


def made_row(study: Study, position: int, *, found: float, dev_f1: float | None = 0.5, seconds: float = 10.0) -> Row:
    """A row for the cell at `position`, as if its student had found the share `found` of 200 entities."""
    cell = study.cells[position]
    random = np.random.default_rng([cell.seed, 7])
    counts = np.zeros((200, 1, 3), dtype=np.uint16)
    counts[:, 0, 0] = random.random(200) < found
    counts[:, 0, 2] = 1 - counts[:, 0, 0]
    hits = int(counts[:, 0, 0].sum())
    scores = {"precision": 1.0, "recall": hits / 200, "f1": 2 * hits / (hits + 200), "support": 200}
    return Row(
        key=f"key {position}",
        study="made",
        variant=cell.variant,
        size=cell.size,
        seed=cell.seed,
        arm=cell.arm.name,
        pools={"original": 16, "dev": 4, "dev_in_size": 1, "distilled": 40, "dropped": 0},
        training={
            "updates": 3,
            "batch_size": 4,
            "learning_rate": 0.01,
            "distilled_drawn": 6,
            "original_drawn": 6,
            "best_update": 3,
            "best_dev_f1": dev_f1,
            "threads": 1,
            "seconds": seconds,
        },
        on="d1",
        split="test",
        metric="entity_f1",
        overall=scores,
        per_type={"PERSON": scores},
        errors={},
        types=("PERSON",),
        counts=pack(counts),
        versions={},
        method=method(),
    )


def on_another_gold_set(row: Row) -> Row:
    return replace(row, on="d2")
