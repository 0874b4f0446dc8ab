"""Mentions to token places."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example as tried
from hypothesis import given
from hypothesis import strategies as st

from distill_offline.label_kinds.subwords import labels_of_words, spread_to_subwords
from distill_offline.schema import Rejection, Span
from distill_offline.spans.bio import decode_bio, encode_bio
from distill_offline.spans.locate import locate, twins_of

# Few characters, so that surfaces repeat, overlap and stand inside one another.
_TOKENS = st.lists(st.text("abB'’- é", min_size=1, max_size=3), min_size=1, max_size=12)
_MENTIONS = st.lists(st.tuples(st.text("abB'’- é", max_size=5), st.sampled_from(["X", "Y"])), max_size=10)
# What normalisation lengthens, shortens, empties or takes apart, and half a character.
_AWKWARD = "a ´″ﬁİß\u0301\u00ad\u200b\u1100\u1161\x00\ud800𝐀"
_PIECES = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "X", "Y"])), max_size=8)


def places(mentions: Sequence[str], tokens: str) -> list[tuple[int, int]]:
    return [(s.start, s.end) for s in locate([(m, "X") for m in mentions], tokens.split(" ")).spans]


def reasons(mentions: Sequence[str], tokens: str) -> list[str]:
    return [rejection.reason for rejection in locate([(m, "X") for m in mentions], tokens.split(" ")).rejected]


def _surface(tokens: Sequence[str], start: int, end: int) -> str:
    return " ".join(tokens[start:end])


def _squeezed(text: str) -> str:
    return "".join(text.split())


@given(_PIECES, st.data())
def test_spans_with_distinct_surfaces_are_all_found_back(pieces: list[tuple[int, str]], data: st.DataObject) -> None:
    length = sum(size for size, _ in pieces)
    tokens = data.draw(st.lists(st.text("abc", min_size=1, max_size=3), min_size=length, max_size=length))
    wanted, end = [], 0
    for size, type_ in pieces:
        surface = _squeezed(_surface(tokens, end, end + size))
        ranges = [(i, j) for i in range(length) for j in range(i + 1, length + 1)]
        if type_ and sum(_squeezed(_surface(tokens, i, j)) == surface for i, j in ranges) == 1:
            wanted.append((end, end + size, type_))
        end += size
    alignment = locate([(_surface(tokens, start, end), type_) for start, end, type_ in wanted], tokens)
    assert [(s.start, s.end, s.type) for s in alignment.spans] == wanted
    assert {s.alignment for s in alignment.spans} <= {"exact"}
    assert alignment.rejected == ()


@given(_TOKENS, st.integers(1, 5))
def test_every_occurrence_of_a_repeated_word_is_found_once_each(tokens: list[str], times: int) -> None:
    words = [f"w{token.strip()}" for token in tokens]
    given_ = [(word, "X") for word in words * times]
    alignment = locate(given_, words)
    assert [(s.start, s.end) for s in alignment.spans] == [(n, n + 1) for n in range(len(words))]
    assert len(alignment.rejected) == len(words) * (times - 1)
    assert {rejection.reason for rejection in alignment.rejected} <= {"overlapping"}


@given(_MENTIONS, _TOKENS)
@tried([("a", "X"), ("A", "X"), ("ab", "Y")], ["a", "b", " ", "B"])
def test_nothing_is_lost_and_nothing_overlaps(mentions: list[tuple[str, str]], tokens: list[str]) -> None:
    alignment = locate(mentions, tokens)
    assert len(alignment.spans) + len(alignment.rejected) == len(mentions)
    unaligned = tuple(Span(span.start, span.end, span.type) for span in alignment.spans)
    assert decode_bio(encode_bio(unaligned, len(tokens))) == unaligned
    left = list(mentions)
    for rejection in alignment.rejected:  # what is rejected is word for word what was given, in its order
        while left.pop(0)[0] != rejection.mention:
            pass


@given(_MENTIONS, _TOKENS)
def test_what_is_found_exactly_reads_as_the_mention(mentions: list[tuple[str, str]], tokens: list[str]) -> None:
    for span in locate(mentions, tokens).spans:
        if span.alignment == "exact":
            assert _squeezed(_surface(tokens, span.start, span.end)) in {_squeezed(m) for m, _ in mentions}


@given(st.text(_AWKWARD, max_size=6), st.lists(st.text(_AWKWARD, max_size=4), max_size=6))
def test_no_text_at_all_makes_it_fail(mention: str, tokens: list[str]) -> None:
    alignment = locate([(mention, "X"), ("\ud800", "X")], tokens)
    assert len(alignment.spans) + len(alignment.rejected) == 2


def test_repeated_mentions_take_distinct_places_in_order() -> None:
    assert places(["US", "Iran", "US"], "US and Iran and US and Iran") == [(0, 1), (2, 3), (4, 5)]


def test_a_mention_is_looked_for_behind_the_one_before_it() -> None:
    assert places(["Berlin", "US"], "US via Berlin to US") == [(2, 3), (4, 5)]


def test_a_mention_out_of_order_is_found_in_front_all_the_same() -> None:
    assert places(["Berlin", "Iran"], "Iran via Berlin") == [(0, 1), (2, 3)]


def test_the_order_of_the_answer_counts_across_exact_and_normalised_mentions() -> None:
    assert places(["Berlin", "Paris"], "paris via Berlin to PARIS") == [(2, 3), (4, 5)]


def test_an_exact_place_is_preferred_to_a_normalised_one_in_front_of_it() -> None:
    alignment = locate([("Apple", "X"), ("apple", "Y")], ["apple", "of", "Apple"])
    assert [(s.start, s.type, s.alignment) for s in alignment.spans] == [(0, "Y", "exact"), (2, "X", "exact")]


@pytest.mark.parametrize(
    ("mention", "token"),
    [
        ("IBM", "Ibm"),
        ("straße", "STRASSE"),
        ("O'Brien", "O’Brien"),
        ("O´Brien", "O'Brien"),
        ("O`Brien", "O'Brien"),
        ('"Ada"', "“Ada”"),
        ('"Ada"', "«Ada»"),
        ('"Ada"', "``Ada''"),
        ('6"', "6″"),
        ("P-204", "P‑204"),
        ("1939–45", "1939-45"),
        ("-3", "−3"),
        ("ﬁnance", "finance"),
        ("ＡＢＣ", "ABC"),
        ("cafe\u0301", "café"),
        ("inter\u00adnational", "international"),
        ("\ufeffEU", "EU"),
    ],
)
def test_mention_that_differs_in_form_alone_is_found_and_said_to_be_normalised(mention: str, token: str) -> None:
    for one, other in ((mention, token), (token, mention)):
        (span,) = locate([(one, "X")], ["the", other, "."]).spans
        assert (span.start, span.end, span.alignment) == (1, 2, "normalised")


@pytest.mark.parametrize("mention", ["New  York", "NewYork", "New\nYork", "New\u00a0York", " New York "])
def test_white_space_does_not_matter(mention: str) -> None:
    (span,) = locate([(mention, "X")], ["in", "New", "York"]).spans
    assert (span.start, span.end, span.alignment) == (1, 3, "exact")


def test_a_mention_joins_tokens_that_the_tokeniser_parted() -> None:
    assert places(["U.S.", "AT&T"], "the U . S . and AT & T") == [(1, 5), (6, 9)]


@pytest.mark.parametrize(
    ("mentions", "reason"),
    [
        (["Narnia"], "not_in_text"),
        (["land"], "inside_token"),
        (["Finland is"], "not_in_text"),
        (["Finl"], "inside_token"),
        ([""], "empty"),
        ([" \n\t"], "empty"),
        (["\u200b"], "empty"),
        (["Finland", "Finland"], "overlapping"),
        (["Finland wins", "wins gold"], "overlapping"),
        (["wins gold", "GOLD"], "overlapping"),
    ],
)
def test_rejected_mention_has_its_reason(mentions: list[str], reason: str) -> None:
    assert reasons(mentions, "Finland wins gold") == [reason]


@pytest.mark.parametrize(
    ("mentions", "wins", "loses"),
    [
        (["New York", "New York Times"], (0, 3), "New York"),
        (["New York Times", "New York"], (0, 3), "New York"),
        (["Times wins", "York Times"], (2, 4), "York Times"),
        (["New York", "NEW YORK TIMES"], (0, 2), "NEW YORK TIMES"),
        (["york times", "Times wins a medel"], (1, 3), "Times wins a medel"),
    ],
    ids=["longer behind", "longer in front", "first given of two as long", "exact", "normalised"],
)
def test_of_two_overlapping_mentions_the_more_exact_then_the_longer_then_the_first_wins(
    mentions: list[str], wins: tuple[int, int], loses: str
) -> None:
    alignment = locate([(mention, "X") for mention in mentions], ["New", "York", "Times", "wins", "a", "medal"])
    assert [(s.start, s.end) for s in alignment.spans] == [wins]
    assert alignment.rejected == (Rejection(loses, "overlapping"),)


@pytest.mark.parametrize("mentions", [["New York Times", "New York"], ["New York", "New York Times"]])
def test_a_shorter_mention_makes_room_for_a_longer_one_and_takes_its_next_place(mentions: list[str]) -> None:
    assert places(mentions, "New York Times in New York") == [(0, 3), (4, 6)]


def everywhere(mentions: Sequence[str], tokens: str) -> list[tuple[int, int, str]]:
    given_ = [(mention, f"T{number}") for number, mention in enumerate(mentions)]
    return [(span.start, span.end, span.type) for span in locate(given_, tokens.split(" "), every=True).spans]


def test_a_mention_said_once_is_every_place_if_that_is_asked_for() -> None:
    alignment = locate(
        [("Oslo", "X"), ("Bergen", "Y")],
        ["Oslo", "beat", "Bergen", "and", "Oslo", "as", "only", "Oslo", "can"],
        every=True,
    )
    assert [(s.start, s.type, s.alignment) for s in alignment.spans] == [
        (0, "X", "exact"),
        (2, "Y", "exact"),
        (4, "X", "repeated"),
        (7, "X", "repeated"),
    ]
    assert alignment.numbers == (0, 1, 0, 0)
    assert alignment.rejected == ()
    assert places(["Oslo", "Bergen"], "Oslo beat Bergen and Oslo as only Oslo can") == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("mentions", "tokens", "expected"),
    [
        # Twice is twice, whatever the types.
        (["Oslo", "Oslo"], "Oslo and Oslo and Oslo", [(0, 1, "T0"), (2, 3, "T1")]),
        (["O slo", "Oslo"], "Oslo and Oslo and Oslo", [(0, 1, "T0"), (2, 3, "T1")]),
        # Longer mentions first, so that nothing takes a part of them.
        (["York", "New York"], "York is not New York but New York", [(0, 1, "T0"), (3, 5, "T1"), (6, 8, "T1")]),
        (["New York", "York"], "New York , New York , York", [(0, 2, "T0"), (3, 5, "T0"), (6, 7, "T1")]),
        (["New York", "York", "York"], "York , New York , New York", [(0, 1, "T2"), (2, 4, "T0"), (6, 7, "T1")]),
        # All that is given has a place before anything has a second one.
        (["New York", "York"], "New York , New York", [(0, 2, "T0"), (4, 5, "T1")]),
        (["a a", "a"], "a a a a a", [(0, 2, "T0"), (2, 3, "T1"), (3, 5, "T0")]),
        (["US", "us"], "US told us in the US", [(0, 1, "T0"), (2, 3, "T1"), (5, 6, "T0")]),
        # Other case is another mention; a mention in a case that the text has not is all of them.
        (["US"], "US told us", [(0, 1, "T0")]),
        (["oslo"], "Oslo and OSLO", [(0, 1, "T0"), (2, 3, "T0")]),
        # Left to right, and no place overlaps another.
        (["a a"], "a a a a a", [(0, 2, "T0"), (2, 4, "T0")]),
        # Where a mention is within a token, it is not.
        (["ana"], "ana banana ana", [(0, 1, "T0"), (2, 3, "T0")]),
    ],
)
def test_every_place_is_one_that_no_other_mention_has(
    mentions: list[str], tokens: str, expected: list[tuple[int, int, str]]
) -> None:
    assert everywhere(mentions, tokens) == expected


def test_a_misspelt_mention_is_every_place_too_and_stays_fuzzy() -> None:
    text = ["Johansson", "met", "Johansson"]
    spans = locate([("Johanssen", "X")], text, every=True).spans
    assert [(s.start, s.alignment) for s in spans] == [(0, "fuzzy"), (2, "fuzzy")]


@given(_MENTIONS, _TOKENS)
def test_with_every_place_nothing_is_lost_and_nothing_overlaps(
    mentions: list[tuple[str, str]], tokens: list[str]
) -> None:
    alignment = locate(mentions, tokens, every=True)
    assert {*alignment.numbers, *alignment.lost} == {*range(len(mentions))}
    assert not {*alignment.numbers} & {*alignment.lost}
    plain = tuple(Span(span.start, span.end, span.type) for span in alignment.spans)
    assert decode_bio(encode_bio(plain, len(tokens))) == plain
    for span, number in zip(alignment.spans, alignment.numbers, strict=True):
        assert span.type == mentions[number][1]
        assert span.alignment not in ("exact", "repeated") or _squeezed(mentions[number][0]) == _squeezed(
            _surface(tokens, span.start, span.end)
        )


@given(_PIECES, st.data())
def test_nothing_is_repeated_if_every_mention_is_given_twice(
    pieces: list[tuple[int, str]], data: st.DataObject
) -> None:
    tokens = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8))
    mentions = [("a" * size, type_) for size, type_ in pieces] * 2
    assert locate(mentions, tokens, every=True) == locate(mentions, tokens)


def test_twins_read_like_an_entity_and_are_none() -> None:
    tokens = ["May", "met", "May", "in", "May", ",", "New", "May", "and", "New", "Mayo"]
    assert twins_of([Span(2, 3, "PER"), Span(6, 8, "LOC")], tokens) == [(0, 1), (4, 5)]
    assert twins_of([Span(6, 8, "LOC")], tokens) == []
    assert twins_of([], tokens) == []


def test_a_mention_that_is_nearly_there_is_found_and_said_to_be_fuzzy() -> None:
    (span,) = locate([("Food and Agriculture Organization", "X")], ["Food", "and", "Agriculture", "Organisation"]).spans
    assert (span.start, span.end, span.alignment) == (0, 4, "fuzzy")


def test_fuzzy_takes_no_place_from_an_exact_mention_whatever_their_order() -> None:
    for mentions in (["Johannsen", "Johansen"], ["Johansen", "Johannsen"]):
        alignment = locate([(mention, "X") for mention in mentions], ["Johansen", "spoke"])
        assert [(s.start, s.alignment) for s in alignment.spans] == [(0, "exact")]
        assert alignment.rejected == (Rejection("Johannsen", "overlapping"),)


def test_a_mention_given_more_often_than_it_stands_there_takes_no_place_that_is_only_near() -> None:
    assert reasons(["Lebanese", "Lebanese"], "Lebanese and Lebanesa") == ["overlapping"]
    assert places(["Lebanese", "LEBANESE"], "Lebanese and Lebanesa") == [(0, 1)]


@given(_MENTIONS, _TOKENS)
def test_mentions_that_are_only_near_change_nothing_about_the_others(
    mentions: list[tuple[str, str]], tokens: list[str]
) -> None:
    # Long words, so that the near ones are looked for at all.
    text = [f"name{token}name" for token in tokens]
    exact = [(f"name{mention}name", type_) for mention, type_ in mentions]
    near = [(f"name{mention}nome", type_) for mention, type_ in mentions]
    mixed = [pair for both in zip(near, exact, strict=True) for pair in both]
    alone, among = locate(exact, text), locate(mixed, text)
    assert [s for s in among.spans if s.alignment != "fuzzy"] == [s for s in alone.spans if s.alignment != "fuzzy"]
    assert len(among.spans) + len(among.rejected) == len(mixed)


def test_no_tokens_and_no_mentions_are_borne() -> None:
    assert locate([], []).spans == ()
    assert [r.reason for r in locate([("a", "X")], []).rejected] == ["not_in_text"]


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize(
    ("mentions", "tokens"),
    [
        pytest.param(lambda n: ["a"] * n, lambda n: ["a"] * n, id="every token mentioned"),
        pytest.param(lambda n: ["a"] * n, lambda n: ["a" * n], id="inside one long token"),
        pytest.param(lambda n: ["a"] * n, lambda n: ["b"] * n, id="nowhere"),
        pytest.param(lambda n: ["aaa"] * n, lambda n: ["a"] * n, id="overlapping one another"),
        pytest.param(lambda n: ["A", "a"] * (n // 2), lambda n: ["a", "A"] * (n // 2), id="two forms"),
        pytest.param(lambda n: [""] * n, lambda n: ["a"] * n, id="empty"),
        pytest.param(lambda n: ["a" * (i + 1) for i in range(n // 8)], lambda n: ["a"] * n, id="of every length"),
        pytest.param(lambda n: ["[" * n], lambda n: ["["] * n, id="all of it"),
        pytest.param(lambda n: ["[" * n + "]"], lambda n: ["["] * n, id="brackets"),
        pytest.param(lambda n: [f"nobody {i} knows" for i in range(n)], lambda n: ["known"] * n, id="distinct"),
        pytest.param(lambda n: [f"abcdefgh{i}z" for i in range(n)], lambda n: ["abcdefghij"] * n, id="near misses"),
        pytest.param(lambda n: ["abcdefghix"] * n, lambda n: ["abcdefghij"] * n, id="near"),
    ],
)
@pytest.mark.slow
def test_time_grows_about_linearly_with_adversarial_answers(
    mentions: Callable[[int], list[str]], tokens: Callable[[int], list[str]]
) -> None:
    def work(n: int) -> Callable[[], object]:
        given_, words = [(mention, "X") for mention in mentions(n)], tokens(n)
        return lambda: locate(given_, words, every=True)

    # A quadratic one would take 64 times as long, seconds here.
    limit = 40 * max(min(_seconds(work(1_000)) for _ in range(3)), 0.004)
    assert any(_seconds(work(8_000)) < limit for _ in range(3))


def test_first_subword_carries_the_words_label() -> None:
    assert spread_to_subwords([5, 7], [None, 0, 0, 1, 1, 1, None]) == [-100, 5, -100, 7, -100, -100, -100]


def test_subwords_that_another_window_owns_are_left_out() -> None:
    owned = [False, False, True, True]
    assert spread_to_subwords([5, 6, 7], [0, 1, 2, 2], owned) == [-100, -100, 7, -100]


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])))
def test_a_models_free_choice_of_tags_becomes_valid_and_keeps_every_type(tags: list[str]) -> None:
    valid = labels_of_words(tags)
    assert encode_bio(decode_bio(valid), len(tags)) == valid
    assert [tag[2:] for tag in valid] == [tag[2:] for tag in tags]
    assert all(new == old or (old[0], new[0]) == ("I", "B") for old, new in zip(tags, valid, strict=True))
