"""convert: one format into another, what is lost is counted, and nothing is overwritten unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from corpus_files import write_file, write_jsonl

from distill_offline.cli import commands
from distill_offline.config.settings import Source
from distill_offline.corpus import read_examples
from distill_offline.corpus.formats import FORMATS
from distill_offline.errors import CorpusError, InputError
from distill_offline.pipeline.convert import convert
from distill_offline.spans.bio import decode_bio

TEXT = "Anna 🚰 Weber sang in New Oslo."
SPANS = [
    {"start": 0, "end": 12, "type": "PER", "confidence": 0.5},
    {"start": 25, "end": 29, "type": "LOC"},
    {"start": 21, "end": 29, "type": "ORG"},
    {"start": 13, "end": 15, "type": "PART"},
]


def run(*command: str) -> Result:
    return CliRunner().invoke(commands, ["convert", *command])


@pytest.mark.parametrize("name", ["label_studio", "prodigy", "jsonl"])
def test_entities_that_overlap_or_cut_tokens_come_through_where_they_can(tmp_path: Path, name: str) -> None:
    path = write_jsonl(tmp_path, {"id": "7", "text": TEXT, "spans": SPANS})
    done = convert(Source(path=str(path)), tmp_path / "out.x", output_format=name)
    assert not done.unwritten
    assert done.types == {"PER": 1, "LOC": 1, "ORG": 1, "PART": 1}
    again = convert(Source(path=str(tmp_path / "out.x"), format=name), tmp_path / "again.jsonl")
    assert again.types == done.types
    (row,) = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text("utf-8").splitlines()]
    wanted = sorted([s["start"], s["end"], s["type"]] for s in SPANS)
    assert sorted([e["start"], e["end"], e["type"]] for e in row["entities"]) == wanted
    assert [e["confidence"] for e in row["entities"] if "confidence" in e] == [0.5]


def test_what_a_format_cannot_hold_is_counted_with_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {"id": "7", "text": TEXT, "spans": SPANS}, {"id": "8", "text": "Nobody.", "spans": []})
    ran = run(str(path), str(tmp_path / "out.conll"))
    assert ran.exit_code == 0, ran.exception
    assert "2 sentences, 2 of them labelled" in ran.output
    for words in (
        "1 entities that begin or end inside a token (rows 7)",
        "1 entities that overlap a longer one (rows 7)",
    ):
        assert f"not written: {words}" in ran.output
    (first, _) = read_examples(tmp_path / "out.conll", origin="original")
    assert [span.type for span in decode_bio(first.labels)] == ["PER", "ORG"]
    found = json.loads(run(str(path), str(tmp_path / "out.conll"), "--force", "--json").output)
    assert found["unwritten"]["overlapping"] == {"count": 1, "ids": ["7"]}
    assert found["unwritten"]["confidence"] == {"count": 1, "ids": ["7"]}


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {"text": "Anna sang", "spans": []})
    out = write_file(tmp_path, "out.json", "mine")
    with pytest.raises(InputError, match=r"is there already.*--force"):
        convert(Source(path=str(path)), out)
    assert out.read_text() == "mine"
    convert(Source(path=str(path)), out, force=True)
    with pytest.raises(InputError, match="is the input itself"):
        convert(Source(path=str(out)), out, force=True)
    (tmp_path / "folder").mkdir()
    write_file(tmp_path, "folder/notes.md", "mine")
    with pytest.raises(CorpusError, match="is no folder of this format"):
        convert(Source(path=str(path)), tmp_path / "folder", output_format="brat", force=True)
    assert (tmp_path / "folder/notes.md").read_text() == "mine"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("spacy", "xlsx")])
def test_a_text_without_labels_stays_one_or_is_refused(tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path, "in.txt", "Anna sang in Oslo. Nobody came.")
    try:
        done = convert(Source(path=str(path)), tmp_path / "out.x", output_format=name)
    except CorpusError:
        assert name == "conll2012", "it has no way to say so"
        return
    assert (done.sentences, done.labelled) == (2, 0)
    if name == "brat":  # without an .ann there are no labels
        assert not list((tmp_path / "out.x").glob("*.ann"))
        return
    again = convert(Source(path=str(tmp_path / "out.x"), format=name), tmp_path / "again.jsonl")
    assert (again.sentences, again.labelled) == (2, 0)


@pytest.mark.parametrize("name", ["label_studio", "doccano", "prodigy", "csv_spans", "hugging_face", "jsonl"])
def test_classes_come_through(tmp_path: Path, name: str) -> None:
    rows = [{"text": "The pump ran", "label": "water"}, {"text": "They won 🏆", "label": "sport"}]
    path = write_jsonl(tmp_path, *rows)
    done = convert(Source(path=str(path)), tmp_path / "out.x", output_format=name)
    assert done.types == {"water": 1, "sport": 1}
    source = Source(path=str(tmp_path / "out.x"), format=name)
    read = list(read_examples(source, origin="original", head="sequence-classification"))
    assert [(e.sentence.text, *e.labels) for e in read] == [(row["text"], row["label"]) for row in rows]
    with pytest.raises(CorpusError, match="has a class, which this format cannot hold"):
        convert(source, tmp_path / "no", output_format="brat")


def predicted(id_: str, text: str, **fields: object) -> dict[str, object]:
    return {"id": id_, "text": text, "confidence_kind": "calibrated", **fields}


SURE = {"start": 0, "end": 4, "type": "PER", "confidence": 0.75}


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_what_a_student_predicted_says_so_after_converting(tmp_path: Path, name: str) -> None:
    rows = [
        predicted("1", "Anna sang", tokens=["Anna", "sang"], labels=["B-PER", "O"], entities=[SURE]),
        predicted("2", "Nobody came", tokens=["Nobody", "came"], labels=["O", "O"], entities=[]),
    ]
    convert(Source(path=str(write_jsonl(tmp_path, *rows))), tmp_path / "out.x", output_format=name)
    convert(Source(path=str(tmp_path / "out.x"), format=name), tmp_path / "again.jsonl")
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text("utf-8").splitlines()]
    assert [row["confidence_kind"] for row in again] == ["calibrated", "calibrated"]
    assert [[e.get("confidence") for e in row["entities"]] for row in again] == [[0.75], []]


def test_a_text_in_which_a_student_found_nothing_is_no_annotation(tmp_path: Path) -> None:
    rows = [predicted("1", "Anna sang", entities=[SURE]), predicted("2", "Nobody came", entities=[])]
    source = Source(path=str(write_jsonl(tmp_path, *rows)))
    convert(source, tmp_path / "out.json", output_format="label_studio")
    tasks = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [(len(task["annotations"]), len(task["predictions"])) for task in tasks] == [(0, 1), (0, 1)]
    convert(source, tmp_path / "out.jsonl", output_format="prodigy")
    assert '"answer"' not in (tmp_path / "out.jsonl").read_text("utf-8")
    path = write_jsonl(tmp_path, {"label": "water", "text": "It ran", "confidence": 0.5, "confidence_kind": "plain"})
    convert(Source(path=str(path)), tmp_path / "classes.jsonl")
    assert json.loads((tmp_path / "classes.jsonl").read_text("utf-8"))["confidence_kind"] == "plain"


@pytest.mark.parametrize("name", ["label_studio", "prodigy"])
def test_a_guess_stays_one_through_another_tool(tmp_path: Path, name: str) -> None:
    rows = [predicted("1", "Anna sang", entities=[SURE]), predicted("2", "Nobody came", entities=[])]
    convert(Source(path=str(write_jsonl(tmp_path, *rows))), tmp_path / "out.x", output_format=name)
    done = convert(Source(path=str(tmp_path / "out.x"), format=name), tmp_path / "again.jsonl")
    assert not done.unread
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text("utf-8").splitlines()]
    assert [row["confidence_kind"] for row in again] == ["calibrated", "calibrated"]


@pytest.mark.parametrize(
    "name", ["doccano", "brat", "csv_spans", "hugging_face", "gliner", "conllu", "columns", "webanno"]
)
def test_a_format_that_cannot_say_who_labelled_counts_it(tmp_path: Path, name: str) -> None:
    rows = [predicted("1", "Anna sang", entities=[SURE]), predicted("2", "Nobody came", entities=[])]
    path = tmp_path / ("out.conll" if name == "columns" else "out.x")
    done = convert(
        Source(path=str(write_jsonl(tmp_path, *rows))), path, output_format=None if name == "columns" else name
    )
    assert done.unwritten["guess"] == 2
    assert done.unwritten.ids["guess"] == ["1", "2"]


def test_the_guess_of_another_tool_is_no_annotation(tmp_path: Path) -> None:
    task = {"id": 1, "data": {"text": "Nobody came"}, "annotations": [], "predictions": [{"result": []}]}
    (tmp_path / "in.json").write_text(json.dumps([task]))
    convert(Source(path=str(tmp_path / "in.json")), tmp_path / "out.json")
    (again,) = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (again["annotations"], len(again["predictions"])) == ([], 1)


def test_what_stands_beside_labels_and_is_not_written_is_counted(tmp_path: Path) -> None:
    row = {"id": "7", "tokens": ["Anna", "sang"], "labels": ["B-PER", "O"], "weight": 0.5, "masked": [1], "who": "me"}
    done = convert(Source(path=str(write_jsonl(tmp_path, row))), tmp_path / "out.jsonl")
    assert done.unread == {"weight": 1, "masked": 1, "other_fields": 1}
    assert done.unread.ids["masked"] == ["7"]


@pytest.mark.parametrize("count", [3, 1500])
def test_labels_that_only_later_rows_have_are_written_to_parquet(tmp_path: Path, count: int) -> None:
    rows: list[dict[str, object]] = [{"id": f"{n}", "text": "Nobody came"} for n in range(count)]
    rows.append(predicted("last", "Anna sang", entities=[SURE]))
    convert(Source(path=str(write_jsonl(tmp_path, *rows))), tmp_path / "out.parquet")
    done = convert(Source(path=str(tmp_path / "out.parquet")), tmp_path / "again.jsonl")
    assert (done.labelled, done.types) == (1, {"PER": 1})


def test_a_backslash_in_an_entity_comes_back_from_label_studio(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {"text": "at C:\\new", "spans": [{"start": 3, "end": 9, "type": "PATH"}]})
    convert(Source(path=str(path)), tmp_path / "out.json")
    assert convert(Source(path=str(tmp_path / "out.json")), tmp_path / "again.jsonl").types == {"PATH": 1}


def test_an_unknown_kind_of_confidence_is_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {**predicted("1", "Anna sang", entities=[SURE]), "confidence_kind": ["sure"]})
    done = convert(Source(path=str(path)), tmp_path / "out.json", output_format="label_studio")
    assert done.unread == {"other_fields": 1}


def test_labelled_and_unlabelled_texts_are_told_apart_or_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, {"text": "Anna sang", "spans": []}, {"id": "b", "text": "Nobody came"})
    done = convert(Source(path=str(path)), tmp_path / "out.json")
    assert (done.sentences, done.labelled) == (2, 1)
    assert convert(Source(path=str(tmp_path / "out.json")), tmp_path / "again.jsonl").labelled == 1
    with pytest.raises(CorpusError, match="b is unlabelled and those before it are not"):
        convert(Source(path=str(path)), tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("content", "labelled"),
    [
        ("Anna I-PER\nWeber I-PER\nsang O\n\nOslo I-LOC\nslept O\n", 2),  # IOB1
        ("Anna B-PER\nWeber I-PER\nsang O\n\nOslo B-LOC\nslept O\n", 2),
        ("Anna\nWeber\nsang\n\nOslo\nslept\n", 0),
    ],
)
def test_a_column_file_is_read_with_the_tags_that_it_has(tmp_path: Path, content: str, labelled: int) -> None:
    done = convert(Source(path=str(write_file(tmp_path, "a.conll", content))), tmp_path / "out.json")
    assert (done.sentences, done.labelled) == (2, labelled)
    assert done.types == ({"PER": 1, "LOC": 1} if labelled else {})
