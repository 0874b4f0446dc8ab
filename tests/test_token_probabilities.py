"""Confidence of spans."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_offline.confidence.token_probabilities import spelled
from distill_offline.config.settings import TaskSettings
from distill_offline.label_kinds.votes import vote, vote_on_class
from distill_offline.schema import Annotation, Completion, Rejection, Sentence, Span
from distill_offline.spans.bio import decode_bio, encode_bio
from distill_offline.tasks.ner import NER


def answer(*tokens: tuple[str, float]) -> Completion:
    text = "".join(token for token, _ in tokens)
    return Completion(text, "stop", token_texts=tuple(t for t, _ in tokens), token_logprobs=tuple(p for _, p in tokens))


ADA = answer(
    *(("[[", -0.1), ('"', -9.0), ("Ada", -0.2), (" Love", -0.3), ("lace", -0.4), ('","', -0.5)),
    *(("PER", -0.6), ('"],["', -0.7), ("Paris", -0.8), ('","', -0.9), ("LOC", -1.0), ('"]]', -1.1)),
)


def test_a_spans_confidence_is_that_of_the_tokens_that_spell_it_and_its_type() -> None:
    ada, paris = spelled(ADA, [("Ada Lovelace", "PER"), ("Paris", "LOC")])
    assert ada is not None
    assert paris is not None
    assert ada.mention == pytest.approx(-0.2 - 0.3 - 0.4 - 0.5)
    assert ada.type == pytest.approx(-0.6 - 0.7)
    assert ada.confidence == pytest.approx(math.exp(-2.7))
    assert paris.mention == pytest.approx(-0.8 - 0.9)
    assert paris.type == pytest.approx(-1.0 - 1.1)


def test_repeated_mentions_have_their_own_tokens() -> None:
    twice = answer(('[["', 0.0), ("Ada", -0.1), ('","PER"],["', 0.0), ("Ada", -2.0), ('","PER"]]', 0.0))
    first, second = spelled(twice, [("Ada", "PER"), ("Ada", "PER")])
    assert first is not None
    assert second is not None
    assert (first.mention, second.mention) == (-0.1, -2.0)


def test_escapes_and_characters_over_several_tokens_are_followed() -> None:
    said = answer(('[["A', -1.0), ("\\u00e9", -2.0), ("", -3.0), ("B", -4.0), ('","', -5.0), ('PER"]]', -6.0))
    (found,) = spelled(said, [("AéB", "PER")])
    assert found is not None
    assert found.mention == pytest.approx(-1.0 - 2.0 - 3.0 - 4.0 - 5.0)


@pytest.mark.parametrize(
    ("completion", "pairs"),
    [
        (Completion("[]", "stop"), [("Ada", "PER")]),
        (ADA, [("Bob", "PER")]),
        (ADA, [("Ada Lovelace", "ORG")]),
        (answer(('[["Ada', -1.0)), [("Ada", "PER")]),
    ],
)
def test_what_cannot_be_found_has_none(completion: Completion, pairs: list[tuple[str, str]]) -> None:
    assert spelled(completion, pairs) == [None]


def test_the_parser_hands_each_span_its_own_confidence_in_whatever_order_it_stands() -> None:
    task = NER(TaskSettings(types={"PER": "p", "LOC": "l"}))
    tokens = ("Paris", "loves", "Ada", "Lovelace")
    sentence = Sentence("s", "d", 0, " ".join(tokens), tokens, ((0, 5), (6, 11), (12, 15), (16, 24)))
    spans = task.parse(sentence, ADA).spans
    assert [(span.start, span.type) for span in spans] == [(0, "LOC"), (2, "PER")]
    assert [span.confidence for span in spans] == pytest.approx([math.exp(-3.8), math.exp(-2.7)])
    plain = Completion(ADA.text, "stop")
    assert [span.confidence for span in task.parse(sentence, plain).spans] == [None, None]


def test_reasoned_answers_are_followed_behind_their_candidates() -> None:
    task = NER(TaskSettings(types={"PER": "p"}, prompt="cot"))
    said = answer(
        ('{"context":"","candidates":["', 0.0),
        *(("Ada", -9.0), ('","', 0.0), ("it", 0.0)),
        ('"],"decisions":[["', 0.0),
        *(("it", -3.0), ('","NONE","no"],["', 0.0)),
        *(("Ada", -1.0), ('","', -0.5), ("PER", -0.25), ('","a name"]]}', -0.125)),
    )
    sentence = Sentence("s", "d", 0, "Ada", ("Ada",), ((0, 3),))
    (span,) = task.parse(sentence, said).spans
    assert span.confidence == pytest.approx(math.exp(-1.875))


def said(*spans: tuple[int, int, str, float | None], rejected: tuple[Rejection, ...] = ()) -> Annotation:
    found = tuple(Span(start, end, type_, confidence, "exact") for start, end, type_, confidence in spans)
    return Annotation("s", encode_bio(found, 6), found, rejected)


def test_samples_vote_for_places_first_and_then_for_types() -> None:
    samples = [
        said((0, 1, "PER", None), (2, 4, "LOC", None)),
        said((0, 1, "ORG", None), (2, 4, "LOC", None)),
        said((0, 1, "PER", None), (5, 6, "LOC", None)),
        said(),
    ]
    voted = vote(samples, of=4)
    assert [(span.start, span.end, span.type, span.agreement, span.confidence) for span in voted.spans] == [
        (0, 1, "PER", 0.5, 0.5),
        (2, 4, "LOC", 0.5, 0.5),
    ]
    assert voted.labels == ("B-PER", "O", "B-LOC", "I-LOC", "O", "O")


def test_an_unusable_sample_votes_against_every_span() -> None:
    samples = [said((0, 1, "PER", None)), said((0, 1, "PER", None))]
    assert vote(samples, of=4).spans[0].agreement == 0.5
    assert vote(samples, of=5).spans == ()


def test_of_two_overlapping_places_the_more_often_found_stands() -> None:
    samples = [
        said((0, 2, "PER", None)),
        said((0, 2, "PER", None)),
        said((1, 3, "ORG", None)),
        said((1, 3, "ORG", None)),
    ]
    (span,) = vote(samples, of=4).spans
    assert (span.start, span.end) == (0, 2)  # a tie: the earlier one
    (span,) = vote([*samples[2:], *samples[1:]], of=5).spans
    assert (span.start, span.end) == (1, 3)


def test_a_voted_spans_confidence_is_the_mean_over_all_samples() -> None:
    samples = [said((0, 1, "PER", 0.8)), said((0, 1, "PER", 0.4)), said((0, 1, "ORG", 0.9)), said()]
    (span,) = vote(samples, of=4).spans
    assert span.confidence == pytest.approx(0.3)
    assert span.agreement == 0.5


def test_what_most_samples_had_rejected_stays_rejected() -> None:
    often, once = Rejection("Ada L.", "not_in_text"), Rejection("Paris", "overlapping")
    samples = [said(rejected=(often, often)), said(rejected=(often, once)), said()]
    assert vote(samples, of=3).rejected == (often,)


def test_classes_are_voted_for_whole() -> None:
    samples = [Annotation("s", (label,)) for label in ("sport", "tech", "tech")]
    assert vote_on_class(samples, of=5).labels == ("tech",)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.sampled_from("AB")), max_size=4), min_size=1)
)
def test_whatever_is_voted_is_flat_and_agreed_on_by_half(drawn: list[list[tuple[int, int, str]]]) -> None:
    samples = []
    for places in drawn:
        flat: list[tuple[int, int, str, float | None]] = []
        for start, length, type_ in sorted(places):
            if start + length <= 6 and (not flat or flat[-1][1] <= start):
                flat.append((start, start + length, type_, None))
        samples.append(said(*flat))
    voted = vote(samples, of=len(samples))
    assert decode_bio(voted.labels) == tuple(Span(s.start, s.end, s.type) for s in voted.spans)
    for span in voted.spans:
        at = [any((s.start, s.end) == (span.start, span.end) for s in each.spans) for each in samples]
        assert 2 * sum(at) >= len(samples)
    if len({each.labels for each in samples}) == 1:
        assert voted.labels == samples[0].labels


def test_a_class_has_the_share_of_samples_that_gave_it() -> None:
    samples = [Annotation("s", (name,)) for name in ("a", "b", "b")]
    voted = vote_on_class(samples, of=4)
    assert (voted.labels, voted.agreement, voted.confidence) == (("b",), 0.5, 0.5)
