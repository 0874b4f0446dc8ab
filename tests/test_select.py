"""What may be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from distill_offline.settings import SelectSettings
from distill_offline.stages.select import select


def row(words: str, *confidences: float | None, rejected: bool = False, id_: str = "") -> dict[str, Any]:
    spans = [{"start": 0, "end": 1, "type": "X", "confidence": value} for value in confidences]
    return {
        "id": id_ or words,
        "tokens": words.split(" "),
        "spans": spans,
        "rejected": [{"mention": "m", "reason": "not_in_text"}] if rejected else [],
    }


def content(line: Mapping[str, Any]) -> str:
    return " ".join(line["tokens"])


def kept(
    rows: list[dict[str, Any]], held_out: tuple[str, ...] = (), **settings: Any
) -> tuple[list[str], dict[str, int]]:
    counts = Counter[str]()
    lines = list(select(rows, SelectSettings(**settings), set(held_out), content, counts))
    assert all(any(line is given for given in rows) for line in lines)  # unchanged
    return [line["id"] for line in lines], {key: n for key, n in counts.items() if key != "seen" and n}


def test_everything_is_kept_in_order_by_default() -> None:
    assert kept([row("b"), row("a", None), row("c", 0.0)]) == (["b", "a", "c"], {"kept": 3})


def test_what_stands_in_dev_or_test_is_never_trained_on() -> None:
    assert kept([row("a"), row("b")], held_out=("a",), deduplicate=False) == (["b"], {"in_dev_or_test": 1, "kept": 1})


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


def tagged(*spans: tuple[int, int, float | None, str]) -> dict[str, Any]:
    labels = ["O"] * 6
    for start, end, _, _ in spans:
        labels[start:end] = ["B-X"] + ["I-X"] * (end - start - 1)
    return {
        "id": "t",
        "tokens": list("abcdef"),
        "labels": labels,
        "spans": [{"start": a, "end": b, "type": "X", "confidence": c, "alignment": k} for a, b, c, k in spans],
        "rejected": [],
    }


def test_doubtful_spans_can_be_dropped_alone() -> None:
    given, counts = tagged((0, 2, 0.9, "exact"), (2, 4, 0.2, "exact"), (5, 6, None, "normalised")), Counter[str]()
    settings = SelectSettings(min_confidence=0.5, alignments=("exact",), doubtful="span")
    (line,) = select([given], settings, set(), content, counts)
    assert line["labels"] == ["B-X", "I-X", "O", "O", "O", "O"]
    assert [span["start"] for span in line["spans"]] == [0]
    assert counts["spans_dropped"] == 2
    assert given["labels"].count("O") == 1  # the teacher's own line is left alone


def test_a_way_of_finding_mentions_can_be_distrusted() -> None:
    rows = [tagged((0, 1, None, "normalised"))]
    assert kept(rows, alignments=("exact",)) == ([], {"doubtful": 1})
    assert kept(rows, alignments=("exact", "normalised")) == (["t"], {"kept": 1})
