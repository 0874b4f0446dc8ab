"""Scores, against hand-computed ones and an independent reference."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.errors import ConfigError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Scores
from distill_offline.scoring.metrics import accuracy, quick_f1, score
from distill_offline.spans.bio import InvalidTags, repair_iob2

Sentences = list[tuple[str, ...]]
_SENTENCE = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "", "PER", "LOC", "b-c"])), max_size=6)
_PAIR = st.tuples(_SENTENCE, _SENTENCE)


def tags(text: str) -> Sentences:
    return [tuple(line.split()) for line in text.split("|")]


def assert_scores(scores: Scores, precision: float, recall: float, f1: float, support: int) -> None:
    assert scores.as_dict() == pytest.approx(Scores(precision, recall, f1, support).as_dict())


def _tagged(pieces: list[tuple[int, str]], length: int) -> tuple[str, ...]:
    labels = [
        label for n, type_ in pieces for label in ([f"B-{type_}"] + [f"I-{type_}"] * (n - 1) if type_ else ["O"] * n)
    ]
    return (*labels, *["O"] * (length - len(labels)))


def _entities(sentences: Sentences) -> set[tuple[int, int, int, str]]:
    """(sentence, start, end, type), read off valid IOB2 with nothing of ours."""
    found = set()
    for number, labels in enumerate(sentences):
        for start, label in enumerate(labels):
            if label[0] == "B":
                end = start + 1
                while end < len(labels) and labels[end] == f"I{label[1:]}":
                    end += 1
                found.add((number, start, end, label[2:]))
    return found


def _expected(gold: set[tuple[int, int, int, str]], found: set[tuple[int, int, int, str]]) -> Scores:
    hits = len(gold & found)
    p, r = Fraction(hits, len(found) or 1), Fraction(hits, len(gold) or 1)
    f1 = 2 * p * r / (p + r) if hits else Fraction(0)
    return Scores(float(p), float(r), float(f1), len(gold))


@settings(deadline=None)
@given(st.lists(_PAIR, min_size=1, max_size=4))
def test_entity_f1_agrees_with_a_reference_made_of_sets(pairs: list[tuple[list[tuple[int, str]], ...]]) -> None:
    gold, predicted = [], []
    for pair in pairs:
        length = max(sum(n for n, _ in pieces) for pieces in pair) + 1
        gold.append(_tagged(pair[0], length))
        predicted.append(_tagged(pair[1], length))
    report = score("entity_f1", gold, predicted, on="x")
    a, b = _entities(gold), _entities(predicted)
    types = {entity[3] for entity in a | b}
    expected = {t: _expected({e for e in a if e[3] == t}, {e for e in b if e[3] == t}) for t in types}
    assert report.overall.as_dict() == pytest.approx(_expected(a, b).as_dict())
    assert set(report.per_type) == types
    for name in types:
        assert report.per_type[name].as_dict() == pytest.approx(expected[name].as_dict())
    # Each entity that is no hit is in exactly one error, or in one together with its partner.
    errors = report.errors
    paired = errors["wrong_type"] + errors["wrong_boundary"]
    assert errors["missed"] + paired == len(a - b)
    assert errors["spurious"] + paired == len(b - a)


def test_hand_computed_scores() -> None:
    gold = tags("B-PER I-PER O B-LOC|B-ORG O B-LOC")
    predicted = tags("B-PER I-PER O B-ORG|B-ORG O O")
    report = score("entity_f1", gold, predicted, on="digest")
    assert report.on == "digest"
    assert_scores(report.overall, 2 / 3, 0.5, 4 / 7, 4)
    assert set(report.per_type) == {"PER", "LOC", "ORG"}
    assert_scores(report.per_type["PER"], 1.0, 1.0, 1.0, 1)
    assert_scores(report.per_type["LOC"], 0.0, 0.0, 0.0, 2)
    assert_scores(report.per_type["ORG"], 0.5, 1.0, 2 / 3, 1)
    assert report.errors == {"wrong_type": 1, "wrong_boundary": 0, "missed": 1, "spurious": 0}
    assert report.counts == {"sentences": 2, "tokens": 7}


def test_an_entity_that_begins_with_a_stray_tag_is_no_hit_but_an_error() -> None:
    """seqeval's default gives F1 1.0 here and nervaluate's "strict" too; strict IOB2 gave 0.667 by dropping it."""
    with pytest.raises(InvalidTags):
        score("entity_f1", tags("B-PER I-PER O B-LOC"), tags("I-PER I-PER O B-LOC"), on="x")


def test_the_same_entity_dropped_as_distilled_files_are_gives_the_strict_score() -> None:
    report = score("entity_f1", tags("B-PER I-PER O B-LOC"), tags("O O O B-LOC"), on="x")
    assert_scores(report.overall, 1.0, 0.5, 2 / 3, 2)


def test_adjacent_entities_of_one_type_are_told_apart() -> None:
    assert score("entity_f1", tags("B-PER B-PER"), tags("B-PER I-PER"), on="x").overall.f1 == 0.0


@pytest.mark.parametrize(
    ("gold", "predicted", "errors"),
    [
        ("B-PER I-PER", "B-LOC I-LOC", {"wrong_type": 1}),
        ("B-PER I-PER", "B-PER O", {"wrong_boundary": 1}),
        ("B-PER I-PER", "O B-LOC", {"wrong_boundary": 1}),
        ("B-PER O", "O O", {"missed": 1}),
        ("O O", "O B-PER", {"spurious": 1}),
        ("B-PER O O", "O O B-PER", {"missed": 1, "spurious": 1}),
        ("B-PER I-PER I-PER", "B-PER B-PER B-PER", {"wrong_boundary": 1, "spurious": 2}),
        ("B-PER B-PER B-PER", "B-PER I-PER I-PER", {"wrong_boundary": 1, "missed": 2}),
        ("B-PER I-PER B-LOC", "B-PER B-LOC I-LOC", {"wrong_boundary": 2}),
        ("B-PER B-LOC", "B-LOC B-PER", {"wrong_type": 2}),
        ("B-PER I-PER|B-PER", "B-PER I-PER|B-PER", {}),
        ("B-PER|O", "O|B-PER", {"missed": 1, "spurious": 1}),
    ],
)
def test_errors_are_of_one_kind_each(gold: str, predicted: str, errors: dict[str, int]) -> None:
    report = score("entity_f1", tags(gold), tags(predicted), on="x")
    assert {kind: n for kind, n in report.errors.items() if n} == errors


@pytest.mark.parametrize("sentences", [tags("O O|O"), []])
def test_nothing_to_find_and_nothing_found_is_zero_and_warns_not(sentences: Sentences) -> None:
    report = score("entity_f1", sentences, sentences, on="x")
    assert_scores(report.overall, 0.0, 0.0, 0.0, 0)
    assert report.per_type == {}


def test_a_type_may_be_called_like_an_average() -> None:
    report = score("entity_f1", tags("B-micro B-weighted"), tags("B-micro O"), on="x")
    assert set(report.per_type) == {"micro", "weighted"}
    assert report.overall.support == 2


@pytest.mark.parametrize(
    "name", ["-x", "x-", "--", "B-PER", "a b", "a_b", "métier", "種類", "micro avg", "0", "O-", "o"]
)
def test_a_type_keeps_its_name_whatever_it_is(name: str) -> None:
    gold, predicted = [(f"B-{name}", f"I-{name}", "B-x", "O")], [(f"B-{name}", "O", f"B-{name}", "O")]
    report = score("entity_f1", gold, predicted, on="x")
    assert list(report.per_type) == sorted({name, "x"})
    assert_scores(report.per_type[name], 0.0, 0.0, 0.0, 1)
    assert report.errors == {"wrong_type": 1, "wrong_boundary": 1, "missed": 0, "spurious": 0}
    assert_scores(score("entity_f1", gold, gold, on="x").overall, 1.0, 1.0, 1.0, 2)


_NAMES = ["x", "-x", "x-", "-", "B-x", "micro avg"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.lists(st.tuples(st.integers(1, 2), st.sampled_from(["", *_NAMES])), max_size=5)] * 2),
        min_size=1,
        max_size=3,
    )
)
def test_types_with_hyphens_agree_with_the_reference(pairs: list[tuple[list[tuple[int, str]], ...]]) -> None:
    length = 10
    gold, predicted = ([_tagged(pair[side], length) for pair in pairs] for side in (0, 1))
    report = score("entity_f1", gold, predicted, on="x")
    true, found = _entities(gold), _entities(predicted)
    assert report.overall.as_dict() == pytest.approx(_expected(true, found).as_dict())
    for name, scores in report.per_type.items():
        only = ({entity for entity in side if entity[3] == name} for side in (true, found))
        assert scores.as_dict() == pytest.approx(_expected(*only).as_dict())


@pytest.mark.parametrize(("gold", "predicted"), [("O O", "O"), ("O|O", "O"), ("O", "O|O")])
def test_sentences_and_labels_must_match_one_to_one(gold: str, predicted: str) -> None:
    with pytest.raises(ValueError):
        score("entity_f1", tags(gold), tags(predicted), on="x")


def test_macro_f1_is_the_mean_over_classes() -> None:
    gold, predicted = tags("a|a|b|c"), tags("a|b|b|b")
    report = score("macro_f1", gold, predicted, on="x")
    assert_scores(report.per_type["a"], 1.0, 0.5, 2 / 3, 2)
    assert_scores(report.per_type["b"], 1 / 3, 1.0, 0.5, 1)
    assert_scores(report.per_type["c"], 0.0, 0.0, 0.0, 1)
    assert_scores(report.overall, 4 / 9, 0.5, 7 / 18, 4)
    assert report.errors == {}


def test_unknown_metric_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"entity_f2.*Did you mean entity_f1"):
        score("entity_f2", [], [], on="x")


def test_accuracy_is_the_share_of_texts_with_the_right_class() -> None:
    report = score("macro_f1", tags("a|a|b|c"), tags("a|b|b|b"), on="x")
    assert report.counts == {"sentences": 4, "correct": 2}
    assert accuracy(report.counts) == 0.5
    assert accuracy(score("macro_f1", [], [], on="x").counts) == 0.0
    assert accuracy(score("entity_f1", tags("O"), tags("O"), on="x").counts) is None


def test_no_answer_is_a_miss_and_no_class_of_its_own() -> None:
    gold = tags("a|a|b")
    predicted = [("a",), kind_of("sequence-classification").unanswered(1), ("b",)]
    report = score("macro_f1", gold, predicted, on="x")
    assert set(report.per_type) == {"a", "b"}
    assert_scores(report.per_type["a"], 1.0, 0.5, 2 / 3, 2)
    assert_scores(report.overall, 1.0, 0.75, 5 / 6, 3)
    assert accuracy(report.counts) == pytest.approx(2 / 3)
    assert kind_of("token-classification").unanswered(2) == ("O", "O")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=12))
def test_macro_f1_agrees_with_a_reference_made_of_counts(pairs: list[tuple[str, str]]) -> None:
    report = score("macro_f1", [(a,) for a, _ in pairs], [(b,) for _, b in pairs], on="x")
    f1 = []
    for name in {label for pair in pairs for label in pair}:
        hits = pairs.count((name, name))
        f1.append(Fraction(2 * hits, sum(a == name for a, _ in pairs) + sum(b == name for _, b in pairs)))
        assert report.per_type[name].f1 == pytest.approx(float(f1[-1]))
    assert report.overall.f1 == pytest.approx(float(sum(f1) / len(f1)))
    assert report.counts["correct"] == sum(a == b for a, b in pairs)


TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6))
def test_quick_f1_is_seqevals(pairs: list[tuple[list[str], list[str]]]) -> None:
    cut = [(repair_iob2(a[: len(b)])[0], repair_iob2(b[: len(a)])[0]) for a, b in pairs]
    gold, predicted = [a for a, _ in cut], [b for _, b in cut]
    assert quick_f1("entity_f1", gold, predicted) == score("entity_f1", gold, predicted, on="").overall.f1


def test_quick_f1_of_classes_is_the_metrics_own() -> None:
    gold, predicted = [("a",), ("b",), ("b",)], [("a",), ("a",), ("b",)]
    assert quick_f1("macro_f1", gold, predicted) == score("macro_f1", gold, predicted, on="").overall.f1


def test_quick_f1_refuses_other_lengths_and_stray_tags() -> None:
    with pytest.raises(ValueError, match="2 gold labels and 1 predicted"):
        quick_f1("entity_f1", [("O", "O")], [("O",)])
    with pytest.raises(InvalidTags):
        quick_f1("entity_f1", [("O", "O")], [("O", "I-PER")])
