"""How sure a student is, token by token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentences import sentence

from distill_offline.alignment import labels_of_words
from distill_offline.corpus import read_sentences
from distill_offline.student import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")


@pytest.fixture
def student(encoder: Path) -> Student:
    torch.manual_seed(1)
    return Student.create(encoder, LABELS, "token-classification", max_length=32)


def test_the_likeliest_labels_are_those_that_it_predicts(student: Student) -> None:
    sentences = [*read_sentences("package:demo/dev.jsonl"), sentence(" ".join(f"word{n}" for n in range(90)))]
    student.model.train()
    probabilities = student.probabilities(sentences)
    assert student.model.training
    student.model.eval()
    for each, found in zip(sentences, probabilities, strict=True):
        assert found.shape == (len(each.tokens), 5)
        assert found.dtype == np.float32
        assert found.sum(1) == pytest.approx(1, abs=1e-5)
    best = [labels_of_words([LABELS[i] for i in found.argmax(1)]) for found in probabilities]
    assert best == student.predict(sentences)


def test_the_order_of_sentences_is_kept_whatever_the_batches(student: Student) -> None:
    sentences = list(read_sentences("package:demo/dev.jsonl"))[:12]
    together = student.probabilities(sentences, batch_tokens=64)
    for each, found in zip(sentences, together, strict=True):
        assert student.probabilities([each])[0] == pytest.approx(found, abs=1e-5)


def test_a_token_without_subwords_is_surely_outside(student: Student) -> None:
    (found,) = student.probabilities([sentence("\x07 at")])
    assert found[0].tolist() == [1, 0, 0, 0, 0]
    assert student.probabilities([]) == []


def test_a_class_has_one_row(encoder: Path) -> None:
    student = Student.create(encoder, ("sport", "tech"), "sequence-classification")
    sentences = [sentence("goal " * 40 + "goal"), sentence("chip")]
    found = student.probabilities(sentences)
    assert [each.shape for each in found] == [(1, 2), (1, 2)]
    assert [(("sport", "tech")[int(each[0].argmax())],) for each in found] == student.predict(sentences)
