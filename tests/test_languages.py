"""corpus.language: whose words raw text is cut into, and where that is written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from corpus_files import write_file, write_jsonl

from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import CorpusSettings, Source
from distill_offline.corpus import languages, read_examples, read_sentences
from distill_offline.errors import ConfigError
from distill_offline.run.sources import reading_of, source_digest
from distill_offline.student.model import Student

TEXT = "Dr. Müller kam z.B. aus Köln/Bonn."


class Blanks:
    """What spaCy's tokenisers are like: callables whose tokens have `idx` and `text`; this one cuts at blanks."""

    def __call__(self, text: str) -> list[Any]:
        found, at = [], 0
        for word in text.split(" "):
            found.append(type("Token", (), {"idx": at, "text": word}))
            at += len(word) + 1
        return found


@pytest.fixture
def blanks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A spaCy whose every language cuts at blanks, so that nothing has to be installed."""
    spacy = type("spacy", (), {"__version__": "9", "blank": lambda language: type("L", (), {"tokenizer": Blanks()})})
    monkeypatch.setattr(languages, "_spacy", lambda: spacy)
    languages.tokeniser.cache_clear()
    yield
    languages.tokeniser.cache_clear()


def tokens_of(path: Path, language: str | None) -> list[str]:
    source = Source(path=str(path), language=language)
    return [token for sentence in read_sentences(source) for token in sentence.tokens]


def test_an_unknown_language_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"corpus\.language: 'de_DE' is unknown\. Did you mean de\? Known: .*\bde\b.*"
    ):
        tokens_of(write_file(tmp_path, "a.txt", TEXT), "de_DE")


def test_words_of_a_language_are_spacys(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    path = write_file(tmp_path, "a.txt", TEXT)
    assert tokens_of(path, "de")[:2] == ["Dr.", "Müller"]
    assert tokens_of(path, None)[:3] == ["Dr", ".", "Müller"]
    assert "spaCy" in str(reading_of(str(path), CorpusSettings(language="de"))["tokens"])


@pytest.mark.usefixtures("blanks")
def test_every_reader_takes_the_words_of_the_language(tmp_path: Path) -> None:
    words = ["Dr.", "Müller", "kam", "z.B.", "aus", "Köln/Bonn."]
    row = {"text": TEXT, "spans": [{"start": 4, "end": 10, "type": "PER"}]}
    for path in (write_jsonl(tmp_path, row), write_file(tmp_path, "a.txt", TEXT)):
        assert tokens_of(path, "de") == words
    (example,) = read_examples(Source(path=str(tmp_path / "in.jsonl"), language="de"), origin="original")
    assert example.sentence.tokens == tuple(words)
    assert example.labels == ("O", "B-PER", "O", "O", "O", "O")


@pytest.mark.usefixtures("blanks")
def test_spacys_tokens_are_cut_at_blanks_and_keep_clusters_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(text: str) -> list[Any]:
        return [type("Token", (), {"idx": at, "text": c}) for at, c in enumerate(text)]

    monkeypatch.setattr(Blanks, "__call__", lambda self, text: cut(text))
    text = "é\u0301\n\u200bक्ष👍🏽"
    assert [text[a:b] for a, b in languages.tokeniser("hi")(text)] == ["é\u0301", "क्ष", "👍🏽"]


@pytest.mark.usefixtures("blanks")
def test_another_language_makes_what_was_made_of_raw_text_again(tmp_path: Path) -> None:
    text, columns = write_file(tmp_path, "a.txt", TEXT), write_file(tmp_path, "a.conll", "Oslo B-LOC\n")
    none, german = CorpusSettings(), CorpusSettings(language="de")
    assert source_digest(str(text), none) != source_digest(str(text), german)
    assert source_digest(str(columns), none) == source_digest(str(columns), german)
    own = Source(path=str(text), language="de")
    assert source_digest(own, none) == source_digest(own, german) != source_digest(str(text), none)
    rows = str(write_jsonl(tmp_path, {"text": TEXT}))
    assert source_digest(rows, none) != source_digest(rows, replace(none, offsets="utf16"))


@pytest.mark.usefixtures("blanks")
def test_a_student_labels_text_in_the_words_that_it_learnt_from(tmp_path: Path, encoder: Path) -> None:
    student = Student.create(encoder, ["O", "B-LOC", "I-LOC"], "token-classification")
    student.language = "de"
    student.save(tmp_path / "student")
    assert Student.load(tmp_path / "student").language == "de"
    output = tmp_path / "out.jsonl"
    text = write_file(tmp_path, "a.txt", TEXT)
    result = CliRunner().invoke(commands, ["predict", str(tmp_path / "student"), str(text), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text("utf-8"))["tokens"][-1] == "Köln/Bonn."
    pool = ["acquire", str(tmp_path / "student"), str(text), "-n", "1", "-o", str(tmp_path / "next.jsonl")]
    assert CliRunner().invoke(commands, pool).exit_code == 0
    assert json.loads((tmp_path / "next.jsonl").read_text("utf-8"))["tokens"][-1] == "Köln/Bonn."


def test_configurations_name_language_and_offsets() -> None:
    plain = {"name": "x", "task": {"types": {"A": "a"}}, "corpus": {"language": "de", "offsets": "utf16"}}
    corpus = parse_settings(plain, "test").corpus
    assert (corpus.language, corpus.offsets) == ("de", "utf16")
    read = corpus.read_as(Source(path="a.jsonl", offsets="bytes"))
    assert (read.language, read.offsets) == ("de", "bytes")
    with pytest.raises(ConfigError, match=r"corpus\.offsets"):
        parse_settings({**plain, "corpus": {"offsets": "utf-16"}}, "test")
