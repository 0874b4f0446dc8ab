"""predictions.jsonl: what gold, the teacher and each student say of every sentence that was scored; without its text.

A line has the sentence's `id` and `document`, and readings of it: `gold`, `teacher` (null if it gave no answer, or if
it read another text) and `students` by name. A reading is a list of `[start, end, type, confidence]`, in characters of
the text; what is said of a whole text has null for both ends. A confidence that nobody gave is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_offline.label_kinds import kind_of
from distill_offline.label_kinds.decoding import Scored
from distill_offline.schema import Example, Head, Sentence, Span
from distill_offline.scoring.comparison import LabelledSentence
from distill_offline.spans.bio import decode_bio

__all__ = ["PREDICTIONS", "StudentLabels", "prediction_rows"]

PREDICTIONS = "predictions.jsonl"

Reading = list[list[Any]]


@dataclass(frozen=True, slots=True)
class StudentLabels:
    """What a student says: its label `names`, the scores of each sentence, and the labels that follow from them."""

    names: Sequence[str]
    scored: Sequence[Scored]
    labels: Sequence[tuple[str, ...]]


def prediction_rows(
    head: Head,
    examples: Sequence[Example],
    teacher: Sequence[LabelledSentence | None] | None,
    students: Mapping[str, StudentLabels],
) -> Iterator[dict[str, Any]]:
    """The lines of predictions.jsonl, in the order of `examples`; `teacher` and the students' labels are parallel."""
    readings = {name: _student_readings(head, examples, labels) for name, labels in students.items()}
    for number, example in enumerate(examples):
        answer = teacher[number] if teacher is not None else None
        yield {
            "id": example.sentence.id,
            "document": example.sentence.document,
            "gold": _reading(head, example.sentence, example.labels) + [_row(span) for span in example.unheld],
            "teacher": None if answer is None else _teacher_reading(head, example.sentence, answer),
            "students": {name: of_student[number] for name, of_student in readings.items()},
        }


def _student_readings(head: Head, examples: Sequence[Example], student: StudentLabels) -> list[Reading]:
    gold = [example.labels for example in examples]
    sure = iter(kind_of(head).confidences(student.scored, student.names, student.labels, gold))
    result = []
    for example, labels in zip(examples, student.labels, strict=True):
        reading = _reading(head, example.sentence, labels)
        result.append([[*entry[:3], round(next(sure)[0], 4)] for entry in reading])
    return result


def _teacher_reading(head: Head, sentence: Sentence, answer: LabelledSentence) -> Reading | None:
    """None if the teacher read a text with other characters, in which places are others."""
    if answer.sentence.text != sentence.text:
        return None
    if not kind_of(head).per_token or answer.spans is None:
        return _reading(head, answer.sentence, answer.labels)
    return [_row(span, answer.sentence) for span in answer.spans]


def _reading(head: Head, sentence: Sentence, labels: Sequence[str]) -> Reading:
    kind = kind_of(head)
    if not kind.per_token:
        return [[None, None, name, None] for name in kind.places(labels).values()]
    return [_row(span, sentence) for span in decode_bio(labels)]


def _row(span: Span, sentence: Sentence | None = None) -> list[Any]:
    """`[start, end, type, confidence]`; a span of a sentence is in tokens, any other in characters."""
    start, end = span.start, span.end
    if sentence is not None:
        start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
    return [start, end, span.type, None if span.confidence is None else round(span.confidence, 4)]
