"""Folds, and what a student's probabilities make of a span."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from distill_offline.label_kinds.decoding import Distribution, Scored, distributions
from distill_offline.label_kinds.tags import missed, no_entity, span_confidence
from distill_offline.schema import Span
from distill_offline.student.out_of_fold import folds

LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def probabilities(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def distribution(rows: np.ndarray) -> Distribution:
    logarithms = np.log(np.maximum(rows, 1e-30)).astype(np.float32)
    return distributions([Scored(logarithms, np.arange(len(rows)), len(rows))], LABELS)[0]


SENTENCE = probabilities((0.1, 0.8, 0.1, 0, 0), (0.2, 0.1, 0.5, 0.1, 0.1), (0.7, 0, 0.2, 0.1, 0), (0.4, 0, 0, 0.6, 0))


def test_a_span_needs_its_beginning_its_tokens_and_its_end() -> None:
    found = distribution(SENTENCE)
    assert span_confidence(found, Span(0, 2, "X")) == pytest.approx(found.of(Span(0, 2, "X")) ** (1 / 3))
    assert span_confidence(found, Span(0, 1, "X")) == pytest.approx(found.of(Span(0, 1, "X")) ** (1 / 2))
    assert 0.1 < span_confidence(found, Span(0, 1, "X")) < span_confidence(found, Span(0, 2, "X")) < 0.9
    assert span_confidence(found, Span(0, 1, "Y")) < 1e-9


def test_nothing_need_end_where_the_sentence_does() -> None:
    assert span_confidence(distribution(SENTENCE), Span(3, 4, "Y")) == pytest.approx(0.6)


def test_confidence_does_not_sink_with_a_spans_length() -> None:
    alike = distribution(probabilities((0.2, 0.8, 0, 0, 0), *[(0.1, 0.1, 0.8, 0, 0)] * 5))
    assert alike.of(Span(0, 6, "X")) < 0.5
    assert span_confidence(alike, Span(0, 6, "X")) > 0.8


def test_what_the_label_missed_is_the_likeliest_entity_at_an_o() -> None:
    assert missed(SENTENCE, ["B-X", "O", "O", "O"], LABELS) == pytest.approx(0.8)
    assert missed(SENTENCE, ["B-X", "I-X", "O", "B-Y"], LABELS) == pytest.approx(0.3)
    assert missed(SENTENCE[:1], ["B-X"], LABELS) == 0.0


def test_there_is_no_entity_as_surely_as_at_the_token_that_most_looks_like_one() -> None:
    assert no_entity(SENTENCE, Span(2, 4, "X"), LABELS) == pytest.approx(0.4)
    assert no_entity(SENTENCE, Span(2, 3, "Y"), LABELS) == pytest.approx(0.7)
    assert no_entity(SENTENCE, Span(0, 4, "X"), LABELS) == pytest.approx(0.1)


def test_copies_share_a_fold_and_folds_are_even_whatever_the_order() -> None:
    contents = [str(number % 23) for number in range(60)]
    found = folds(contents, 5, seed=1)
    assert found[:14] == found[23:37]
    sizes = Counter(dict(zip(contents, found, strict=True)).values())
    assert set(sizes) == {0, 1, 2, 3, 4}
    assert max(sizes.values()) - min(sizes.values()) == 1
    assert folds(contents[::-1], 5, seed=1) == found[::-1]
    assert folds(contents, 5, seed=2) != found
