"""Lines of annotations as they are compared with gold: what each says of its sentence, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill_offline.annotations import read_lines
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Example, Head
from distill_offline.scoring.comparison import LabelledSentence
from distill_offline.spans.inside_token import lost_inside_tokens
from distill_offline.text.visible import squeezed

__all__ = ["AnnotationLines", "strays_in_words"]

_SHOWN = 5  # places


@dataclass(slots=True)
class AnnotationLines:
    """A file of annotations by sentence ids: each with its line, from 1. `strays` are places of stray tags."""

    file: Path
    head: Head
    answers: dict[str, tuple[int, LabelledSentence]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    mentions: int = 0

    @classmethod
    def read(cls, file: Path, head: Head) -> AnnotationLines:
        """Raises InputError with file and line for what is no line of annotations, and for an id that occurs twice."""
        lines = cls(file, head)
        for number, line in enumerate(read_lines(file, head), 1):
            id_ = line.sentence.id
            if id_ in lines.answers:
                raise InputError(f"{file}:{number}: sentence {id_} occurs before, in line {lines.answers[id_][0]}.")
            lines.answers[id_] = number, LabelledSentence(line.sentence, line.labels, line.spans, line.beside.masked)
            lines.rejected.update(rejection.reason for rejection in line.rejected)
            lines.mentions += len(line.rejected) + len(line.spans)
            lines.strays += [f"{file}:{number}"] * line.strays
        return lines

    def answer(self, example: Example) -> LabelledSentence:
        """What the file says of a gold sentence; no entity, or no class, where it says nothing.

        Raises InputError if the sentence of that id has another text here.
        """
        number, answer = self.answers.get(example.sentence.id, (0, None))
        if answer is None:
            return LabelledSentence(example.sentence, kind_of(self.head).unanswered(len(example.labels)), ())
        same = answer.sentence.tokens == example.sentence.tokens
        if not same and squeezed(answer.sentence.text) != squeezed(example.sentence.text):
            raise InputError(
                f"{self.file}:{number}: sentence {example.sentence.id} has another text than in the gold file."
            )
        return answer

    def warnings(self) -> tuple[str, ...]:
        """Lines on stray tags, and on mentions that no tokens hold."""
        lost = lost_inside_tokens(self.rejected["inside_token"], self.mentions)
        warnings = [strays_in_words(str(self.file), self.strays)] if self.strays else []
        return (*warnings, *([f"{self.file}: {lost}"] if lost else []))


def strays_in_words(path: str, places: Sequence[str]) -> str:
    """A line of warning on stray tags, with the first of their places."""
    shown = ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
    return (
        f"{path}: {len(places)} stray tags, which continue or close no entity of their type, are none, as strict "
        f"scoring has it ({shown})."
    )
