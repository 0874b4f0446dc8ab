"""Which examples go into a prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from sentences import example, sentence

from distill_offline.annotate.demonstrations import Demonstrations, shape
from distill_offline.config.settings import DemonstrationSettings
from distill_offline.errors import ConfigError
from distill_offline.schema import Example, Sentence

POOL = [
    example("The/O pump/O P-204/B-EQUIPMENT was/O checked/O by/O Anna/B-PERSON", "pump"),
    example("The/O pump/O P-311/B-EQUIPMENT leaked/O oil/O on/O Monday/B-DATE", "leak"),
    example("Siemens/B-ORG delivered/O the/O turbine/O to/O Rotterdam/B-LOC", "siemens"),
    example("Rain/O is/O expected/O in/O the/O coming/O days", "rain"),
    example("No/O comment", "short"),
    example("Maria/B-PERSON repaired/O the/O crane/O K-7/B-EQUIPMENT again", "maria"),
]
Strategy = Literal["none", "static", "random", "knn"]


def picker(strategy: Strategy, k: int = 2, pool: list[Example] | None = None, seed: int = 0) -> Demonstrations:
    settings = DemonstrationSettings(strategy=strategy, k=k)
    return Demonstrations(settings, POOL if pool is None else pool, seed=seed)


def ids(chosen: Demonstrations, asked: Sentence) -> list[str]:
    ((_, examples),) = chosen.pick([asked])
    return [each.sentence.id for each in examples]


def test_the_nearest_example_comes_last() -> None:
    chosen = ids(picker("knn", 3), sentence("The pump P-999 leaked oil again"))
    assert chosen[-1] == "leak"
    assert "pump" in chosen[:2]


def test_word_shapes_bring_near_what_shares_no_word() -> None:
    assert set(ids(picker("knn", 3), sentence("X-55 jammed"))) == {"pump", "leak", "maria"}


@pytest.mark.parametrize("strategy", ["static", "random", "knn"])
def test_a_sentence_never_demonstrates_itself_by_id_or_by_text(strategy: Strategy) -> None:
    for each in POOL:
        copy = replace(each.sentence, id="elsewhere")
        renamed = sentence("quite another text", each.sentence.id)
        cut = replace(sentence(" ".join(each.sentence.text.replace(" ", ""))), id="letter by letter")
        for asked in (each.sentence, copy, renamed, cut):
            chosen = ids(picker(strategy, len(POOL)), asked)
            assert each.sentence.id not in chosen
            assert len(chosen) == len(POOL) - 1


@pytest.mark.parametrize("strategy", ["static", "random", "knn"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_k_examples_are_picked_even_among_many_copies(strategy: Strategy, k: int) -> None:
    copies = [replace(each, sentence=replace(each.sentence, id=f"{n}")) for n in range(20) for each in POOL[:1]]
    ((_, chosen),) = picker(strategy, k, [*copies, *POOL[1:]]).pick([replace(POOL[0].sentence, id="new")])
    assert len({each.sentence.tokens for each in chosen}) == k


def test_a_pool_smaller_than_k_is_used_whole() -> None:
    assert sorted(ids(picker("knn", 50), sentence("a pump"))) == sorted(each.sentence.id for each in POOL)
    assert len(ids(picker("random", 10**30), sentence("anything"))) == len(POOL)


def test_ties_go_by_position_in_the_pool() -> None:
    pool = [example(f"word{n}/O other{n}/O", str(n)) for n in range(2000)]
    chosen = ids(picker("knn", 40, pool), sentence("shares nothing"))
    assert chosen == [str(n) for n in reversed(range(40))]


def test_static_examples_are_the_same_for_every_sentence_and_show_most_types() -> None:
    chosen = picker("static", 3)
    first, second = (examples for _, examples in chosen.pick([sentence("one"), sentence("two")]))
    assert first == second
    assert {label[2:] for each in first for label in each.labels} >= {"PERSON", "EQUIPMENT", "ORG", "LOC"}


def test_static_takes_short_sentences_only_where_long_ones_run_out() -> None:
    pool = [example("Ada/B-PERSON"), *POOL]
    assert "Ada" not in ids(picker("static", 5, pool), sentence("x"))
    assert "Ada" in ids(picker("static", 7, pool), sentence("x"))


def test_static_spreads_over_the_classes_of_a_classification_task() -> None:
    sport, port = (replace(each, labels=(label,)) for each, label in zip(POOL, ("sport", "port"), strict=False))
    more = [replace(each, labels=("sport",)) for each in POOL[2:]]
    ((_, chosen),) = picker("static", 2, [*more, sport, port]).pick([sentence("x")])
    assert {each.labels for each in chosen} == {("sport",), ("port",)}


def test_random_examples_depend_on_seed_and_sentence_alone() -> None:
    pool = [example(f"text number {n}", str(n)) for n in range(100)]
    asked = [sentence("a"), sentence("b")]
    forth = dict(picker("random", 4, pool).pick(asked))
    back = dict(picker("random", 4, pool).pick(asked[::-1]))
    assert forth == back
    assert forth[asked[0]] != forth[asked[1]]
    assert dict(picker("random", 4, pool, seed=1).pick(asked)) != forth


def test_what_is_picked_does_not_depend_on_the_sentences_around_it() -> None:
    asked = [sentence(f"the pump P-{n} leaked {'oil ' * (n % 3)}here") for n in range(700)]  # more than one batch
    chosen = picker("knn")
    together = list(chosen.pick(iter(asked)))
    assert [s for s, _ in together] == asked
    assert together[600] == next(chosen.pick([asked[600]]))


@pytest.mark.parametrize("settings", [("none", 4), ("knn", 0)])
def test_no_examples_are_wanted(settings: tuple[Strategy, int]) -> None:
    assert ids(picker(*settings, pool=[]), sentence("x")) == []


@pytest.mark.parametrize("strategy", ["static", "random", "knn"])
def test_an_empty_pool_is_a_config_error_that_says_what_to_give(strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match=rf"annotate\.demonstrations: strategy {strategy} needs .*strategy: none"):
        picker(strategy, pool=[])


def test_identity_changes_with_whatever_changes_the_choice() -> None:
    same = picker("knn").identity()
    assert picker("knn").identity() == same
    relabelled = [replace(POOL[0], labels=("O",) * 7), *POOL[1:]]
    others = [
        picker("static").identity(),
        picker("knn", 3).identity(),
        picker("knn", seed=1).identity(),
        picker("knn", pool=POOL[1:]).identity(),
        picker("knn", pool=relabelled).identity(),
    ]
    assert same not in others


@pytest.mark.parametrize(
    ("token", "folded"), [("P-204", "X-d"), ("Anna", "Xx"), ("EU", "X"), ("3.5", "d.d"), ("École", "Xx"), ("...", ".")]
)
def test_shapes_fold_runs_of_letters_and_digits(token: str, folded: str) -> None:
    assert shape(token) == folded


def test_shared_order_is_the_pools_own_and_gives_common_beginnings() -> None:
    settings = DemonstrationSettings(strategy="knn", k=3, order="shared")
    chosen = Demonstrations(settings, POOL, seed=0)
    asked = [each.sentence for each in POOL] + [sentence("The pump P-999 leaked oil"), sentence("Anna repaired K-7")]
    picked = [[e.sentence.id for e in examples] for _, examples in chosen.pick(asked)]
    nearest_last = [ids(picker("knn", 3), each) for each in asked]
    assert [set(each) for each in picked] == [set(each) for each in nearest_last]
    place = {id_: n for n, id_ in enumerate(sorted({i for each in picked for i in each}, key=str))}
    before = {(a, b) for each in picked for n, a in enumerate(each) for b in each[n + 1 :]}
    assert not {(b, a) for a, b in before} & before  # one order for all prompts
    assert len(place) > 3
    assert ids(Demonstrations(settings, POOL, seed=0), asked[-1]) == picked[-1]  # whoever is asked beside it


@pytest.mark.parametrize("strategy", ["static", "random", "knn"])
def test_no_example_of_another_document_is_shown_where_that_is_forbidden(strategy: Strategy) -> None:
    pool = [
        replace(each, sentence=replace(each.sentence, document="a" if n % 2 else "b")) for n, each in enumerate(POOL)
    ]
    chosen = Demonstrations(DemonstrationSettings(strategy=strategy, k=4, documents="own"), pool, seed=0)
    for document, expected in (("a", 3), ("b", 3), ("elsewhere", 0)):
        asked = replace(sentence("The pump P-999 leaked oil again", "new"), document=document)
        ((_, examples),) = chosen.pick([asked])
        assert len(examples) == expected
        assert {each.sentence.document for each in examples} <= {document}


@pytest.mark.parametrize("strategy", ["static", "random", "knn"])
@pytest.mark.parametrize("vary", ["no", "order", "set"])
def test_samples_differ_as_told_and_the_first_is_the_plain_one(
    strategy: Strategy, vary: Literal["no", "order", "set"]
) -> None:
    asked = [each.sentence for each in POOL]
    settings = DemonstrationSettings(strategy=strategy, k=3, vary=vary)
    drawn = {sentence.id: samples for sentence, samples in Demonstrations(settings, POOL, seed=0).pick_each(asked, 4)}
    plain = {sentence.id: examples for sentence, examples in Demonstrations(settings, POOL, seed=0).pick(asked)}
    for id_, samples in drawn.items():
        assert samples[0] == plain[id_]
        assert all(len(each) == 3 and id_ not in {example.sentence.id for example in each} for each in samples)
        sets = {frozenset(example.sentence.id for example in each) for each in samples}
        if vary == "no":
            assert len(set(samples)) == 1
        elif vary == "order":
            assert len(sets) == 1
    if vary != "no":
        assert any(len(set(samples)) > 1 for samples in drawn.values())
    again = {s.id: each for s, each in Demonstrations(settings, POOL, seed=0).pick_each(reversed(asked), 4)}
    assert again == drawn
