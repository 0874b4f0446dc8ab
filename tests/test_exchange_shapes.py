"""Other tools' files in unexpected shapes: an error with file, line and remedy, or a loss that is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus_files import write_file

from distill_offline.config.settings import Source
from distill_offline.corpus import Labelled, head_of, read_with_entities
from distill_offline.corpus.lost import Losses
from distill_offline.errors import CorpusError

TEXT = "Anna sang in Oslo."
HEAD = "#FORMAT=WebAnno TSV 3.3\n"
ENTITIES = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value\n"
SENTENCE = "\n\n#Text=Anna sang\n"
CELLS = "\t_" * 7


def read(folder: Path, tool: str, content: str) -> tuple[list[Labelled], Losses]:
    source, lost = Source(path=str(write_file(folder, "file.x", content)), format=tool), Losses()
    return list(read_with_entities(source, head=head_of(source), counts=lost)), lost


def result(*results: Any, kind: str = "annotations") -> str:
    return json.dumps([{"id": 1, "data": {"text": TEXT}, kind: [{"result": list(results)}]}])


def region(**value: Any) -> dict[str, Any]:
    return {"type": "labels", "value": {"start": 0, "end": 4, "labels": ["PER"], **value}}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps({"text": TEXT, **row}) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("tool", "content", "said"),
    [
        ("label_studio", result({"type": "choices"}), ":1: a result of the type choices has no `value`"),
        ("label_studio", result({"type": "choices", "value": {"choices": "sport"}}), "`choices` must be a list"),
        ("label_studio", result(region(labels="PER")), "`labels` must be a list"),
        ("label_studio", result(region(labels=[3])), "`labels` must hold strings"),
        ("label_studio", result(region(start="/p[1]", startOffset=0)), "a region in HTML"),
        ("label_studio", result({**region(), "score": 5}), "a confidence is no number from 0 to 1"),
        ("label_studio", result("x"), "`result` must hold objects"),
        ("label_studio", json.dumps([{"data": {"text": TEXT}, "annotations": "x"}]), "`annotations` must be a list"),
        ("label_studio", '[{"data": {"text": "a", "text": "b"}}]', "the key 'text' occurs twice"),
        ("label_studio", json.dumps([{"text": TEXT, "annotation_id": 1}]), "Export JSON, not JSON-MIN"),
        ("doccano", lines({"label": ["a"]}, {"label": [[0, 4, "PER"]]}), ":2: a text with entities among"),
        ("doccano", lines({"label": [[0, 4, "PER"]]}, {"label": ["a"]}), ":2: a text with classes among"),
        ("doccano", lines({"entities": "x"}), "`entities` must be a list"),
        ("doccano", lines({"relations": 5, "label": []}), "`relations` must be a list"),
        (
            "doccano",
            lines({"annotations": [{"label": 1, "start_offset": 0, "end_offset": 4}]}),
            "labels are numbers here, without their names",
        ),
        ("prodigy", lines({"spans": ["x"], "answer": "accept"}), "`spans` must hold objects"),
        ("prodigy", lines({"spans": [], "tokens": "ab"}), "`tokens` must be a list"),
        ("prodigy", lines({"spans": [], "relations": 3}), "`relations` must be a list"),
        ("prodigy", lines({"label": "a", "meta": {"score": "high"}}), "a confidence is no number"),
        ("gliner", '[{"tokenized_text": ["a"], "ner": 5}]', "`ner` must be a list"),
        ("webanno", f"{HEAD}{ENTITIES}{SENTENCE}1-1\tx-y\tAnna\t*\tPER\t\n", ":6: these offsets are none"),
        ("webanno", f"{HEAD}{ENTITIES}{SENTENCE}1-1\t0-4\n", ":6: these offsets are none"),
        ("conllu", "1\tAnna\tx\n", ":1: a line of CoNLL-U has its number and ten columns"),
        ("conllu", f"a-b\tAnna{CELLS}\tNER=B-PER\n", ":1: a line of CoNLL-U has its number"),
        ("csv_spans", "text,class\nAnna, sang,a\n", ":2: there are more cells than the header's 2"),
        ("csv_spans", "text,text,class\na,b,c\n", ":1: two columns are called 'text'"),
        ("csv_spans", "text,class\nAnna,a\nAnna,a\n", ":3: the same text with the same class"),
        ("csv_spans", "text,class,confidence\nAnna,a,nan\n", ":2: a confidence is no number"),
        (
            "csv_spans",
            "text,start,end,type\nAnna sang,0,4,PER\nBo,0,2,PER\nAnna sang,5,9,ACT\n",
            ":4: the same text as in line 2, and others between",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, tool: str, content: str, said: str) -> None:
    with pytest.raises(CorpusError) as raised:
        read(tmp_path, tool, content)
    assert said in str(raised.value)
    assert str(tmp_path / "file.x") in str(raised.value)


def test_doccano_says_classes_beside_an_empty_list_of_entities(tmp_path: Path) -> None:
    items, lost = read(tmp_path, "doccano", lines({"entities": [], "label": ["sport"]}, {"label": []}))
    assert [item.labels for item in items] == [("sport",), ()]
    assert not lost


def test_classes_beside_entities_are_counted(tmp_path: Path) -> None:
    entity = {"label": "PER", "start_offset": 0, "end_offset": 4}
    (item,), lost = read(tmp_path, "doccano", lines({"entities": [entity], "cats": ["sport"]}))
    assert item.entities is not None
    assert [each.type for each in item.entities] == ["PER"]
    assert lost == {"classes_beside": 1}


def test_of_two_annotators_of_a_task_the_last_counts_and_the_other_is_told(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4, "label": "PER"}]
    task = {"_input_hash": 7, "answer": "accept"}
    ana, ben = {**task, "spans": [], "_annotator_id": "ana"}, {**task, "spans": spans, "_annotator_id": "ben"}
    (item,), lost = read(tmp_path, "prodigy", lines(ana, ben))
    assert item.labels is not None
    assert item.labels[0] == "B-PER"
    assert lost == {"further_annotators": 1}
    items, lost = read(tmp_path, "prodigy", lines({**ben, "_annotator_id": "ana"}, ben))
    assert (len(items), dict(lost)) == (1, {})  # they agree
    items, lost = read(tmp_path, "prodigy", lines(ana, {**ben, "answer": "reject"}))
    assert (len(items), dict(lost)) == (1, {"rejected": 1})


def test_an_accepted_task_of_the_span_views_without_spans_has_no_entity(tmp_path: Path) -> None:
    items, _ = read(
        tmp_path, "prodigy", lines({"answer": "accept", "_view_id": "ner_manual"}, {"answer": "accept", "spans": []})
    )
    assert [set(item.labels or ()) for item in items] == [{"O"}, {"O"}]


def test_parts_of_speech_are_no_entities(tmp_path: Path) -> None:
    layer = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue\n"
    (item,), lost = read(tmp_path, "webanno", f"{HEAD}{layer}{SENTENCE}1-1\t0-4\tAnna\tNN\t\n1-2\t5-9\tsang\tVB\t\n")
    assert item.labels is None
    assert lost == {"other_layers": 2}


def test_a_text_that_brat_has_no_annotations_of_is_told(tmp_path: Path) -> None:
    for name, content in (("a.txt", TEXT), ("a.ann", "T1\tPER 0 4\tAnna\n"), ("b.txt", TEXT)):
        write_file(tmp_path, name, content)
    lost = Losses()
    assert len(list(read_with_entities(Source(path=str(tmp_path), format="brat"), counts=lost))) == 1
    assert lost.ids == {"unannotated": ["b.txt"]}
    (tmp_path / "a.txt").write_bytes("Zoë sang".encode("latin1"))
    with pytest.raises(CorpusError, match=r"a\.txt:1: byte"):
        list(read_with_entities(Source(path=str(tmp_path), format="brat")))


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_a_table_may_be_parted_as_spreadsheets_part_it(tmp_path: Path, delimiter: str) -> None:
    content = "\ufeff" + delimiter.join(["text", "start", "end", "type"]) + "\r\n"
    content += delimiter.join(['"a, b; Anna"', "6", "10", "PER"]) + "\r\n"
    (item,), _ = read(tmp_path, "csv_spans", content)
    assert item.sentence.text == "a, b; Anna"
    assert [(each.start, each.end) for each in item.entities or ()] == [(6, 10)]


def workbook(folder: Path, *sheets: list[list[Any]]) -> Source:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(folder / "file.xlsx")
    return Source(path=str(folder / "file.xlsx"))


def test_other_sheets_are_told_and_blank_rows_before_the_header_are_none(tmp_path: Path) -> None:
    header = ["text", "start", "end", "type"]
    lost = Losses()
    source = workbook(tmp_path, [[], header, ["Anna sang", 0, 4, "PER"]], [], [header, ["Bo", 0, 2, "PER"]])
    (item,) = read_with_entities(source, counts=lost)
    assert item.sentence.text == "Anna sang"
    assert lost.ids == {"other_sheets": ["Sheet2"]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["=A1&B1", 0, 4, "PER"], ":3: a cell is a formula or an error"),
        (["#N/A", 0, 4, "PER"], ":3: a cell is a formula or an error"),
        ([None, 0, 4, "PER"], ":3: a row without a text. Of merged cells"),
    ],
)
def test_what_a_cell_does_not_hold_itself_is_no_text(tmp_path: Path, row: list[Any], said: str) -> None:
    source = workbook(tmp_path, [["text", "start", "end", "type"], ["Anna", 0, 4, "PER"], row])
    with pytest.raises(CorpusError, match=said):
        list(read_with_entities(source))


def test_tags_that_are_too_few_are_no_class(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"tokens": [["Anna", "sang"]], "ner_tags": [["B-PER"]]}), tmp_path / "a.parquet")
    source = Source(path=str(tmp_path / "a.parquet"), format="hugging_face")
    with pytest.raises(CorpusError, match=r"a.parquet:1: `ner_tags` holds 1 tags for 2 tokens"):
        list(read_with_entities(source, head=head_of(source)))


def test_of_several_classes_the_least_confidence_counts(tmp_path: Path) -> None:
    (item,), _ = read(tmp_path, "csv_spans", "text,class,confidence\nAnna,a,0.7\nAnna,b,0.5\n")
    assert (item.labels, item.confidence) == (("a", "b"), 0.5)
