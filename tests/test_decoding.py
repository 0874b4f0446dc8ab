"""The likeliest valid tags, and the probabilities of spans among all valid ones, against all of them written out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.label_kinds.decoding import Scored, decode, distributions
from distill_offline.label_kinds.subwords import labels_of_words
from distill_offline.schema import Span
from distill_offline.spans.bio import decode_bio, to_iob2

LABELS = ("I-Y", "B-X", "O", "I-X", "B-Y")


def scored(rows: np.ndarray, seen: Sequence[int] | None = None, length: int | None = None) -> Scored:
    places = np.arange(len(rows)) if seen is None else np.array(seen, np.intp)
    return Scored(rows.astype(np.float32), places, len(rows) if length is None else length)


def random_rows(seed: int, length: int, labels: int = len(LABELS)) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, random.choice([0.3, 2.0, 9.0]), (length, labels)).astype(np.float32)
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)), np.float32)


def is_valid(tags: Sequence[str]) -> bool:
    pairs = zip(("O", *tags), tags, strict=False)
    return all(tag[:2] != "I-" or before[2:] == tag[2:] for before, tag in pairs)


def every_valid(rows: np.ndarray, labels: Sequence[str] = LABELS) -> dict[tuple[str, ...], float]:
    """All valid sequences, with the logarithm of each one's weight."""
    columns = itertools.product(range(len(labels)), repeat=len(rows))
    named = ((tuple(labels[i] for i in chosen), chosen) for chosen in columns)
    return {
        tags: float(sum(np.float64(rows[token, i]) for token, i in enumerate(chosen)))
        for tags, chosen in named
        if is_valid(tags)
    }


batches = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 4)), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_decoded_is_the_best_of_all_valid_sequences(drawn: list[tuple[int, int]]) -> None:
    tables = [random_rows(*each) for each in drawn]
    for rows, tags in zip(tables, decode([scored(rows) for rows in tables], LABELS), strict=True):
        weights = every_valid(rows)
        assert weights[tags] == pytest.approx(max(weights.values()))


@settings(max_examples=20, deadline=None)
@given(batches)
def test_probabilities_are_shares_of_all_valid_sequences(drawn: list[tuple[int, int]]) -> None:
    tables = [random_rows(*each) for each in drawn]
    for rows, found in zip(tables, distributions([scored(rows) for rows in tables], LABELS), strict=True):
        shares = {tags: math.exp(weight) for tags, weight in every_valid(rows).items()}
        total = sum(shares.values())
        spans: dict[Span, float] = {}
        marginals = np.zeros((len(rows), len(LABELS)))
        for tags, share in shares.items():
            for span in decode_bio(tags):
                spans[span] = spans.get(span, 0.0) + share / total
            for token, tag in enumerate(tags):
                marginals[token, LABELS.index(tag)] += share / total
        assert found.of_tokens() == pytest.approx(marginals, abs=1e-6)
        for span, probability in spans.items():
            assert found.of(span) == pytest.approx(probability, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.lists(st.sampled_from([0.0, -0.5, -9.0, -math.inf, math.nan]), min_size=5, max_size=5), max_size=6),
        max_size=4,
    )
)
def test_tags_are_valid_whatever_the_scores(drawn: list[list[list[float]]]) -> None:
    sentences = [scored(np.array(rows, np.float32).reshape(-1, 5)) for rows in drawn]
    for each, tags, found in zip(sentences, decode(sentences, LABELS), distributions(sentences, LABELS), strict=True):
        assert len(tags) == each.length
        assert to_iob2(tags, "iob2") == tags
        assert found.of_tokens().sum(1) == pytest.approx(1)
        for span in decode_bio(tags):
            assert 0 <= found.of(span) <= 1


def test_free_choice_that_is_valid_stays_and_company_changes_nothing() -> None:
    sentences = [scored(random_rows(seed, seed % 23)) for seed in range(300)]
    together = decode(sentences, LABELS)
    assert [decode([each], LABELS)[0] for each in sentences] == together
    free = [tuple(LABELS[i] for i in each.scores.argmax(1)) for each in sentences]
    valid = [is_valid(tags) for tags in free]
    assert 20 < sum(valid) < 280
    assert all(mine == tags for mine, tags, keeps in zip(together, free, valid, strict=True) if keeps)
    assert any(mine != labels_of_words(tags) for mine, tags in zip(together, free, strict=True))


def test_an_entity_is_begun_or_left_whichever_costs_less() -> None:
    # O, I-X is the free choice: either the first token begins the entity, or the second is none.
    log = np.log(np.array([[0.01, 0.39, 0.58, 0.01, 0.01], [0.01, 0.01, 0.3, 0.67, 0.01]]))
    assert decode([scored(log)], LABELS) == [("B-X", "I-X")]
    log = np.log(np.array([[0.01, 0.05, 0.92, 0.01, 0.01], [0.01, 0.01, 0.4, 0.57, 0.01]]))
    assert decode([scored(log)], LABELS) == [("O", "O")]


def test_unseen_tokens_are_passed_over_and_filled_in() -> None:
    log = np.log(
        np.array([[0.01, 0.9, 0.07, 0.01, 0.01], [0.01, 0.01, 0.07, 0.9, 0.01], [0.01, 0.01, 0.96, 0.01, 0.01]])
    )
    each = scored(log, seen=[1, 3, 5], length=7)
    assert decode([each], LABELS) == [("O", "B-X", "I-X", "I-X", "O", "O", "O")]
    (found,), (plain,) = distributions([each], LABELS), distributions([scored(log)], LABELS)
    assert found.of(Span(1, 4, "X")) == found.of(Span(0, 5, "X")) == plain.of(Span(0, 2, "X"))
    assert found.of(Span(4, 5, "X")) == 0
    rows = found.of_tokens()
    assert rows.sum(1) == pytest.approx(1)
    assert rows[2, LABELS.index("I-X")] == rows[3, LABELS.index("I-X")]
    assert rows[[0, 6], LABELS.index("O")].tolist() == [1, 1]
    assert decode([scored(log[:0], [], 2), scored(log[:0], [], 0)], LABELS) == [("O", "O"), ()]
    assert distributions([scored(log[:0], [], 1)], LABELS)[0].of_tokens().argmax(1).tolist() == [LABELS.index("O")]


def test_type_without_begin_or_without_inside_has_what_its_head_can_say() -> None:
    rows = np.log(np.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))
    assert decode([scored(rows)], ("O", "I-X", "B-Y")) == [("B-X", "I-X", "B-Y")]
    (found,) = distributions([scored(rows)], ("O", "I-X", "B-Y"))
    assert found.of(Span(2, 3, "Y")) == pytest.approx(0.8)
    assert found.of(Span(1, 3, "Y")) == 0
    with pytest.raises(ValueError, match="B-X"):
        found.of(Span(0, 2, "X"))


def test_a_span_of_one_type_ends_where_another_one_goes_on() -> None:
    labels = ("O", "B-X", "I-X")
    (found,) = distributions([scored(np.log(np.array([[0.2, 0.8, 0.0 + 1e-9], [0.5, 0.2, 0.3]])))], labels)
    total = 0.8 * (0.5 + 0.2 + 0.3) + 0.2 * (0.5 + 0.2)
    assert found.of(Span(0, 1, "X")) == pytest.approx(0.8 * 0.7 / total)
    assert found.of(Span(0, 2, "X")) == pytest.approx(0.8 * 0.3 / total)


def test_a_long_text_and_sure_scores_lose_no_precision() -> None:
    rows = np.full((1500, 5), -60.0)
    rows[:, LABELS.index("O")] = 0.0
    rows[::7] = -60.0
    rows[::7, LABELS.index("B-X")] = 0.0
    (found,), (tags,) = distributions([scored(rows)], LABELS), decode([scored(rows)], LABELS)
    assert [found.of(span) for span in decode_bio(tags)] == pytest.approx([1.0] * 215)
