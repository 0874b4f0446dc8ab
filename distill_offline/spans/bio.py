"""Tag schemes: which one a corpus uses, its translation to IOB2, and tags to spans and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from distill_offline.schema import Span

__all__ = [
    "InvalidTags", "Scheme", "bridged", "decode_bio", "detect_scheme", "encode_bio", "repair", "repair_iob2", "to_iob2",
    "trimmed", "unmasked",
]  # fmt: skip

Scheme = Literal["iob1", "iob2", "iobes"]

_PREFIXES: dict[Scheme, str] = {"iob1": "BI", "iob2": "BI", "iobes": "BIES"}


class InvalidTags(ValueError):
    """A tag that its scheme does not allow where it stands; `position` counts the sentence's tags from 0."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


def detect_scheme(tags_by_sentence: Iterable[Sequence[str]], *, least: int = 1) -> Scheme:
    """The scheme of a whole file's tags.

    S- or E- seen: iobes. Every B- right after a tag of the same type, or I- without any B-: iob1. Else iob2.
    A file stays iob1 where fewer than 1 in 100 of the entities that stand free begin with B- all the same: CoNLL-2003's
    train.txt has two such among its 23,000. `least`: so many entities must begin with I- before that tells of iob1;
    with 2 one stray I- tells nothing. Stops reading at the first S- or E-.
    """
    # Entities that follow nothing of their type, by how they begin: IOB1 wants I- there, IOB2 wants B-.
    by_inside = by_beginning = 0
    for tags in tags_by_sentence:
        previous = "O"
        for tag in tags:
            prefix = tag[:2]
            if prefix in ("S-", "E-"):
                return "iobes"
            if previous[1:] != tag[1:]:
                by_inside += prefix == "I-"
                by_beginning += prefix == "B-"
            previous = tag
    return "iob1" if by_inside >= least and by_beginning * 100 < by_inside + by_beginning else "iob2"


def to_iob2(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """The same entities in IOB2. Raises InvalidTags if the sequence is not valid in `scheme`.

    In iob1 a B- that nothing of its type precedes is redundant, but clear, and valid here: published corpora have it.
    """
    converted = []
    for position, (tag, problem) in enumerate(_convert(tags, scheme)):
        if problem:
            raise InvalidTags(position, problem)
        converted.append(tag)
    if scheme == "iobes":
        for span in decode_bio(converted):
            if _is_open(tags, span):
                raise InvalidTags(span.end - 1, "the entity is not closed by E-")
    return tuple(converted)


def repair(tags: Sequence[str], scheme: Scheme) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The entities in IOB2 as strict scoring finds them, and the positions of the stray tags, which are none.

    A tag that continues nothing of its type becomes O together with those that continue it in turn: the run counts
    once, at its first tag. So does, in iobes, an entity that is not closed. Raises InvalidTags only for what is no tag.
    """
    converted = tuple(_convert(tags, scheme))
    repaired, stray = [tag for tag, _ in converted], [at for at, (_, problem) in enumerate(converted) if problem]
    if scheme == "iobes":
        for span in decode_bio(repaired):
            if _is_open(tags, span):
                repaired[span.start : span.end] = ["O"] * (span.end - span.start)
                stray.append(span.start)
    return tuple(repaired), tuple(sorted(stray))


def repair_iob2(tags: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """`repair` for tags that are meant to be IOB2, as an LLM gives them."""
    return repair(tags, "iob2")


def decode_bio(labels: Sequence[str]) -> tuple[Span, ...]:
    """The spans that IOB2 labels stand for, in order. Raises InvalidTags for a stray I- tag."""
    spans: list[Span] = []
    start, type_ = 0, ""
    for position, label in enumerate((*to_iob2(labels, "iob2"), "O")):
        if type_ and not label.startswith("I-"):
            spans.append(Span(start, position, type_))
            type_ = ""
        if label.startswith("B-"):
            start, type_ = position, label[2:]
    return tuple(spans)


def encode_bio(spans: Iterable[Span], length: int) -> tuple[str, ...]:
    """IOB2 labels for `length` tokens.

    Raises ValueError for a span that is empty, untyped, out of range, or overlaps another.
    """
    labels = ["O"] * length
    for span in spans:
        where = f"span {span.start} to {span.end}"
        if not span.type:
            raise ValueError(f"{where} has no type")
        if span.start >= span.end:
            raise ValueError(f"{where} is empty")
        if span.start < 0 or span.end > length:
            raise ValueError(f"{where} is out of range: there are {length} tokens")
        if any(label != "O" for label in labels[span.start : span.end]):
            raise ValueError(f"{where} overlaps another span")
        labels[span.start : span.end] = [f"B-{span.type}"] + [f"I-{span.type}"] * (span.end - span.start - 1)
    return tuple(labels)


def bridged(tags: Sequence[str], scheme: Scheme, unseen: Collection[int]) -> tuple[str, ...]:
    """The tags with an entity that goes on behind tokens in which there is nothing to be seen, and which are O.

    `unseen` are the positions of such tokens. Nothing changes in iob1, where what follows an O begins anew.
    """
    mended = list(tags)
    for at in sorted(unseen) if scheme != "iob1" else ():
        before = mended[at - 1] if at else "O"
        after = next((mended[n] for n in range(at, len(mended)) if n not in unseen or mended[n] != "O"), "O")
        if mended[at] == "O" and before[:1] in ("B", "I") and after[:1] in ("I", "E") and before[1:] == after[1:]:
            mended[at] = f"I{before[1:]}"
    return tuple(mended)


def trimmed(spans: Iterable[Span], unseen: Collection[int]) -> tuple[Span, ...]:
    """The spans without those of their first and last tokens in which there is nothing to be seen, at `unseen`.

    So that such tokens do not decide whether two spans are the same. A span of nothing else stays as it is.
    """
    if not unseen:
        return tuple(spans)
    trimmed_spans = []
    for span in spans:
        seen = [token for token in range(span.start, span.end) if token not in unseen]
        trimmed_spans.append(replace(span, start=seen[0], end=seen[-1] + 1) if seen else span)
    return tuple(trimmed_spans)


def unmasked(labels: tuple[str, ...], masked: Collection[int]) -> tuple[str, ...]:
    """IOB2 labels without the entities that touch a masked token: they count neither as found nor as missed."""
    if not masked:
        return labels
    hidden = frozenset(masked)
    spans = (span for span in decode_bio(labels) if hidden.isdisjoint(range(span.start, span.end)))
    return encode_bio(spans, len(labels))


def _convert(tags: Sequence[str], scheme: Scheme) -> Iterator[tuple[str, str]]:
    """Each tag as (IOB2 tag, problem). A tag with a problem becomes O, and so does, without one, what continues it."""
    open_type = stray_type = ""
    for position, tag in enumerate(tags):
        if tag == "O":
            open_type = stray_type = ""
            yield "O", ""
            continue
        prefix, type_ = tag[:1], tag[2:]
        if tag[1:2] != "-" or not type_ or prefix not in "BIES":
            raise InvalidTags(position, "not a tag: O, or a prefix such as B- or I- and a type, is expected")
        if type_ == "O":
            raise InvalidTags(position, "a type cannot be called O, which stands for no entity")
        continues = prefix in "IE" and prefix in _PREFIXES[scheme]
        if continues and scheme == "iob1" and open_type != type_:
            prefix, continues = "B", False
        if continues and open_type != type_:
            problem = "" if stray_type == type_ else f"{prefix}- continues no entity of its type"
        elif prefix not in _PREFIXES[scheme]:
            problem = f"{prefix}- is not used in {scheme}"
        else:
            open_type, stray_type = "" if prefix in "ES" else type_, ""
            yield f"{'I' if continues else 'B'}-{type_}", ""
            continue
        open_type, stray_type = "", "" if prefix in "ES" else type_
        yield "O", problem


def _is_open(tags: Sequence[str], span: Span) -> bool:
    """Whether an entity in iobes lacks its end: what B- or I- opened goes on to an E- tag."""
    return tags[span.end - 1][:1] not in ("E", "S")
