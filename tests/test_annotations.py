"""The line of annotations.jsonl: its bytes, what is read of it, and what is refused with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.annotations import AnnotationLine, LineValues, read_lines, write_lines
from distill_offline.errors import InputError
from distill_offline.schema import Annotation, Head, Rejection, Sentence, Span
from distill_offline.spans.bio import encode_bio
from distill_offline.storage.files import json_line

TOKENS: Head = "token-classification"
TEXTS: Head = "sequence-classification"
# As earlier versions wrote them: what stands beside the labels comes in the order in which stages added it.
ROW: dict[str, Any] = {
    "id": "d:3",
    "document": "d",
    "index": 3,
    "text": "in  Ulm née \ud800",
    "tokens": ["in", "Ulm", "née", "\ud800"],
    "offsets": [[0, 2], [4, 7], [8, 11], [12, 13]],
    "labels": ["O", "B-LOC", "I-LOC", "O"],
    "spans": [{"start": 1, "end": 3, "type": "LOC", "confidence": 0.30000000000000004, "alignment": "fuzzy"}],
    "rejected": [{"mention": "Bonn", "reason": "not_in_text"}],
}
SPAN = ROW["spans"][0]
CLASS = {**ROW, "labels": ["sport"], "spans": [], "rejected": []}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(map(json_line, rows)))
    return path


@pytest.mark.parametrize(
    "rows",
    [
        [ROW],
        [{**ROW, "spans": [{**SPAN, "agreement": 1.0}], "missed": 0.5}],
        [{**ROW, "masked": [0, 3], "weight": 1}],
        [{**ROW, "weight": 0.25, "masked": [0], "missed": 0.0}],
        [{**ROW, "labels": ["O"] * 4, "spans": [], "rejected": []}, {**ROW, "spans": [{**SPAN, "confidence": None}]}],
    ],
)
def test_a_file_that_is_read_and_written_again_keeps_its_bytes(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    file = written(tmp_path / "in.jsonl", *rows)
    assert write_lines(tmp_path / "out.jsonl", read_lines(file, TOKENS)) == len(rows)
    assert (tmp_path / "out.jsonl").read_bytes() == file.read_bytes()
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_class_keeps_its_numbers_in_their_order(tmp_path: Path) -> None:
    file = written(tmp_path / "in.jsonl", {**CLASS, "agreement": 0.5, "weight": 2, "confidence": 0.5})
    write_lines(tmp_path / "out.jsonl", read_lines(file, TEXTS))
    assert (tmp_path / "out.jsonl").read_bytes() == file.read_bytes()


def test_what_a_stage_adds_stands_behind_what_was_there() -> None:
    beside = LineValues(weight=0.5).with_(masked=(1,), missed=0.25).with_(weight=0.75)
    assert list(beside.as_dict().items()) == [("weight", 0.75), ("masked", (1,)), ("missed", 0.25)]
    assert beside == LineValues(weight=0.75, masked=(1,), missed=0.25)


def test_a_line_of_an_annotation_says_what_it_says() -> None:
    sentence = Sentence("a", "d", 0, "Ulm", ("Ulm",), ((0, 3),))
    one = AnnotationLine.of(sentence, Annotation("a", ("x",), confidence=0.5, agreement=0.75))
    assert json.loads(one.as_line()) == {
        "id": "a", "document": "d", "index": 0, "text": "Ulm", "tokens": ["Ulm"], "offsets": [[0, 3]], "labels": ["x"],
        "spans": [], "rejected": [], "confidence": 0.5, "agreement": 0.75,
    }  # fmt: skip
    assert one.confidence == 0.5


def test_spans_are_read_from_a_line_of_annotations_whatever_else_it_says(tmp_path: Path) -> None:
    more = {**SPAN, "agreement": 1.0, "note": "seen"}
    (line,) = read_lines(written(tmp_path / "a.jsonl", {**ROW, "spans": [more], "note": "seen"}), TOKENS)
    assert line.spans == (Span(1, 3, "LOC", 0.30000000000000004, "fuzzy", 1.0),)
    assert line.rejected == (Rejection("Bonn", "not_in_text"),)
    bare = {"start": 1, "end": 3, "type": "LOC"}
    (line,) = read_lines(written(tmp_path / "a.jsonl", {**ROW, "spans": [bare]}), TOKENS)
    assert line.spans == (Span(1, 3, "LOC", None, "tags"),)


def test_a_line_of_tokens_and_tags_alone_has_a_text_and_the_spans_of_its_tags(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", {"id": 7, "tokens": ["in", "Ulm"], "labels": ["O", "B-LOC"]})
    (line,) = read_lines(file, TOKENS)
    assert line.sentence == Sentence("7", "", 0, "in Ulm", ("in", "Ulm"), ((0, 2), (3, 6)))
    assert (line.spans, line.rejected, line.beside) == ((Span(1, 2, "LOC", None, "tags"),), (), LineValues())


def test_fields_that_no_line_has_are_named(tmp_path: Path) -> None:
    row = {**ROW, "note": "x", "spans": [{**SPAN, "author": "y"}]}
    (line, plain) = read_lines(written(tmp_path / "in.jsonl", row, ROW), TOKENS)
    assert (line.unread, plain.unread) == (("note", "spans.author"), ())


def test_stray_tags_are_none_and_are_counted(tmp_path: Path) -> None:
    stray = {"id": "a", "tokens": ["a", "b", "c"], "labels": ["I-X", "I-X", "B-X"]}
    (line,) = read_lines(written(tmp_path / "a.jsonl", stray), TOKENS)
    assert (line.labels, line.strays) == (("O", "O", "B-X"), 1)
    (line,) = read_lines(written(tmp_path / "a.jsonl", {**stray, "labels": ["I-X", "O", "O"], "spans": []}), TOKENS)
    assert (line.labels, line.spans, line.strays) == (("O", "O", "O"), (), 1)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"labels": ["O"] * 4}, r"`spans` and `labels` contradict each other \(tokens 1 to 3\)"),
        ({"spans": []}, "contradict each other"),
        ({"spans": [SPAN, {**SPAN, "start": 2}]}, "span 2 to 3 overlaps another span"),
        ({"spans": [{**SPAN, "type": "PER"}]}, "contradict each other"),
        ({"spans": [{**SPAN, "end": 9}]}, "out of range: there are 4 tokens"),
        ({"spans": [{**SPAN, "end": 1}]}, "is empty"),
        ({"spans": [{"start": 1, "end": 3}]}, "'type' is missing"),
        ({"spans": [{**SPAN, "alignment": "by Ada"}]}, "alignment must be one of"),
        ({"spans": [[1, 3, "LOC"]]}, "`spans` must be a list of objects"),
        ({"spans": None}, "`spans` must be a list of objects"),
        ({"labels": ["O"] * 3}, "`labels` are 3, and 4 are wanted"),
        ({"labels": ["O", "B-LOC", "?", "O"]}, "not a tag"),
        ({"labels": [0, 1, 2, 0]}, "`labels` must be a list of strings"),
        ({"tokens": ["in", "", "née", "."]}, "holds an empty token"),
        ({"offsets": [[0, 2], [3, 7], [8, 11], [12, 13]]}, "offset 1 does not lead to its token"),
        ({"offsets": [[0, 2]]}, "`offsets` must be a list of 4 pairs"),
        ({"text": 3}, "`text` must be a string"),
        ({"id": None}, "`id` must be a string or a whole number"),
        ({"index": "first"}, "`index` a whole number"),
        ({"masked": [4]}, "`masked` names a token that is not there"),
        ({"masked": [-1]}, "`masked` is not a list of token positions"),
        ({"weight": -1}, "`weight` is not a number, 0 or more"),
        ({"missed": float("nan")}, "`missed` is not a number, 0 to 1"),
        ({"rejected": [{"mention": "Bonn"}]}, "'reason' is missing"),
    ],
)
def test_what_is_no_line_or_contradicts_itself_is_refused_with_file_and_line(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    file = written(tmp_path / "a.jsonl", ROW, {**ROW, **changed})
    with pytest.raises(InputError, match=rf"a\.jsonl:2: this is not a line of annotations: .*{problem}") as caught:
        list(read_lines(file, TOKENS))
    assert "Ulm" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"labels": ["sport", "news"]}, "`labels` are 2, and 1 is wanted"),
        ({"labels": [""]}, "hold no class"),
        ({"spans": [SPAN]}, "`spans` stand beside the class of a whole text"),
        ({"confidence": 1.5}, "`confidence` is not a number, 0 to 1"),
    ],
)
def test_a_line_that_is_none_of_classes_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=rf"a\.jsonl:1: .*{problem}"):
        list(read_lines(written(tmp_path / "a.jsonl", {**CLASS, **changed}), TEXTS))


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_line_comes_back_as_it_was(data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), min_size=1))
    number = st.none() | st.floats(0, 1)
    borders = sorted(data.draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    spans = tuple(
        Span(start, end, data.draw(st.sampled_from(["X", "-y-", "名"])), data.draw(number), "exact", data.draw(number))
        for start, end in zip(borders[::2], borders[1::2], strict=False)
    )
    text = "  ".join(tokens)
    offsets, at = [], 0
    for token in tokens:
        offsets.append((at, at + len(token)))
        at += len(token) + 2
    masked = tuple(sorted(data.draw(st.sets(st.integers(0, len(tokens) - 1)))))
    line = AnnotationLine(
        Sentence("é", "d", 2, text, tuple(tokens), tuple(offsets)),
        encode_bio(spans, len(tokens)),
        spans,
        (Rejection(data.draw(st.text()), "empty"),),
        LineValues(missed=data.draw(number), weight=data.draw(number), masked=masked),
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.jsonl"
        write_lines(file, [line])
        assert list(read_lines(file, TOKENS)) == [line]
