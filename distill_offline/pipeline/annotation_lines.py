"""Lines of annotations as they are compared with gold: what each says of its sentence, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.artifacts import read_rows
from distill_offline.bio import bridged, repair_iob2
from distill_offline.comparison import Given
from distill_offline.corpus.record import join_tokens
from distill_offline.corpus.standoff import carried_of, checked
from distill_offline.errors import InputError
from distill_offline.pipeline.inside_token import lost_inside_tokens
from distill_offline.quality import spans_of
from distill_offline.schema import Example, Head, Sentence
from distill_offline.scoring import unanswered
from distill_offline.visible import invisible, squeezed

__all__ = ["AnnotationLines", "sentence_of", "strays_in_words"]

_SHOWN = 5  # places


@dataclass(slots=True)
class AnnotationLines:
    """A file of annotations by sentence ids: each with its line, from 1. `strays` are places of stray tags."""

    file: Path
    head: Head
    given: dict[str, tuple[int, Given]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    mentions: int = 0

    @classmethod
    def read(cls, file: Path, head: Head) -> AnnotationLines:
        """Raises InputError with file and line for what is no line of annotations, and for an id that occurs twice."""
        lines = cls(file, head)
        for number, row in enumerate(read_rows(file), 1):
            id_, given, stray = _line(row, file, number, head)
            if id_ in lines.given:
                raise InputError(f"{file}:{number}: sentence {id_} occurs before, in line {lines.given[id_][0]}.")
            lines.given[id_] = number, given
            reasons = [str(each.get("reason")) for each in row.get("rejected") or () if isinstance(each, Mapping)]
            lines.rejected.update(reasons)
            lines.mentions += len(reasons) + len(given.spans or ())
            lines.strays += [f"{file}:{number}"] * stray
        return lines

    def answer(self, example: Example) -> Given:
        """What the file says of a gold sentence; no entity, or no class, where it says nothing.

        Raises InputError where the sentence of that id has another text here.
        """
        number, given = self.given.get(example.sentence.id, (0, None))
        if given is None:
            return Given(example.sentence, unanswered(self.head, len(example.labels)), ())
        same = given.sentence.tokens == example.sentence.tokens
        if not same and squeezed(given.sentence.text) != squeezed(example.sentence.text):
            raise InputError(
                f"{self.file}:{number}: sentence {example.sentence.id} has another text than in the gold file."
            )
        return given

    def warnings(self) -> tuple[str, ...]:
        """Lines on stray tags, and on mentions that no tokens hold."""
        lost = lost_inside_tokens(self.rejected["inside_token"], self.mentions)
        found = [strays_in_words(str(self.file), self.strays)] if self.strays else []
        return (*found, *([f"{self.file}: {lost}"] if lost else []))


def strays_in_words(path: str, places: Sequence[str]) -> str:
    """A line of warning on stray tags, with the first of their places."""
    shown = ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
    return (
        f"{path}: {len(places)} stray tags, which continue or close no entity of their type, are none, as strict "
        f"scoring has it ({shown})."
    )


def _line(row: Mapping[str, Any], file: Path, number: int, head: Head) -> tuple[str, Given, int]:
    """A sentence's id, what a line of annotations says of it, and how many of its tags are stray."""
    try:
        tokens, labels, masked = tuple(row["tokens"]), tuple(row["labels"]), tuple(carried_of(row).get("masked", ()))
        wanted, stray = len(tokens) if head == "token-classification" else 1, 0
        if len(labels) != wanted or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"`labels` are not {wanted} strings")
        if head == "token-classification":
            labels, positions = repair_iob2(bridged(labels, "iob2", invisible(tokens)))
            stray = len(positions)
        if any(token >= len(tokens) for token in masked):
            raise ValueError("`masked` names a token that is not there")
        given = Given(sentence_of(row, tokens), labels, tuple(map(checked, spans_of(row))), masked)
        return given.sentence.id, given, stray
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}:{number}: this is no line of annotations ({type(error).__name__}: {error})."
        ) from error


def sentence_of(row: Mapping[str, Any], tokens: tuple[str, ...]) -> Sentence:
    """The sentence of a line of annotations. Raises ValueError where its offsets do not lead to its tokens."""
    text, offsets = join_tokens(tokens)
    if row.get("text") is not None and row.get("offsets") is not None:
        text, offsets = str(row["text"]), tuple((start, end) for start, end in row["offsets"])
        if [text[start:end] for start, end in offsets] != list(tokens):
            raise ValueError("`offsets` do not lead to the tokens in `text`")
    return Sentence(str(row["id"]), "", 0, text, tokens, offsets)
