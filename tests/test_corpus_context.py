"""The sentences around a sentence, of its own document alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import labels, run_of
from corpus_files import write_file
from sentences import example, sentence

from distill_offline import pipeline
from distill_offline.annotate.work import corpus_of
from distill_offline.config.settings import Settings, Source, TaskSettings
from distill_offline.corpus import read_annotations, read_examples, read_sentences, write_examples, write_sentences
from distill_offline.corpus.context import with_context
from distill_offline.corpus.record import Record
from distill_offline.errors import ConfigError
from distill_offline.pipeline.export_labels import export_labels
from distill_offline.run.gold import read_gold
from distill_offline.schema import Example, Sentence
from distill_offline.tasks.ner import NER
from distill_offline.tasks.text_classification import TextClassification


def document(name: str, *texts: str) -> list[Sentence]:
    return [replace(sentence(text, f"{name}:{n}"), document=name, index=n) for n, text in enumerate(texts)]


CORPUS = [*document("a", "one", "two", "three", "four"), *document("b", "five"), *document("c", "six", "seven")]
NEIGHBOURS = {"one": "|two", "two": "one|three", "three": "two|four", "four": "three|", "five": "|"}
NEIGHBOURS |= {"six": "|seven", "seven": "six|"}


def records(sentences: Iterable[Sentence]) -> Iterator[Record]:
    return (Record(each, None, "corpus", 1) for each in sentences)


def around(sentences: Iterable[Sentence]) -> dict[str, str]:
    return {each.text: f"{each.before}|{each.after}" for each in sentences}


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, ["|two", "one|three", "two|four", "three|", "|", "|seven", "six|"]),
        (2, ["|two three", "one|three four", "one two|four", "two three|", "|", "|seven", "six|"]),
        (10**20, ["|two three four", "one|three four", "one two|four", "one two three|", "|", "|seven", "six|"]),
        (9, ["|two three four", "one|three four", "one two|four", "one two three|", "|", "|seven", "six|"]),
    ],
)
def test_neighbours_are_of_the_same_document(width: int, expected: list[str]) -> None:
    found = [record.sentence for record in with_context(records(CORPUS), width)]
    assert [f"{each.before}|{each.after}" for each in found] == expected
    assert [replace(each, before="", after="") for each in found] == CORPUS


def test_no_more_is_read_ahead_than_the_context_is_wide() -> None:
    read: list[int] = []
    stream = with_context((read.append(n) or each for n, each in enumerate(records(CORPUS))), 1)  # type: ignore[func-returns-value]
    next(stream)
    assert read == [0, 1]


def corpus_file(folder: Path, suffix: str) -> Path:
    """CORPUS in that format; in a folder, and as plain text, a file is a document."""
    if suffix == "folder":
        for each in ("a", "b", "c"):
            text = "\n\n".join(sentence.text for sentence in CORPUS if sentence.document == each)
            write_file(folder / "corpus", f"{each}.txt", text)
        return folder / "corpus"
    if suffix == "conll":
        write_examples(folder / "corpus.conll", [Example(each, ("O",), "original") for each in CORPUS])
    else:
        write_sentences(folder / f"corpus.{suffix}", CORPUS)
    return folder / f"corpus.{suffix}"


PARTS: list[dict[str, Any]] = [
    {},
    {"shuffle": 3},
    {"shuffle": 3, "skip": 2, "limit": 3},
    {"documents": "even"},
    {"documents": "odd", "shuffle": 0},
    {"skip": 1, "limit": 2},
    {"max_documents": 1},
]


@pytest.mark.parametrize("suffix", ["conll", "jsonl", "parquet", "folder"])
def test_any_part_of_any_format_has_its_true_neighbours(tmp_path: Path, suffix: str) -> None:
    path = str(corpus_file(tmp_path, suffix))
    for part in PARTS:
        plain = list(read_sentences(Source(path=path, **part)))
        found = list(read_sentences(Source(path=path, **part), context=1))
        assert [replace(each, before="", after="") for each in found] == plain
        assert around(found) == {each.text: NEIGHBOURS[each.text] for each in plain}
    assert {each.before + each.after for each in read_sentences(path)} == {""}


def test_sentences_that_stood_apart_are_no_neighbours_in_a_file_of_chosen_ones(tmp_path: Path) -> None:
    write_sentences(tmp_path / "chosen.jsonl", [CORPUS[3], CORPUS[0], CORPUS[1]])
    found = around(read_sentences(tmp_path / "chosen.jsonl", context=1))
    assert found == {"four": "|", "one": "|two", "two": "one|"}


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.txt", "one\n\ntwo\n\nthree")
    (found,) = read_sentences(Source(path=str(path), shuffle=0, skip=1, limit=1), context=5)
    whole = ["one", "two", "three"]
    at = whole.index(found.text)
    assert (found.before, found.after) == (" ".join(whole[:at]), " ".join(whole[at + 1 :]))


def test_labels_apart_from_their_text_leave_the_neighbours_alone(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path, "conll")
    some = [Example(each, ("B-PER",), "original") for each in CORPUS[1:3]]
    write_examples(tmp_path / "some.jsonl", some)
    export_labels(tmp_path / "some.jsonl", corpus, tmp_path / "labels.jsonl")
    source = Source(path=str(corpus), labels=str(tmp_path / "labels.jsonl"), shuffle=1)
    found = [each.sentence for each in read_examples(source, origin="distilled", context=1)]
    assert around(found) == {"two": "one|three", "three": "two|four"}
    assert {line.sentence.before + line.sentence.after for line in read_annotations(source)} == {""}


def test_no_further_document_is_read_for_a_part_of_the_first(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.jsonl", b'{"tokens": ["1"]}\n{"tokens": ["2"]}\n\xff not even text\n')
    (found,) = read_sentences(Source(path=str(path), limit=1), context=1)
    assert found.after == "2"


@pytest.mark.parametrize("prompt", ["standard", "cot"])
def test_the_teacher_sees_the_neighbours_and_the_demonstrations_have_none(prompt: str) -> None:
    task = NER(TaskSettings(types={"PER": "persons"}, prompt=prompt, context=1))
    shown = next(each.sentence for each in with_context(records(CORPUS), 1) if each.sentence.id == "a:1")
    system, question, _, last = task.prompt(shown, [example("Ada/B-PER left", "x")]).messages
    assert "one" in last.content
    assert "three" in last.content
    assert last.content.rstrip().endswith("two")
    assert "for context only" not in question.content + system.content
    plain = NER(TaskSettings(types={"PER": "persons"}, prompt=prompt)).prompt(CORPUS[1], [])
    assert "for context only" not in plain.messages[-1].content


def test_a_prompt_that_would_not_show_the_context_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("{% set answer = 'pairs' %}{% block system %}{% endblock %}{% block user %}{{ text }}{% endblock %}")
    with pytest.raises(ConfigError, match="neither `before` nor `after`"):
        NER(TaskSettings(types={"PER": "persons"}, prompt=str(own), context=1))
    with pytest.raises(ConfigError, match=r"task\.context"):
        TextClassification(TaskSettings(name="text_classification", types={"a": "x", "b": "y"}, context=1))


def shown(settings: Settings, width: int) -> Settings:
    return replace(settings, task=replace(settings.task, context=width))


def test_another_context_is_another_question(tmp_path: Path, settings: Settings) -> None:
    pipeline.annotate(run_of(tmp_path, settings))
    counts = pipeline.annotate(run_of(tmp_path, shown(settings, 2)))["unlabelled"]
    assert counts["asked"] > 30
    said: list[str] = []
    counts = pipeline.annotate(run_of(tmp_path, settings, said))["unlabelled"]
    assert (counts["asked"], counts["cached"]) == (0, 40)
    assert "annotate: up to date" not in said


def test_a_shuffled_corpus_is_annotated_in_context(tmp_path: Path, settings: Settings) -> None:
    path = "package:demo/train.jsonl"
    settings = shown(settings, 1)
    # The pool of demonstrations is annotated, too, and its sentences have neighbours beyond the pool.
    train = Source(path=path, shuffle=0, limit=30)
    unlabelled = Source(path=path, shuffle=0, skip=30, limit=40)
    original = replace(settings.corpus.original, train=train)
    settings = replace(settings, corpus=replace(settings.corpus, original=original, unlabelled=unlabelled))
    settings = replace(settings, annotate=replace(settings.annotate, gold=("train", "test"), limit=20))
    expected = around(read_sentences(path, context=1))
    gold = read_gold(settings)
    for part, count in (("unlabelled", 20), ("train", 30)):
        found = list(corpus_of(settings, gold, part))
        assert around(found).items() <= expected.items()
        assert len(found) == count
    assert {each.sentence.before + each.sentence.after for each in gold.train} == {""}
    run = run_of(tmp_path, settings)
    counts = pipeline.annotate(run)
    assert counts["train"]["rows"] == 30
    assert labels(run)


def test_gold_that_is_dropped_stays_dropped_in_context(tmp_path: Path, settings: Settings) -> None:
    path = corpus_file(tmp_path, "conll")
    write_examples(tmp_path / "test.jsonl", [Example(CORPUS[1], ("O",), "original")])
    original = replace(settings.corpus.original, train=str(path), test=str(tmp_path / "test.jsonl"))
    settings = replace(shown(settings, 1), corpus=replace(settings.corpus, original=original, on_overlap="drop"))
    found = around(corpus_of(settings, read_gold(settings), "train", Counter()))
    assert found == {text: place for text, place in NEIGHBOURS.items() if text != "two"}
