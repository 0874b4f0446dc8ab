"""Which lines of several teachers are about the same sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from distill_offline.annotations import AnnotationLine
from distill_offline.schema import Sentence

__all__ = ["Given", "same_sentences"]

Given = tuple[Sentence, Mapping[str, AnnotationLine]]  # a sentence, and what each teacher says of it


def same_sentences(said: Mapping[str, Sequence[AnnotationLine]]) -> list[Given]:
    """Each sentence that any teacher labelled, with the line of each one who did.

    Sentences are the same if they have the same tokens. Of several alike those with the same id go together, then the
    first with the first. They come in the order of the first teacher, then in that of the next, with the id of whoever
    comes first. Raises ValueError if one id stands for two sentences.
    """
    found: list[tuple[Sentence, dict[str, AnnotationLine]]] = []
    alike: dict[tuple[str, ...], list[int]] = {}  # the numbers of those in `found` with these tokens
    for teacher, lines in said.items():
        for line, place in zip(lines, _places(lines, found, alike), strict=True):
            if place is None:
                alike.setdefault(line.sentence.tokens, []).append(len(found))
                found.append((line.sentence, {teacher: line}))
            else:
                found[place][1][teacher] = line
    _check_ids(sentence for sentence, _ in found)
    return list(found)


def _places(
    lines: Sequence[AnnotationLine],
    found: Sequence[tuple[Sentence, Mapping[str, AnnotationLine]]],
    alike: Mapping[tuple[str, ...], Sequence[int]],
) -> list[int | None]:
    """For each of a teacher's lines the number of its sentence in `found`; None if it is not there yet."""
    free = {tokens: list(numbers) for tokens, numbers in alike.items()}
    places: list[int | None] = [None] * len(lines)
    for by_id in (True, False):
        for position, line in enumerate(lines):
            left = free.get(line.sentence.tokens)
            if places[position] is not None or not left:
                continue
            fitting = [number for number in left if not by_id or found[number][0].id == line.sentence.id]
            if fitting:
                places[position] = fitting[0]
                left.remove(fitting[0])
    return places


def _check_ids(sentences: Iterable[Sentence]) -> None:
    """Raises ValueError if one id stands for two sentences."""
    texts: dict[str, Sentence] = {}
    for sentence in sentences:
        other = texts.setdefault(sentence.id, sentence)
        if other is not sentence and other.tokens != sentence.tokens:
            what = "is cut into other tokens" if other.text == sentence.text else "has another text"
            raise ValueError(
                f"sentence {sentence.id} {what} for one teacher than for another. Use labels of one corpus"
            )
