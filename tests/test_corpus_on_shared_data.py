"""The corpora of ../shared/data read with the counts that their README states."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus_files import assert_offsets_are_exact

from distill_offline import corpus
from distill_offline.config.settings import Source
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Origin, content_digest
from distill_offline.spans.bio import decode_bio

_DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not _DATA.is_dir(), reason="../shared/data is not there")


def _read(
    name: str, *, origin: Origin = "original", tag_column: int | None = None
) -> tuple[list[Example], Counter[str]]:
    counts = Counter[str]()
    return list(corpus.read_examples(_DATA / name, origin=origin, tag_column=tag_column, counts=counts)), counts


def _types(examples: list[Example]) -> Counter[str]:
    return Counter(span.type for example in examples for span in decode_bio(example.labels))


@pytest.fixture(scope="module")
def train() -> list[Example]:
    return _read("conll2003/train.txt")[0]


@pytest.mark.slow
def test_conll2003_has_its_counts(train: list[Example]) -> None:
    assert len(train) == 14_041
    assert _types(train) == {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600}
    assert len({example.sentence.id for example in train}) == len(train)
    assert train[-1].sentence.document == "train-945"


@pytest.mark.slow
def test_valid_shares_193_sentences_with_train(train: list[Example]) -> None:
    valid, _ = _read("conll2003/valid.txt")
    assert len(valid) == 3_250
    shared = corpus.overlap(train, valid)
    assert sum(content_digest(example.sentence) in shared for example in valid) == 193


def test_documents_of_valid_split_into_two_halves() -> None:
    halves = [
        [s.id for s in corpus.read_sentences(Source(path=str(_DATA / "conll2003/valid.txt"), documents=half))]
        for half in ("even", "odd")
    ]
    assert [len(half) for half in halves] == [1_856, 1_394]
    assert not set(halves[0]) & set(halves[1])


@pytest.mark.slow
def test_chatgpt_column_has_179_stray_tags(train: list[Example]) -> None:
    examples, counts = _read("distilled_chatgpt/conll2003_train.txt", origin="distilled", tag_column=1)
    assert counts == {"stray_tags": 179}
    assert [example.sentence.tokens for example in examples] == [example.sentence.tokens for example in train]


@pytest.mark.parametrize(
    ("name", "sentences", "entities"),
    [
        ("wikigold/wikigold.conll.txt", 1_696, 3_558),
        ("wnut17/wnut17train.conll", 3_394, 1_975),
        ("wnut17/emerging.dev.conll", 1_009, 836),
        ("wnut17/emerging.test.annotated", 1_287, 1_079),
        pytest.param("bc5cdr/train.txt", 4_560, 9_385, marks=pytest.mark.slow),
    ],
)
def test_other_corpora_have_their_counts(name: str, sentences: int, entities: int) -> None:
    examples, _ = _read(name)
    assert (len(examples), _types(examples).total()) == (sentences, entities)


@pytest.mark.slow
def test_all_of_bbc_is_tokenised_without_a_lost_character() -> None:
    counts = Counter[str]()
    documents = set()
    for sentence in corpus.read_sentences(_DATA / "bbc", on_bad_file="skip", counts=counts):
        documents.add(sentence.document)
        assert_offsets_are_exact(sentence)
        assert "".join(sentence.tokens) == "".join(sentence.text.split())
    assert len(documents) == 2_224
    assert counts == {"bad_file": 1, "ignored_file": 1}


def test_bbc_file_that_is_not_utf8_is_named() -> None:
    with pytest.raises(CorpusError, match=r"199\.txt:5: byte 257 of the file is not UTF-8"):
        list(corpus.read_sentences(_DATA / "bbc/sport/199.txt"))
