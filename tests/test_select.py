"""What may be trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from distill_offline.annotations import AnnotationLine, LineValues
from distill_offline.config.settings import SelectSettings
from distill_offline.schema import Rejection, Sentence, Span, join_tokens
from distill_offline.select.rules import select
from distill_offline.spans.bio import encode_bio


def row(words: str, *confidences: float | None, rejected: bool = False, id_: str = "", **beside: Any) -> AnnotationLine:
    tokens = tuple(words.split(" "))
    spans = tuple(Span(0, 1, "X", value, "tags") for value in confidences)
    lost = (Rejection("m", "not_in_text"),) if rejected else ()
    sentence = Sentence(id_ or words, "d", 0, words, tokens, join_tokens(tokens)[1])
    return AnnotationLine(sentence, ("O",) * len(tokens), spans, lost, LineValues(**beside))


def kept(
    lines: list[AnnotationLine], held_out: tuple[str, ...] = (), seed: int = 0, **settings: Any
) -> tuple[list[str], dict[str, int]]:
    counts = Counter[str]()
    found = list(select(lambda: lines, SelectSettings(**settings), held_out, counts, seed=seed))
    assert all(any(line is given for given in lines) for line in found)  # unchanged
    assert counts["seen"] == len(lines)
    return [line.sentence.id for line in found], {key: n for key, n in counts.items() if key != "seen" and n}


def test_everything_is_kept_in_order_by_default() -> None:
    assert kept([row("b"), row("a", None), row("c", 0.0)]) == (["b", "a", "c"], {"kept": 3})


def test_what_stands_in_dev_or_test_is_never_trained_on() -> None:
    assert kept([row("a"), row("b")], held_out=("a",), deduplicate=False) == (["b"], {"in_dev_or_test": 1, "kept": 1})


@pytest.mark.parametrize("near", [None, 0.9])
def test_what_stands_in_dev_or_test_is_found_however_it_is_cut_and_spaced(near: float | None) -> None:
    given = row("Anna met Am\u00e9lie in Au\u00adgust, at BLD2.LV3", id_="a")
    for held in ("Anna met Am\u00e9lie in August , at BLD2 . LV3", "Anna met Ame\u0301lie\u00a0in August, at BLD2.LV3"):
        assert kept([given, row("b")], held_out=(held,), near_duplicates=near)[0] == ["b"]
    near_copy = ("Anna met Am\u00e9lie in August , at BLD2 . LV4",)
    assert kept([given, row("b")], held_out=near_copy, near_duplicates=0.7)[0] == ["b"]
    assert kept([given, row("b")], held_out=near_copy)[0] == ["a", "b"]


def test_a_copy_is_dropped_and_counted() -> None:
    assert kept([row("a", id_="1"), row("a", id_="2"), row("b")]) == (["1", "b"], {"kept": 2, "duplicate": 1})


def test_copies_stay_when_asked_for() -> None:
    assert kept([row("a"), row("a")], deduplicate=False) == (["a", "a"], {"kept": 2})


def test_rejected_mentions_drop_a_sentence_only_when_asked_to() -> None:
    rows = [row("a", rejected=True), row("b")]
    assert kept(rows) == (["a", "b"], {"kept": 2})
    assert kept(rows, drop_rejected=True) == (["b"], {"had_rejected_mentions": 1, "kept": 1})


@pytest.mark.parametrize(("confidences", "stays"), [((0.9, 0.4), False), ((0.5,), True), ((None, 0.9), True)])
def test_the_least_confident_span_decides(confidences: tuple[float | None, ...], stays: bool) -> None:
    ids, counts = kept([row("a", *confidences)], min_confidence=0.5)
    assert (ids == ["a"]) == stays
    assert counts == ({"kept": 1} if stays else {"doubtful": 1})


@pytest.mark.parametrize("confidences", [(), (None,), (None, None)])
def test_without_any_confidence_nothing_is_dropped_for_it(confidences: tuple[None, ...]) -> None:
    assert kept([row("a", *confidences)], min_confidence=0.9) == (["a"], {"kept": 1})


def test_a_copy_of_what_was_dropped_gets_its_chance() -> None:
    rows = [row("a", rejected=True, id_="1"), row("a", id_="2"), row("a", id_="3")]
    assert kept(rows, drop_rejected=True) == (["2"], {"had_rejected_mentions": 1, "kept": 1, "duplicate": 1})


def test_every_row_is_counted_exactly_once() -> None:
    rows = [row(str(n % 7), 0.1 * (n % 10), rejected=n % 3 == 0) for n in range(50)]
    ids, counts = kept(rows, held_out=("3",), drop_rejected=True, min_confidence=0.4)
    assert sum(counts.values()) == 50
    assert counts["kept"] == len(ids) > 0
    assert "3" not in ids


def tagged(*spans: tuple[int, int, float | None, str], **beside: Any) -> AnnotationLine:
    found = tuple(Span(start, end, "X", confidence, kind) for start, end, confidence, kind in spans)
    return replace(row("a b c d e f", id_="t", **beside), labels=encode_bio(found, 6), spans=found)


def test_doubtful_spans_can_be_dropped_alone() -> None:
    given, counts = tagged((0, 2, 0.9, "exact"), (2, 4, 0.2, "exact"), (5, 6, None, "normalised")), Counter[str]()
    settings = SelectSettings(min_confidence=0.5, alignments=("exact",), doubtful="span")
    (line,) = select(lambda: [given], settings, (), counts)
    assert line.labels == ("B-X", "I-X", "O", "O", "O", "O")
    assert [span.start for span in line.spans] == [0]
    assert counts["spans_dropped"] == 2
    assert given.labels.count("O") == 1  # the teacher's own line is left alone


def test_a_way_of_finding_mentions_can_be_distrusted() -> None:
    rows = [tagged((0, 1, None, "normalised"))]
    assert kept(rows, alignments=("exact",)) == ([], {"doubtful": 1})
    assert kept(rows, alignments=("exact", "normalised")) == (["t"], {"kept": 1})


def test_a_span_that_came_as_gold_was_not_found_and_is_not_distrusted_for_it() -> None:
    assert kept([tagged((0, 1, None, "gold"))]) == (["t"], {"kept": 1})
    assert kept([tagged((0, 1, None, "gold"))], alignments=("exact",)) == (["t"], {"kept": 1})


def test_a_span_that_samples_disagree_on_is_doubtful() -> None:
    given = tagged((0, 1, 0.9, "exact"))
    given = replace(given, spans=tuple(replace(span, agreement=0.4) for span in given.spans))
    assert kept([given], min_agreement=0.5) == ([], {"doubtful": 1})
    assert kept([given], min_agreement=0.4) == (["t"], {"kept": 1})


def test_masked_spans_leave_labels_valid_and_name_their_tokens() -> None:
    given, counts = tagged((0, 2, 0.2, "exact"), (2, 4, 0.9, "exact"), (5, 6, 0.1, "exact")), Counter[str]()
    settings = SelectSettings(min_confidence=0.5, doubtful="mask")
    (line,) = select(lambda: [given], settings, (), counts)
    assert line.beside.masked == (0, 1, 5)
    assert line.labels == ("O", "O", "B-X", "I-X", "O", "O")
    assert [span.start for span in line.spans] == [2]
    assert (counts["spans_masked"], counts["tokens_masked"], counts["spans_dropped"]) == (2, 3, 0)


def test_masks_that_a_line_brings_along_stay() -> None:
    given = tagged((0, 1, 0.2, "exact"), masked=(3,))
    (line,) = select(lambda: [given], SelectSettings(min_confidence=0.5, doubtful="mask"), (), Counter())
    assert line.beside.masked == (0, 3)


def test_a_sentence_is_as_sure_as_its_least_sure_span_whatever_doubt_costs() -> None:
    rows = [row("a", 0.9, 0.3), row("b", 0.6), row("c"), row("d", None)]
    found = kept(rows, min_sentence_confidence=0.5, doubtful="span")
    assert found == (["b", "c", "d"], {"kept": 3, "unsure": 1})


def test_the_confidence_of_a_class_counts_too() -> None:
    rows = [row("a", confidence=0.4), row("b", confidence=0.6)]
    assert kept(rows, min_sentence_confidence=0.5)[0] == ["b"]


def test_a_sentence_that_probably_lacks_an_entity_can_be_left_out() -> None:
    rows = [row("a", missed=0.8), row("b", missed=0.2), row("c")]
    assert kept(rows) == (["a", "b", "c"], {"kept": 3})
    assert kept(rows, max_missed=0.5) == (["b", "c"], {"kept": 2, "probably_missed_an_entity": 1})


def test_the_weight_is_the_least_confidence_that_is_left() -> None:
    given = tagged((0, 1, 0.2, "exact"), (2, 3, 0.7, "exact"), (4, 5, 0.9, "exact"))
    settings = SelectSettings(min_confidence=0.5, doubtful="span", weigh=True)
    weighted, plain = select(lambda: [given, row("a b")], settings, (), Counter())
    assert (weighted.beside.weight, plain.beside.weight) == (0.7, None)


LONG = "the committee said on friday that it will not raise the fee for members this year"


def test_near_copies_of_what_is_kept_and_of_dev_are_dropped() -> None:
    rows = [
        row(LONG, id_="1"),
        row(LONG.replace("friday", "monday"), id_="2"),
        row(LONG, rejected=True, id_="3"),
        row("an altogether different remark about shipping", id_="4"),
        row("A new bridge over the river Elbe opened today", id_="5"),
    ]
    held = ("a new bridge over the river Elbe opened today !",)
    assert kept(rows, held)[0] == ["1", "2", "4", "5"]
    ids, counts = kept(rows, held, near_duplicates=0.7)
    assert ids == ["1", "4"]
    assert counts == {"kept": 2, "near_duplicate": 1, "duplicate": 1, "near_dev_or_test": 1}


def test_what_is_dropped_for_a_fault_of_its_own_takes_no_near_copy_along() -> None:
    rows = [row(LONG, rejected=True, id_="1"), row(LONG.replace("friday", "monday"), id_="2")]
    assert kept(rows, near_duplicates=0.7, drop_rejected=True)[0] == ["2"]


def test_a_budget_takes_the_first_and_counts_the_rest() -> None:
    rows = [row("a"), row("b", rejected=True), row("c"), row("d")]
    found = kept(rows, budget=2, drop_rejected=True)
    assert found == (["a", "c"], {"kept": 2, "had_rejected_mentions": 1, "over_budget": 1})
    assert kept(rows, budget=9)[0] == ["a", "b", "c", "d"]


def test_a_random_budget_depends_on_the_seed_alone_and_keeps_the_order() -> None:
    rows = [row(f"w{n}", id_=f"{n:02}") for n in range(40)]
    drawn = [kept(rows, budget=10, prefer="random", seed=seed)[0] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(drawn[0])
    assert drawn[0] != [f"{n:02}" for n in range(10)]


def test_a_confident_budget_keeps_the_share_of_sentences_without_confidence() -> None:
    rows = [row(f"s{n}", n / 10, id_=f"s{n}") for n in range(8)] + [row(f"e{n}", id_=f"e{n}") for n in range(4)]
    assert kept(rows, budget=6, prefer="confident")[0] == ["s4", "s5", "s6", "s7", "e0", "e1"]


def test_equally_confident_sentences_go_by_position() -> None:
    assert kept([row(c, 0.5) for c in "abcd"], budget=2, prefer="confident")[0] == ["a", "b"]


def test_a_diverse_budget_takes_from_each_kind() -> None:
    sport = [row(f"the team won match {n} at home", id_=f"sport{n}") for n in range(20)]
    money = [row(f"shares fell by {n} percent on markets", id_="money") for n in range(3)]
    weather = [row(f"rain and snow fall over hills {n}", id_="weather") for n in range(2)]
    ids, _ = kept(sport + money + weather, budget=3, prefer="diverse")
    assert [id_.rstrip("0123456789") for id_ in ids] == ["sport", "money", "weather"]
