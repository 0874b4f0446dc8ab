"""Rows of other tools and files that are nearly JSONL are refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from corpus_files import fault_of, write_file, write_jsonl
from pyarrow import parquet

from distill_offline import corpus
from distill_offline.errors import CorpusError
from distill_offline.label_kinds import KINDS

_TEXT = "Anna sang in Oslo."
_ROWS = [
    ("doccano", {"id": 1, "text": _TEXT, "label": [[0, 4, "PER"]]}),
    ("doccano", {"id": 1, "text": _TEXT, "labels": [[0, 4, "PER"], [13, 17, "LOC"]]}),
    ("doccano", {"id": 1, "data": _TEXT, "label": [[0, 4, "PER"]]}),
    ("doccano", {"text": _TEXT, "entities": [{"id": 0, "label": "PER", "start_offset": 0, "end_offset": 4}]}),
    ("Prodigy", {"text": _TEXT, "_input_hash": 1, "_task_hash": 2, "answer": "accept"}),
    ("Prodigy", {"text": _TEXT, "spans": [{"start": 0, "end": 4, "label": "PER"}], "answer": "reject"}),
    (
        "Prodigy",
        {
            "text": _TEXT,
            "tokens": [{"text": "Anna", "start": 0, "end": 4, "id": 0}],
            "spans": [{"start": 0, "end": 4, "token_start": 0, "token_end": 0, "label": "PER"}],
        },
    ),
    ("GLiNER", {"tokenized_text": ["Anna", "sang"], "ner": [[0, 0, "person"]]}),
    ("Hugging Face", {"id": "0", "tokens": ["Anna", "sang"], "ner_tags": [1, 0]}),
    ("Hugging Face", {"tokens": ["Anna", "sang"], "ner_tags": ["B-PER", "O"]}),
    ("Hugging Face", {"tokens": ["Anna", "sang"], "tags": [1, 0]}),
    ("Label Studio", {"id": 3, "data": {"text": _TEXT}, "annotations": [{"result": []}]}),
    ("spaCy", [_TEXT, {"entities": [[0, 4, "PER"]]}]),
    ("spaCy", {"text": _TEXT, "entities": [[0, 4, "PER"]]}),
    ("spaCy", {"text": _TEXT, "ents": [{"start": 0, "end": 4, "label": "PER"}]}),
]


@pytest.mark.parametrize(("whose", "row"), _ROWS)
def test_rows_of_other_tools_are_refused_by_name_as_labels(tmp_path: Path, whose: str, row: object) -> None:
    path = write_jsonl(tmp_path, row)
    wanted = f"in.jsonl:1: this is a row of .*{whose}"
    for head in KINDS:
        assert re.search(wanted, fault_of(path, head=head))
    with pytest.raises(CorpusError, match=wanted):
        corpus.head_of(path)


@pytest.mark.parametrize(("whose", "row"), _ROWS)
def test_their_text_is_text_where_it_is_given_as_such_and_else_they_are_refused(
    tmp_path: Path, whose: str, row: object
) -> None:
    path = write_jsonl(tmp_path, row)
    if isinstance(row, dict) and isinstance(row.get("text"), str) and "tokens" not in row:
        assert next(corpus.read_sentences(path)).text == _TEXT
    elif isinstance(row, dict) and "tokens" in row and "text" not in row:
        assert next(corpus.read_sentences(path)).tokens == ("Anna", "sang")
    else:
        with pytest.raises(CorpusError, match=f"this is a row of .*{whose}"):
            list(corpus.read_sentences(path))


def test_our_own_rows_may_have_fields_of_other_tools(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "Anna sang", "spans": [{"start": 0, "end": 4, "type": "PER", "label": "x"}], "answer": "yes"},
        {"tokens": ["Anna", "sang"], "labels": ["B-PER", "O"], "tags": ["news"], "ner_tags": [1, 0], "meta": {}},
        {"text": "Anna sang", "label": "news", "data": "x"},
        {"text": "Anna sang", "labels": ["news"], "entities": []},
    ]
    per_token, per_text = list(KINDS)[:2]
    heads = [per_token, per_token, per_text, per_text]
    for row, head in zip(rows, heads, strict=True):
        (example,) = corpus.read_examples(write_jsonl(tmp_path, row), origin="original", head=head)
        assert example.labels in (("B-PER", "O"), ("news",))


def test_parquet_of_a_hugging_face_data_set_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"tokens": [["Anna", "sang"]], "ner_tags": [[1, 0]]}), path)
    assert "a.parquet:1: this is a row of a Hugging Face data set" in fault_of(path)
    assert next(corpus.read_sentences(path)).tokens == ("Anna", "sang")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps([{"text": "a"}, {"text": "b"}]), "1: this is one JSON list of rows"),
        (json.dumps([{"text": "a"}, {"text": "b"}], indent=2), "1: this is JSON over many lines"),
        (json.dumps({"text": "a", "spans": []}, indent=2), "1: this is JSON over many lines"),
        ('{"text": "a"},\n{"text": "b"}\n', "1: not JSON: a comma ends the line"),
        ('{"text": "a"}{"text": "b"}\n', "1: not JSONL: there are several values in one line"),
        ('{"text": "a", "spans": []}\n{"text": "b", "text": "c"}\n', "2: not usable JSON: the key 'text' occurs twice"),
        ('{"text": "a", "spans": [{"start": 0, "start": 1}]}\n', "1: not usable JSON: the key 'start' occurs twice"),
        ('{"text": "a", "spans": [], "weight": NaN}\n', "1: `weight` is not a number"),
        ("{'text': 'a'}\n", "1: not JSON: "),
    ],
)
def test_what_is_nearly_jsonl_is_named_with_what_to_do(tmp_path: Path, content: str, said: str) -> None:
    path = write_file(tmp_path, "a.jsonl", content)
    assert f"a.jsonl:{said}" in fault_of(path)
    if "weight" not in said:
        with pytest.raises(CorpusError, match=r"a\.jsonl"):
            list(corpus.read_sentences(path))


def test_labels_that_make_no_sense_do_no_harm_to_mere_text(tmp_path: Path) -> None:
    bare = [{"id": str(n), "text": _TEXT} for n in range(7)]
    broken: list[dict[str, Any]] = [
        {"spans": "PER"},
        {"spans": [{"start": 2, "end": 99, "type": "PER"}, {"begin": 1}]},
        {"spans": [{"start": 1, "end": 3, "type": "PER"}]},
        {"labels": ["O"]},
        {"labels": 3, "label": {"a": 1}},
        {"masked": "x", "weight": "heavy"},
        {"confidence": "high", "label": [[0, 4, "PER"]]},
    ]
    wanted = [each.tokens for each in corpus.read_sentences(write_jsonl(tmp_path, *bare))]
    rows: list[dict[str, Any]] = [{**row, **labels} for row, labels in zip(bare, broken, strict=True)]
    assert [each.tokens for each in corpus.read_sentences(write_jsonl(tmp_path, *rows))] == wanted


def test_rows_end_at_carriage_returns_in_a_file_without_line_feeds(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.jsonl", b'{"text": "One."}\r{"text": "Two."}\r')
    assert [each.text for each in corpus.read_sentences(path)] == ["One.", "Two."]


def test_bilou_and_small_letters_in_rows_are_read(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["Anna", "Smith", "sang", "in", "Oslo"], "labels": ["B-PER", "L-PER", "O", "O", "U-LOC"]},
        {"tokens": ["Anna", "Smith"], "labels": ["b-PER", "l-PER"]},
    ]
    examples = list(corpus.read_examples(write_jsonl(tmp_path, *rows), origin="original"))
    assert [each.labels for each in examples] == [("B-PER", "I-PER", "O", "O", "B-LOC"), ("B-PER", "I-PER")]
