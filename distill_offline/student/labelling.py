"""Labels of a student for texts at hand: entities with their places in the text, or a class, and how sure it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from distill_offline.corpus.languages import tokeniser
from distill_offline.corpus.plain_text import sentences_of
from distill_offline.errors import InputError
from distill_offline.label_kinds import LabelKind
from distill_offline.label_kinds.decoding import Distribution, Scored, distributions
from distill_offline.schema import Sentence, Span
from distill_offline.spans.bio import decode_bio

__all__ = ["Entity", "LabelledText", "label_texts", "sure_spans"]

Classes = tuple[tuple[str, float], ...]
_CHUNK = 2048  # sentences labelled at once, as predict does


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity: `text[start:end]` is what stands there, counted in characters.

    `confidence` is the probability, 0 to 1, of just these borders and this type, as the student sees it.
    """

    start: int
    end: int
    text: str
    type: str
    confidence: float


@dataclass(frozen=True, slots=True)
class LabelledText:
    """What a student says of a text: its `entities` in order; or its `classes`, each with how probable it is.

    A student of entities gives no classes, and one of classes no entities.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    classes: Classes = ()

    @property
    def label(self) -> str | None:
        """The class, the first if there are several; None if there is none."""
        return self.classes[0][0] if self.classes else None

    @property
    def probability(self) -> float | None:
        """How probable `label` is, 0 to 1."""
        return self.classes[0][1] if self.classes else None


class _Student(Protocol):
    @property
    def kind(self) -> LabelKind: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def language(self) -> str | None: ...
    def scored(self, sentences: Sequence[Sentence]) -> list[Scored]: ...


def label_texts(student: _Student, texts: Iterable[str]) -> list[LabelledText]:
    """What the student says of each text, in order: as predict says it of a file with that text.

    A text is cut into sentences and tokens as the corpus was that the student learnt from; a student of classes labels
    it as a whole. Raises InputError for what is no text, and where a text without any token is to have a class.
    """
    kept: list[str] = []
    entities: dict[int, list[Entity]] = defaultdict(list)
    classes: dict[int, Classes] = {}
    sentences = _sentences(student, texts, kept)
    while chunk := list(islice(sentences, _CHUNK)):
        scored = student.scored([sentence for _, _, sentence in chunk])  # for both: what it says, and how sure it is
        said = student.kind.decide(scored, student.labels)
        if not student.kind.per_token:
            sure = (confidence for confidence, _ in student.kind.confidences(scored, student.labels, said, said))
            for (number, _, _), labels in zip(chunk, said, strict=True):
                classes[number] = tuple((label, next(sure)) for label in labels)
            continue
        for (number, start, sentence), spans in zip(chunk, sure_spans(scored, student.labels, said), strict=True):
            entities[number] += [_entity(sentence, span, start) for span in spans]
    return [LabelledText(text, tuple(entities[n]), classes.get(n, ())) for n, text in enumerate(kept)]


def _sentences(student: _Student, texts: Iterable[str], kept: list[str]) -> Iterator[tuple[int, int, Sentence]]:
    """(number of the text, where the sentence begins in it, the sentence); `kept` gains the texts."""
    tokenise = tokeniser(student.language)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is no string but {type(text).__name__}.")
        kept.append(text)
        start = None
        for start, sentence in sentences_of(text, str(number), student.kind.head, tokenise):
            yield number, start, sentence
        if start is None and not student.kind.per_token:
            raise InputError(f"text {number} is empty: it has no class. Leave it out.")


def sure_spans(
    scored: Sequence[Scored], names: Sequence[str], said: Sequence[Sequence[str]]
) -> Iterator[tuple[Span, ...]]:
    """The spans, in tokens, that the labels of each sentence make, with the student's probability of each."""
    for labels, distribution in zip(said, distributions(scored, names), strict=True):
        yield tuple(
            replace(span, confidence=_confidence(span, distribution), alignment="tags") for span in decode_bio(labels)
        )


def _confidence(span: Span, distribution: Distribution) -> float:
    if f"B-{span.type}" in distribution.labels:
        return distribution.of(span)
    # A head that knows no borders between entities: that all of it is inside.
    return float(distribution.of_tokens()[span.start : span.end, distribution.labels.index(f"I-{span.type}")].prod())


def _entity(sentence: Sentence, span: Span, begins: int) -> Entity:
    start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
    assert span.confidence is not None
    return Entity(begins + start, begins + end, sentence.text[start:end], span.type, span.confidence)
