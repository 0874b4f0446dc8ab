"""select: which annotations go into training, with every dropped one counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from distill_offline.settings import SelectSettings

__all__ = ["select"]


def select(
    rows: Iterable[Mapping[str, Any]], settings: SelectSettings, held_out: set[str], digest: Any, counts: Counter[str]
) -> Iterator[Mapping[str, Any]]:
    """Those lines of annotations.jsonl that may be trained on, in order; unchanged but for spans that are dropped.

    `held_out` are content digests of dev and test: what stands there is never trained on. `digest(row)` gives a line's.
    A duplicate is a copy of what was kept: where the first copy was dropped for another reason, the next one gets its
    chance. `counts` gains `seen`, `kept`, the reasons for dropping, and `spans_dropped`.
    """
    seen: set[str] = set()
    for row in rows:
        counts["seen"] += 1
        content = digest(row)
        doubtful = [span for span in row["spans"] if _is_doubtful(span, settings)]
        if content in held_out:
            counts["in_dev_or_test"] += 1
        elif settings.deduplicate and content in seen:
            counts["duplicate"] += 1
        elif settings.drop_rejected and row["rejected"]:
            counts["had_rejected_mentions"] += 1
        elif doubtful and settings.doubtful == "sentence":
            counts["doubtful"] += 1
        else:
            counts["kept"] += 1
            if doubtful:
                counts["spans_dropped"] += len(doubtful)
            seen.add(content)
            yield _without(row, doubtful) if doubtful else row


def _is_doubtful(span: Mapping[str, Any], settings: SelectSettings) -> bool:
    confidence = span.get("confidence")
    is_unsure = confidence is not None and confidence < settings.min_confidence
    return is_unsure or span.get("alignment", "tags") not in settings.alignments


def _without(row: Mapping[str, Any], doubtful: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = list(row["labels"])
    for span in doubtful:
        labels[span["start"] : span["end"]] = ["O"] * (span["end"] - span["start"])
    return {**row, "labels": labels, "spans": [span for span in row["spans"] if span not in doubtful]}
