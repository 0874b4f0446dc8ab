"""What is said of human-labelled data before it is used: entities that begin or end inside a token, which no label can
say, what its files say and no example holds, and sentences that stand in two splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from distill_offline.corpus import overlap
from distill_offline.corpus.lost import LOST_IN_READING, Losses
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, content_digest
from distill_offline.spans.bio import decode_bio

__all__ = ["in_words", "say_lost", "say_shared", "say_unheld", "unheld_counts"]

_SHOWN = 5  # ids


def say_unheld(folder: RunFolder, splits: Mapping[str, Sequence[Example]]) -> None:
    """Shows for each split of corpus.original how many there are, of how many, and in which rows."""
    for split, examples in splits.items():
        if line := in_words(f"corpus.original.{split}", examples):
            folder.warn(line)


def say_lost(folder: RunFolder, lost: Mapping[str, Losses], splits: Collection[str]) -> None:
    """Shows for each of these splits of corpus.original what its file says and no example holds."""
    for split in splits:
        for line in lost[split].lines(LOST_IN_READING) if split in lost else ():
            folder.warn(f"corpus.original.{split}: not read: {line}")


def say_shared(folder: RunFolder, dev: Sequence[Example], test: Sequence[Example]) -> None:
    """Shows how many sentences of dev are in test, too: what chooses must not be what is scored."""
    shared = overlap(dev, test)
    if shared:
        in_both = [e.sentence.id for e in dev if content_digest(e.sentence) in shared]
        folder.warn(
            f"corpus.original: {len(in_both)} of {len(dev)} sentences of dev are in test, too (first {in_both[0]}): "
            "dev chooses what test then scores, so scores come out too high. Take them out of one of the two."
        )


def unheld_counts(splits: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """`unheld`, by split: how many there are, and the ids of their rows; empty if there are none."""
    counts = {
        split: {
            "spans": sum(len(example.unheld) for example in examples),
            "ids": [example.sentence.id for example in examples if example.unheld],
        }
        for split, examples in splits.items()
        if any(example.unheld for example in examples)
    }
    return {"unheld": counts} if counts else {}


def in_words(name: str, examples: Sequence[Example]) -> str:
    """One line on those of a gold file or split; empty if there are none."""
    rows = [example for example in examples if example.unheld]
    if not rows:
        return ""
    lost = sum(len(example.unheld) for example in rows)
    spans = lost + sum(len(decode_bio(example.labels)) for example in examples)
    ids = ", ".join(example.sentence.id for example in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return (
        f"{name}: {lost} of {spans} entities begin or end inside a token (rows {ids}{more}). Each counts as "
        "missed where it is scored; in training its tokens are left out of the loss."
    )
