"""Confidence of spans."""

from __future__ import annotations

import math

import pytest

from distill_offline.confidence import spelled
from distill_offline.schema import Completion, Sentence
from distill_offline.settings import TaskSettings
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
