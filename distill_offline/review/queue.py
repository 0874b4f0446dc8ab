"""Which sentences people look at, in which order, who looks at which, and why."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from distill_offline.annotations import AnnotationLine, read_lines
from distill_offline.label_kinds import kind_of
from distill_offline.review.decisions import Marked
from distill_offline.schema import Head, Sentence
from distill_offline.spans.bio import decode_bio

__all__ = ["Item", "Order", "assigned", "choose", "items_of", "marked_of"]

Order = Literal["value", "random"]
Label = Callable[[Sequence[Sentence]], list[tuple[str, ...]]]

_RARE = 0.05  # a type with a smaller share of all spans
_AT_ONCE = 512  # sentences that a student labels at once
_CANDIDATES = 10  # times as many as wanted, out of which they are spread over documents


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence to look at, the labels that are suggested, by whom, how sure they are, and why it was chosen."""

    sentence: Sentence
    suggested: tuple[Marked, ...]
    confidences: tuple[float | None, ...]
    source: str
    value: float
    reason: str


def choose(
    file: Path,
    head: Head,
    count: int,
    *,
    order: Order = "value",
    seed: int = 0,
    label: Label | None = None,
    look_at: int = 5_000,
    without: frozenset[str] = frozenset(),
) -> list[Item]:
    """`count` sentences of a file of annotations, the most valuable first, or in a random order.

    Valuable are those that the teacher was least sure of, that a student labels otherwise (`label` gives a student's
    labels; at most `look_at` sentences are asked of it, drawn at random), and those with a rare type; sentences of one
    document come after those of others. `without` are ids that are left out. Sentences with equal values come in a
    random order, which `seed` decides.
    """

    def place(line: AnnotationLine) -> bytes:
        return hashlib.sha256(f"{seed}\0{line.sentence.id}".encode("utf-8", "surrogatepass")).digest()

    def lines() -> Iterator[AnnotationLine]:
        return (line for line in read_lines(file, head) if line.sentence.id not in without)

    if order == "random":
        return [_item(head, line, 0.0, "drawn at random") for line in heapq.nsmallest(count, lines(), key=place)]
    rare = _rare_types(head, lines())
    chosen: Iterable[AnnotationLine] = lines()
    if label is not None:
        chosen = heapq.nsmallest(look_at, chosen, key=place)
    valued = (
        (*_value(head, line, rare, other), line) for line, other in _with_student(chosen, label)
    )  # value, reason, line
    best = heapq.nsmallest(_CANDIDATES * count, valued, key=lambda entry: (-entry[0], place(entry[2])))
    return [_item(head, line, value, reason) for value, reason, line in _spread(best)[:count]]


def items_of(file: Path, head: Head, ids: Collection[str]) -> list[Item]:
    """The sentences with these ids, in the order of `ids`; those that are not there any more are left out."""
    wanted = frozenset(ids)
    lines = (line for line in read_lines(file, head) if line.sentence.id in wanted)
    by_id = {line.sentence.id: _item(head, line, 0.0, "left from before") for line in lines} if wanted else {}
    return [by_id[id_] for id_ in ids if id_ in by_id]


def _spread(best: Sequence[tuple[float, str, AnnotationLine]]) -> list[tuple[float, str, AnnotationLine]]:
    """The same in another order: each further sentence of one document counts a tenth less than the one before."""
    met = Counter[str]()
    weighed = []
    for rank, (value, reason, line) in enumerate(best):
        document = line.sentence.document or line.sentence.id
        weighed.append((-value * 0.9 ** met[document], rank, (value, reason, line)))
        met[document] += 1
    return [entry for _, _, entry in sorted(weighed, key=lambda entry: entry[:2])]


def _with_student(
    lines: Iterable[AnnotationLine], label: Label | None
) -> Iterator[tuple[AnnotationLine, tuple[str, ...] | None]]:
    if label is None:
        yield from ((line, None) for line in lines)
        return
    waiting = iter(lines)
    while part := list(islice(waiting, _AT_ONCE)):
        yield from zip(part, label([line.sentence for line in part]), strict=True)


def _rare_types(head: Head, lines: Iterable[AnnotationLine]) -> frozenset[str]:
    counts = Counter(name for line in lines for name in kind_of(head).places(line.labels).values())
    return frozenset(name for name, count in counts.items() if count < _RARE * counts.total())


def _value(
    head: Head, line: AnnotationLine, rare: frozenset[str], student: tuple[str, ...] | None
) -> tuple[float, str]:
    """How much there is to learn, and the weightiest of its reasons."""
    reasons = []
    if line.confidence is not None:
        reasons.append((1 - line.confidence, f"the teacher is {line.confidence:.0%} sure"))
    if line.beside.missed is not None:
        reasons.append((line.beside.missed, f"an entity may be missing ({line.beside.missed:.0%})"))
    if line.beside.agreement is not None:
        reasons.append((1 - line.beside.agreement, f"{line.beside.agreement:.0%} of the teacher's answers agree"))
    if line.rejected:
        reasons.append((0.5, f"{len(line.rejected)} mentions of the teacher found no place"))
    if student is not None and student != line.labels:
        reasons.append((1.0, "teacher and student differ"))
    if names := sorted(rare & set(kind_of(head).places(line.labels).values())):
        reasons.append((0.6, f"rare type {names[0]}"))
    if not reasons:
        return 0.0, "nothing speaks against it"
    value, reason = max(reasons)
    return value + 0.01 * (len(reasons) - 1), reason


def _item(head: Head, line: AnnotationLine, value: float, reason: str) -> Item:
    marked = marked_of(head, line.labels)
    known = {(span.start, span.end, span.type): span.confidence for span in line.spans}
    sure = tuple(known.get((start, end, name), line.beside.confidence) if start is not None and end is not None
                 else line.beside.confidence for start, end, name in marked)  # fmt: skip
    return Item(line.sentence, marked, sure, "teacher", round(value, 4), reason)


def marked_of(head: Head, labels: tuple[str, ...]) -> tuple[Marked, ...]:
    """Labels as spans of tokens with their types, or as classes of the whole text."""
    kind = kind_of(head)
    if kind.per_token:
        return tuple((span.start, span.end, span.type) for span in decode_bio(labels))
    return tuple((None, None, name) for name in kind.places(labels).values())


def assigned(items: Sequence[Item], reviewers: Sequence[str], double: float) -> dict[str, list[Item]]:
    """Each item to one person in turn, and a share of `double` of them, evenly spread, to the next person, too."""
    parts: dict[str, list[Item]] = {name: [] for name in reviewers}
    owed = 0.0
    for number, item in enumerate(items):
        parts[reviewers[number % len(reviewers)]].append(item)
        owed += double
        if owed >= 1 and len(reviewers) > 1:
            owed -= 1
            parts[reviewers[(number + 1) % len(reviewers)]].append(item)
    return parts
