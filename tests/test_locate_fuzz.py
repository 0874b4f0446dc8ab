"""Mutated answers: the fast part of `python tests/fuzz_parse.py`."""

from __future__ import annotations

import pytest
from fuzz_parse import REASONS, check, fuzz

from distill_offline.spans.locate import locate

LOCATE = "distill_offline.tasks.ner.locate"


@pytest.mark.slow
def test_no_mutated_answer_makes_the_parser_fail_or_lose_a_mention() -> None:
    counts = fuzz(2_000, seed=2)
    # The inputs reach what they are meant to reach.
    assert {"parsed", "exact", "repeated", "normalised", "fuzzy", "not_in_text", "overlapping", "unknown_type"} <= set(
        counts
    )
    assert set(counts) >= REASONS


def test_inputs_depend_on_the_seed_alone() -> None:
    assert fuzz(50, seed=3) == fuzz(50, seed=3) != fuzz(50, seed=4)


def test_a_lost_mention_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOCATE, lambda mentions, tokens, every: locate(list(mentions)[:-1], tokens, every=every))
    with pytest.raises(AssertionError):
        check('[["Ada","PER"]]')


def test_a_traceback_is_reported_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOCATE, lambda mentions, tokens, every: 1 // 0)
    with pytest.raises(AssertionError, match="seed 1, input 0: "):
        fuzz(1, seed=1)
