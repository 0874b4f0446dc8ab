"""Places of a string in tokens, against searches that try everything."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_offline.spans.matching import Budget, TokenText, allowed_edits, normalised, squeezed

PLENTY = 1_000_000
# Few letters, long words: near misses, overlaps and repetitions all the time.
_WORDS = st.sampled_from(
    ["abcabc", "abcabd", "abccabc", "bcabc", "a", "bc", "-", "", " ", "7", "abcab7", "ABCABC", "é"]
)
_TOKENS = st.lists(_WORDS, max_size=8)
_AWKWARD = st.text("a ´″ﬁİß\u0301\u00ad\u200b\u1100\u1161각\x00\ud800𝐀ｶﾞ½‐\u034f\u3164\U000e0100", max_size=8)


def near(mention: str, tokens: Sequence[str], steps: int = PLENTY) -> Sequence[tuple[int, int]]:
    return list(TokenText(tokens, normalised).find_nearly(mention, Budget(steps)).ranges)


def windows(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Every token range that begins and ends with a token of which something is left."""
    kept = [n for n, token in enumerate(tokens) if normalised(token)]
    return [(start, end + 1) for start in kept for end in kept if end >= start]


def edits_between(one: str, other: str) -> int:
    """Levenshtein's distance, by its definition."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one):
        following = [i + 1]
        for j, b in enumerate(other):
            following.append(min(row[j] + (a != b), row[j + 1] + 1, following[j] + 1))
        row = following
    return row[-1]


@given(_TOKENS, st.lists(_WORDS, max_size=4))
def test_all_places_are_found_and_no_others(tokens: list[str], words: list[str]) -> None:
    mention = squeezed("".join(words))
    if not mention:
        return
    expected = [(i, j) for i, j in windows(tokens) if squeezed("".join(tokens[i:j])) == mention]
    text = TokenText(tokens, squeezed)
    places = text.find(mention, Budget(PLENTY))
    assert list(places.ranges) == expected
    assert places.reason == ("overlapping" if expected else "not_in_text")
    inside = mention in squeezed("".join(tokens))
    assert text.why_nowhere(mention, Budget(PLENTY)) == ("inside_token" if inside else "not_in_text")


@given(st.lists(st.sampled_from(["abcabc", "abcabd", "abccabc", "bcabc", "abcbac"]), max_size=8), _TOKENS, st.data())
def test_nearly_finds_the_places_of_fewest_edits(words: list[str], more: list[str], data: st.DataObject) -> None:
    tokens = data.draw(st.permutations([*words, *more]))
    mention = " ".join(data.draw(st.lists(_WORDS, min_size=1, max_size=3)))
    distances = {
        (i, j): edits_between(normalised(mention), normalised("".join(tokens[i:j]))) for i, j in windows(tokens)
    }
    within = {place: d for place, d in distances.items() if d <= allowed_edits(len(normalised(mention)))}
    found = near(mention, tokens)
    assert set(found) <= set(within)  # the rules for slips only ever leave some out
    assert list(found) == sorted(found)
    if within and min(within.values()) == 0 and allowed_edits(len(normalised(mention))):
        assert set(found) == {place for place, d in within.items() if d == 0}


@given(st.lists(st.text("abcdefgh", min_size=5, max_size=9), min_size=1, max_size=5), st.data())
def test_one_slip_inside_a_long_word_is_always_found(words: list[str], data: st.DataObject) -> None:
    mention = list(" ".join(words))
    places = [n for n, c in enumerate(mention) if n and c != " " and mention[n - 1] != " "]
    position = data.draw(st.sampled_from(places))
    change = data.draw(st.sampled_from(["", "z", mention[position] + "z"]))
    mention[position] = change
    slips = [word for word in "".join(mention).split(" ") if len(word) < 5]
    if len(squeezed("".join(mention))) < 8 or slips:
        return
    assert (1, 1 + len(words)) in near("".join(mention), ["so", *words, "it", "was"])


@given(_AWKWARD, _AWKWARD)
def test_it_does_not_matter_where_a_tokeniser_cuts(one: str, other: str) -> None:
    cut, whole = normalised(one) + normalised(other), normalised(one + other)
    # Marks that stand on one letter have no order of their own.
    assert unicodedata.normalize("NFKD", cut) == unicodedata.normalize("NFKD", whole)


@given(_AWKWARD)
def test_what_is_equal_in_nfkc_is_equal_here(text: str) -> None:
    assert normalised(unicodedata.normalize("NFKC", text.replace("´", "'").replace("″", '"'))) == normalised(text)


@pytest.mark.parametrize(
    "number", [0xAD, 0x34F, 0x115F, 0x180B, 0x180E, 0x206A, 0x3164, 0xFE0F, 0xFFF9, 0xE0001, 0xE0100]
)
def test_what_cannot_be_seen_makes_no_difference(number: int) -> None:
    unseen = chr(number)
    assert normalised(f"葛{unseen}飾{unseen}") == normalised("葛飾")
    for tokens, mention in (([f"葛{unseen}", "飾区"], "葛飾区"), (["葛", "飾区"], f"葛{unseen}飾区")):
        assert list(TokenText(tokens, normalised).find(normalised(mention), Budget(PLENTY)).ranges) == [(0, 2)]


def test_flags_of_different_places_stay_different() -> None:
    england, wales = ("\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in name) for name in ("gbeng", "gbwls"))
    assert normalised(england) != normalised(wales)


@pytest.mark.parametrize(
    ("mention", "text"),
    [
        ("Food and Agriculture Organization", "Food and Agriculture Organisation"),
        ("Liechenstein", "Liechtenstein"),
        ("Algerians", "Algerian"),
        ("Frank Leboeuf", "Franck Leboeuf"),
        ("Gulfan Municpality", "Gulfan Municipality"),
        ("Phenytoine encephalopathy", "Phenytoin encephalopathy"),
        ("nitricoxide", "nitric-oxide"),
        ("Pump P3 inlet", "Pump P-3 inlet"),
        ("Muenchenn-Schwabing", "Muenchen - Schwabing"),
    ],
)
def test_a_slip_is_forgiven(mention: str, text: str) -> None:
    assert near(mention, text.split(" ")) == [(0, len(text.split(" ")))]


@pytest.mark.parametrize(
    ("mention", "text"),
    [
        ("Chlorine Room A", "Chlorine Room B"),
        ("hepatitis B", "hepatitis"),
        ("vitamin D3 drops", "vitamin B3 drops"),
        ("Transmitter-204", "Transmitter-205"),
        ("Transmitter204", "Transmitter205"),
        ("第二回世界遺産会議", "第三回世界遺産会議"),
        ("Northampton", "Southampton"),
        ("Slovenia", "Slovakia"),
        ("hypotension", "hypertension"),
        ("World War II", "World War III"),
        ("Korda", "Korea"),
        ("Ajax Amsterdam", "in Amsterdam"),
        ("Lebanon", "Lebanom"),
        ("Lindsay Davenport", "Lindsay ) Davenport"),
    ],
)
def test_what_is_another_name_is_no_slip(mention: str, text: str) -> None:
    assert near(mention, text.split(" ")) == []


def test_the_longest_mentions_are_not_looked_for_nearly() -> None:
    words = [f"wordnumber{'x' * n}" for n in range(15)]
    assert near(" ".join(words).replace("wordnumberx", "wordnumbrx", 1), words) == []
    assert allowed_edits(10**6) == 0


def test_nothing_is_looked_for_over_the_budget() -> None:
    tokens = ["abcabcabc"] * 100
    text = TokenText(tokens, normalised)
    assert text.find("abcabcabc", Budget(99)).reason == "over_budget"
    assert text.find_nearly("abcabcabd", Budget(99)).reason == "over_budget"
    assert text.why_nowhere("cabcabc", Budget(99)) == "over_budget"
    budget = Budget(250)
    assert len(text.find("abcabcabc", budget).ranges) == 100
    assert text.find("abcabcabc", budget).ranges
    assert budget.left == 50
