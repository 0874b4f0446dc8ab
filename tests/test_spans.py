"""Spans that rows list: what they count, whether they lie, and those that no tokens hold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from corpus_files import examples_of, fault_of, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from distill_offline.cli import commands
from distill_offline.config.settings import OffsetUnit, Source
from distill_offline.corpus import read_examples
from distill_offline.corpus.offset_units import OFFSETS, in_characters
from distill_offline.corpus.spans import on_tokens
from distill_offline.corpus.tokenise import token_offsets

TEXT = "Nora Kellér 😀 writes:\r\nAnna Berg\nlives in Oslo today."
NAMES = {"Nora Kellér": "PER", "Anna Berg": "PER", "Oslo": "LOC"}


def counted(text: str, unit: OffsetUnit) -> list[dict[str, Any]]:
    """The names in a text, their offsets in a unit: counted anew, by another way than the package's."""
    spans = []
    for name, type_ in NAMES.items():
        start = text.index(name)
        ends = []
        for at in (start, start + len(name)):
            before = text[:at]
            ends.append(
                {
                    "utf16": len(before.encode("utf-16-le")) // 2,
                    "bytes": len(before.encode()),
                    "crlf_as_one": len(before.replace("\r\n", "\n")),
                    "lf_as_two": len(before.replace("\r\n", "\n").replace("\n", "\r\n")),
                }.get(unit, at)
            )
        shift = {"from_1": (1, 1), "inclusive": (0, -1), "from_1_inclusive": (1, 0)}.get(unit, (0, 0))
        spans.append({"start": ends[0] + shift[0], "end": ends[1] + shift[1], "type": type_})
    return spans


def labelled(path: Path, unit: OffsetUnit | None = None) -> list[tuple[str, ...]]:
    return [e.labels for e in read_examples(Source(path=str(path), offsets=unit), origin="original")]


@pytest.mark.parametrize("unit", OFFSETS)
def test_offsets_of_every_unit_are_read_where_the_setting_names_it(tmp_path: Path, unit: OffsetUnit) -> None:
    right = labelled(write_jsonl(tmp_path, {"text": TEXT, "spans": counted(TEXT, "characters")}))
    assert [label for label in right[0] if label != "O"] == ["B-PER", "I-PER", "B-PER", "I-PER", "B-LOC"]
    assert labelled(write_jsonl(tmp_path, {"text": TEXT, "spans": counted(TEXT, unit)}), unit) == right


@pytest.mark.parametrize("key", ["text", "surface", "value", "mention", "word"])
@pytest.mark.parametrize("unit", OFFSETS[1:])
def test_a_span_that_has_another_text_is_refused_and_its_unit_named(tmp_path: Path, unit: OffsetUnit, key: str) -> None:
    spans = [{**span, key: name} for span, name in zip(counted(TEXT, unit), NAMES, strict=True)]
    found = fault_of(write_jsonl(tmp_path, {"text": "fine", "spans": []}, {"text": TEXT, "spans": spans}))
    assert "in.jsonl:2: span " in found
    assert f"Set corpus.offsets: {unit} " in found
    assert "Anna" not in found
    assert "Oslo" not in found


def test_a_text_of_its_own_may_differ_in_blanks_and_forms_alone(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "text": "Anna\nKellér lives",
        "spans": [{"start": 0, "end": 11, "type": "PER", "text": "anna Kelle\u0301r"}],
    }
    assert examples_of(write_jsonl(tmp_path, row))[0].labels == ("B-PER", "I-PER", "O")
    row["spans"][0]["text"] = "Anna Keller"
    assert "span 0 (0 to 11) has another text" in fault_of(write_jsonl(tmp_path, row))


@pytest.mark.parametrize("unit", OFFSETS[1:])
def test_spans_that_cut_words_are_refused_and_their_unit_named(tmp_path: Path, unit: OffsetUnit) -> None:
    found = fault_of(write_jsonl(tmp_path, {"text": TEXT, "spans": counted(TEXT, unit)}))
    assert "in.jsonl:1: " in found
    assert f"Set corpus.offsets: {unit} " in found


def test_a_unit_is_named_by_the_few_rows_in_which_it_makes_a_difference(tmp_path: Path) -> None:
    plain = {"text": "in Oslo now", "spans": [{"start": 3, "end": 7, "type": "LOC"}]}
    text = "👍 in Oslo now"
    odd = {"text": text, "spans": [{"start": 6, "end": 10, "type": "LOC"}]}
    found = fault_of(write_jsonl(tmp_path, *[plain] * 300, odd, odd))
    assert "in.jsonl:301: " in found
    assert "offsets: utf16" in found


def test_spans_that_nothing_explains_are_refused_where_most_cut_words(tmp_path: Path) -> None:
    row = {"text": "Somebody went to Bergen yesterday", "spans": [{"start": 2, "end": 20, "type": "LOC"}]}
    assert "10 of 10 spans begin or end within a word" in fault_of(write_jsonl(tmp_path, *[row] * 10))
    fine = {"text": "in Oslo now", "spans": [{"start": 3, "end": 7, "type": "LOC"}]}
    assert len(examples_of(write_jsonl(tmp_path, *[row] * 10, *[fine] * 10))) == 20


def test_spans_without_blanks_around_them_are_not_taken_for_liars(tmp_path: Path) -> None:
    rows = [
        {"text": "昨日鈴木一郎は講演した。", "spans": [{"start": 2, "end": 6, "type": "PER"}]},
        {"text": "وبالقاهرة", "spans": [{"start": 2, "end": 9, "type": "LOC"}]},
        {"text": "서울에서 만나", "spans": [{"start": 0, "end": 2, "type": "LOC"}]},
        {"text": "l'Oréal/d'Italia", "spans": [{"start": 2, "end": 7, "type": "ORG"}]},
    ] * 5
    assert all(not example.unheld for example in examples_of(write_jsonl(tmp_path, *rows)))


def test_offsets_out_of_the_text_name_their_unit(tmp_path: Path) -> None:
    text = "鈴木一郎は東京にいる"
    found = fault_of(write_jsonl(tmp_path, {"text": text, "spans": [{"start": 15, "end": 21, "type": "LOC"}]}))
    assert "span 0 (15 to 21) does not lie in the 10 characters" in found
    assert "offsets: bytes" in found


def test_spans_beside_tokens_that_count_characters_are_named(tmp_path: Path) -> None:
    row: dict[str, Any] = {"text": "in Oslo now", "tokens": ["in", "Oslo", "now"]}
    found = fault_of(write_jsonl(tmp_path, {**row, "spans": [{"start": 3, "end": 7, "type": "LOC", "text": "Oslo"}]}))
    assert "span 0 counts characters, but beside `tokens` spans count tokens" in found
    found = fault_of(write_jsonl(tmp_path, {**row, "spans": [{"start": 1, "end": 1, "type": "LOC", "text": "Oslo"}]}))
    assert "make it one more" in found
    row["spans"] = [{"start": 1, "end": 2, "type": "LOC", "text": "Oslo"}]
    assert examples_of(write_jsonl(tmp_path, row))[0].labels == ("O", "B-LOC", "O")


UNHELD = {"id": "h7", "text": "Hamburgs Hafen und Oslo", "spans": [{"start": 0, "end": 7, "type": "LOC"}]}
HELD = {"id": "h8", "text": "Anna in Oslo", "spans": [{"start": 8, "end": 12, "type": "LOC"}]}


@pytest.mark.parametrize("origin", ["original", "distilled"])
def test_a_span_inside_a_token_is_counted_and_never_bent(tmp_path: Path, origin: Any) -> None:
    counts = Counter[str]()
    path = write_jsonl(tmp_path, UNHELD, HELD)
    first, second = read_examples(path, origin=origin, counts=counts)
    assert first.sentence.tokens == ("Hamburgs", "Hafen", "und", "Oslo")
    assert (first.labels, first.masked) == (("O",) * 4, (0,))
    assert [(span.start, span.end, span.type) for span in first.unheld] == [(0, 7, "LOC")]
    assert (second.unheld, second.masked) == ((), ())
    assert counts == {"unheld": 1}


def test_gold_that_no_tokens_hold_counts_as_missed_and_is_shown_by_its_id(tmp_path: Path) -> None:
    gold = write_jsonl(tmp_path, UNHELD, HELD)
    given = tmp_path / "given.jsonl"
    rows = [
        {"id": "h7", "tokens": ["Hamburgs", "Hafen", "und", "Oslo"], "labels": ["O"] * 4},
        {"id": "h8", "tokens": ["Anna", "in", "Oslo"], "labels": ["O", "O", "B-LOC"]},
    ]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(commands, ["evaluate", str(given), "--gold", str(gold), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["overall"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert (report["errors"]["missed"], report["counts"]["unheld"]) == (1, 1)
    assert "1 of 2 entities begin or end inside a token (rows h7)" in " ".join(result.stderr.split())


@given(st.text(alphabet="aé😀\r\n日", max_size=12), st.integers(0, 12), st.integers(0, 12), st.sampled_from(OFFSETS))
def test_every_unit_reads_back_what_was_counted_in_it(text: str, one: int, other: int, unit: OffsetUnit) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    read = in_characters(unit, text)
    if read is None or start == end:
        return
    found = read(*{"from_1": (start + 1, end + 1), "inclusive": (start, end - 1)}.get(unit, (start, end)))
    assert found is None or 0 <= found[0] < found[1] <= len(text)
    if unit in ("from_1", "inclusive"):
        assert found == (start, end)


@given(st.text(alphabet="ab .,-日م👍\u0301", max_size=20), st.data())
def test_spans_of_whole_tokens_come_back_as_they_were(text: str, data: st.DataObject) -> None:
    offsets = token_offsets(text)
    if not offsets:
        return
    first = data.draw(st.integers(0, len(offsets) - 1))
    last = data.draw(st.integers(first, len(offsets) - 1))
    assert on_tokens((offsets[first][0], offsets[last][1]), offsets) == (first, last + 1)


@pytest.mark.parametrize("changed", [False, True])
def test_spans_that_no_tokens_hold_are_compared_by_their_characters(tmp_path: Path, changed: bool) -> None:
    (tmp_path / "given").mkdir()
    given = write_jsonl(
        tmp_path / "given", {**UNHELD, "spans": [{"start": 0, "end": 7 - changed, "type": "LOC"}]}, HELD
    )
    gold = write_jsonl(tmp_path, UNHELD, HELD)
    result = CliRunner().invoke(commands, ["evaluate", str(given), "--gold", str(gold), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["overall"]["recall"] == (0.5 if changed else 1.0)
    assert json.loads(result.stdout)["overall"]["precision"] == (0.5 if changed else 1.0)


def test_input_and_gold_may_count_differently(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    given = write_jsonl(tmp_path / "given", {"text": TEXT, "spans": counted(TEXT, "utf16")})
    gold = write_jsonl(tmp_path, {"text": TEXT, "spans": counted(TEXT, "bytes")})
    how = ["--offsets", "bytes", "--input-offsets", "utf16"]
    result = CliRunner().invoke(commands, ["evaluate", str(given), "--gold", str(gold), "--json", *how])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["overall"]["f1"] == 1.0
