"""How sure a student is, token by token."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sentences import sentence
from test_decoding import every_valid

from distill_offline.corpus import read_sentences
from distill_offline.label_kinds.decoding import distributions
from distill_offline.spans.bio import decode_bio
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")


@pytest.fixture
def student(encoder: Path) -> Student:
    torch.manual_seed(1)
    return Student.create(encoder, LABELS, "token-classification", max_length=32)


def test_probabilities_are_one_row_a_token_and_leave_the_student_as_it_was(student: Student) -> None:
    sentences = [*read_sentences("package:demo/dev.jsonl"), sentence(" ".join(f"word{n}" for n in range(90)))]
    student.model.train()
    probabilities = student.probabilities(sentences)
    assert student.model.training
    student.model.eval()
    for each, found in zip(sentences, probabilities, strict=True):
        assert found.shape == (len(each.tokens), 5)
        assert found.dtype == np.float32
        assert found.sum(1) == pytest.approx(1, abs=1e-5)


def test_what_it_says_is_the_likeliest_of_all_valid_tags_by_plain_transformers_scores(student: Student) -> None:
    student.model.eval()
    for words in (["Marta", "closed", "V-17"], ["at", "06:00"], ["Gate", "V-17", "on", "Tuesday"]):
        ids = student.tokenizer([words], is_split_into_words=True, return_tensors="pt")
        rows = student.model(**ids).logits[0].log_softmax(-1).detach().numpy()
        first = [ids.word_ids(0).index(word) for word in range(len(words))]
        weights = every_valid(rows[first], LABELS)
        (tags,) = student.predict([sentence(" ".join(words))])
        (found,) = distributions(student.scored([sentence(" ".join(words))]), student.labels)
        assert tags == max(weights, key=lambda each: weights[each])
        total = sum(math.exp(weight) for weight in weights.values())
        for span in {span for each in weights for span in decode_bio(each)}:
            share = sum(math.exp(weight) for each, weight in weights.items() if span in decode_bio(each))
            assert found.of(span) == pytest.approx(share / total, abs=1e-5)


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
