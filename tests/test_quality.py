"""What a teacher's spans are worth."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.confidence.calibration import Calibration
from distill_offline.schema import Span
from distill_offline.scoring.metrics import score
from distill_offline.scoring.quality import Kinds, Quality, quality
from distill_offline.spans.bio import encode_bio

Sentences = list[tuple[Span, ...]]

GOLD: Sentences = [
    (Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(5, 7, "ORG")),
    (Span(0, 1, "LOC"), Span(2, 3, "LOC")),
]
FOUND: Sentences = [
    (Span(0, 2, "PER", 0.9, "exact"), Span(3, 4, "ORG", 0.6, "exact"), Span(6, 7, "ORG", 0.3, "fuzzy")),
    (Span(0, 1, "LOC", 0.8, "exact"), Span(4, 5, "PER", None, "normalised")),
]


def test_every_span_is_of_one_kind() -> None:
    found = quality(GOLD, FOUND)
    assert found.overall == Kinds(correct=2, wrong_type=1, wrong_boundary=1, spurious=1, missed=1)
    assert (found.overall.spans, found.overall.precision) == (5, 0.4)
    assert dict(found.by_type) == {
        "LOC": Kinds(correct=1, missed=1),
        "ORG": Kinds(wrong_type=1, wrong_boundary=1),
        "PER": Kinds(correct=1, spurious=1),
    }
    assert dict(found.by_alignment) == {
        "exact": Kinds(correct=2, wrong_type=1),
        "fuzzy": Kinds(wrong_boundary=1),
        "normalised": Kinds(spurious=1),
    }


def test_bins_of_confidence_hold_their_own_spans() -> None:
    found = quality(GOLD, FOUND)
    assert found.reliability is not None
    assert [row[0] for row in found.reliability.bins] == [0.3, 0.6, 0.8, 0.9]
    assert list(found.by_confidence) == [
        Kinds(wrong_boundary=1), Kinds(wrong_type=1), Kinds(correct=1), Kinds(correct=1),
    ]  # fmt: skip
    assert found.without_confidence == 1
    assert found.reliability.auroc == 1.0
    assert found.reliability.brier == pytest.approx((0.01 + 0.36 + 0.09 + 0.04) / 4)
    many = quality([(Span(0, 1, "X"),)] * 100, [(Span(0, 1, "X" if n % 3 else "Y", n / 100),) for n in range(100)])
    assert [kinds.spans for kinds in many.by_confidence] == [10] * 10
    assert [kinds.precision for kinds in many.by_confidence] == [row[4] for row in many.reliability.bins]  # type: ignore[union-attr]


def test_a_calibration_is_compared_on_the_same_spans() -> None:
    low = Calibration("isotonic", (0.0, 1.0), (0.0, 0.5))
    found = quality(GOLD, FOUND, low)
    assert found.calibrated is not None
    assert [row[3] for row in found.calibrated.bins] == pytest.approx([0.15, 0.3, 0.4, 0.45])
    assert "calibrated" in found.as_dict()
    assert "calibrated" not in quality(GOLD, FOUND).as_dict()


def test_quality_is_json_with_shares_that_add_up() -> None:
    found = json.loads(json.dumps(quality(GOLD, FOUND).as_dict(), allow_nan=False))
    assert found["overall"] == {
        "spans": 5, "precision": 0.4, "correct": 2, "wrong_type": 1, "wrong_boundary": 1, "spurious": 1, "missed": 1,
    }  # fmt: skip
    assert "missed" not in found["by_alignment"]["exact"]
    assert sum(row["spans"] for row in found["by_confidence"]) + found["without_confidence"] == 5
    assert found["matches"]["strict"] == {"precision": 0.4, "recall": 0.4, "f1": pytest.approx(0.4)}
    assert found["matches"]["exact"]["f1"] == pytest.approx(0.6)
    assert found["matches"]["partial"]["f1"] == pytest.approx(0.7)
    assert found["matches"]["ent_type"]["f1"] == pytest.approx(0.6)


@pytest.mark.parametrize("sentences", [[], [()], [(), ()]])
def test_nothing_to_find_and_nothing_found_is_all_zero(sentences: Sentences) -> None:
    found = quality(sentences, sentences)
    assert found == Quality(Kinds(), found.matches, {}, {}, [], None, 0)
    assert found.overall.precision is None
    assert found.matches["strict"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_without_any_confidence_there_is_no_reliability() -> None:
    found = quality(GOLD, GOLD)
    assert (found.reliability, found.by_confidence, found.without_confidence) == (None, [], 5)
    assert found.overall == Kinds(correct=5)


def test_sentences_must_match_one_to_one() -> None:
    with pytest.raises(ValueError):
        quality(GOLD, FOUND[:1])


@st.composite
def tagged(draw: st.DrawFn) -> tuple[int, tuple[Span, ...], tuple[Span, ...]]:
    """A sentence's length, and two sets of spans in it, none overlapping another of its set."""
    sides = []
    for _ in range(2):
        spans, at = [], 0
        for gap, length, type_ in draw(
            st.lists(
                st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B", "micro avg"])), max_size=6
            )
        ):
            spans.append(Span(at + gap, at + gap + length, type_))
            at += gap + length
        sides.append(tuple(spans))
    return max((span.end for side in sides for span in side), default=0) + 1, sides[0], sides[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(tagged(), min_size=1, max_size=4))
def test_nervaluates_strict_scores_and_kinds_are_seqevals_and_ours_on_valid_tags(
    sentences: list[tuple[int, tuple[Span, ...], tuple[Span, ...]]],
) -> None:
    report = score(
        "entity_f1",
        [encode_bio(gold, length) for length, gold, _ in sentences],
        [encode_bio(predicted, length) for length, _, predicted in sentences],
        on="x",
    )
    found = quality([gold for _, gold, _ in sentences], [predicted for _, _, predicted in sentences])
    for measure in ("precision", "recall", "f1"):
        assert found.matches["strict"][measure] == pytest.approx(getattr(report.overall, measure))
    kinds = found.overall.as_dict()
    assert {kind: kinds[kind] for kind in report.errors} == report.errors
    assert kinds["spans"] == sum(len(predicted) for _, _, predicted in sentences)
    gold = sum(len(gold) for _, gold, _ in sentences)
    assert kinds["correct"] + kinds["wrong_type"] + kinds["wrong_boundary"] + kinds["missed"] == gold


def test_a_very_long_sentence_takes_no_more_than_its_share_of_time() -> None:
    gold = tuple(Span(n, n + 1, "X") for n in range(0, 10_000, 2))
    start = time.perf_counter()
    assert quality([gold], [gold[::2]]).overall == Kinds(correct=2500, missed=2500)
    assert time.perf_counter() - start < 5
