"""A whole run with its page, whose test set holds hostile text."""

from __future__ import annotations

from pathlib import Path

from annotated_runs import TYPES

from distill_offline import pipeline
from distill_offline.config.loading import parse_settings
from distill_offline.corpus import read_examples, write_examples
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Sentence

__all__ = ["EVIL", "example", "whole_run"]

EVIL = "</script><img src=x onerror=alert(1)>"


def example(number: int, tokens: tuple[str, ...], labels: tuple[str, ...], document: str = "notes") -> Example:
    text, offsets = " ".join(tokens), []
    start = 0
    for token in tokens:
        offsets.append((start, start + len(token)))
        start += len(token) + 1
    return Example(Sentence(f"{document}:{number}", document, number, text, tokens, tuple(offsets)), labels, "original")


def whole_run(place: Path, encoder: Path) -> RunFolder:
    """A noisy scripted teacher, two arms, eight sentences that are scored, two of them hostile."""
    scored = list(read_examples("package:demo/test.jsonl", origin="original"))[:6]
    scored += [
        example(0, ("Signed", EVIL, "by", "Ann"), ("O", "O", "O", "B-PERSON"), "secret-7"),
        example(1, ("🎉🎉", "Žofie", "left"), ("O", "B-PERSON", "O"), "secret-7"),
    ]
    write_examples(place / "test.jsonl", scored)
    settings = {
        "name": "page",
        "task": {"types": TYPES},
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 24},
                "dev": {"path": "package:demo/dev.jsonl", "limit": 6},
                "test": str(place / "test.jsonl"),
            },
            "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 24},
        },
        "backend": {"name": "scripted", "options": {"noise": 0.3}},
        "annotate": {"gold": ["test"], "demonstrations": {"k": 2}, "max_quarantined": 0.9},
        "train": {
            "encoder": str(encoder),
            "updates": 4,
            "batch_size": 4,
            "eval_every": 2,
            "arms": [{"name": "original_only"}, {"name": "simple_mix"}],
        },
    }
    folder = RunFolder(place / "run", parse_settings(settings, "test"))
    pipeline.run(folder)
    return folder
