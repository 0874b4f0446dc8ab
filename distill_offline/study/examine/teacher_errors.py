"""Which of the teacher's errors a student keeps, by kind; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from distill_offline.label_kinds import kind_of
from distill_offline.schema import Example, Head
from distill_offline.scoring.mistakes import KINDS, Entity, mistakes
from distill_offline.spans.bio import decode_bio, unmasked

__all__ = ["FATES", "WRONG_CLASS", "TeacherErrors", "teacher_errors"]

FATES = ("repeated", "replaced", "corrected")
WRONG_CLASS = "wrong_class"


@dataclass(frozen=True, slots=True)
class TeacherErrors:
    """Counts. `kinds`: of each kind of error (scoring's), what became of it.

    `repeated`: the student says of the place what the teacher says; `corrected`: what gold says; `replaced`: something
    else. A place are the tokens that the mistake covers, with all entities that touch them. Of the teacher's right
    entities (or classes), the student has those `kept` and not those `lost`; `invented` are entities of its own where
    neither the teacher nor gold has any.
    """

    kinds: Mapping[str, Mapping[str, int]]
    kept: int
    lost: int
    invented: int


def teacher_errors(
    head: Head, examples: Sequence[Example], gold: Iterable[Sequence[str]], student: Iterable[Sequence[str]]
) -> TeacherErrors:
    """The student's labels compared with the teacher's (the examples') where gold says whether these are right.

    Entities that touch a masked token count for nobody: no loss was taken there.
    """
    per_token = kind_of(head).per_token
    kinds = KINDS if per_token else (WRONG_CLASS,)
    fates = {kind: Counter(dict.fromkeys(FATES, 0)) for kind in kinds}
    counts = Counter[str]()
    for example, true, answered in zip(examples, gold, student, strict=True):
        if not per_token:
            _judge_classes(example.labels, true, answered, fates[WRONG_CLASS], counts)
            continue
        teacher, right, learnt = (
            _entities(unmasked(tuple(labels), example.masked)) for labels in (example.labels, true, answered)
        )
        for mistake in mistakes(right, teacher):
            taught, wanted, said = (_touching(entities, *mistake.tokens) for entities in (teacher, right, learnt))
            fate = "repeated" if said == taught else "corrected" if said == wanted else "replaced"
            fates[mistake.kind][fate] += 1
        counts["kept"] += len(right & teacher & learnt)
        counts["lost"] += len(right & teacher - learnt)
        counts["invented"] += sum(not _touching(right | teacher, start, end) for start, end, _ in learnt)
    return TeacherErrors(
        {kind: dict(fate) for kind, fate in fates.items()}, counts["kept"], counts["lost"], counts["invented"]
    )


def _judge_classes(
    teacher: Sequence[str], true: Sequence[str], answered: Sequence[str], fates: Counter[str], counts: Counter[str]
) -> None:
    taught, right, said = (frozenset(labels) for labels in (teacher, true, answered))
    if taught == right:
        counts["kept" if said == right else "lost"] += 1
    else:
        fates["repeated" if said == taught else "corrected" if said == right else "replaced"] += 1


def _entities(labels: Sequence[str]) -> set[Entity]:
    return {(span.start, span.end, span.type) for span in decode_bio(labels)}


def _touching(entities: Iterable[Entity], start: int, end: int) -> set[Entity]:
    return {entity for entity in entities if entity[0] < end and start < entity[1]}
