"""select: which annotations go into training, with every dropped one counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from distill_offline.settings import SelectSettings

__all__ = ["select"]


def select(
    rows: Iterable[Mapping[str, Any]], settings: SelectSettings, held_out: set[str], digest: Any, counts: Counter[str]
) -> Iterator[Mapping[str, Any]]:
    """Those lines of annotations.jsonl that may be trained on, unchanged and in order.

    `held_out` are content digests of dev and test: what stands there is never trained on. `digest(row)` gives a line's.
    A sentence's confidence is that of its least confident span. A duplicate is a copy of what was kept: where the first
    copy was dropped for another reason, the next one gets its chance.
    """
    seen: set[str] = set()
    for row in rows:
        counts["seen"] += 1
        content = digest(row)
        confidences = [span["confidence"] for span in row["spans"] if span.get("confidence") is not None]
        if content in held_out:
            counts["in_dev_or_test"] += 1
        elif settings.deduplicate and content in seen:
            counts["duplicate"] += 1
        elif settings.drop_rejected and row["rejected"]:
            counts["had_rejected_mentions"] += 1
        elif confidences and min(confidences) < settings.min_confidence:
            counts["low_confidence"] += 1
        else:
            counts["kept"] += 1
            seen.add(content)
            yield row
