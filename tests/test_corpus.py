"""Which part of which source is read, what is written, and how corpora are compared."""

from __future__ import annotations

import json
import random
import stat
from pathlib import Path

import pytest
from corpus_files import examples_of, fault_of, write_file, write_jsonl

from distill_offline import corpus
from distill_offline.config.settings import Source
from distill_offline.errors import CorpusError
from distill_offline.schema import Example, Sentence, content_digest


def _numbered(folder: Path, count: int) -> str:
    """A sentence a document, each with its number as its token."""
    return str(write_file(folder, "n.conll", "".join(f"-DOCSTART- O\n\n{n} O\n\n" for n in range(count))))


def _numbers(source: Source) -> list[int]:
    return [int(sentence.tokens[0]) for sentence in corpus.read_sentences(source)]


def test_parts_apply_in_order(tmp_path: Path) -> None:
    path = _numbered(tmp_path, 20)
    assert _numbers(Source(path=path, documents="even", skip=2, limit=3)) == [4, 6, 8]
    odd = list(range(1, 20, 2))
    random.Random(7).shuffle(odd)
    assert _numbers(Source(path=path, documents="odd", shuffle=7)) == odd
    assert _numbers(Source(path=path, documents="odd", shuffle=7, skip=3, limit=4)) == odd[3:7]
    assert _numbers(Source(path=path, limit=0)) == []


def test_documents_of_rows_count_by_first_appearance(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, *({"tokens": [str(n)], "document": name} for n, name in enumerate("abcab")))
    assert _numbers(Source(path=str(path), documents="odd")) == [1, 4]


def test_empty_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no sentence"):
        _numbers(Source(path=_numbered(tmp_path, 3), skip=3))
    with pytest.raises(CorpusError, match="negative"):
        _numbers(Source(path=_numbered(tmp_path, 3), skip=-1))


def test_reading_stops_after_the_limit(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.jsonl", b'{"tokens": ["1"], "labels": ["O"]}\n\xff not even text\n')
    assert len(examples_of(Source(path=str(path), limit=1))) == 1
    conll = write_file(tmp_path, "a.conll", b"1 O\n\n\xff O\n")
    assert _numbers(Source(path=str(conll), limit=1)) == [1]


def test_missing_file_and_unknown_suffix_are_errors(tmp_path: Path) -> None:
    assert "no such file" in fault_of(tmp_path / "none.conll")
    assert "format .docx is unknown" in fault_of(write_file(tmp_path, "a.docx", "PK"))


def test_package_path_means_an_installed_file() -> None:
    assert corpus.resolve_path("package:demo").is_dir()
    assert corpus.resolve_path("some/file.txt") == Path("some/file.txt")
    for absent in ("package:none.jsonl", "package:configs/none.yaml", "package:../cli.py", "package:/etc/hosts"):
        with pytest.raises(CorpusError, match=absent):
            corpus.resolve_path(absent)


def _example(id_: str, document: str, tokens: tuple[str, ...], labels: tuple[str, ...]) -> Example:
    text = "  ".join(tokens)
    starts = [sum(len(token) + 2 for token in tokens[:n]) for n in range(len(tokens))]
    offsets = tuple((start, start + len(token)) for start, token in zip(starts, tokens, strict=True))
    return Example(Sentence(id_, document, 0, text, tokens, offsets), labels, "original")


_WRITTEN = [
    _example("one", "d", ("New York", "é"), ("B-X", "O")),
    _example("two", "e", ("x",), ("O",)),
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_written_read_back_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    corpus.write_examples(path, iter(_WRITTEN))
    assert examples_of(path) == _WRITTEN
    corpus.write_sentences(path, (example.sentence for example in _WRITTEN))
    assert list(corpus.read_sentences(path)) == [example.sentence for example in _WRITTEN]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_columns_written_keep_tokens_labels_and_borders(tmp_path: Path) -> None:
    path = tmp_path / "out.conll"
    corpus.write_examples(path, _WRITTEN)
    examples = examples_of(path)
    assert [(e.sentence.tokens, e.labels) for e in examples] == [(e.sentence.tokens, e.labels) for e in _WRITTEN]
    assert [e.sentence.document for e in examples] == ["out-0", "out-1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    corpus.write_sentences(path, [_WRITTEN[1].sentence])
    assert next(corpus.read_sentences(path)).tokens == ("x",)


def test_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_file(tmp_path, "out.conll", "old")
    with pytest.raises(CorpusError, match="token 0 of bad"):
        corpus.write_examples(path, [*_WRITTEN, _example("bad", "f", ("a\tb",), ("O",))])
    with pytest.raises(CorpusError, match="no tag a token"):
        corpus.write_examples(path, [_example("bad", "f", ("a", "b"), ("sport",))])
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["out.conll"]


def test_unwritable_target_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"format \.html"):
        corpus.write_examples(tmp_path / "a.html", _WRITTEN)
    with pytest.raises(CorpusError, match="folder exist"):
        corpus.write_examples(tmp_path / "none" / "a.jsonl", _WRITTEN)


def test_half_a_character_is_kept_in_jsonl_and_refused_elsewhere(tmp_path: Path) -> None:
    example = _example("half", "d", ("\ud83d",), ("O",))
    corpus.write_examples(tmp_path / "a.jsonl", [example])
    assert examples_of(tmp_path / "a.jsonl") == [example]
    for suffix in ("conll", "parquet"):
        with pytest.raises(CorpusError, match="half holds half a character"):
            corpus.write_examples(tmp_path / f"a.{suffix}", [example])


def test_digest_changes_with_id_token_label_and_order() -> None:
    first, second = _WRITTEN
    variants = [
        [first, second],
        [second, first],
        [first],
        [_example("1", "d", first.sentence.tokens, first.labels), second],
        [_example("one", "d", first.sentence.tokens, ("B-Y", "O")), second],
        [_example("one", "d", ("New", "York"), first.labels), second],
    ]
    assert len({corpus.digest(variant) for variant in variants}) == len(variants)
    assert corpus.digest(iter(_WRITTEN)) == corpus.digest(_WRITTEN)


def test_overlap_looks_at_tokens_alone() -> None:
    same = _example("other id", "z", _WRITTEN[0].sentence.tokens, ("O", "O"))
    assert len(corpus.overlap([*_WRITTEN, same], [same])) == 1
    assert corpus.overlap(_WRITTEN[1:], [same]) == set()


def test_files_that_differ_in_a_token_are_named_at_its_line(tmp_path: Path) -> None:
    gold = write_file(tmp_path, "gold.conll", "-DOCSTART- O\n\na O\nb O\n\nc O\n")
    corpus.check_same_text(write_file(tmp_path, "same.conll", "a\tO\tX\nb\tO\tX\n\nc\tO\tX\n"), gold)
    with pytest.raises(CorpusError, match=r"other\.conll:2: .*gold\.conll:4, from token 1"):
        corpus.check_same_text(write_file(tmp_path, "other.conll", "a O\nB O\n\nc O\n"), gold)
    with pytest.raises(CorpusError, match=r"gold\.conll:6: this sentence has no counterpart"):
        corpus.check_same_text(write_file(tmp_path, "short.conll", "a O\nb O\n"), gold)
    with pytest.raises(CorpusError, match=r"long\.jsonl:1: .*gold\.conll:5, from token 2"):
        corpus.check_same_text(write_file(tmp_path, "long.jsonl", '{"tokens": ["a", "b", "x"]}\n'), gold)


def test_overlap_is_found_by_text_however_each_side_cuts_it(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "Ame\u0301lie (Oslo) paid 3\u00a0kg."}, {"id": "b", "text": "Oslo"}]
    lines = "".join(json.dumps({**row, "spans": []}) + "\n" for row in rows)
    train = list(corpus.read_examples(write_file(tmp_path, "train.jsonl", lines), origin="original"))
    columns = "Am\u00e9lie O\n(Oslo) O\npaid O\n3 O\nkg. O\n"
    test = list(corpus.read_examples(write_file(tmp_path, "test.conll", columns), origin="original"))
    assert corpus.overlap(train, test) == {content_digest(train[0].sentence)}
