"""Column files, sound and faulty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus_files import assert_offsets_are_exact, examples_of, fault_of, write_file

from distill_offline import corpus
from distill_offline.config.settings import Source

_IOB1 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

BRUSSELS NNP I-NP I-LOC
London NNP B-NP B-LOC

-DOCSTART- -X- O O

-DOCSTART- -X- O O

Nadim NNP I-NP I-PER
"""


def test_iob1_columns_become_iob2_examples(tmp_path: Path) -> None:
    examples = examples_of(write_file(tmp_path, "valid.txt", _IOB1))
    assert [example.labels for example in examples] == [
        ("B-ORG", "O", "B-PER", "I-PER"),
        ("B-LOC", "B-LOC"),
        ("B-PER",),
    ]
    assert examples[0].sentence.text == "EU rejects Peter Blackburn"
    assert [example.sentence.id for example in examples] == ["valid-0:0", "valid-0:1", "valid-2:0"]
    assert {example.origin for example in examples} == {"original"}
    for example in examples:
        assert_offsets_are_exact(example.sentence)


def test_file_without_borders_is_one_document(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "x\tO\n\ny\tO\n")
    assert [sentence.id for sentence in corpus.read_sentences(path)] == ["a:0", "a:1"]


def test_border_after_the_first_document_counts_from_it(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "x O\n\n-DOCSTART- O\n\ny O\n")
    assert [sentence.id for sentence in corpus.read_sentences(path)] == ["a-0:0", "a-1:0"]


def test_any_tag_column_can_be_read(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "Rome\tB-LOC\tO\nfell\tO\tB-X\n")
    assert examples_of(path)[0].labels == ("O", "B-X")
    assert examples_of(path, tag_column=1)[0].labels == ("B-LOC", "O")
    assert examples_of(Source(path=str(path), tag_column=-2), tag_column=2)[0].labels == ("B-LOC", "O")


@pytest.mark.parametrize(("column", "message"), [(0, "the token itself"), (3, "no column 3"), (-3, "the token itself")])
def test_unusable_tag_column_is_refused(tmp_path: Path, column: int, message: str) -> None:
    assert message in fault_of(write_file(tmp_path, "a.conll", "x\tO\tO\n"), tag_column=column)


def test_iobes_is_detected(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.iob", "a B-X\nb I-X\nc E-X\nd S-X\n")
    assert examples_of(path)[0].labels == ("B-X", "I-X", "I-X", "B-X")


def test_source_names_its_own_scheme(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "a I-X\nb B-X\nc O\nd B-Y\n")
    assert "a.conll:1: tag 0" in fault_of(path)
    assert examples_of(Source(path=str(path), scheme="iob1"), scheme="iob2")[0].labels == ("B-X", "B-X", "O", "B-Y")


def test_tab_separated_token_keeps_its_blanks_and_odd_characters(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "New York\tB-X\r\n\u00a0\tO\r\nx\u2028y\tO\r\n\t\r\nlast\tO\r\n")
    first, second = examples_of(path)
    assert first.sentence.tokens == ("New York", "\u00a0", "x\u2028y")
    assert_offsets_are_exact(first.sentence)
    assert second.sentence.tokens == ("last",)


def test_byte_order_mark_is_no_part_of_the_first_token(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", b"\xef\xbb\xbf-DOCSTART- O\n\nx O\n")
    assert [sentence.id for sentence in corpus.read_sentences(path)] == ["a-0:0"]


def test_tokens_without_tags_can_be_read_but_not_learnt_from(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "only\ntokens\n")
    assert next(corpus.read_sentences(path)).tokens == ("only", "tokens")
    assert "a.conll:1:" in fault_of(path)


def test_columns_are_recognised_by_content(tmp_path: Path) -> None:
    assert examples_of(write_file(tmp_path, "emerging.test.annotated", "@x\tO\nRome\tB-loc\n"))[0].labels == (
        "O",
        "B-loc",
    )


def test_prose_in_a_txt_file_is_no_column_file(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.txt", "Her blood type is O\nand she lives in Rome.\n")
    assert next(corpus.read_sentences(path)).tokens[:3] == ("Her", "blood", "type")
    assert "plain text" in fault_of(path)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"a O\nb O O\nc O\n", "2: the number of columns is 3 here and 2 in line 1"),
        (b"a\tO\n\tO\n", "2: the token is empty"),
        (b"a O\nb O\n\nc O\nd I-X\ne B-Y\n", "5: tag 1 of the sentence: I- continues"),
        (b"a O\nb noun\n", "2: tag 1 of the sentence: not a tag"),
        (b"a O\n\xe9 O\n", "2: byte 4 of the file is not UTF-8"),
        (b"", "1: there is no sentence"),
        (b"-DOCSTART- O\n\n\n", "1: there is no sentence"),
    ],
)
def test_faulty_column_file_is_named_with_its_line(tmp_path: Path, content: bytes, where: str) -> None:
    assert f"a.conll:{where}" in fault_of(write_file(tmp_path, "a.conll", content))


def test_ragged_txt_with_tags_is_reported_as_columns(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.txt", "a O\nb O\nc x O\nd O\n")
    assert "a.txt:3: the number of columns" in fault_of(path)


def test_message_holds_no_token_of_the_corpus(tmp_path: Path) -> None:
    assert "secretword" not in fault_of(write_file(tmp_path, "a.conll", "x O\nsecretword secretword\n"))


def test_stray_tags_of_a_distilled_file_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "a B-X\nb O\nc I-X\nd I-X\n\ne I-X\nf B-X\n")
    counts = Counter[str]()
    examples = examples_of(path, origin="distilled", counts=counts)
    assert [example.labels for example in examples] == [("B-X", "O", "O", "O"), ("O", "B-X")]
    assert counts == {"stray_tags": 2}


def test_unknown_type_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "a O\nb B-PRE\n")
    assert "a.conll:2: type 'PRE' is unknown. Did you mean PER?" in fault_of(path, types=["PER", "LOC"])
    assert examples_of(path, types={"PRE": "a definition"})[0].labels == ("O", "B-PRE")
