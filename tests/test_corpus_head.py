"""What a file's labels are for: tokens, or whole texts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distill_offline.config.settings import Source
from distill_offline.corpus import check_same_text, head_of, read_examples, read_sentences, write_examples
from distill_offline.errors import CorpusError


def jsonl(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name in ("b/two", "a/one", "a/three"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / f"{name}.txt").write_text(f"It is {name[2:]}. Nothing else.\n")
    (tmp_path / "texts/a/bad.txt").write_bytes(b"\xff")
    (tmp_path / "texts/a/empty.txt").write_text(" \n\u200b\n")
    return tmp_path / "texts"


@pytest.mark.parametrize(
    "rows",
    [
        [{"tokens": ["Ada", "left"], "labels": ["B-PER", "O"]}],
        [{"text": "Ada left", "spans": []}],
        [{"tokens": ["Ada"], "labels": ["B-PER"]}, {"tokens": ["No"], "labels": ["O"]}],
        [{"tokens": ["Ada"], "labels": ["sport"]}, {"tokens": ["Ada", "left"], "labels": ["O", "O"], "label": "x"}],
        [{"text": "no labels at all"}],
        [],
    ],
)
def test_labels_of_tokens(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert head_of(jsonl(tmp_path, *rows)) == "token-classification"


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "Ada left", "label": "sport"}],
        [{"tokens": ["Ada", "left"], "labels": ["sport"], "spans": []}],
        [{"text": "Ada left", "labels": ["sport"]}],
        [{"tokens": ["Ada"], "labels": ["sport"]}],
        [{"tokens": ["O"], "labels": ["O"]}, {"tokens": ["Ada", "left"], "labels": ["O"]}],
    ],
)
def test_labels_of_texts(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert head_of(jsonl(tmp_path, *rows)) == "sequence-classification"


def test_every_format_tells(tmp_path: Path, texts: Path) -> None:
    assert head_of(texts) == "sequence-classification"
    source = Source(path=str(texts), on_bad_file="skip")
    examples = list(read_examples(source, origin="original", head="sequence-classification"))
    write_examples(tmp_path / "out.parquet", examples)
    assert head_of(tmp_path / "out.parquet") == "sequence-classification"
    assert head_of("package:demo/train.jsonl") == "token-classification"
    (tmp_path / "a.conll").write_text("Ada B-PER\n")
    assert head_of(tmp_path / "a.conll") == "token-classification"
    with pytest.raises(CorpusError, match="there is no such file"):
        head_of(tmp_path / "nothing.jsonl")


def test_what_a_source_says_of_bad_files_is_heeded_and_counted(texts: Path) -> None:
    counts = Counter[str]()
    source = Source(path=str(texts), on_bad_file="skip")
    found = list(read_examples(source, origin="original", head="sequence-classification", counts=counts))
    assert [(e.sentence.id, e.labels) for e in found] == [
        ("a/one:0", ("a",)),
        ("a/three:0", ("a",)),
        ("b/two:0", ("b",)),
    ]
    assert counts == {"bad_file": 2}
    assert len(list(read_sentences(source))) == 6
    with pytest.raises(CorpusError, match=r"a/bad\.txt:1"):
        list(read_sentences(str(texts), head="sequence-classification"))
    with pytest.raises(CorpusError, match=r"a/bad\.txt:1"):
        list(read_sentences(source, on_bad_file="error"))


def test_a_part_of_a_folder_is_the_same_part_whatever_is_not_read(texts: Path) -> None:
    def ids(**part: Any) -> list[str]:
        source = Source(path=str(texts), on_bad_file="skip", **part)
        return [s.document for s in read_sentences(source, head="sequence-classification")]

    shuffled = ids(shuffle=4)
    assert sorted(shuffled) == ["a/one", "a/three", "b/two"]
    assert [*ids(shuffle=4, limit=1), *ids(shuffle=4, skip=1)] == shuffled
    assert ids(documents="odd") == ["a/three"]  # the positions count bad files, too
    assert ids(max_documents=2) == ["a/one", "a/three"]
    with pytest.raises(CorpusError, match="holds no sentence"):
        ids(skip=3)


def test_texts_that_differ_are_told_by_their_files(tmp_path: Path, texts: Path) -> None:
    source = Source(path=str(texts), on_bad_file="skip")
    rows = [{"text": f"It is {name}. Nothing else.", "label": "a"} for name in ("one", "three", "2")]
    check_same_text(source, source, head="sequence-classification")
    with pytest.raises(
        CorpusError, match=r"rows\.jsonl:3: the tokens differ from those of .*b/two\.txt:1, from token 2"
    ):
        check_same_text(jsonl(tmp_path, *rows), source, head="sequence-classification")


@pytest.mark.parametrize("labels", [["x", "y"], []])
def test_a_list_of_classes_beside_a_text_is_a_set_of_them(tmp_path: Path, labels: list[str]) -> None:
    assert head_of(jsonl(tmp_path, {"text": "Ada left", "labels": labels})) == "multi-label-classification"
