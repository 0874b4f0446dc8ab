"""What a column file gives, a column file holds: written and read again, it is the same; else it is refused."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from corpus_files import examples_of, write_file
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline import corpus
from distill_offline.corpus.columns import unwritable
from distill_offline.corpus.record import join_tokens
from distill_offline.errors import CorpusError
from distill_offline.pipeline.predict import predict
from distill_offline.schema import Example, Sentence
from distill_offline.spans.bio import decode_bio, repair_iob2
from distill_offline.student.model import Student

_LETTERS = "a#=1 .:;()*\u00a0\u2028\u0085\v\f\u3000\u200b\ufeff-é"
_WORDS = (
    "#", "# x", "# a = b", "#begin document (x)", "###MEDLINE:1", "# newdoc", "O", "B-X", "1", "2", "token",
)  # fmt: skip
_TOKENS = st.one_of(st.sampled_from(_WORDS), st.text(_LETTERS, min_size=1, max_size=4))
_TAGS = ("O", "B-X", "I-X", "B-a b", "B-Y-", "I-Y-")


def example(tokens: list[str], tags: list[str]) -> Example:
    labels, _ = repair_iob2(tags)
    text, offsets = join_tokens(tuple(tokens))
    return Example(Sentence("d:0", "d", 0, text, tuple(tokens), offsets), labels, "original")


def sentences_of(*, tagged: bool) -> st.SearchStrategy[list[Example]]:
    tokens = _TOKENS.filter(lambda token: not unwritable(token, tagged=tagged))
    rows = st.lists(st.tuples(tokens, st.sampled_from(_TAGS)), min_size=1, max_size=5)
    sentence = rows.map(lambda rows: example([token for token, _ in rows], [tag for _, tag in rows]))
    return st.lists(sentence, min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(sentences_of(tagged=True))
def test_what_can_be_written_is_read_again(examples: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.conll"
        corpus.write_examples(path, examples)
        again = examples_of(path)
        assert [each.sentence.tokens for each in again] == [each.sentence.tokens for each in examples]
        assert [decode_bio(each.labels) for each in again] == [decode_bio(each.labels) for each in examples]
        assert [each.tokens for each in corpus.read_sentences(path)] == [each.sentence.tokens for each in examples]


@settings(max_examples=50, deadline=None)
@given(sentences_of(tagged=False))
def test_what_can_be_written_without_labels_is_read_again(examples: list[Example]) -> None:
    sentences = [each.sentence for each in examples]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.conll"
        corpus.write_sentences(path, sentences)
        assert [each.tokens for each in corpus.read_sentences(path)] == [each.tokens for each in sentences]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.just(""), st.tuples(_TOKENS, st.sampled_from(_TAGS)).map("\t".join)), max_size=8))
def test_what_a_tab_separated_file_gives_can_be_written(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "a.conll", Path(folder) / "b.conll"
        path.write_bytes("\n".join(lines).encode())
        try:
            examples = examples_of(path, origin="distilled")
        except CorpusError:
            return
        corpus.check_writable(other, [each.sentence for each in examples])
        corpus.write_examples(other, examples)
        again = examples_of(other)
        assert [(each.sentence.tokens, each.labels) for each in again] == [
            (each.sentence.tokens, each.labels) for each in examples
        ]


@pytest.mark.parametrize("token", ["a\tb", "a\nb", " a", "a ", "-DOCSTART-", "a\0"])
def test_what_no_column_file_holds_is_refused_with_its_id(tmp_path: Path, token: str) -> None:
    path = tmp_path / "a.conll"
    bad = example(["b", token], ["O", "O"])
    with pytest.raises(CorpusError, match=r"token 1 of d:0 .*\.jsonl"):
        corpus.write_examples(path, [bad])
    with pytest.raises(CorpusError, match=r"token 1 of d:0 .*\.jsonl"):
        corpus.check_writable(path, [bad.sentence])
    assert not path.exists()


def test_a_line_end_in_a_label_is_refused(tmp_path: Path) -> None:
    text, offsets = join_tokens(("a",))
    bad = Example(Sentence("d:0", "d", 0, text, ("a",), offsets), ("B-X\n",), "original")
    with pytest.raises(CorpusError, match="the label"):
        corpus.write_examples(tmp_path / "a.conll", [bad])


@pytest.fixture(scope="module")
def student(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    Student.create(encoder, ("O", "B-PER", "I-PER"), "token-classification", max_length=64).save(folder)
    return folder


def test_predict_writes_the_columns_that_it_read(tmp_path: Path, student: Path) -> None:
    text = write_file(tmp_path, "in.conll", "Anna\tB-PER\n\u00a0\tI-PER\n# 1\tO\nNew York\tO\n")
    assert predict(student, text, tmp_path / "out.conll") == 1
    (sentence,) = corpus.read_sentences(tmp_path / "out.conll")
    assert sentence.tokens == ("Anna", "\u00a0", "# 1", "New York")


def test_predict_refuses_what_its_output_cannot_hold_before_it_looks_for_a_student(tmp_path: Path) -> None:
    text = write_file(tmp_path, "in.jsonl", '{"id": "7", "tokens": ["Anna", "a\\tb"]}\n')
    for output, said in (
        ("out.conll", "token 1 of 7 holds a tab"),
        ("out.docx", "cannot write the format .docx"),
        ("none/out.jsonl", "there is no folder"),
    ):
        with pytest.raises(CorpusError, match=said):
            predict(tmp_path / "no student", text, tmp_path / output)


def test_a_student_of_classes_writes_no_columns(tmp_path: Path, encoder: Path) -> None:
    Student.create(encoder, ("a", "b"), "sequence-classification", max_length=64).save(tmp_path / "student")
    text = write_file(tmp_path, "in.txt", "Anna sang.")
    with pytest.raises(CorpusError, match="no tag a token"):
        predict(tmp_path / "student", text, tmp_path / "out.conll")
    assert predict(tmp_path / "student", text, tmp_path / "out.jsonl", counts=Counter()) == 1
