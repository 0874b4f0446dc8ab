"""Labels of several teachers for the same sentences, joined: by majority, or by how reliable each teacher seems.

By Dawid and Skene's model tokens are taken as independent items, as is usual (Rodrigues and others 2014); the tags of a
sentence are then the likeliest valid ones, and a span's confidence is its probability under the same lattice that
students decode by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from distill_offline.annotations import AnnotationLine
from distill_offline.label_kinds import kind_of
from distill_offline.label_kinds.decoding import Scored, decode, distributions
from distill_offline.schema import Annotation, Example, Head, Sentence, Span
from distill_offline.select.dawid_skene import Floats, Reliability, dawid_skene
from distill_offline.select.same_sentences import Given, same_sentences
from distill_offline.spans.bio import decode_bio, encode_bio

__all__ = ["Combined", "Method", "combine"]

Method = Literal["majority", "dawid_skene"]

_NOTHING: Mapping[str, Sequence[AnnotationLine]] = MappingProxyType({})
_AT_ONCE = 1024  # sentences decoded at once


@dataclass(frozen=True, slots=True)
class Combined:
    """A line for each sentence, and what was found out about each teacher.

    `teachers` has for each the number of sentences it labelled, the share of them on which it gave exactly the combined
    labels, and, by Dawid and Skene, for each label the probability that it gives it where it is true (None if that was
    not estimated); with gold also the number of gold's sentences that it labelled (`on_gold`). `by_teachers` counts
    sentences by how many teachers labelled them; `strange` are types (or classes) of gold that no teacher ever gives.
    `doubts` are sentences that say why teachers may not speak of the same types.
    """

    lines: list[AnnotationLine]
    teachers: dict[str, dict[str, Any]]
    by_teachers: dict[int, int]
    strange: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def combine(
    head: Head,
    said: Mapping[str, Sequence[AnnotationLine]],
    method: Method = "dawid_skene",
    gold: Sequence[Example] | None = None,
    beside: Mapping[str, Sequence[AnnotationLine]] = _NOTHING,
) -> Combined:
    """The labels of all teachers, by name, as one line for each sentence that any of them labelled.

    Which sentences are the same, and their order, is said in same_sentences.py. With `gold` that the teachers labelled,
    too, the confusion matrices are those on gold, and nothing is guessed: teachers that make the same mistakes do not
    pass for right because they agree. Labels of gold's sentences may also stand `beside`, and then serve for that
    alone. What comes out is what the teachers say, for gold's own sentences, too. Raises ValueError for fewer than two
    teachers, if no sentence was labelled by two of them, and if `gold` is of no use.
    """
    if len(said) < 2:
        raise ValueError("there is nothing to combine: give the labels of two teachers at least")
    given = same_sentences(said)
    if all(len(by_teacher) < 2 for _, by_teacher in given):
        raise ValueError(
            "no sentence was labelled by two of them: are these labels of one text, cut alike? Look at the tokens"
        )
    there = {sentence.tokens for sentence, _ in given}
    further = [each for each in same_sentences(beside) if each[0].tokens not in there]
    teachers, (known, contradictory) = list(said), _known([*given, *further], method, gold)
    strange = _strange(head, [*given, *further], known)
    reliability: dict[str, dict[str, float]] = {}
    if method == "majority":
        annotations = [_voted(head, by_teacher) for _, by_teacher in given]
    else:
        annotations, reliability = _estimated(head, [*given, *further], teachers, known)
    lines = [
        _line(sentence, replace(annotation, id=sentence.id), by_teacher)
        for (sentence, by_teacher), annotation in zip(given, annotations, strict=False)
    ]
    seen = zip([*given, *further], known, strict=True)
    on_gold = None if gold is None else [by_teacher for (_, by_teacher), example in seen if example is not None]
    found = {
        name: _of_teacher(name, given, lines, on_gold) | {"gives_what_is_true": reliability.get(name)}
        for name in teachers
    }
    by_teachers = Counter(len(by_teacher) for _, by_teacher in given)
    return Combined(lines, found, dict(sorted(by_teachers.items())), strange, (*contradictory, *_doubts(head, given)))


def _doubts(head: Head, given: Sequence[Given]) -> Iterator[str]:
    """Whether teachers name types otherwise than each other: what is joined would hold the names of all of them."""
    kind, types = kind_of(head), dict[str, set[str]]()
    for _, lines in given:
        for teacher, line in lines.items():
            types.setdefault(teacher, set()).update(name for _, name in kind.names(line.labels))
    known = sorted(set().union(*types.values()))
    by_case = Counter(name.casefold() for name in known)
    if alike := [name for name in known if by_case[name.casefold()] > 1]:
        yield f"{', '.join(alike)} differ in capitals alone, and count as different types. Name them alike"
    for one, other in combinations(sorted(types), 2):
        if types[one] and types[other] and not types[one] & types[other]:
            yield (
                f"{one} gives {', '.join(sorted(types[one]))} and {other} {', '.join(sorted(types[other]))}: they have "
                "no type in common. If they mean the same, name it alike before they are joined"
            )


def _of_teacher(
    name: str,
    given: Sequence[Given],
    lines: Sequence[AnnotationLine],
    on_gold: Sequence[Mapping[str, AnnotationLine]] | None,
) -> dict[str, Any]:
    """How much a teacher labelled, and how much of it came out."""
    said = [(by_teacher[name], line) for (_, by_teacher), line in zip(given, lines, strict=True) if name in by_teacher]
    same = sum(own.labels == line.labels for own, line in said)
    return {
        "sentences": len(said),
        "agrees": round(same / len(said), 4) if said else None,
        **({} if on_gold is None else {"on_gold": sum(name in by_teacher for by_teacher in on_gold)}),
    }


def _known(
    given: Sequence[Given], method: Method, gold: Sequence[Example] | None
) -> tuple[list[Example | None], list[str]]:
    """Gold of each sentence, None if there is none, or if it contradicts itself, which is told of. Raises ValueError if
    gold is of no use."""
    if gold is None:
        return [None] * len(given), []
    if method == "majority":
        raise ValueError("the majority is counted without gold. Leave --gold out, or use --method dawid_skene")
    there, told = {sentence.tokens for sentence, _ in given}, list[str]()
    truth: dict[tuple[str, ...], Example | None] = {}
    for example in gold:
        tokens = example.sentence.tokens
        first = truth.setdefault(tokens, example)
        if tokens in there and first and (first.labels, first.masked) != (example.labels, example.masked):
            truth[tokens] = None
            told.append(
                f"gold has {first.sentence.id} and {example.sentence.id}, of the same tokens, with different labels: "
                "both are passed over"
            )
    known = [truth.get(sentence.tokens) for sentence, _ in given]
    if all(example is None for example in known):
        raise ValueError(
            f"none of the {len(gold)} sentences of gold was labelled by the teachers. Let them label it, too "
            "(annotate.gold), and join those labels"
        )
    return known, told


def _strange(head: Head, given: Sequence[Given], known: Sequence[Example | None]) -> tuple[str, ...]:
    """The types of gold that no teacher gives. Raises ValueError if these are all that gold has."""
    kind = kind_of(head)
    in_gold = {name for example in known if example is not None for _, name in kind.names(example.labels)}
    said = {name for _, lines in given for line in lines.values() for _, name in kind.names(line.labels)}
    if in_gold and said and not in_gold & said:
        raise ValueError(
            f"gold has other types ({', '.join(sorted(in_gold))}) than the teachers ({', '.join(sorted(said))})"
        )
    return tuple(sorted(in_gold - said))


def _line(sentence: Sentence, annotation: Annotation, given: Mapping[str, AnnotationLine]) -> AnnotationLine:
    """The line of a sentence; tokens that half of the teachers mask, and that no entity stands on, stay masked."""
    times = Counter(token for line in given.values() for token in set(line.beside.masked))
    inside = {token for span in annotation.spans for token in range(span.start, span.end)}
    masked = tuple(sorted(token for token, count in times.items() if 2 * count >= len(given) and token not in inside))
    line = AnnotationLine.of(sentence, annotation)
    return replace(line, beside=line.beside.with_(masked=masked)) if masked else line


def _annotation(line: AnnotationLine) -> Annotation:
    return Annotation(
        line.sentence.id, line.labels, line.spans, line.rejected, line.beside.confidence, line.beside.agreement
    )


def _voted(head: Head, given: Mapping[str, AnnotationLine]) -> Annotation:
    samples = [_annotation(line) for line in given.values()]
    if len(samples) == 1:
        return samples[0]
    whole = kind_of(head).vote(samples, len(samples))
    masks = [set(line.beside.masked) for line in given.values()]
    return _voted_by_place(head, samples, masks, whole) if any(masks) else whole


def _voted_by_place(
    head: Head, samples: Sequence[Annotation], masks: Sequence[Set[int]], whole: Annotation
) -> Annotation:
    """The vote on each place by those who answered there: what a teacher masks is no answer."""
    places = Counter((span.start, span.end) for sample in samples for span in sample.spans)
    chosen = list[Span]()
    for start, end in sorted(places, key=lambda place: (-places[place], place[0], -place[1])):
        if any(start < other.end and other.start < end for other in chosen):
            continue
        answered = [
            replace(sample, spans=tuple(span for span in sample.spans if (span.start, span.end) == (start, end)))
            for sample, masked in zip(samples, masks, strict=True)
            if masked.isdisjoint(range(start, end))
        ]
        if answered:
            chosen += kind_of(head).vote(answered, len(answered)).spans
    chosen.sort(key=lambda span: span.start)
    return replace(whole, labels=encode_bio(chosen, len(whole.labels)), spans=tuple(chosen))


_Known = Sequence[Example | None]  # gold of each sentence, if there is any
_Result = tuple[list[Annotation], dict[str, dict[str, float]]]


def _estimated(head: Head, given: Sequence[Given], teachers: Sequence[str], known: _Known) -> _Result:
    kind = kind_of(head)
    if kind.per_token:
        return _of_tags(given, teachers, known)
    if head == "sequence-classification":
        return _of_classes(given, teachers, known)
    return _of_class_sets(given, teachers, known)


def _of_tags(given: Sequence[Given], teachers: Sequence[str], known: _Known) -> _Result:
    types = sorted(
        {label[2:] for _, lines in given for line in lines.values() for label in line.labels if label != "O"}
    )
    names = ("O", *(f"{prefix}-{name}" for name in types for prefix in "BI"))
    number = {name: place for place, name in enumerate(names)}
    lengths = [len(sentence.tokens) for sentence, _ in given]
    votes = np.full((sum(lengths), len(teachers)), -1, np.int64)
    truth = np.full(sum(lengths), -1, np.int64)
    start = 0
    for (_, lines), length, gold in zip(given, lengths, known, strict=True):
        if gold is not None:
            unknown = set(gold.masked)
            truth[start : start + length] = [
                -1 if token in unknown else number.get(label, -1) for token, label in enumerate(gold.labels)
            ]
        for place, teacher in enumerate(teachers):
            if teacher in lines:
                line, masked = lines[teacher], set(lines[teacher].beside.masked)
                votes[start : start + length, place] = [
                    -1 if token in masked else number[label] for token, label in enumerate(line.labels)
                ]
        start += length
    found = dawid_skene(votes, len(names), truth)
    annotations = list(_decoded(given, names, np.log(np.maximum(found.probabilities, 1e-12)), lengths))
    return annotations, _diagonals(teachers, names, found)


def _decoded(
    given: Sequence[Given], names: tuple[str, ...], logs: Floats, lengths: Sequence[int]
) -> Iterator[Annotation]:
    ends = np.cumsum([0, *lengths])
    for first in range(0, len(given), _AT_ONCE):
        part = given[first : first + _AT_ONCE]
        scored = [
            Scored(logs[start:end].astype(np.float32), np.arange(end - start), int(end - start))
            for start, end in zip(ends[first : first + len(part)], ends[first + 1 :], strict=False)
        ]
        for (sentence, lines), labels, chances in zip(
            part, decode(scored, names), distributions(scored, names), strict=True
        ):
            spans = tuple(
                Span(
                    span.start, span.end, span.type, round(float(chances.of(span)), 6), "tags", _agreement(span, lines)
                )
                for span in decode_bio(labels)
            )
            yield Annotation(sentence.id, labels, spans)


def _agreement(span: Span, lines: Mapping[str, AnnotationLine]) -> float:
    """The share of the teachers who answered there that give this very span; 0 if none of them did."""
    gives = [
        (span.start, span.end, span.type) in {(s.start, s.end, s.type) for s in decode_bio(line.labels)}
        for line in lines.values()
        if set(line.beside.masked).isdisjoint(range(span.start, span.end))
    ]
    return sum(gives) / len(gives) if gives else 0.0


def _diagonals(teachers: Sequence[str], names: Sequence[str], found: Reliability) -> dict[str, dict[str, float]]:
    return {
        teacher: {name: round(float(found.confusions[place, i, i]), 4) for i, name in enumerate(names)}
        for place, teacher in enumerate(teachers)
    }


def _of_classes(given: Sequence[Given], teachers: Sequence[str], known: _Known) -> _Result:
    names = sorted({line.labels[0] for _, lines in given for line in lines.values()})
    votes = np.array(
        [[names.index(lines[t].labels[0]) if t in lines else -1 for t in teachers] for _, lines in given], np.int64
    ).reshape(len(given), len(teachers))
    truth = np.array(
        [-1 if gold is None or gold.labels[0] not in names else names.index(gold.labels[0]) for gold in known], np.int64
    )
    found = dawid_skene(votes, len(names), truth)
    annotations = []
    for (sentence, lines), row in zip(given, found.probabilities, strict=True):
        best = int(row.argmax())
        agree = sum(line.labels[0] == names[best] for line in lines.values()) / len(lines)
        annotations.append(
            Annotation(sentence.id, (names[best],), confidence=round(float(row[best]), 6), agreement=agree)
        )
    return annotations, _diagonals(teachers, names, found)


def _of_class_sets(given: Sequence[Given], teachers: Sequence[str], known: _Known) -> _Result:
    """Each class of each text is a question of its own, answered by yes or no."""
    names = sorted({name for _, lines in given for line in lines.values() for name in line.labels})
    votes = np.array(
        [
            [int(name in lines[teacher].labels) if teacher in lines else -1 for teacher in teachers]
            for _, lines in given
            for name in names
        ],
        np.int64,
    ).reshape(len(given) * len(names), len(teachers))
    truth = np.array([-1 if gold is None else int(name in gold.labels) for gold in known for name in names], np.int64)
    found = dawid_skene(votes, 2, truth)
    yes = found.probabilities[:, 1].reshape(len(given), len(names))
    annotations = []
    for (sentence, lines), row in zip(given, yes, strict=True):
        labels = tuple(name for name, chance in zip(names, row, strict=True) if chance > 0.5)
        sure = float(np.maximum(row, 1 - row).min(initial=1.0))
        agree = sum(set(line.labels) == set(labels) for line in lines.values()) / len(lines)
        annotations.append(Annotation(sentence.id, labels, confidence=round(sure, 6), agreement=agree))
    return annotations, _diagonals(teachers, ("not there", "there"), found)
