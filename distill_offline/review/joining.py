"""Decisions become human-labelled sentences; where people differ, a list to settle."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from distill_offline.label_kinds import kind_of
from distill_offline.review.decisions import Decision, labels_of, latest
from distill_offline.review.queue import marked_of
from distill_offline.schema import Example, Head, Sentence, text_digest
from distill_offline.scoring.metrics import quick_f1

__all__ = ["Joined", "Reading", "join", "readings_of_decisions", "readings_of_examples"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one person says of one sentence."""

    id: str
    reviewer: str
    labels: tuple[str, ...]


@dataclass(slots=True)
class Joined:
    """`examples` are settled. `differing` sentences have labels by person. `lost` has ids by the reason why their
    decision could not be used. `agreement` has a row for each two people with sentences in common."""

    examples: list[Example] = field(default_factory=list)
    differing: list[dict[str, Any]] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    agreement: list[dict[str, Any]] = field(default_factory=list)
    other_guideline: int = 0  # decisions that are used although people had other types or another guideline then
    by_reviewer: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        """Numbers for a manifest and a table; no text."""
        return {
            "reviewed": len(self.examples),
            "differing": len(self.differing),
            "by_reviewer": dict(self.by_reviewer),
            "lost": {reason: len(ids) for reason, ids in self.lost.items()},
            "agreement": self.agreement,
            "other_guideline": self.other_guideline,
        }


def readings_of_decisions(
    head: Head,
    decisions: Iterable[Decision],
    sentences: Mapping[str, Sentence],
    joined: Joined,
    *,
    types: Collection[str],
    guideline: str,
) -> Iterator[Reading]:
    """Those decisions that count. What is of another text, of none that is here, or has another type than `types` is
    `lost`. A skip is no reading. Those that were made under another guideline than that of this digest are counted."""
    for decision in latest(decisions).values():
        if decision.action == "skip":
            continue
        sentence = sentences.get(decision.id)
        if sentence is None:
            joined.lost["no such sentence"].append(decision.id)
        elif text_digest(sentence.text) != decision.text:
            joined.lost["the sentence has another text now"].append(decision.id)
        else:
            try:
                labels = labels_of(head, decision.spans, len(sentence.tokens))
            except ValueError as error:
                joined.lost[f"labels that cannot be: {error}"].append(decision.id)
                continue
            if strange := sorted({name for _, _, name in decision.spans} - set(types)):
                joined.lost[f"{strange[0]!r} is none of the types"].append(decision.id)
                continue
            joined.other_guideline += decision.guideline != guideline
            yield Reading(decision.id, decision.reviewer, labels)


def readings_of_examples(
    examples: Iterable[Example], reviewer: str, sentences: Mapping[str, Sentence], joined: Joined
) -> Iterator[Reading]:
    """What a file of another tool says: sentences are found by id, or by their text."""
    by_text = {sentence.text: sentence for sentence in sentences.values()}
    for example in examples:
        sentence = sentences.get(example.sentence.id)
        if sentence is None or sentence.text != example.sentence.text:
            sentence = by_text.get(example.sentence.text)
        if sentence is None:
            joined.lost["no such sentence"].append(example.sentence.id)
        elif sentence.tokens != example.sentence.tokens or example.unheld:
            joined.lost["entities that the tokens cannot hold"].append(example.sentence.id)
        else:
            yield Reading(sentence.id, reviewer, example.labels)


def join(
    head: Head,
    readings: Iterable[Reading],
    sentences: Mapping[str, Sentence],
    joined: Joined,
    *,
    prefer: str | None = None,
) -> Joined:
    """Sentences on which all who looked agree, or that `prefer` decided; the others are `differing`."""
    by_sentence: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for reading in readings:
        by_sentence[reading.id][reading.reviewer] = reading.labels
        joined.by_reviewer[reading.reviewer] += 1
    for id_, said in by_sentence.items():
        labels = said[prefer] if prefer in said else next(iter(said.values()))
        if prefer in said or len(set(said.values())) == 1:
            joined.examples.append(Example(sentences[id_], labels, "original"))
        else:
            joined.differing.append(_difference(head, sentences[id_], said))
    joined.examples.sort(key=lambda e: (e.sentence.document or "", e.sentence.index, e.sentence.id))
    joined.agreement = _agreement(head, by_sentence)
    return joined


def _difference(head: Head, sentence: Sentence, said: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    def places(labels: tuple[str, ...]) -> list[list[Any]]:
        offsets = sentence.offsets
        return [
            [None, None, name] if start is None or end is None else [offsets[start][0], offsets[end - 1][1], name]
            for start, end, name in marked_of(head, labels)
        ]

    return {
        "id": sentence.id,
        "document": sentence.document,
        "text": sentence.text,
        "said": {name: places(labels) for name, labels in said.items()},
    }


def _agreement(head: Head, by_sentence: Mapping[str, Mapping[str, tuple[str, ...]]]) -> list[dict[str, Any]]:
    people = sorted({name for said in by_sentence.values() for name in said})
    rows = []
    for one, other in combinations(people, 2):
        both = [(said[one], said[other]) for said in by_sentence.values() if one in said and other in said]
        if both:
            left, right = [pair[0] for pair in both], [pair[1] for pair in both]
            rows.append(
                {
                    "between": [one, other],
                    "sentences": len(both),
                    "identical": sum(a == b for a, b in both),
                    "f1": round(quick_f1(kind_of(head).metric, left, right), 4),
                    "kappa": _kappa(left, right),
                }
            )
    return rows


def _kappa(left: Sequence[tuple[str, ...]], right: Sequence[tuple[str, ...]]) -> float | None:
    """Cohen's kappa over single labels (of several classes a text: over whole sets); None if all are one label."""
    if all(len(a) == len(b) for a, b in zip(left, right, strict=True)):
        a, b = ([label for labels in side for label in labels] for side in (left, right))
    else:
        a, b = ([" ".join(sorted(labels)) for labels in side] for side in (left, right))
    if len({*a, *b}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return round(float(cohen_kappa_score(a, b)), 4)
