"""select.doubtful: relabel: doubtful labels take those of students that never saw them; all of it counted and told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import sentence
from tiny_training import training_settings

from distill_offline import pipeline
from distill_offline.annotations import AnnotationLine, read_lines
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import CrossFitSettings, SelectSettings
from distill_offline.errors import ConfigError, InputError
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Span
from distill_offline.select.rules import select
from distill_offline.spans.bio import decode_bio, encode_bio, to_iob2
from distill_offline.storage.files import write_rows

RELABEL = SelectSettings(min_confidence=0.5, doubtful="relabel", cross_fit=CrossFitSettings())


def line(
    teacher: list[Span], students: list[Span] | None, text: str = "a b c d e f", *, none: float | None = 0.5
) -> AnnotationLine:
    given, no_entity = sentence(text), None if none is None or students is None else (none,) * len(teacher)
    said = None if students is None else tuple(replace(span, alignment="students") for span in students)
    tags = encode_bio(teacher, len(given.tokens))
    return AnnotationLine(given, tags, tuple(teacher), by_students=said, no_entity=no_entity)


def learnt(given: AnnotationLine, chosen: SelectSettings = RELABEL) -> tuple[AnnotationLine, dict[str, int]]:
    counts = Counter[str]()
    (found,) = select(lambda: [given], chosen, (), counts)
    return found, {key: n for key, n in counts.items() if n and key not in ("seen", "kept")}


def test_a_doubtful_span_takes_the_students_borders_and_type_with_their_probability() -> None:
    found, counts = learnt(line([Span(0, 1, "PER", 0.9), Span(2, 3, "ORG", 0.1)], [Span(2, 4, "LOC", 0.8)]))
    assert found.labels == ("B-PER", "O", "B-LOC", "I-LOC", "O", "O")
    assert found.spans == (Span(0, 1, "PER", 0.9), Span(2, 4, "LOC", 0.8, "students"))
    assert (found.beside.relabelled, found.beside.masked, found.by_students) == ((2, 3), (), None)
    assert counts == {"spans_relabelled": 1, "sentences_relabelled": 1}


def test_if_students_are_sure_of_nothing_it_is_no_entity() -> None:
    found, counts = learnt(line([Span(2, 4, "ORG", 0.1)], []))
    assert set(found.labels) == {"O"}
    assert (found.spans, found.beside.relabelled) == ((), (2, 3))
    assert counts == {"spans_relabelled": 1, "sentences_relabelled": 1}


@pytest.mark.parametrize("none", [0.49, None], ids=["less than even", "not said"])
def test_if_students_find_nothing_and_are_not_sure_of_it_it_is_masked(none: float | None) -> None:
    found, counts = learnt(line([Span(0, 1, "PER", 0.9), Span(2, 4, "ORG", 0.1)], [], none=none))
    assert found.spans == (Span(0, 1, "PER", 0.9),)
    assert (found.beside.masked, found.beside.relabelled, found.no_entity) == ((2, 3), (), None)
    assert counts == {"spans_masked": 1, "tokens_masked": 2}


def test_each_span_has_its_own_number() -> None:
    given = replace(line([Span(0, 1, "PER", 0.1), Span(2, 4, "ORG", 0.1)], []), no_entity=(0.2, 0.8))
    found, _ = learnt(given)
    assert (found.beside.masked, found.beside.relabelled) == ((0,), (2, 3))


def test_what_students_find_just_so_stays() -> None:
    found, counts = learnt(line([Span(2, 4, "ORG", 0.1)], [Span(2, 4, "ORG", 0.3)]))
    assert found.spans == (Span(2, 4, "ORG", 0.1),)
    assert found.beside.relabelled == ()
    assert counts == {"spans_confirmed": 1}


@pytest.mark.parametrize(
    "students",
    [[Span(2, 4, "LOC", 0.4)], [Span(1, 4, "LOC", 0.9)], None],
    ids=["unsure themselves", "over a span that is trusted", "not asked"],
)
def test_where_students_cannot_say_it_is_masked(students: list[Span] | None) -> None:
    found, counts = learnt(line([Span(0, 2, "PER", 0.9), Span(2, 3, "ORG", 0.1)], students))
    assert found.spans == (Span(0, 2, "PER", 0.9),)
    assert (found.beside.masked, found.beside.relabelled) == ((2,), ())
    assert counts == {"spans_masked": 1, "tokens_masked": 1}


def test_an_entity_that_the_teacher_missed_is_added_instead_of_costing_the_sentence() -> None:
    given = line([Span(0, 1, "PER", 0.9)], [Span(0, 2, "PER", 0.99), Span(4, 5, "LOC", 0.95)])
    given = replace(given, beside=given.beside.with_(missed=0.97))
    chosen = replace(RELABEL, max_missed=0.9)
    found, counts = learnt(given, chosen)
    assert found.spans == (Span(0, 1, "PER", 0.9), Span(4, 5, "LOC", 0.95, "students"))
    assert found.beside.relabelled == (4,)
    assert counts == {"spans_added": 1, "sentences_relabelled": 1}
    counted = Counter[str]()
    assert list(select(lambda: [replace(given, by_students=())], chosen, (), counted)) == []
    assert counted["probably_missed_an_entity"] == 1


def test_students_labels_do_not_count_where_nobody_asked_for_them() -> None:
    given = line([Span(2, 3, "ORG", 0.1)], [Span(2, 4, "LOC", 0.9)])
    found, counts = learnt(given, replace(RELABEL, doubtful="mask"))
    assert (found.spans, found.by_students) == ((), None)
    assert counts == {"spans_masked": 1, "tokens_masked": 1}


tags = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(tags, tags, st.lists(st.floats(0, 1), min_size=12, max_size=12), st.sampled_from([0.6, 1.0]))
def test_whatever_both_say_labels_and_spans_agree(
    teacher: list[str], students: list[str], sure: list[float], max_missed: float
) -> None:
    confidences = iter(sure)
    spans = [
        [replace(span, confidence=next(confidences)) for span in decode_bio(to_iob2(said, "iob1"))]
        for said in (teacher, students)
    ]
    given = line(spans[0], spans[1])
    found, counts = learnt(given, replace(RELABEL, max_missed=max_missed))
    assert encode_bio(found.spans, 6) == found.labels
    doubtful = [span for span in spans[0] if (span.confidence or 0) < 0.5]
    handled = (counts.get(f"spans_{what}", 0) for what in ("confirmed", "relabelled", "masked"))
    assert sum(handled) == len(doubtful)
    assert set(spans[0]) - set(doubtful) <= set(found.spans)
    changed = {n for n in range(6) if found.labels[n] != given.labels[n]}
    assert changed <= {*found.beside.relabelled, *found.beside.masked}
    assert not set(found.beside.relabelled) & set(found.beside.masked)


def test_it_needs_cross_fit() -> None:
    row = {"name": "x", "task": {"types": {"X": "x"}}, "select": {"doubtful": "relabel"}}
    with pytest.raises(ConfigError, match=r"doubtful: relabel takes the labels of students; it needs cross_fit"):
        parse_settings(row, "test")


def test_a_run_relabels_and_its_rows_say_where(encoder: Path, tmp_path: Path) -> None:
    crossing = CrossFitSettings(folds=3, updates=12, batch_size=4, learning_rate=1e-2)
    chosen = SelectSettings(min_confidence=0.5, doubtful="relabel", cross_fit=crossing)
    run = replace(training_settings(encoder, arms=[{"name": "union"}], updates=2), select=chosen)
    folder = RunFolder(tmp_path, run)
    folder.open()
    counts: dict[str, Any] = dict(pipeline.select(folder))
    crossed = {
        row.sentence.id: row for row in read_lines(tmp_path / "cross_fit/annotations.jsonl", "token-classification")
    }
    selected = list(read_lines(tmp_path / "select/annotations.jsonl", "token-classification"))
    assert all(row.by_students is not None for row in crossed.values())
    assert all(len(row.no_entity or ()) == len(row.spans) for row in crossed.values())
    assert all(row.by_students is None and row.no_entity is None for row in selected)
    changed = [row for row in selected if row.beside.relabelled]
    assert counts["sentences_relabelled"] == len(changed) > 0
    for row in changed:
        before = crossed[row.sentence.id]
        assert all(row.labels[n] != before.labels[n] for n in row.beside.relabelled)
        assert {span for span in row.spans if span.alignment == "students"} <= set(before.by_students or ())
    doubted = sum((span.confidence or 0) < 0.5 for row in crossed.values() for span in row.spans)
    assert sum(counts.get(f"spans_{what}", 0) for what in ("relabelled", "confirmed", "masked")) == doubted


@pytest.mark.parametrize("value", [[0.5], [0.5, 1.5], [0.5, True], "many"])
def test_rows_whose_no_entity_fits_no_spans_are_told_by_line(tmp_path: Path, value: object) -> None:
    row = json.loads(line([Span(0, 1, "X", 0.5), Span(2, 3, "X", 0.5)], [], none=0.25).as_line())
    assert row["no_entity"] == [0.25, 0.25]
    file = tmp_path / "rows.jsonl"
    write_rows(file, [row])
    (found,) = read_lines(file, "token-classification")
    assert found.no_entity == (0.25, 0.25)
    write_rows(file, [{**row, "no_entity": value}])
    with pytest.raises(InputError, match=r"rows.jsonl:1: .*`no_entity` must be a list of 2 numbers"):
        list(read_lines(file, "token-classification"))


def test_rows_of_students_that_are_no_spans_are_told_by_line(tmp_path: Path) -> None:
    row = line([], [Span(0, 2, "X", 0.5)]).as_line()
    (tmp_path / "good.jsonl").write_text(row)
    (found,) = read_lines(tmp_path / "good.jsonl", "token-classification")
    assert found.by_students == (Span(0, 2, "X", 0.5, "students"),)
    (tmp_path / "bad.jsonl").write_text(row.replace('"end":2', '"end":9').replace('"end": 2', '"end": 9'))
    with pytest.raises(InputError, match=r"bad.jsonl:1: .*`students` must be spans of its tokens"):
        list(read_lines(tmp_path / "bad.jsonl", "token-classification"))
