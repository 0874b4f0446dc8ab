"""Gold for distilled sentences, found in another file."""

from __future__ import annotations

import pytest
from sentences import example

from distill_offline.errors import ConfigError
from distill_offline.study.examine.reference import Truth


def test_gold_is_found_by_tokens_whatever_the_ids_and_the_order() -> None:
    truth = Truth.of([example("c/B-LOC d", "g:0"), example("a/B-PER b", "g:1")])
    found = truth.match([example("a b/B-PER", "d:0"), example("x y", "d:1"), example("c d", "d:2")])
    assert [each.sentence.id for each in found.examples] == ["d:0", "d:2"]
    assert found.gold == (("B-PER", "O"), ("B-LOC", "O"))
    assert (found.unmatched, found.ambiguous) == (1, 0)


def test_copies_with_different_gold_are_left_out_unless_the_id_says_which() -> None:
    truth = Truth.of([example("a b", "1"), example("a/B-PER b", "2"), example("c d", "3")])
    found = truth.match([example("a b", "2"), example("a b", "x"), example("c d", "1")])
    assert found.gold == (("B-PER", "O"), ("O", "O"))  # the id of another sentence means nothing
    assert (found.unmatched, found.ambiguous) == (0, 1)


def test_a_reference_of_other_sentences_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"study.examine.reference: it has gold for none of the 1 distilled"):
        Truth.of([example("c d")]).match([example("a b")])
    assert Truth.of([example("c d")]).match([]).examples == ()
