"""Several students that label together: what they say on average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from distill_offline.errors import InputError
from distill_offline.label_kinds import LabelKind
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.transitions import average_transitions
from distill_offline.schema import Head, Sentence
from distill_offline.student.labelling import LabelledText, label_texts
from distill_offline.student.model import Student

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Committee", "mean_scores"]


@dataclass(frozen=True, slots=True)
class Committee:
    """Two students or more with the same labels. It says what a student says, by the mean of their scores.

    Scores are logarithms, so that this is the geometric mean of what they hold probable: what one of them rules out
    stays unlikely. It takes as long as all of its students together.
    """

    students: tuple[Student, ...]

    @classmethod
    def load(cls, folders: Sequence[str | Path]) -> Self:
        """Trained students. Raises MissingModel for a folder without one, InputError if they cannot label together."""
        if isinstance(folders, str | Path) or len(folders) < 2:
            raise InputError(f"{folders!r}: give a list of two students' folders or more.")
        paths = [Path(folder) for folder in folders]
        if len({path.resolve() for path in paths}) < len(paths):
            raise InputError(f"{', '.join(map(str, paths))}: one student is named twice, and would count twice.")
        first, *others = students = tuple(Student.load(path) for path in paths)
        for path, other in zip(paths[1:], others, strict=True):
            if (other.head, sorted(other.labels), other.language) != (first.head, sorted(first.labels), first.language):
                raise InputError(
                    f"{path}: it cannot label together with {paths[0]}, a student of other labels or of text that is "
                    f"cut into other tokens ({_said(other)}; there {_said(first)})."
                )
        return cls(students)

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of each student."""
        return self.students[0].labels

    @property
    def head(self) -> Head:
        """That of each student."""
        return self.students[0].head

    @property
    def kind(self) -> LabelKind:
        """That of each student."""
        return self.students[0].kind

    @property
    def language(self) -> str | None:
        """By which raw text is cut into tokens."""
        return self.students[0].language

    @overload
    def label(self, texts: str) -> LabelledText: ...  # type: ignore[overload-overlap]  # a text is no list of letters
    @overload
    def label(self, texts: Iterable[str]) -> list[LabelledText]: ...
    def label(self, texts: str | Iterable[str]) -> LabelledText | list[LabelledText]:
        """What they say together of a text, or of each of many, as Student.label has it of one student."""
        return label_texts(self, [texts])[0] if isinstance(texts, str) else label_texts(self, texts)

    def scored(self, sentences: Sequence[Sentence]) -> list[Scored]:
        """The mean of the students' scores for each sentence's tokens, or for a whole text (mean_scores)."""
        return mean_scores([_ordered(student, self.labels, sentences) for student in self.students])


def mean_scores(said: Sequence[Sequence[Scored]]) -> list[Scored]:
    """What students of the same labels say together of each sentence; `said` has for each student all sentences.

    A token in which some tokenizers see nothing has the mean of the others. Transitions are averaged, too; a student
    without any counts as one that prefers none.
    """
    transitions = average_transitions([sentences[0].transitions for sentences in said]) if said[0] else None
    return [_mean(each, transitions) for each in zip(*said, strict=True)]


def _ordered(student: Student, labels: Sequence[str], sentences: Sequence[Sentence]) -> list[Scored]:
    """What the student says, its labels in the order of `labels`."""
    said = student.scored(sentences)
    if tuple(labels) == student.labels:
        return said
    columns = [student.labels.index(label) for label in labels]
    table = student.transitions
    transitions = None if table is None else table[[*columns, len(columns)]][:, columns]  # the last row: a beginning
    return [replace(each, scores=each.scores[:, columns], transitions=transitions) for each in said]


def _mean(said: Sequence[Scored], transitions: NDArray[np.float64] | None) -> Scored:
    import numpy as np

    seen = np.unique(np.concatenate([each.seen for each in said]))
    total = np.zeros((len(seen), said[0].scores.shape[1]), np.float32)
    votes = np.zeros((len(seen), 1), np.float32)
    for each in said:
        places = np.searchsorted(seen, each.seen)
        total[places] += each.scores
        votes[places] += 1
    return replace(said[0], scores=total / votes, seen=seen, transitions=transitions)


def _said(student: Student) -> str:
    return f"{student.head} of {', '.join(student.labels)}, language {student.language or 'none'}"
