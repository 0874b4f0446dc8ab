"""Plain text: files, folders, tokens, and classes by folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus_files import assert_offsets_are_exact, examples_of, fault_of, write_file, write_jsonl

from distill_offline import corpus
from distill_offline.errors import CorpusError


def test_folder_of_text_is_a_document_a_file(tmp_path: Path) -> None:
    write_file(tmp_path, "b/2.txt", "Title without an end\n\nIt rained. Dr. Falk left\nat nine.\n")
    write_file(tmp_path, "a/1.TXT", "One.")
    for ignored in ("README.txt", "notes.pdf"):
        write_file(tmp_path, ignored, "Not a document.")
    write_file(tmp_path, ".hidden/x.txt", "Nor this.")
    counts = Counter[str]()
    sentences = list(corpus.read_sentences(tmp_path, counts=counts))
    assert [sentence.id for sentence in sentences] == ["a/1:0", "b/2:0", "b/2:1", "b/2:2"]
    assert [sentence.text for sentence in sentences[1:]] == [
        "Title without an end",
        "It rained.",
        "Dr. Falk left\nat nine.",
    ]
    assert counts == {"ignored_file": 2}
    for sentence in sentences:
        assert_offsets_are_exact(sentence)


def test_bad_file_of_a_folder_stops_or_is_counted(tmp_path: Path) -> None:
    write_file(tmp_path, "1.txt", b"fine\n\ncaf\xe9\n")
    write_file(tmp_path, "2.txt", "fine")
    write_file(tmp_path, "3.txt", " \n")
    with pytest.raises(CorpusError, match=r"1\.txt:3: byte 9 of the file is not UTF-8"):
        list(corpus.read_sentences(tmp_path))
    counts = Counter[str]()
    assert [sentence.id for sentence in corpus.read_sentences(tmp_path, on_bad_file="skip", counts=counts)] == ["2:0"]
    assert counts == {"bad_file": 2}


def test_folder_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no \.txt file"):
        list(corpus.read_sentences(tmp_path))


def test_folders_are_classes_and_files_are_whole_texts(tmp_path: Path) -> None:
    write_file(tmp_path, "sport/1.txt", "They won. We lost.\n\nAgain.")
    write_file(tmp_path, "tech/deep/2.txt", "A chip.")
    examples = examples_of(tmp_path, head="sequence-classification", types=["sport", "tech"])
    assert [(example.sentence.id, example.labels) for example in examples] == [
        ("sport/1:0", ("sport",)),
        ("tech/deep/2:0", ("tech",)),
    ]
    assert examples[0].sentence.text == "They won. We lost.\n\nAgain."
    assert list(corpus.read_sentences(tmp_path, head="sequence-classification")) == [e.sentence for e in examples]
    assert "class 'tech' is unknown" in fault_of(tmp_path, head="sequence-classification", types=["sport"])


@pytest.mark.parametrize("fields", [{"label": "sport"}, {"labels": "sport"}, {"labels": ["sport"]}])
def test_rows_have_one_class(tmp_path: Path, fields: dict[str, object]) -> None:
    path = write_jsonl(tmp_path, {"text": "They won.", **fields})
    assert examples_of(path, head="sequence-classification")[0].labels == ("sport",)


def test_text_without_a_class_is_an_error(tmp_path: Path) -> None:
    assert "no labels" in fault_of(write_file(tmp_path, "a/1.txt", "x").parent, head="sequence-classification")
    assert "exactly one label" in fault_of(
        write_jsonl(tmp_path, {"text": "x", "labels": []}), head="sequence-classification"
    )
    assert "JSONL" in fault_of(write_file(tmp_path, "a.conll", "x O\n"), head="sequence-classification")
