"""What to annotate next, in a file that can be annotated as it is."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from distill_offline.cli import commands
from distill_offline.corpus import read_sentences
from distill_offline.errors import ConfigError, InputError
from distill_offline.pipeline.acquire import acquire
from distill_offline.pipeline.uncertainty import MEASURES, most_uncertain, uncertainty, uniform
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")
TEXT = Path("package:demo/test.jsonl")


@pytest.fixture(scope="module")
def student(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("student")
    Student.create(encoder, LABELS, "token-classification").save(folder)
    return folder


def test_measures_are_what_their_sources_say() -> None:
    p = np.array([[0.9, 0.1], [0.5, 0.5]], dtype=np.float32)
    entropies = [-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)), math.log(2)]
    expected = {
        "mnlp": -(math.log(0.9) + math.log(0.5)) / 2,
        "least-confidence": 1 - 0.45,
        "entropy": sum(entropies) / 2,
        "max-entropy": entropies[1],
    }
    assert {name: uncertainty(name, p) for name in MEASURES} == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match=r"'mnlq' is unknown\. Did you mean mnlp"):
        uncertainty("mnlq", p)


def test_a_sure_student_is_not_uncertain_and_length_alone_matters_to_least_confidence_only() -> None:
    sure = np.eye(3, dtype=np.float32)
    short, long = (np.full((n, 2), 0.5, dtype=np.float32) for n in (2, 9))
    for name in MEASURES:
        assert uncertainty(name, sure) == pytest.approx(0, abs=1e-9)
        longer, shorter = uncertainty(name, long), uncertainty(name, short)
        assert longer > shorter if name == "least-confidence" else longer == pytest.approx(shorter)


def test_ties_go_by_position_and_draws_by_the_seed() -> None:
    assert most_uncertain([0.5, 0.9, 0.5, 0.9], 3) == [1, 3, 0]
    assert uniform(100, 5, 1) == uniform(100, 5, 1) != uniform(100, 5, 2)
    assert sorted(uniform(3, 9, 0)) == [0, 1, 2]


@pytest.mark.parametrize("by", ["uncertainty", "random", "diverse"])
def test_the_chosen_sentences_keep_ids_and_tokens(student: Path, tmp_path: Path, by: str) -> None:
    counts = Counter[str]()
    assert acquire(student, TEXT, tmp_path / "next.jsonl", 7, by=by, counts=counts) == 7  # type: ignore[arg-type]
    everyone = {sentence.id: sentence for sentence in read_sentences(str(TEXT))}
    chosen = list(read_sentences(tmp_path / "next.jsonl"))
    assert len({sentence.id for sentence in chosen}) == 7
    assert all(everyone[sentence.id] == sentence for sentence in chosen)
    assert counts["sentences"] == len(everyone)
    assert "labels" not in json.loads((tmp_path / "next.jsonl").read_text().splitlines()[0])
    again = tmp_path / "again.jsonl"
    acquire(student, TEXT, again, 7, by=by)  # type: ignore[arg-type]
    assert again.read_bytes() == (tmp_path / "next.jsonl").read_bytes()


def test_the_most_uncertain_come_first(student: Path, tmp_path: Path) -> None:
    acquire(student, TEXT, tmp_path / "next.jsonl", 10, measure="max-entropy")
    model = Student.load(student)
    everyone = list(read_sentences(str(TEXT)))
    scores = {s.id: uncertainty("max-entropy", p) for s, p in zip(everyone, model.probabilities(everyone), strict=True)}
    chosen = [scores[sentence.id] for sentence in read_sentences(tmp_path / "next.jsonl")]
    assert chosen == sorted(chosen, reverse=True)
    assert min(chosen) >= sorted(scores.values())[-12]  # copies left out


def test_known_sentences_and_copies_are_not_chosen(student: Path, tmp_path: Path) -> None:
    text, known, output = tmp_path / "text.jsonl", tmp_path / "known.conll", tmp_path / "next.jsonl"
    words = [["one", "thing"], ["two", "things"], ["one", "thing"], ["three", "things"]]
    text.write_text("".join(json.dumps({"tokens": tokens}) + "\n" for tokens in words))
    known.write_text("tw O\no O\nthings O\n\n")  # the same text, cut otherwise
    counts = Counter[str]()
    assert acquire(student, text, output, 9, by="random", known=[known], counts=counts) == 2
    assert sorted(sentence.tokens[0] for sentence in read_sentences(output)) == ["one", "three"]
    assert (counts["known"], counts["duplicate"]) == (1, 1)
    with pytest.raises(InputError, match="no sentence is left"):
        acquire(student, text, output, 9, known=[text])


def test_the_verb_says_what_it_chose(student: Path, tmp_path: Path) -> None:
    output = tmp_path / "next.jsonl"
    words = ["acquire", str(student), str(TEXT), "-n", "3", "-o", str(output), "--by", "diverse", "--json"]
    result = CliRunner().invoke(commands, words, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (found["chosen"], found["by"], found["output"]) == (3, "diverse", str(output))
    with pytest.raises(InputError, match=r"acquire writes \.jsonl"):
        acquire(student, TEXT, tmp_path / "next.conll", 3)
