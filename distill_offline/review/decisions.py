"""decisions.jsonl: what people said of suggested labels; appended at once, never changed, and without any text.

A line has the sentence's `id`, `document` and the digest of its `text`; who decided (`reviewer`) and when (`at`); the
`action` (accept, correct, skip or undo); `spans` as decided and as `suggested`, lists of `[start, end, type]` in tokens
(null for both ends of a class of a whole text); `source`, whose suggestion it was; `seconds` and `keys` that it took;
and the digest of the `guideline` that the person had.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Head, Span
from distill_offline.spans.bio import encode_bio
from distill_offline.storage.files import check_plain

__all__ = ["DECISIONS", "Action", "Decision", "Marked", "append", "labels_of", "latest", "parse", "read"]

DECISIONS = "decisions.jsonl"
Action = Literal["accept", "correct", "skip", "undo"]
Marked = tuple[int | None, int | None, str]  # start and end in tokens, type


@dataclass(frozen=True, slots=True)
class Decision:
    """One line. Of several by one person on one sentence the last one counts; `undo` takes the earlier ones back."""

    id: str
    document: str | None
    text: str
    reviewer: str
    at: str
    action: Action
    spans: tuple[Marked, ...]
    suggested: tuple[Marked, ...]
    source: str
    seconds: float
    keys: int
    guideline: str


def parse(row: Mapping[str, Any]) -> Decision:
    """A decision out of JSON. Raises ValueError for what is none."""
    if not isinstance(row, Mapping):
        raise ValueError("it is no object")
    for name in ("id", "text", "reviewer", "at", "source", "guideline"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise ValueError(f"`{name}` is not a string with something in it")
    if row.get("action") not in get_args(Action):
        raise ValueError(f"`action` is none of {', '.join(get_args(Action))}")
    if _time(row["at"]) is None:
        raise ValueError("`at` is no time with its zone (2026-01-31T12:00:00Z)")
    document, seconds, keys = row.get("document"), row.get("seconds"), row.get("keys")
    if document is not None and not isinstance(document, str):
        raise ValueError("`document` is not a string")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e6:
        raise ValueError("`seconds` is not a number, 0 or more")
    if isinstance(keys, bool) or not isinstance(keys, int) or keys < 0:
        raise ValueError("`keys` is not a count")
    return Decision(
        row["id"], document, row["text"], row["reviewer"], row["at"], row["action"], _marked(row.get("spans")),
        _marked(row.get("suggested")), row["source"], float(seconds), keys, row["guideline"],
    )  # fmt: skip


def _time(at: str) -> datetime | None:
    try:
        made = datetime.fromisoformat(at)
    except ValueError:
        return None
    return made if made.tzinfo is not None else None


def _marked(value: Any) -> tuple[Marked, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("`spans` and `suggested` are lists of [start, end, type]")
    for entry in value:
        is_entry = isinstance(entry, (list, tuple)) and len(entry) == 3 and isinstance(entry[2], str) and entry[2]
        if not is_entry or not (_is_range(entry[0], entry[1]) or (entry[0] is None and entry[1] is None)):
            raise ValueError(f"{entry!r} is not [start, end, type]")
    return tuple((entry[0], entry[1], entry[2]) for entry in value)


def _is_range(start: Any, end: Any) -> bool:
    return type(start) is int and type(end) is int and 0 <= start < end


def append(file: Path, decision: Decision) -> None:
    """Add a line, which is on the disk when this returns. Half a line that a kill left before it is cut off first."""
    check_plain(file)
    line = json.dumps(asdict(decision), ensure_ascii=False) + "\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # two servers of one run may write at the same moment
        end = _whole(descriptor)
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        content = line.encode("utf-8", "surrogatepass")
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole(descriptor: int) -> int:
    """The length of the file up to the end of its last whole line."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        cut = os.pread(descriptor, end - start, start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


def read(file: Path, *, may_be_cut: bool = True) -> Iterator[Decision]:
    """The decisions of a file, streamed. Half a line at its end, which a kill leaves, is none if the file `may_be_cut`.

    Raises InputError with file and line for what is none, and where the file cannot be read.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if may_be_cut and not line.endswith(b"\n"):
                    return
                if not line.strip():
                    continue
                try:
                    yield parse(json.loads(line))
                except (ValueError, RecursionError) as error:
                    hint = "" if line.endswith(b"\n") else " The file ends in this line: is it whole?"
                    raise InputError(f"{file}:{number}: this is not a decision of a review: {error}.{hint}") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or type(error).__name__}).") from error


def latest(decisions: Iterable[Decision]) -> dict[tuple[str, str], Decision]:
    """The last decision of each person on each sentence, by (id, reviewer); what was taken back is not there.

    The last one is that of the latest time, whichever file it is in; of the same time, the last one given.
    """
    result: dict[tuple[str, str], Decision] = {}
    for decision in sorted(decisions, key=lambda each: datetime.fromisoformat(each.at)):
        key = decision.id, decision.reviewer
        result.pop(key, None)
        if decision.action != "undo":
            result[key] = decision
    return result


def labels_of(head: Head, marked: Sequence[Marked], tokens: int) -> tuple[str, ...]:
    """The labels that the spans or classes make. Raises ValueError for what are none of this kind."""
    kind = kind_of(head)
    if kind.per_token:
        spans: list[Span] = []
        for start, end, name in sorted(marked, key=lambda entry: (entry[0] is None, entry[0] or 0)):
            if start is None or end is None:
                raise ValueError(f"{name} has no place, and entities have one")
            if end > tokens or (spans and start < spans[-1].end):
                raise ValueError(f"{name} at {start} to {end} overlaps another one, or ends behind the {tokens} tokens")
            spans.append(Span(start, end, name))
        return encode_bio(spans, tokens)
    labels = tuple(dict.fromkeys(name for _, _, name in marked))
    if problem := kind.problem(labels, tokens):
        raise ValueError(problem)
    return labels
