"""Near-copies are found, all of them, and about as fast for many texts as for few."""

from __future__ import annotations

import random
import time

import pytest

from distill_offline.select.near_duplicates import near_duplicates

WORDS = [f"{a}{b}{c}" for a in ("ka", "mo", "ti") for b in ("ren", "sol", "dun", "vi") for c in ("a", "ek", "ost")]


def pieces(text: str) -> set[str]:
    padded = f" {text.lower()} ".ljust(5)
    return {padded[at : at + 5] for at in range(len(padded) - 4)}


def by_comparing_all(texts: list[str], similarity: float, held_out: list[str]) -> list[str]:
    kept: list[set[str]] = []
    kinds = []
    for text in texts:
        own = pieces(text)

        def near(other: set[str], own: set[str] = own) -> bool:
            return len(own & other) >= similarity * len(own | other) - 1e-9

        kind = "copy_of_held_out" if any(near(pieces(t)) for t in held_out) else "copy" if any(map(near, kept)) else ""
        kinds.append(kind or "unique")
        if not kind:
            kept.append(own)
    return kinds


def altered(text: str, chance: random.Random) -> str:
    return " ".join(chance.choice(WORDS) if chance.random() < 0.12 else word for word in text.split())


def corpus(size: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    texts = [" ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 14))) for _ in range(size)]
    return [altered(chance.choice(texts), chance) if chance.random() < 0.3 else text for text in texts]


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.9, 1.0])
def test_the_same_copies_are_found_as_by_comparing_all_with_all(similarity: float) -> None:
    texts, held_out = corpus(150, 1), corpus(20, 2) + corpus(150, 1)[:3]
    found = near_duplicates(texts, similarity, held_out)
    assert found == by_comparing_all(texts, similarity, held_out)
    assert len(set(found)) == 3


def test_case_does_not_matter_and_short_or_odd_texts_are_texts_too() -> None:
    texts = ["A", "a", "", "", "\ud800 \u2028", "\ud800 \u2028", "ab"]
    assert near_duplicates(texts, 0.9) == ["unique", "copy", "unique", "copy", "unique", "copy", "unique"]


def test_no_text_is_no_copy() -> None:
    assert near_duplicates([], 0.8) == []
    assert near_duplicates([], 0.8, ["held out"]) == []
    assert near_duplicates(["alone"], 0.8) == ["unique"]


def test_a_similarity_at_which_texts_are_no_copies_is_refused() -> None:
    with pytest.raises(ValueError, match="not between"):
        near_duplicates(["a"], 0.2)


def test_where_all_follow_one_template_time_stays_linear() -> None:
    chance = random.Random(0)

    def seconds(size: int) -> float:
        texts = [f"connection from host {chance.randrange(10**9):09} was refused by rule" for _ in range(size)]
        start = time.process_time()
        near_duplicates(texts, 0.9)
        return time.process_time() - start

    seconds(50)
    few, many = seconds(300), seconds(1200)
    assert many < 12 * few + 0.2


def test_many_similar_texts_do_not_hide_the_one_in_dev() -> None:
    """They hold the same rare pieces, more often than is looked back for: in one index they would crowd it out."""
    chance = random.Random(0)

    def word(length: int) -> str:
        return "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(length))

    forbidden = word(50)
    texts = [forbidden + word(10) for _ in range(300)]
    found = near_duplicates([*texts, f"{forbidden}!"], 0.8, [forbidden])
    assert found == ["unique"] * 300 + ["copy_of_held_out"]
