"""evaluate INPUT --gold FILE: schemes, stray tags, types with hyphens, and sentences that are cut otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from distill_offline.cli import commands
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import DistillError
from distill_offline.storage.files import ANNOTATIONS, write_rows

GOLD = "Anna B-PER\nMay I-PER\nin O\nBremen B-LOC\n"
IOB1 = "Anna I-PER\nMay I-PER\nin O\nBremen I-LOC\n"
IOBES = "Anna B-PER\nMay E-PER\nin O\nBremen S-LOC\n"
STRAY = "Anna I-PER\nMay I-PER\nin O\nBremen O\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["evaluate", *words])


def scores(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def told(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.exception
    return " ".join(result.output.split())


def fault(*words: str) -> str:
    result = run(*words)
    assert isinstance(result.exception, DistillError), result.output
    return str(result.exception)


def columns(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def rows(name: str, *given: Mapping[str, Any]) -> str:
    write_rows(Path(name), given)
    return name


def labelled(name: str, text: str) -> str:
    """The tags of a column file as they stand, in a file of another kind."""
    sentences = [[line.split() for line in block.splitlines()] for block in text.strip().split("\n\n") if block.strip()]
    given = [
        {"id": f"gold:{n}", "tokens": [word for word, _ in each], "labels": [tag for _, tag in each]}
        for n, each in enumerate(sentences)
    ]
    if name.endswith("/"):
        rows(f"{name}{ANNOTATIONS}", *({**row, "spans": [], "rejected": []} for row in given))
    elif name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(given), name)
    else:
        rows(name, *given)
    return name


@pytest.mark.parametrize("scheme", ["auto", "iob2"])
@pytest.mark.parametrize("tags", [IOBES, IOB1, GOLD])
@pytest.mark.parametrize("suffix", [".conll", ".jsonl", ".parquet"])
def test_scheme_is_of_the_gold_file_and_the_input_may_have_another(tags: str, suffix: str, scheme: str) -> None:
    gold, name = columns("gold.conll", GOLD), f"mine{suffix}"
    mine = columns(name, tags) if suffix == ".conll" else labelled(name, tags)
    found = scores(mine, "--gold", gold, "--scheme", scheme)
    assert found["overall"]["f1"] == 1.0
    assert found["errors"]["stray_tags"] == 0


@pytest.mark.parametrize(("tags", "own"), [(IOBES, "iobes"), (IOB1, "iob1"), (GOLD, "iob2")])
@pytest.mark.parametrize(("gold_tags", "gold_scheme"), [(IOBES, "iobes"), (IOB1, "iob1"), (GOLD, "iob2")])
def test_each_side_is_read_in_its_own_scheme(tags: str, own: str, gold_tags: str, gold_scheme: str) -> None:
    gold, mine = columns("gold.conll", gold_tags), columns("mine.conll", tags)
    for asked in (
        [],
        ["--scheme", gold_scheme],
        ["--input-scheme", own],
        ["--scheme", gold_scheme, "--input-scheme", own],
    ):
        assert scores(mine, "--gold", gold, *asked)["overall"]["f1"] == 1.0
    rows_of_tags = labelled("mine.jsonl", tags)
    assert scores(rows_of_tags, "--gold", gold)["overall"]["f1"] == 1.0
    if own == "iobes":
        assert scores(mine, "--gold", gold, "--input-scheme", "iob2")["overall"]["f1"] == 0.0


@pytest.mark.parametrize("kind", ["mine.conll", "mine.jsonl", "mine.parquet", "mine/"])
def test_one_stray_tag_is_no_entity_in_any_kind_of_file_and_is_shown_with_its_place(kind: str) -> None:
    gold = columns("gold.conll", GOLD.replace("\nMay I-PER", ""))
    text = STRAY.replace("\nMay I-PER", "")
    mine = columns(kind, text) if kind.endswith(".conll") else labelled(kind, text.replace("gold", "mine"))
    if kind == "mine/":
        rows(f"mine/{ANNOTATIONS}", *_with_id(f"mine/{ANNOTATIONS}", "gold:0"))
    found = scores(mine, "--gold", gold)
    assert (found["overall"]["f1"], found["errors"]["stray_tags"], found["errors"]["missed"]) == (0.0, 1, 2)
    shown = told(mine, "--gold", gold)
    assert "stray tags: 1" in shown
    assert f"{mine}{ANNOTATIONS if kind == 'mine/' else ''}:1" in shown


def _with_id(path: str, id_: str) -> list[dict[str, Any]]:
    return [{**json.loads(line), "id": id_} for line in Path(path).read_text().splitlines()]


def test_a_stray_tag_beside_others_is_told_with_file_and_line() -> None:
    gold = columns("gold.conll", GOLD)
    mine = columns("mine.conll", "Anna B-PER\nMay I-PER\nin I-PER\nBremen I-LOC\n\n".replace("in I-PER", "in O"))
    found = scores(mine, "--gold", gold)
    assert (found["errors"]["stray_tags"], found["counts"]["stray_tags"], found["overall"]["recall"]) == (1, 1, 0.5)
    assert "mine.conll:4" in told(mine, "--gold", gold)


@pytest.mark.parametrize(
    ("tags", "own"),
    [
        ("Anna B-PER\nMay L-PER\nin O\nBremen U-LOC\n", "bilou"),
        ("Anna B-PER\nMay E-PER\nin O\nBremen W-LOC\n", "bmewo"),
        ("Anna I-PER\nMay I-PER\nin O\nBremen I-LOC\n", "io"),
    ],
)
def test_other_spellings_of_a_scheme_are_read_on_either_side(tags: str, own: str) -> None:
    gold, mine = columns("gold.conll", GOLD), columns("mine.conll", tags)
    for asked in ([], ["--input-scheme", own]):
        assert scores(mine, "--gold", gold, *asked)["overall"]["f1"] == 1.0
    assert scores(gold, "--gold", mine, "--scheme", own)["overall"]["f1"] == 1.0
    one = columns("one.conll", "Anna I-PER\n")
    assert scores(one, "--gold", columns("g.conll", "Anna B-PER\n"), "--input-scheme", "io")["overall"]["f1"] == 1.0


def test_types_without_prefixes_are_read_as_they_are_where_somebody_says_io() -> None:
    gold = columns("gold.conll", GOLD.replace("PER", "person").replace("LOC", "place-city"))
    mine = columns("mine.conll", "Anna person\nMay person\nin O\nBremen place-city\n")  # few O, and no capitals
    assert scores(mine, "--gold", gold, "--input-scheme", "io")["overall"]["f1"] == 1.0
    assert scores(gold, "--gold", mine, "--scheme", "io")["overall"]["f1"] == 1.0
    for tags in (
        "Anna person\nMay 0\n",
        "Anna B-person\nMay person\n",
    ):  # 0 is no type, and prefixes are none beside it
        assert "not a tag" in fault(columns("bad.conll", tags), "--gold", "bad.conll", "--scheme", "io")


def test_tags_that_are_taken_for_iob1_beside_other_gold_are_told() -> None:
    gold = columns("gold.conll", GOLD)
    assert "mine.conll: hardly a tag tells where an entity begins" in told(columns("mine.conll", IOB1), "--gold", gold)
    assert "begin with I-" not in told("mine.conll", "--gold", gold, "--input-scheme", "iob1")
    for tags in (GOLD, IOBES):
        assert "begin with I-" not in told(columns("same.conll", tags), "--gold", gold)


def test_gold_with_a_stray_tag_is_an_error_in_every_kind_of_file() -> None:
    text = GOLD.replace("Bremen B-LOC", "Bremen I-LOC")
    assert "gold.conll:4" in fault(columns("mine.conll", GOLD), "--gold", columns("gold.conll", text))
    assert "gold.jsonl:1" in fault("mine.conll", "--gold", labelled("gold.jsonl", text))


@pytest.mark.parametrize("suffix", [".conll", ".jsonl", ".parquet"])
def test_types_keep_their_hyphens_and_blanks_in_scores_and_files(suffix: str) -> None:
    text = "a\tB--hdmi\nb\tO\nc\tB-hdmi\nd\tI-hdmi\ne\tB-x-\nf\tB-a b\ng\tB-B-PER\nh\tB-é_種\n"
    gold = columns("gold.conll", text)
    write_examples(f"mine{suffix}", read_examples(gold, origin="original"))
    found = scores(f"mine{suffix}", "--gold", gold)
    assert set(found["per_type"]) == {"-hdmi", "hdmi", "x-", "a b", "B-PER", "é_種"}
    assert found["overall"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 6}
    other = columns("other.conll", text.replace("B--hdmi", "B-hdmi"))
    found = scores(other, "--gold", gold)
    assert (found["errors"]["wrong_type"], found["per_type"]["-hdmi"]["recall"]) == (1, 0.0)
    assert "-hdmi" in told(other, "--gold", gold)


def test_a_type_called_o_is_refused_in_either_file() -> None:
    good, bad = columns("good.conll", "a B-X\nb O\n"), columns("bad.conll", "a B-O\nb O\n")
    assert "bad.conll:1" in fault(good, "--gold", bad)
    assert "cannot be called O" in fault(bad, "--gold", good)


TEXT = "took aspirin/ibuprofen, 3 mg."
DRUGS = [{"start": 5, "end": 12, "type": "DRUG"}, {"start": 13, "end": 22, "type": "DRUG"}]


def test_the_same_text_cut_otherwise_is_compared_by_characters() -> None:
    gold = rows("gold.jsonl", {"id": "a", "text": TEXT, "spans": DRUGS})
    tokens = ["took", "aspirin", "/", "ibuprofen,", "3", "mg."]
    mine = rows("mine.jsonl", {"text": TEXT, "tokens": tokens, "labels": ["O", "B-DRUG", "O", "B-DRUG", "O", "O"]})
    found = scores(mine, "--gold", gold)
    assert (found["by"], found["counts"]["by_characters"], found["overall"]["recall"]) == ("characters", 1, 0.5)
    assert found["errors"]["wrong_boundary"] == 1  # ibuprofen and its comma
    assert "by characters" in told(mine, "--gold", gold)
    same = scores(gold, "--gold", gold)
    assert (same["by"], same["overall"]["f1"]) == ("tokens", 1.0)
    assert "by_characters" not in same["counts"]


def test_a_column_file_is_compared_with_the_text_that_its_tokens_came_from() -> None:
    gold = columns("gold.conll", "took O\naspirin B-DRUG\n/ O\nibuprofen B-DRUG\n, O\n3mg O\n. O\n")
    mine = rows("mine.jsonl", {"text": "took\u00a0aspirin/ibu\u00adprofen,  3 mg.", "spans": [
        {"start": 5, "end": 12, "type": "DRUG"}, {"start": 13, "end": 23, "type": "DRUG"}]})  # fmt: skip
    assert scores(mine, "--gold", gold)["overall"]["f1"] == 1.0
    assert scores(gold, "--gold", mine)["overall"]["f1"] == 1.0


def test_decomposed_letters_are_those_that_are_composed() -> None:
    gold = rows("gold.jsonl", {"text": "Am\u00e9lie (Paris)", "spans": [{"start": 0, "end": 6, "type": "PER"}]})
    mine = rows("mine.jsonl", {"text": "Ame\u0301lie (Paris)", "spans": [{"start": 0, "end": 7, "type": "PER"}]})
    assert scores(mine, "--gold", gold)["overall"]["f1"] == 1.0


def test_column_files_that_differ_in_what_nobody_sees_agree_token_by_token() -> None:
    gold = columns("gold.conll", "Am\u00e9lie B-PER\nAugust B-PER\n")
    mine = columns("mine.conll", "Ame\u0301lie B-PER\nAu\u00adgust B-PER\n")
    assert scores(mine, "--gold", gold)["overall"]["f1"] == 1.0


def test_rows_in_another_order_are_refused_with_their_ids() -> None:
    first, second = {"id": "x1", "text": "one two", "spans": []}, {"id": "x2", "text": "three", "spans": []}
    said = fault(rows("mine.jsonl", second, first), "--gold", rows("gold.jsonl", first, second))
    assert "the ids here are x2 and x1: the order must be the same" in said


def test_other_texts_and_other_tokens_without_a_text_are_refused_with_both_places() -> None:
    gold = rows("gold.jsonl", {"text": "one two"}, {"text": TEXT, "spans": DRUGS})
    mine = rows("mine.jsonl", {"text": "one two", "spans": []}, {"text": TEXT.replace("3", "4"), "spans": DRUGS})
    said = fault(mine, "--gold", gold)
    assert "mine.jsonl:2" in said
    assert "gold.jsonl:2" in said
    said = fault(columns("a.conll", "aspirin/x B-D\n"), "--gold", columns("b.conll", "aspirin B-D\n/x I-D\n"))
    assert "a.conll:1" in said
    assert "b.conll:1" in said


@pytest.fixture
def folder() -> str:
    row = {"id": "a", "text": "aspirin/x", "tokens": ["aspirin", "/x"], "offsets": [[0, 7], [7, 9]]}
    span = {"start": 0, "end": 1, "type": "D", "confidence": 0.9, "alignment": "exact"}
    rows(f"run/{ANNOTATIONS}", {**row, "labels": ["B-D", "O"], "spans": [span], "rejected": []})
    return "run"


def test_annotations_made_with_other_tokens_are_compared_by_characters(folder: str) -> None:
    gold = rows("gold.jsonl", {"id": "a", "text": "aspirin/x", "spans": [{"start": 0, "end": 7, "type": "D"}]})
    found = scores(folder, "--gold", gold)
    assert (found["by"], found["overall"]["f1"]) == ("characters", 1.0)
    assert found["quality"]["by_alignment"]["exact"]["correct"] == 1
    other = rows("other.jsonl", {"id": "a", "text": "aspirin/y", "spans": []})
    assert f"run/{ANNOTATIONS}:1: sentence a has another text" in fault(folder, "--gold", other)


def test_a_sentence_that_annotations_hold_twice_is_refused(folder: str) -> None:
    file = Path(f"run/{ANNOTATIONS}")
    file.write_text(file.read_text() * 2)
    gold = rows("gold.jsonl", {"id": "a", "text": "aspirin/x", "spans": []})
    assert f"{ANNOTATIONS}:2: sentence a occurs before, in line 1" in fault(folder, "--gold", gold)


def test_annotations_without_a_sentence_are_not_called_those_of_another_corpus(folder: str) -> None:
    gold = rows("gold.jsonl", {"id": "a", "text": "aspirin/x", "spans": []})
    Path(f"run/{ANNOTATIONS}").write_text("")
    assert "there is no sentence in it. If a teacher was to label some, look into its quarantine.jsonl" in fault(
        folder, "--gold", gold
    )


def test_gold_that_no_token_holds_is_missed_and_counted() -> None:
    span = {"start": 0, "end": 4, "type": "D"}
    gold = rows("gold.jsonl", {"id": "a", "text": "aspirinx y", "spans": [span]}, *({"text": f"filler {n}", "spans": [
        {"start": 0, "end": 6, "type": "D"}]} for n in range(3)))  # fmt: skip
    words = [["aspirinx", "y"], *(["filler", str(n)] for n in range(3))]
    mine = rows("mine.jsonl", *({"tokens": tokens, "labels": ["B-D", "O"]} for tokens in words))
    found = scores(mine, "--gold", gold)
    assert (found["overall"]["support"], found["overall"]["recall"], found["counts"]["unheld"]) == (4, 0.75, 1)
    assert scores(gold, "--gold", gold)["overall"]["f1"] == 1.0


NBSP = "\u00a0"


@pytest.mark.parametrize("unseen", [NBSP, "\u00ad", "\u200b", "\ufeff"])
@pytest.mark.parametrize("given", ["B-PER O I-PER O", "B-PER I-PER I-PER I-PER"])
def test_a_token_that_nobody_sees_does_not_break_an_entity(unseen: str, given: str) -> None:
    tokens = ["Anna", unseen, "Keller", unseen, "lives"]
    gold = rows("gold.jsonl", {"tokens": tokens, "labels": ["B-PER", "I-PER", "I-PER", "O", "O"]})
    mine = rows("mine.jsonl", {"tokens": tokens, "labels": [*given.split(), "O"]})
    found = scores(mine, "--gold", gold)
    assert (found["overall"]["f1"], found["overall"]["support"], found["errors"]["stray_tags"]) == (1.0, 1, 0)
    assert found["counts"]["tokens"] == 5


def test_mentions_lost_inside_tokens_are_told_where_they_are_many(folder: str) -> None:
    file = Path(f"run/{ANNOTATIONS}")
    row = json.loads(file.read_text())
    gold = rows("gold.jsonl", {"id": "a", "text": "aspirin/x", "spans": []})
    for lost, warns in ((0, False), (5, True)):
        write_rows(file, [{**row, "rejected": [{"mention": "x", "reason": "inside_token"}] * lost}])
        shown = told(folder, "--gold", gold)
        assert ("lost as inside_token" in shown) == warns
    assert "5 of 6 mentions (83.3%)" in shown
    assert "corpus.language" in shown
