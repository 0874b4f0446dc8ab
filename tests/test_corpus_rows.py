"""JSONL and Parquet rows, sound and faulty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from corpus_files import assert_offsets_are_exact, examples_of, fault_of, write_file, write_jsonl
from pyarrow import parquet

from distill_offline import corpus
from distill_offline.annotations import LineValues
from distill_offline.config.settings import Source
from distill_offline.errors import CorpusError
from distill_offline.pipeline.convert import convert
from distill_offline.schema import Example, Sentence, Span
from distill_offline.spans.bio import decode_bio


def test_rows_default_to_document_and_index_of_the_file(tmp_path: Path) -> None:
    sentences = list(
        corpus.read_sentences(write_jsonl(tmp_path, {"tokens": ["a", "b"]}, {"text": "c d", "document": "z", "id": 7}))
    )
    assert [(s.id, s.document, s.index, s.text) for s in sentences] == [("in:0", "in", 0, "a b"), ("7", "z", 1, "c d")]


def test_line_of_text_stays_one_sentence_with_its_own_characters(tmp_path: Path) -> None:
    (sentence,) = corpus.read_sentences(write_jsonl(tmp_path, {"text": " One here.  Two there. "}))
    assert sentence.text == " One here.  Two there. "
    assert sentence.tokens == ("One", "here", ".", "Two", "there", ".")
    assert_offsets_are_exact(sentence)


def test_tokens_are_found_in_a_text_without_offsets(tmp_path: Path) -> None:
    (sentence,) = corpus.read_sentences(write_jsonl(tmp_path, {"text": "a-a  b", "tokens": ["a", "-", "a", "b"]}))
    assert sentence.offsets == ((0, 1), (1, 2), (2, 3), (5, 6))


def test_spans_count_tokens_where_there_are_tokens(tmp_path: Path) -> None:
    row = {"tokens": ["a", "b", "c"], "spans": [{"start": 1, "end": 3, "type": "X"}]}
    assert examples_of(write_jsonl(tmp_path, row))[0].labels == ("O", "B-X", "I-X")
    assert examples_of(write_jsonl(tmp_path, row), scheme="iob1")[0].labels == ("O", "B-X", "I-X")


def test_spans_of_a_text_do_not_change_its_tokens(tmp_path: Path) -> None:
    text = "Anna—Oslo, aspirin/ibuprofen"
    spans = [{"start": 0, "end": 4, "type": "PER"}, {"start": 11, "end": 18, "type": "X"}]
    (example,) = examples_of(write_jsonl(tmp_path, {"text": text, "spans": spans}))
    assert example.sentence.tokens == ("Anna", "—", "Oslo", ",", "aspirin", "/", "ibuprofen")
    assert example.labels == ("B-PER", "O", "O", "O", "B-X", "O", "O")
    assert_offsets_are_exact(example.sentence)
    assert list(corpus.read_sentences(write_jsonl(tmp_path, {"text": text}))) == [example.sentence]


def test_annotations_of_a_run_read_as_distilled_examples(tmp_path: Path) -> None:
    row = {
        "id": "d:3",
        "document": "d",
        "index": 3,
        "text": "in  Rome",
        "tokens": ["in", "Rome"],
        "offsets": [[0, 2], [4, 8]],
        "labels": ["O", "B-LOC"],
        "spans": [{"start": 1, "end": 2, "type": "LOC", "confidence": 0.5, "alignment": "exact"}],
        "rejected": [{"mention": "Bonn", "reason": "not_in_text"}],
    }
    (example,) = examples_of(write_jsonl(tmp_path, row), origin="distilled")
    sentence = Sentence("d:3", "d", 3, "in  Rome", ("in", "Rome"), ((0, 2), (4, 8)))
    assert example == Example(sentence, ("O", "B-LOC"), "distilled")


SURE = {"start": 3, "end": 7, "type": "LOC", "confidence": 0.5, "alignment": "fuzzy", "agreement": 0.25}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_spans_of_rows_keep_what_is_known_of_them(tmp_path: Path, suffix: str) -> None:
    bare = {"start": 11, "end": 15, "type": "LOC"}
    tagged = {"tokens": ["in", "Rome", "Bonn"], "labels": ["O", "B-LOC", "B-LOC"]}
    rows: list[dict[str, Any]] = [
        {"text": "in Rome or Bonn", "spans": [SURE, bare], "missed": 0.75},
        {**tagged, "spans": [{**SURE, "start": 1, "end": 2}, {**SURE, "start": 2, "end": 3, "type": "PER"}]},
    ]
    path = write_jsonl(tmp_path, *rows)
    if suffix == "parquet":
        path = tmp_path / "in.parquet"
        columns = {key: [row.get(key) for row in rows] for key in rows[0] | rows[1]}
        parquet.write_table(pyarrow.table(columns), path)
    counts = Counter[str]()
    first, second = corpus.read_annotations(path, counts=counts)
    assert first.spans == (Span(1, 2, "LOC", 0.5, "fuzzy", 0.25), Span(3, 4, "LOC", None, "tags"))
    assert second.spans == (Span(1, 2, "LOC", 0.5, "fuzzy", 0.25), Span(2, 3, "LOC", None, "tags"))  # tags decide
    assert (first.beside, second.beside) == (LineValues(missed=0.75), LineValues())
    assert counts == {"spans_unlike_labels": 1}


def test_a_class_keeps_its_confidence(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {"text": "a b", "label": "x", "confidence": 0.5, "weight": 2})
    (line,) = corpus.read_annotations(path, head="sequence-classification")
    assert (line.labels, line.beside) == (("x",), LineValues(confidence=0.5, weight=2))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"text": "in Rome", "spans": [{**SURE, "confidence": 50}]},
            "confidence, agreement and verify must be numbers",
        ),
        (
            {"text": "in Rome", "spans": [{**SURE, "agreement": "all"}]},
            "confidence, agreement and verify must be numbers",
        ),
        ({"text": "in Rome", "spans": [{**SURE, "alignment": 3}]}, "alignment must be one of"),
        ({"text": "in Rome", "spans": [{**SURE, "alignment": "as Rome"}]}, "alignment must be one of"),
        ({"text": "in Rome", "spans": [SURE], "missed": "yes"}, "`missed` is not a number, 0 to 1"),
    ],
)
def test_confidences_that_make_no_sense_are_named_where_they_count(
    tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    path = write_jsonl(tmp_path, row)
    with pytest.raises(CorpusError, match=rf"in\.jsonl:1: .*{problem}.*\. Correct it"):
        list(corpus.read_annotations(path))
    assert len(examples_of(path)) == 1  # gold's are not looked at


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"labels": ["O"]}, "neither `tokens` nor `text`"),
        ({"tokens": ["a"]}, "there are no labels"),
        ({"tokens": ["a", "b"], "labels": ["O"]}, "1 `labels` for 2 tokens"),
        ({"tokens": ["a"], "labels": "O"}, "`labels` must be a list of strings"),
        ({"tokens": ["a"], "labels": [0]}, "`labels` must be a list of strings"),
        ({"tokens": ["a"], "labels": ["I-X"]}, "tag 0 of the sentence"),
        ({"tokens": [], "labels": []}, "`tokens` is empty"),
        ({"tokens": ["a", ""], "labels": ["O", "O"]}, "empty token"),
        ({"text": "a", "labels": ["O"]}, "without the `tokens`"),
        ({"text": " ", "spans": []}, "`text` is empty"),
        ({"text": 3, "spans": []}, "`text` must be a string"),
        ({"text": "abc", "spans": [{"start": 1, "end": 9, "type": "X"}]}, "does not lie in the 3 characters"),
        ({"text": "a  c", "spans": [{"start": 1, "end": 3, "type": "X"}]}, "span 1 to 3 covers no token"),
        ({"text": "abc", "spans": [{"start": 1, "type": "X"}]}, "whole numbers `start` and `end`"),
        ({"text": "abc", "spans": [{"start": 0, "end": 1}]}, "needs a `type`"),
        ({"tokens": ["a"], "spans": [{"start": 0, "end": 2, "type": "X"}]}, "out of range"),
        (
            {"text": "a b", "spans": [{"start": 0, "end": 3, "type": "X"}, {"start": 2, "end": 3, "type": "X"}]},
            "overlaps",
        ),
        ({"text": "a b", "tokens": ["b", "a"], "labels": ["O", "O"]}, "token 1 is not in `text`"),
        ({"text": "a b", "tokens": ["a"], "offsets": [[2, 3]], "labels": ["O"]}, "offset 0 does not lead"),
        ({"text": "a b", "tokens": ["a"], "offsets": [], "labels": ["O"]}, "list of 1 pairs"),
        ({"tokens": ["a"], "offsets": [[0, 1]], "labels": ["O"]}, "without the `text`"),
        ({"tokens": ["a"], "labels": ["O"], "index": "first"}, "`index` must be a whole number"),
        ({"tokens": ["a"], "labels": ["O"], "id": "x"}, "`id` repeats"),
        (["a"], "must be an object"),
    ],
)
def test_faulty_row_is_named_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    path = write_jsonl(tmp_path, {"id": "x", "tokens": ["a"], "labels": ["O"]}, row)
    found = fault_of(path)
    assert f"in.jsonl:2: {message}" in found or ("in.jsonl:2: " in found and message in found)


@pytest.mark.parametrize(
    ("field", "listed"),
    [
        ("entities", [{"start": 0, "end": 4, "label": "PER"}]),
        ("entities", [{"start": 0, "end": 4, "type": "PER"}, {"start": 0, "end": 4, "entity_group": "PER"}]),
        ("entities", [{"begin": 0, "end": 4, "type": "PER"}]),
        ("entities", [{"type": "PER", "text": ["Anna"], "offsets": [[0, 4]]}]),
        ("annotations", [{"start": 0, "end": 4, "label": "PER"}]),
        ("ner", [{"start": 0, "end": 4, "entity_type": "PER"}]),
        ("annotation", [["PER", 0, 4]]),
        ("mentions", [[0, 4, "PER", 0.9]]),
    ],
)
def test_entities_in_another_tools_spelling_are_not_lost(tmp_path: Path, field: str, listed: Any) -> None:
    row = {"text": "Anna sang", field: listed}
    path = write_jsonl(tmp_path, {"text": "Oslo", "entities": [{"start": 0, "end": 4, "type": "LOC"}]}, row)
    assert f"in.jsonl:2: {'each of ' if field == 'entities' else ''}`{field}`" in fault_of(path)
    assert [sentence.text for sentence in corpus.read_sentences(path)] == ["Oslo", "Anna sang"]


@pytest.mark.parametrize(
    "further", [{"links": []}, {"links": [{"href": "x", "start": 1}]}, {"scores": [[1, 2, 3]]}, {"entities": ["Anna"]}]
)
def test_further_fields_that_list_no_entities_do_no_harm(tmp_path: Path, further: dict[str, Any]) -> None:
    path = write_jsonl(tmp_path, {"tokens": ["Anna"], "labels": ["B-PER"], **further}, {"text": "Oslo", **further})
    done = convert(Source(path=str(path)), tmp_path / "out.jsonl")
    assert (done.sentences, done.labelled) == (2, 1)


SPELT = {
    "ioe1": "I-PER I-PER O E-LOC I-LOC O",  # an end is said only if the same type follows
    "ioe2": "I-PER E-PER O E-LOC E-LOC O",
    "bilou": "B-PER L-PER O U-LOC U-LOC O",
    "bmes": "B-PER E-PER O S-LOC S-LOC O",
    "suffixes": "PER-B PER-I O LOC-B LOC-B O",
    "brackets": "(PER* *) * (LOC*) (LOC*) *",
}


@pytest.mark.parametrize("origin", ["original", "distilled"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "conll"])
@pytest.mark.parametrize("spelling", SPELT)
def test_tags_mean_the_same_in_rows_as_in_columns(tmp_path: Path, spelling: str, suffix: str, origin: Any) -> None:
    tags, tokens = SPELT[spelling].split(), ["Anna", "Weber", "left", "Oslo", "Bergen", "."]
    path = tmp_path / f"tags.{suffix}"
    if suffix == "conll":
        path.write_text("".join(f"{token} {tag}\n" for token, tag in zip(tokens, tags, strict=True)))
    elif suffix == "jsonl":
        path = write_jsonl(tmp_path, {"tokens": tokens, "labels": tags})
    else:
        parquet.write_table(pyarrow.Table.from_pylist([{"tokens": tokens, "labels": tags}]), path)
    (example,) = corpus.read_examples(path, origin=origin)
    found = [(span.start, span.end, span.type) for span in decode_bio(example.labels)]
    assert found == [(0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC")]


def test_types_alone_are_tags_of_rows_too(tmp_path: Path) -> None:
    tokens, tags = ["Anna", "Weber", "left", "for", "Oslo", "."], ["PER", "PER", "O", "O", "LOC", "O"]
    path = write_jsonl(tmp_path, {"tokens": tokens, "labels": tags})
    for source in (Source(path=str(path)), Source(path=str(path), scheme="io")):
        (example,) = corpus.read_examples(source, origin="original")
        assert example.labels == ("B-PER", "I-PER", "O", "O", "B-LOC", "O")


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        ("PER PER O O", "B-PER I-PER O B-LOC", r":3: tag 0 of the sentence: 'B-PER' has a prefix"),
        ("I-PER E-PER O O", "B-PER I-PER O B-LOC", r":3: tag 0 of the sentence: 'B-PER' tells where an entity begins"),
        ("PER-B PER-I O O", "ORG O O O", r":3: tag 0 of the sentence: not a tag"),
        ("B-PER I-PER O O", "B-PER\u00a0 O O O", r":3: tag 0 of the sentence: a tag .* U\+00A0"),
    ],
)
def test_later_rows_in_another_spelling_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, later: str, message: str
) -> None:
    monkeypatch.setattr("distill_offline.corpus.source._TELLING", 2)
    tokens = ["Anna", "Weber", "in", "Oslo"]
    rows = [{"tokens": tokens, "labels": tags.split(" ")} for tags in (first, first, later)]
    with pytest.raises(CorpusError, match=message):
        list(corpus.read_examples(write_jsonl(tmp_path, *rows), origin="original"))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-T/B-cell O", {"T/B-cell"}),
        ("B-CD4+B-cell I-CD4+B-cell B-X", {"CD4+B-cell", "X"}),
        ("B-Hepatitis_B B-Hepatitis_E O", {"Hepatitis_B", "Hepatitis_E"}),
        ("HLA-B HLA-A O O O", {"HLA-A", "HLA-B"}),
        ("Hepatitis_B Hepatitis_E O O O", {"Hepatitis_B", "Hepatitis_E"}),
        ("B-❤\ufe0f I-❤\ufe0f O", {"❤\ufe0f"}),
    ],
)
def test_types_may_look_like_places(tmp_path: Path, tags: str, found: set[str]) -> None:
    labels = tags.split()
    path = write_jsonl(tmp_path, {"tokens": [f"w{n}" for n in range(len(labels))], "labels": labels})
    (example,) = corpus.read_examples(path, origin="original")
    assert {span.type for span in decode_bio(example.labels)} == found


def test_an_empty_list_and_masked_tokens_contradict_nothing(tmp_path: Path) -> None:
    row = {"tokens": ["Anna", "in", "Oslo"], "labels": ["B-PER", "O", "O"]}
    beside: list[dict[str, Any]] = [{"spans": []}, {"spans": [PER, SPAN_OF_OSLO], "masked": [2]}]
    for more in beside:
        path = write_jsonl(tmp_path, {**row, **more})
        (example,) = corpus.read_examples(path, origin="original")
        assert example.labels == ("B-PER", "O", "O")
        assert "spans_unlike_labels" not in convert(Source(path=str(path)), tmp_path / "o.jsonl", force=True).unread


PER = {"start": 0, "end": 1, "type": "PER"}


@pytest.mark.parametrize("separator", "_./")
def test_places_behind_types_need_a_hyphen(tmp_path: Path, separator: str) -> None:
    tags = f"PER{separator}B PER{separator}I O O".split()
    rows = [{"tokens": ["Anna", "Weber", "in", "it"], "labels": tags}]
    with pytest.raises(CorpusError, match="Write a hyphen"):
        list(corpus.read_examples(write_jsonl(tmp_path, *rows), origin="original"))


def test_ioe1_may_be_said_where_no_end_is(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "Anna I-PER\nWeber I-PER\nsang O\n\nOslo I-LOC\nslept O\n")
    rows = [
        {"tokens": ["Anna", "Weber", "sang"], "labels": ["I-PER", "I-PER", "O"]},
        {"tokens": ["Oslo", "slept"], "labels": ["I-LOC", "O"]},
    ]
    for name in (path, write_jsonl(tmp_path, *rows)):
        examples = corpus.read_examples(Source(path=str(name), scheme="ioe1"), origin="original")
        assert [each.labels for each in examples] == [("B-PER", "I-PER", "O"), ("B-LOC", "O")]


@pytest.mark.parametrize("tags", [["LOC"], ["LOC-B"], ["(LOC)"]])
def test_a_first_row_of_one_token_does_not_make_tags_classes(tmp_path: Path, tags: list[str]) -> None:
    rows = [{"tokens": ["Oslo"], "labels": tags}]
    more = {"LOC": ["LOC", "O", "O"], "LOC-B": ["LOC-B", "O", "O"], "(LOC)": ["(LOC)", "*", "*"]}[tags[0]]
    rows += [{"tokens": ["Bergen", "is", "old"], "labels": more}]
    assert corpus.head_of(write_jsonl(tmp_path, *rows)) == "token-classification"


def test_entities_that_contradict_the_labels_beside_them_are_refused_in_gold(tmp_path: Path) -> None:
    row = {"tokens": ["Anna", "in", "Oslo"], "labels": ["B-PER", "O", "O"], "spans": [SPAN_OF_OSLO]}
    path = write_jsonl(tmp_path, {"tokens": ["It"], "labels": ["O"]}, row)
    with pytest.raises(CorpusError, match=r":2: its `labels` and the entities beside them say different things"):
        list(corpus.read_examples(path, origin="original"))
    done = convert(Source(path=str(path)), tmp_path / "out.json", output_format="label_studio")
    assert (done.types, done.unread["spans_unlike_labels"]) == ({"PER": 1}, 2)  # as training reads it
    same = {**row, "spans": [{"start": 0, "end": 1, "type": "PER"}, {"start": 0, "end": 3, "type": "ORG"}]}
    (example,) = corpus.read_examples(
        write_jsonl(tmp_path, same), origin="original"
    )  # overlapping ones are no contradiction
    assert example.labels == ("B-PER", "O", "O")


SPAN_OF_OSLO = {"start": 2, "end": 3, "type": "LOC"}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["B-PER", "E-PER", "O", "U-LOC", "B-LOC", "L-LOC"], "its tags have both E- and L-"),
        (["B-PER|B-ORG", "O", "O", "B-LOC", "O", "O"], "a tag is two"),
        (["BPER", "IPER", "O", "BLOC", "O", "O"], "its tags seem to be BPER and IPER"),
        (["B_PER", "I_PER", "O", "B_LOC", "O", "O"], "not a tag"),
    ],
)
def test_tags_of_rows_that_can_not_be_told_are_refused(tmp_path: Path, tags: list[str], message: str) -> None:
    path = write_jsonl(tmp_path, {"tokens": ["Anna", "Weber", "left", "Oslo", "Bergen", "."], "labels": tags})
    for origin in ("original", "distilled"):
        with pytest.raises(CorpusError, match=message):
            list(corpus.read_examples(path, origin=origin))


def test_bad_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.jsonl", '{"tokens": ["a"], "labels": ["O"]}\n\n{"tokens": ["a"\n')
    assert "a.jsonl:3: not JSON" in fault_of(path)
    path = write_file(tmp_path, "b.jsonl", '{"tokens": ["a"], "labels": ["O"], "index": ' + "1" * 5000 + "}\n")
    assert "b.jsonl:1: not usable JSON" in fault_of(path)


def test_parquet_reads_like_jsonl(tmp_path: Path) -> None:
    rows = [{"text": f"in Rome {n}", "spans": [{"start": 3, "end": 7, "type": "LOC"}], "note": n} for n in range(2500)]
    path = tmp_path / "in.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=300)
    assert examples_of(path) == examples_of(write_jsonl(tmp_path, *rows))


def test_parquet_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet.write_table(
        pyarrow.Table.from_pylist([{"tokens": ["a"], "labels": [label]} for label in ("O", "I-X")]), path
    )
    assert "in.parquet:2: tag 0" in fault_of(path)


def test_what_is_no_parquet_is_one_error_of_ours(tmp_path: Path) -> None:
    assert "not a Parquet file" in fault_of(write_file(tmp_path, "a.parquet", "no"))
    path = tmp_path / "b.parquet"
    parquet.write_table(pyarrow.table({"ner_tags": [[0]]}), path)
    assert "none of its columns is known" in fault_of(path)
