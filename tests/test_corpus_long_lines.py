"""A line of a megabyte, in each format: it is read, or refused in one short line, and in either case soon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from corpus_files import write_file

from distill_offline import corpus
from distill_offline.config.settings import Source
from distill_offline.corpus import sentences
from distill_offline.errors import CorpusError

LONG = 1_000_000
BIG = "x" * LONG
SECONDS = 5.0  # of CPU, on any machine; each takes a tenth of one here


def row(**fields: Any) -> str:
    return json.dumps({"tokens": ["a"], "labels": ["O"], **fields}) + "\n"


READ = {
    "a token in columns": ("a.conll", f"Ada B-PER\n{BIG} O\n\n", 2),
    "a tag in columns": ("a.conll", f"Ada B-PER\nx B-{BIG}\n\n", 2),
    "a comment in columns": ("a.conll", f"# {BIG}\nAda B-PER\n\n", 1),
    "blanks in columns": ("a.conll", f"Ada{' ' * LONG}B-PER\n\n", 1),
    "a line of blanks in columns": ("a.conll", f"Ada B-PER\n{' ' * LONG}\nx O\n\n", 2),
    "a word in CoNLL-U": ("a.conllu", f"# text = {BIG}\n1\t{BIG}\t_\tX\t_\t_\t0\troot\t_\t_\n\n", 1),
    "a text in JSONL": ("a.jsonl", json.dumps({"text": BIG}) + "\n", 1),
    "escapes in JSONL": ("a.jsonl", '{"text":"' + "\\u00e4" * (LONG // 6) + '"}\n', 1),
    "a token in JSONL": ("a.jsonl", row(tokens=[BIG]), 1),
    "a label in JSONL": ("a.jsonl", row(labels=["B-" + BIG]), 1),
    "an id in JSONL": ("a.jsonl", row(id=BIG), 1),
    "another field in JSONL": ("a.jsonl", row(**{BIG: 1}), 1),
    "a word in plain text": ("a.txt", BIG, 1),
    "full stops in plain text": ("a.txt", "." * LONG, 1),
    "an address in plain text": ("a.txt", "http://" + "a." * (LONG // 2), 5),
    "a file of a folder": ("texts/a.txt", BIG, 1),
}
REFUSED = {
    "fields in columns": ("a.conll", "Ada B-PER\n" + "x " * (LONG // 2) + "O\n\n", ":2: the number of columns"),
    "tabs in columns": ("a.tsv", "Ada\tB-PER\nx" + "\t" * LONG + "O\n\n", ":2: the number of columns"),
    "no JSON": ("a.jsonl", BIG, ":1: not JSON"),
    "depth in JSONL": ("a.jsonl", "[" * LONG, ":1: not usable JSON: too deeply nested"),
    "depth of objects in JSONL": ("a.jsonl", '{"a":' * (LONG // 5), ":1: not usable JSON: too deeply nested"),
    "digits in JSONL": ("a.jsonl", '{"tokens":["a"],"id":' + "9" * LONG + "}", "a number has too many digits"),
    "blanks in plain text": ("a.txt", " " * LONG, "the file is empty"),
    "NUL in plain text": ("a.txt", "\0" * LONG, ":1: "),
}


@pytest.mark.parametrize("case", READ)
@pytest.mark.slow
def test_a_long_line_is_read_soon(tmp_path: Path, case: str) -> None:
    name, content, tokens = READ[case]
    file = write_file(tmp_path, name, content)
    before = time.process_time()
    found = list(corpus.read_sentences(file.parent if "/" in name else file))
    assert sum(len(sentence.tokens) for sentence in found) == tokens
    assert time.process_time() - before < SECONDS


@pytest.mark.parametrize("case", REFUSED)
def test_a_long_line_is_refused_soon_and_in_a_short_one(tmp_path: Path, case: str) -> None:
    name, content, message = REFUSED[case]
    file = write_file(tmp_path, name, content)
    before = time.process_time()
    with pytest.raises(CorpusError) as caught:
        list(corpus.read_sentences(file) if file.suffix == ".txt" else corpus.read_examples(file, origin="original"))
    assert time.process_time() - before < SECONDS
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


def test_a_long_cell_of_a_parquet_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    cells = {"tokens": [[BIG], ["a"]], "labels": [["O"], ["B-" + BIG]]}
    pyarrow.parquet.write_table(pyarrow.table(cells), file)
    found = list(corpus.read_examples(file, origin="original"))
    assert [len(each.sentence.text) for each in found] == [LONG, 1]


@pytest.mark.parametrize("line", [BIG, "[" * LONG, '{"position":' + "9" * LONG + "}", '{"content": "' + BIG + '"}'])
def test_a_long_line_of_labels_without_text_is_refused(tmp_path: Path, line: str) -> None:
    text, labels = write_file(tmp_path, "a.conll", "Ada O\n\n"), write_file(tmp_path, "a.labels.jsonl", line + "\n")
    before = time.process_time()
    with pytest.raises(CorpusError) as caught:
        list(corpus.read_examples(Source(path=str(text), labels=str(labels)), origin="distilled"))
    assert time.process_time() - before < SECONDS
    assert len(str(caught.value)) < 400 + len(str(labels))


def test_a_sentence_without_an_end_is_cut_in_time_that_grows_with_its_length() -> None:
    """Half a million tokens: cut by cut from what was left, it took as many steps as their square."""
    tokens = tuple((2 * number, 2 * number + 1) for number in range(500_000))
    before = time.process_time()
    parts = list(sentences._parts("x " * 500_000, tokens))
    assert time.process_time() - before < 2
    assert tuple(each for part in parts for each in part) == tokens
    assert max(map(len, parts)) <= sentences.LONGEST
