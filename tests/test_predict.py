"""What predict writes beside the labels: entities with their places in the text, and how sure the student is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from distill_offline.cli import commands
from distill_offline.config.settings import Source
from distill_offline.corpus import read_annotations, read_examples, read_with_entities
from distill_offline.errors import InputError
from distill_offline.pipeline.predict import predict
from distill_offline.spans.bio import decode_bio
from distill_offline.student.model import Student

TEXT = "Marta closed V-17.\r\n\r\n水泵在🚰东京停了。\n\nÉlan e\u0301tude 👩‍👩‍👧 done."
LABELS = ("O", "B-PERSON", "I-PERSON", "B-EQUIPMENT", "I-EQUIPMENT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """Students of tags, of one class and of several, with random heads; and a text."""
    made = tmp_path_factory.mktemp("predict")
    for name, labels, head in (
        ("tags", LABELS, "token-classification"),
        ("one", ("water", "sport", "other"), "sequence-classification"),
        ("several", ("water", "sport", "other"), "multi-label-classification"),
    ):
        Student.create(encoder, labels, head).save(made / name)
    (made / "text.txt").write_bytes(TEXT.encode())
    return made


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_entities_have_their_text_their_place_in_it_and_a_confidence(folder: Path, tmp_path: Path) -> None:
    predict(folder / "tags", folder / "text.txt", tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    assert list(rows[0])[:7] == ["id", "document", "index", "text", "tokens", "offsets", "labels"]
    assert sum(len(row["entities"]) for row in rows) > 2, "a random head finds something"
    for row in rows:
        assert row["confidence_kind"] == "plain"
        spans = decode_bio(row["labels"])
        for each, span in zip(row["entities"], spans, strict=True):
            assert row["text"][each["start"] : each["end"]] == each["text"]
            assert [each["start"], each["end"]] == [row["offsets"][span.start][0], row["offsets"][span.end - 1][1]]
            assert each["type"] == span.type
            assert 0 < each["confidence"] <= 1


def test_what_was_said_of_a_text_is_the_same_through_parquet(folder: Path, tmp_path: Path) -> None:
    predict(folder / "tags", folder / "text.txt", tmp_path / "out.jsonl")
    predict(folder / "tags", folder / "text.txt", tmp_path / "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    said = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert said == rows_of(tmp_path / "out.jsonl")


def test_confidences_are_read_again(folder: Path, tmp_path: Path) -> None:
    predict(folder / "tags", folder / "text.txt", tmp_path / "out.jsonl")
    wanted = [[e["confidence"] for e in row["entities"]] for row in rows_of(tmp_path / "out.jsonl")]
    for name in ("out.jsonl", "out.parquet"):
        predict(folder / "tags", folder / "text.txt", tmp_path / name)
        read = list(read_annotations(tmp_path / name))
        assert [[span.confidence for span in line.spans] for line in read] == wanted
        assert not any(line.unread for line in read)


def test_entities_alone_are_labels_and_those_of_other_tools_beside_labels_are_not(tmp_path: Path) -> None:
    text = "Ada met 🙂 Bob."
    entity = {"text": "Bob", "start": 10, "end": 13, "type": "PER"}
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text, "entities": [entity]}) + "\n")
    (example,) = read_examples(tmp_path / "a.jsonl", origin="original")
    assert [example.sentence.tokens[span.start] for span in decode_bio(example.labels)] == ["Bob"]
    row = {"text": "Ada met", "tokens": ["Ada", "met"], "labels": ["B-PER", "O"], "entities": [entity]}
    (tmp_path / "b.jsonl").write_text(json.dumps(row) + "\n")
    (example,) = read_examples(tmp_path / "b.jsonl", origin="original")
    assert example.labels == ("B-PER", "O")


def test_what_falls_below_is_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    predict(folder / "tags", folder / "text.txt", tmp_path / "all.jsonl")
    sure = sorted(e["confidence"] for row in rows_of(tmp_path / "all.jsonl") for e in row["entities"])
    least = sure[len(sure) // 2]
    counts = Counter[str]()
    args = ("--min-confidence", str(least), "-o", str(tmp_path / "some.jsonl"))
    ran = CliRunner().invoke(commands, ["predict", str(folder / "tags"), str(folder / "text.txt"), *args])
    predict(folder / "tags", folder / "text.txt", tmp_path / "again.jsonl", min_confidence=least, counts=counts)
    rows = rows_of(tmp_path / "some.jsonl")
    assert rows == rows_of(tmp_path / "again.jsonl")
    assert counts["below_confidence"] == len(sure) - sum(len(decode_bio(row["labels"])) for row in rows) > 0
    assert min(e["confidence"] for row in rows for e in row["entities"]) >= least
    assert f"{counts['below_confidence']} below" in ran.output


@pytest.mark.parametrize("head", ["one", "several"])
def test_classes_have_a_confidence_and_doubtful_ones_are_left_out(folder: Path, tmp_path: Path, head: str) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"pump {n} ran {n * n}"}) + "\n" for n in range(20)))
    assert predict(folder / head, texts, tmp_path / "all.jsonl") == 20
    rows = rows_of(tmp_path / "all.jsonl")
    sure = sorted(row["confidence"] for row in rows if row["labels"])
    assert sure
    assert all(0 < each <= 1 for each in sure)
    assert "entities" not in rows[0]
    counts = Counter[str]()
    written = predict(folder / head, texts, tmp_path / "some.jsonl", min_confidence=1.0, counts=counts)
    assert counts["below_confidence"] == sum(len(row["labels"]) for row in rows)
    assert written == (0 if head == "one" else 20)


def test_confidences_are_calibrated_on_gold(folder: Path, tmp_path: Path) -> None:
    student = Student.load(folder / "tags")
    texts = [f"Marta rang Osei about pump P-{n} at noon." for n in range(30)]
    said = student.label(texts)
    gold, right = [], 0
    for number, each in enumerate(said):  # every second text is right
        spans = [{"start": e.start, "end": e.end, "type": e.type} for e in each.entities if number % 2]
        right += len(spans)
        gold.append({"text": each.text, "spans": spans})
    found = sum(len(each.entities) for each in said)
    assert found > right > 20
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    args = ("--calibrate", str(tmp_path / "gold.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    ran = CliRunner().invoke(commands, ["predict", str(folder / "tags"), str(tmp_path / "gold.jsonl"), *args])
    assert ran.exit_code == 0, ran.exception
    rows = rows_of(tmp_path / "out.jsonl")
    assert {row["confidence_kind"] for row in rows} == {"calibrated"}
    mean = sum(e["confidence"] for row in rows for e in row["entities"]) / found
    assert mean == pytest.approx(right / found, abs=0.01)
    few = Source(path=str(tmp_path / "gold.jsonl"), limit=1)
    with pytest.raises(InputError, match=r"gold\.jsonl: cannot calibrate on it: .* at least 20 are needed"):
        predict(folder / "tags", few, tmp_path / "x.jsonl", calibrate=few)


@pytest.mark.parametrize("name", ["label_studio", "doccano", "prodigy", "brat", "webanno", "conllu", "csv_spans"])
def test_entities_are_written_for_other_tools(folder: Path, tmp_path: Path, name: str) -> None:
    predict(folder / "tags", folder / "text.txt", tmp_path / "out.jsonl")
    args = ("--format", name, "-o", str(tmp_path / "out"))
    ran = CliRunner().invoke(commands, ["predict", str(folder / "tags"), str(folder / "text.txt"), *args])
    assert ran.exit_code == 0, ran.exception
    rows = rows_of(tmp_path / "out.jsonl")
    items = list(read_with_entities(Source(path=str(tmp_path / "out"), format=name)))
    assert [item.sentence.text for item in items] == [row["text"] for row in rows]
    for item, row in zip(items, rows, strict=True):
        sure = [entity["confidence"] for entity in row["entities"]]
        places = [(entity["start"], entity["end"], entity["type"]) for entity in row["entities"]]
        assert [(entity.start, entity.end, entity.type) for entity in item.entities or ()] == places
        if name in ("label_studio", "prodigy", "csv_spans"):
            assert [entity.confidence for entity in item.entities or ()] == sure
        else:
            assert "not written" in ran.output
            assert "confidences" in ran.output


def test_an_input_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    text, gold = tmp_path / "in.jsonl", tmp_path / "gold.jsonl"
    text.write_text('{"text": "Ann left"}\n')
    gold.write_text('{"tokens": ["Ann"], "labels": ["B-PERSON"]}\n')
    (tmp_path / "link.jsonl").symlink_to(text)
    for output, calibrate in ((text, None), (tmp_path / "link.jsonl", None), (gold, str(gold))):
        with pytest.raises(InputError, match="is an input itself"):
            predict(folder, str(text), output, calibrate=calibrate)
    assert text.read_text() == '{"text": "Ann left"}\n'


def test_nan_is_no_confidence(folder: Path, tmp_path: Path) -> None:
    command = ["predict", str(folder), "package:demo/unlabelled", "-o", str(tmp_path / "o.jsonl"), "--min-confidence"]
    result = CliRunner().invoke(commands, [*command, "nan"])
    assert (result.exit_code, "nan is not a number" in result.output) == (2, True)
