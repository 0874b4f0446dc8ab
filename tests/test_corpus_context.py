"""The sentences around a sentence, of its own document alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from annotated_runs import run_of
from sentences import example, sentence

from distill_offline import pipeline
from distill_offline.corpus import with_context
from distill_offline.errors import ConfigError
from distill_offline.schema import Sentence
from distill_offline.settings import Settings, Source, TaskSettings
from distill_offline.tasks.ner import NER
from distill_offline.tasks.text_classification import TextClassification


def document(name: str, *texts: str) -> list[Sentence]:
    return [replace(sentence(text, f"{name}:{n}"), document=name) for n, text in enumerate(texts)]


CORPUS = [*document("a", "one", "two", "three", "four"), *document("b", "five"), *document("c", "six", "seven")]


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
    found = list(with_context(iter(CORPUS), width))
    assert [f"{each.before}|{each.after}" for each in found] == expected
    assert [replace(each, before="", after="") for each in found] == CORPUS


def test_no_more_is_read_ahead_than_the_context_is_wide() -> None:
    read: list[int] = []
    stream = with_context((read.append(n) or each for n, each in enumerate(CORPUS)), 1)  # type: ignore[func-returns-value]
    next(stream)
    assert read == [0, 1]


@pytest.mark.parametrize("prompt", ["standard", "cot"])
def test_the_teacher_sees_the_neighbours_and_the_demonstrations_have_none(prompt: str) -> None:
    task = NER(TaskSettings(types={"PER": "persons"}, prompt=prompt, context=1))
    shown = next(each for each in with_context(CORPUS, 1) if each.id == "a:1")
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


@pytest.mark.parametrize("part", ["unlabelled", "test"])
def test_a_shuffled_corpus_has_no_neighbours_to_show(tmp_path: Path, settings: Settings, part: str) -> None:
    shuffled = Source(path="package:demo/train.jsonl", shuffle=0, skip=30, limit=9)
    corpus = settings.corpus
    corpus = (
        replace(corpus, unlabelled=shuffled)
        if part == "unlabelled"
        else replace(corpus, original=replace(corpus.original, test=shuffled))
    )
    with pytest.raises(ConfigError, match=rf"^task\.context: corpus\.(original\.)?{part} is shuffled"):
        pipeline.plan(run_of(tmp_path, replace(shown(settings, 1), corpus=corpus)), ["annotate"])
