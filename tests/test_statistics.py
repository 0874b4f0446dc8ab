"""Means, intervals and tests, compared with scipy, scikit-learn and what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from distill_offline.scoring.statistics import (
    Values,
    compare,
    f1,
    hierarchical_interval,
    holm,
    paired_t,
    resampled_f1,
    sign_flip,
    smallest_sign_flip,
    t_interval,
)

DIFFERENCES = [0.021, -0.004, 0.013, 0.030, 0.008]


def counts(seeds: int, sentences: int, share: float, *, seed: int = 0, spread: float = 0.0) -> np.ndarray:
    """Entities of one type, each found with about the probability `share`, as (seeds, sentences, 1, 3)."""
    random = np.random.default_rng(seed)
    gold = np.random.default_rng(99).poisson(1.5, sentences)
    found = np.zeros((seeds, sentences, 1, 3), dtype=np.uint16)
    for row in range(seeds):
        p = float(np.clip(share + random.normal(0, spread), 0.05, 0.95))
        true = random.binomial(gold, p)
        found[row, :, 0] = np.stack([true, random.binomial(gold, 1 - p), gold - true], axis=1)
    return found


def score(found: np.ndarray) -> Values:
    return f1(found.sum(axis=1), "micro")


def test_micro_f1_adds_the_types_up_and_nothing_at_all_scores_zero() -> None:
    assert f1(np.array([[3, 1, 0], [1, 0, 3]]), "micro") == pytest.approx(2 * 4 / (2 * 4 + 1 + 3))
    assert f1(np.zeros((2, 3), dtype=int), "micro") == 0
    assert f1(np.zeros((2, 3), dtype=int), "macro") == 0


def test_macro_f1_is_scikit_learns_over_the_classes_that_occur() -> None:
    gold, predicted = [0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 0, 0]
    table = np.zeros((4, 3), dtype=int)  # the fourth class occurs nowhere
    for a, b in zip(gold, predicted, strict=True):
        if a == b:
            table[a, 0] += 1
        else:
            table[a, 2] += 1
            table[b, 1] += 1
    assert f1(table, "macro") == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0))


def test_students_interval_is_scipys() -> None:
    values = [0.71, 0.74, 0.69, 0.73, 0.75]
    found = t_interval(values)
    reference = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(reference.low)
    assert found.high == pytest.approx(reference.high)
    assert found.deviation == pytest.approx(np.std(values, ddof=1))


def test_one_value_has_no_interval() -> None:
    found = t_interval([0.5])
    assert (found.mean, found.deviation, found.low, found.high) == (0.5, None, None, None)


def test_the_paired_t_test_is_scipys() -> None:
    assert paired_t(DIFFERENCES) == pytest.approx(scipy.stats.ttest_rel(DIFFERENCES, [0.0] * 5).pvalue)
    assert paired_t([0.0, 0.0]) == 1.0


def test_the_sign_flip_is_scipys_exact_permutation_test() -> None:
    reference = scipy.stats.permutation_test(
        (DIFFERENCES, [0.0] * 5), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(DIFFERENCES) == pytest.approx(reference.pvalue)


def test_five_seeds_alone_cannot_reach_five_percent_by_a_sign_flip() -> None:
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5]) == smallest_sign_flip(5) == 0.0625
    assert smallest_sign_flip(1) == 1.0


def test_holms_correction_is_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_seeds_interval_is_the_percentile_bootstrap_over_sentences() -> None:
    found = counts(1, 150, 0.7)

    def statistic(rows: np.ndarray) -> float:
        return float(f1(found[0, rows].sum(axis=0), "micro"))

    reference = scipy.stats.bootstrap(
        (np.arange(150),), statistic, method="percentile", vectorized=False, n_resamples=1500, rng=1
    ).confidence_interval
    low, high = hierarchical_interval(resampled_f1(found, draws=3000))
    assert low == pytest.approx(reference.low, abs=0.006)
    assert high == pytest.approx(reference.high, abs=0.006)


def test_the_variance_of_a_mean_over_few_seeds_is_not_understated() -> None:
    # Sentences that all agree leave the seeds alone: the bootstrap's variance must be s² / S.
    scores = np.array([0.6, 0.7, 0.65, 0.72, 0.58])
    drawn = np.tile(scores, (20_000, 1))
    low, high = hierarchical_interval(drawn)
    half = 1.96 * scores.std(ddof=1) / np.sqrt(5)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


def test_resampling_many_sentences_again_and_again_centres_on_the_score() -> None:
    found = counts(3, 200, 0.6, spread=0.05)
    drawn = resampled_f1(found, draws=2000)
    assert drawn.shape == (2000, 3)
    assert drawn.mean(axis=0) == pytest.approx(score(found), abs=0.004)


def test_arms_are_resampled_alike() -> None:
    found = counts(2, 100, 0.6)
    assert (resampled_f1(found, draws=300) == resampled_f1(found.copy(), draws=300)).all()
    half = resampled_f1(found[:1], draws=300)
    assert half[:, 0] == pytest.approx(resampled_f1(found, draws=300)[:, 0])


def test_an_arm_against_itself_is_no_different() -> None:
    found = counts(5, 100, 0.6)
    drawn = resampled_f1(found, draws=500)
    result = compare(score(found).tolist(), score(found).tolist(), drawn, drawn)
    assert (result.difference, result.p, result.p_t, result.p_flip) == (0.0, 1.0, 1.0, 1.0)


def test_a_large_difference_is_found_and_its_p_is_never_zero() -> None:
    good, bad = counts(5, 300, 0.8, seed=1, spread=0.01), counts(5, 300, 0.6, seed=2, spread=0.01)
    result = compare(
        score(good).tolist(), score(bad).tolist(), resampled_f1(good, draws=999), resampled_f1(bad, draws=999)
    )
    assert result.p == pytest.approx(2 / 1000)
    assert result.low > 0.1
    back = compare(
        score(bad).tolist(), score(good).tolist(), resampled_f1(bad, draws=999), resampled_f1(good, draws=999)
    )
    assert back.difference == pytest.approx(-result.difference)
    assert back.p == result.p


def test_seeds_that_disagree_are_not_outvoted_by_sentences() -> None:
    # One seed far ahead and four about equal: no evidence, however many sentences there are.
    scores, others = [0.80, 0.70, 0.70, 0.70, 0.69], [0.70, 0.70, 0.70, 0.70, 0.70]
    result = compare(scores, others, np.tile(scores, (2000, 1)), np.tile(others, (2000, 1)))
    assert result.p > 0.2


def test_equal_arms_are_told_apart_about_as_often_as_the_level_allows() -> None:
    rejected, trials = 0, 60
    for trial in range(trials):
        one = counts(5, 80, 0.7, seed=2 * trial, spread=0.06)
        other = counts(5, 80, 0.7, seed=2 * trial + 1, spread=0.06)
        result = compare(
            score(one).tolist(), score(other).tolist(), resampled_f1(one, draws=199), resampled_f1(other, draws=199)
        )
        rejected += result.p < 0.05
    assert rejected <= 7  # 3 are expected of 60
