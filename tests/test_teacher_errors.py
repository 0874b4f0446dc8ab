"""Which of the teacher's errors a student keeps."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sentences import example

from distill_offline.schema import Head, Span
from distill_offline.scoring.metrics import score
from distill_offline.spans.bio import encode_bio, unmasked
from distill_offline.study.examine.teacher_errors import TeacherErrors, teacher_errors

TOKENS: Head = "token-classification"


def judged(teacher: str, gold: str, student: str) -> TeacherErrors:
    """Each argument is a sentence of tagged words."""
    return teacher_errors(TOKENS, [example(teacher)], [example(gold).labels], [example(student).labels])


@pytest.mark.parametrize(
    ("teacher", "gold", "kind", "answers"),
    [
        ("a b c", "a b/B-PER c", "missed", ("a b c", "a b/B-PER c", "a b/B-LOC c")),
        ("a b/B-PER c", "a b c", "spurious", ("a b/B-PER c", "a b c", "a b/B-PER c/I-PER")),
        ("a b/B-LOC c", "a b/B-PER c", "wrong_type", ("a b/B-LOC c", "a b/B-PER c", "a b c")),
        ("a/B-PER b c", "a/B-PER b/I-PER c", "wrong_boundary", ("a/B-PER b c", "a/B-PER b/I-PER c", "a b/B-PER c")),
    ],
)
def test_an_error_is_repeated_corrected_or_replaced(
    teacher: str, gold: str, kind: str, answers: tuple[str, str, str]
) -> None:
    for fate, student in zip(("repeated", "corrected", "replaced"), answers, strict=True):
        found = judged(teacher, gold, student)
        assert {name: sum(fates.values()) for name, fates in found.kinds.items() if any(fates.values())} == {kind: 1}
        assert found.kinds[kind][fate] == 1


def test_an_entity_split_in_two_is_repeated_only_whole() -> None:
    teacher, gold = "a/B-PER b c/B-PER", "a/B-PER b/I-PER c/I-PER"
    assert judged(teacher, gold, teacher).kinds["wrong_boundary"]["repeated"] == 1
    assert judged(teacher, gold, "a/B-PER b c").kinds["wrong_boundary"]["replaced"] == 1
    assert judged(teacher, gold, gold).kinds["wrong_boundary"]["corrected"] == 1


def test_where_the_teacher_is_right_the_student_may_be_wrong() -> None:
    found = judged("a/B-PER b/B-LOC c d", "a/B-PER b/B-LOC c d", "a/B-PER b/B-ORG c d/B-PER")
    assert (found.kept, found.lost, found.invented) == (1, 1, 1)
    assert not any(any(fates.values()) for fates in found.kinds.values())


def test_entities_on_masked_tokens_count_for_nobody() -> None:
    teacher = replace(example("a b c/B-PER d"), masked=(0, 1))
    gold, student = example("a b/B-LOC c/B-PER d").labels, example("a/B-LOC b c/B-PER d").labels
    found = teacher_errors(TOKENS, [teacher], [gold], [student])
    assert (found.kept, found.lost, found.invented) == (1, 0, 0)
    assert not any(any(fates.values()) for fates in found.kinds.values())
    assert unmasked(tuple(gold), teacher.masked) == example("a b c/B-PER d").labels


def test_a_wrong_class_is_a_kind_of_its_own() -> None:
    teacher = [replace(example("x"), labels=(label,)) for label in ("sport", "sport", "sport", "tech")]
    gold, student = ("tech", "tech", "tech", "tech"), ("sport", "tech", "art", "art")
    found = teacher_errors("sequence-classification", teacher, [(g,) for g in gold], [(s,) for s in student])
    assert found == TeacherErrors({"wrong_class": {"repeated": 1, "replaced": 1, "corrected": 1}}, 0, 1, 0)


def test_kinds_are_those_of_scoring_and_every_error_has_one_fate() -> None:
    draw = random.Random(1)

    def labels() -> tuple[str, ...]:
        spans, at = [], draw.randrange(3)
        while at < 8:
            end = min(8, at + draw.randrange(1, 4))
            spans.append(Span(at, end, draw.choice(["PER", "LOC"])))
            at = end + draw.randrange(3)
        return encode_bio(spans, 8)

    gold, taught, said = ([labels() for _ in range(200)] for _ in range(3))
    teacher = [replace(example("a b c d e f g h"), labels=each) for each in taught]
    found = teacher_errors(TOKENS, teacher, gold, said)
    assert {kind: sum(fates.values()) for kind, fates in found.kinds.items()} == score(
        "entity_f1", gold, taught, on=""
    ).errors
    assert all(
        count for fates in teacher_errors(TOKENS, teacher, gold, taught).kinds.values() for count in [fates["repeated"]]
    )
    perfect = teacher_errors(TOKENS, teacher, gold, gold)
    assert (perfect.lost, perfect.invented) == (0, 0)
    assert all(fates["repeated"] == fates["replaced"] == 0 for fates in perfect.kinds.values())
