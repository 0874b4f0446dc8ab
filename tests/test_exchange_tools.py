"""Files as other tools write them: what is read, what is counted as lost, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from click.testing import CliRunner
from corpus_files import write_file
from pyarrow import parquet

from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import Source
from distill_offline.corpus import head_of, read_examples, read_sentences, read_with_entities
from distill_offline.corpus.labelled import Labelled
from distill_offline.corpus.lost import Losses
from distill_offline.errors import CorpusError, MissingPackage
from distill_offline.pipeline.convert import convert
from distill_offline.run.gold import read_gold

TEXT = "🚰 Anna sang in Oslo."  # Anna is at 2 in characters, at 3 in UTF-16 units


def read(path: Path, name: str, head: str = "token-classification", **more: Any) -> tuple[list[Labelled], Losses]:
    lost = Losses()
    source = Source(path=str(path), format=name, **more)
    return list(read_with_entities(source, head=head, counts=lost)), lost


def spans(item: Labelled) -> list[tuple[str, str]]:
    text = item.sentence.text
    return [(text[entity.start : entity.end], entity.type) for entity in item.entities or ()]


def region(start: int, end: int, type_: str, own: str | None = None, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [type_]} | ({"text": own} if own else {})
    return {"id": "a", "from_name": "l", "to_name": "t", "type": "labels", "value": value, **more}


def task(number: int, *annotations: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "data": {"text": TEXT}, "annotations": list(annotations), **more}


# -- Label Studio


def test_label_studio_counts_characters_and_older_versions_utf16_units(tmp_path: Path) -> None:
    tasks = [
        task(1, {"result": [region(2, 6, "PER", "Anna"), region(15, 19, "LOC", "Oslo")]}),
        task(2, {"result": [region(3, 7, "PER", "Anna"), region(16, 20, "LOC", "Oslo")]}),
    ]
    path = write_file(tmp_path, "a.json", json.dumps(tasks))
    items, lost = read(path, "label_studio")
    assert [spans(item) for item in items] == [[("Anna", "PER"), ("Oslo", "LOC")]] * 2
    assert not lost
    assert [item.sentence.id for item in items] == ["1", "2"]
    wrong = [task(1, {"result": [region(4, 8, "PER", "Anna")]})]
    with pytest.raises(CorpusError, match=r"b\.json:1: span 0 \(4 to 8\) has another text"):
        read(write_file(tmp_path, "b.json", json.dumps(wrong)), "label_studio")


def test_label_studio_takes_one_of_several_annotations_and_skips_cancelled_ones(tmp_path: Path) -> None:
    anna, oslo = region(2, 6, "PER"), region(15, 19, "LOC")
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    tasks = [
        task(1, {"result": [anna], "updated_at": "2024-01-02"}, {"result": [oslo], "updated_at": "2024-01-01"}),
        task(2, {"result": [anna], "ground_truth": True}, {"result": [anna, oslo]}, {"result": [anna]}),
        task(3, {"result": [], "was_cancelled": True}),
        task(4, {"result": [oslo, relation]}, {"result": [], "was_cancelled": True}),
        task(5, predictions=[{"score": 0.5, "result": [anna, region(15, 19, "LOC")]}]),
        task(6, predictions=[{"score": 0.5, "result": [region(2, 6, "PER", score=0.25)]}]),
        task(7),
    ]
    items, lost = read(write_file(tmp_path, "a.json", json.dumps(tasks)), "label_studio")
    assert [spans(item) for item in items[:3]] == [[("Anna", "PER")], [("Anna", "PER")], [("Oslo", "LOC")]]
    assert dict(lost) == {"further_annotators": 2, "cancelled": 2, "relations": 1}
    assert lost.ids["further_annotators"] == ["1", "2"]
    assert [entity.confidence for item in items[3:5] for entity in item.entities or ()] == [0.5, 0.5, 0.25]
    assert items[5].labels is None
    assert "2 annotations that were cancelled (rows 3, 4)" in list(lost.lines())


def test_label_studio_has_classes_and_a_text_of_another_name(tmp_path: Path) -> None:
    result = [{"type": "choices", "value": {"choices": ["sport"]}, "from_name": "c", "to_name": "t"}]
    tasks = [{"id": 1, "data": {"review": "They won", "source": "x"}, "annotations": [{"result": result}]}]
    path = write_file(tmp_path, "a.json", json.dumps(tasks))
    with pytest.raises(
        CorpusError, match=r"a\.json:1: which field of `data` is the text\? There are: 'review', 'source'"
    ):
        read(path, "label_studio")
    items, _ = read(path, "label_studio", "sequence-classification", text_field="review")
    assert [(item.sentence.text, item.labels) for item in items] == [("They won", ("sport",))]
    assert head_of(Source(path=str(path), text_field="review")) == "sequence-classification"


# -- doccano, Prodigy, GLiNER


@pytest.mark.parametrize(
    "record",
    [
        {"id": 7, "text": TEXT, "label": [[2, 6, "PER"]]},
        {"id": 7, "data": TEXT, "labels": [[2, 6, "PER"]]},
        {"id": 7, "text": TEXT, "entities": [{"id": 1, "label": "PER", "start_offset": 2, "end_offset": 6}]},
    ],
)
def test_doccanos_shapes_are_one(tmp_path: Path, record: dict[str, Any]) -> None:
    items, lost = read(write_file(tmp_path, "a.jsonl", json.dumps({**record, "relations": [{}, {}]})), "doccano")
    assert [(item.sentence.id, spans(item)) for item in items] == [("7", [("Anna", "PER")])]
    assert lost["relations"] == 2


def test_doccanos_classes_and_texts_without_any(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": []}, {"text": "c", "label": ["x", "y"]}]
    path = write_file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    items, _ = read(path, "doccano", "multi-label-classification")
    assert [item.labels for item in items] == [(), ("x", "y")]
    with pytest.raises(CorpusError, match=r"b\.jsonl:1: a label must be \[start, end, type\]"):
        read(write_file(tmp_path, "b.jsonl", '{"text": "a", "label": [[1]]}'), "doccano")


def test_prodigy_keeps_what_was_accepted_and_its_tokens(tmp_path: Path) -> None:
    tokens = [{"text": t, "start": s, "end": e, "id": n} for n, (t, s, e) in enumerate([("🚰", 0, 1), ("Anna", 2, 6)])]
    span = {"start": 2, "end": 6, "token_start": 1, "token_end": 1, "label": "PER"}
    rows = [
        {"text": TEXT[:6], "tokens": tokens, "spans": [span], "answer": "accept", "_view_id": "ner_manual"},
        {"text": TEXT, "spans": [span], "answer": "reject", "_input_hash": 1},
        {"text": TEXT, "spans": [span], "answer": "ignore"},
        {"text": TEXT, "spans": []},
    ]
    items, lost = read(write_file(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))), "prodigy")
    assert [spans(item) for item in items] == [[("Anna", "PER")], []]
    assert items[0].sentence.tokens == ("🚰", "Anna")
    assert (lost["rejected"], lost["ignored"]) == (1, 1)
    assert lost.ids == {"rejected": ["2"], "ignored": ["3"]}


def test_gliners_end_is_the_last_token(tmp_path: Path) -> None:
    record = {"tokenized_text": ["Anna", "Weber", "sang"], "ner": [[0, 1, "person"], [2, 2, "act"]]}
    path = write_file(tmp_path, "a.json", json.dumps([record]))
    items, _ = read(path, "gliner")
    assert [spans(item) for item in items] == [[("Anna Weber", "person"), ("sang", "act")]]
    record["ner"] = [[0, 3, "person"]]
    with pytest.raises(
        CorpusError, match=r"a\.json:1: an entity must be \[first token, last token, type\] of 3 tokens"
    ):
        read(write_file(tmp_path, "a.json", json.dumps([record])), "gliner")
    with pytest.raises(CorpusError, match=r"a\.json:1: this is no record of Label Studio.*one of GLiNER"):
        list(read_sentences(tmp_path / "a.json"))


# -- brat, WebAnno


def test_brat_counts_what_is_no_entity_in_one_piece(tmp_path: Path) -> None:
    text = "Anna sang\r\nin Oslo. 🚰 She left Bergen."
    lines = [
        "T1\tPER 0 4\tAnna",
        "T2\tLOC 14 18\tOslo",
        "T3\tEVT 5 9;14 18\tsang Oslo",
        "T4\tEVT 5 9;11 13\tsang in",
        "R1\tAt Arg1:T1 Arg2:T2",
        "A1\tSure T1",
        "#1\tAnnotatorNotes T1\tsic",
        "T5\tX 14 25\tOslo. 🚰 She",
    ]
    write_file(tmp_path, "d/doc 1.txt", text)
    write_file(tmp_path, "d/doc 1.ann", "\n".join(lines) + "\n")
    items, lost = read(tmp_path / "d", "brat")
    assert [span for item in items for span in spans(item)] == [("Anna", "PER"), ("Oslo", "LOC"), ("sang\r\nin", "EVT")]
    assert [item.sentence.document for item in items] == ["doc 1", "doc 1"]
    assert {k: lost[k] for k in ("discontinuous", "relations", "attributes", "crossing")} == {
        "discontinuous": 1,
        "relations": 1,
        "attributes": 2,
        "crossing": 1,
    }
    one, _ = read(tmp_path / "d/doc 1.ann", "brat")
    assert [each.labels for each in one] == [each.labels for each in items]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("T1\tPER 0 99\tAnna", r"x\.ann:1: this is no entity within the 9 characters"),
        ("T1\tPER 0 4\tSang", r"x\.ann:1: T1 has another text"),
        ("T1 PER 0 4 Anna", r"x\.ann:1: an entity must be"),
    ],
)
def test_brats_mistakes_have_their_line(tmp_path: Path, line: str, said: str) -> None:
    write_file(tmp_path, "x.txt", "Anna sang")
    with pytest.raises(CorpusError, match=said):
        read(write_file(tmp_path, "x.ann", line), "brat")
    (tmp_path / "x.txt").unlink()
    with pytest.raises(CorpusError, match=r"its text is not there: x\.txt"):
        read(tmp_path / "x.ann", "brat")


@pytest.mark.parametrize("unit", ["utf-8", "utf-16-le"])
def test_brats_offsets_count_what_the_entities_own_text_says(tmp_path: Path, unit: str) -> None:
    text = "A 🚰🚰🚰 leaks.\nThen 🚰 Zoë Haag came to Kiel.\n"

    def count(part: str) -> int:
        return len(part.encode(unit)) // (2 if unit == "utf-16-le" else 1)

    def lines(*names: str) -> str:
        places = [(count(text[: text.index(name)]), count(name), name) for name in names]
        return "".join(f"T{n}\tPER {start} {start + size}\t{name}\n" for n, (start, size, name) in enumerate(places))

    write_file(tmp_path, "x.txt", text)
    path = write_file(tmp_path, "x.ann", lines("Zoë Haag", "Kiel"))
    items, _ = read(path, "brat")
    assert [text for each in items for text, _ in spans(each)] == ["Zoë Haag", "Kiel"]
    # What is right in no unit is a mistake; so is a unit that somebody names besides.
    with pytest.raises(CorpusError, match="brat shows itself what its offsets count"):
        read(path, "brat", offsets="utf16" if unit == "utf-16-le" else "bytes")
    path.write_text(lines("Zoë Haag") + "T9\tPER 3 7\tKiel\n", "utf-8")
    with pytest.raises(CorpusError, match="has another text"):
        read(path, "brat")


WEBANNO = """#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value


#Text=🚰 Ms. Haag\\\\r plays\\t.
1-1\t0-2\t🚰\t_\t_\t_\t
1-2\t3-6\tMs.\tNNP\t*[1]|*[2]\tPER[1]|PER\\_part[2]\t
1-3\t7-13\tHaag\\\\r\tNNP\t*[1]\tPER[1]\t
1-4\t14-19\tplays\t_\t_\t_\t
1-4.1\t14-18\tplay\t_\t*\tEVT\t
1-5\t20-21\t.\t_\t*\t*\t
"""


def test_webanno_counts_in_utf16_and_stacks_and_escapes(tmp_path: Path) -> None:
    items, lost = read(write_file(tmp_path, "a.tsv", WEBANNO), "webanno")
    (item,) = items
    assert item.sentence.text == "🚰 Ms. Haag\\r plays\t."
    assert item.sentence.tokens == ("🚰", "Ms.", "Haag\\r", "plays", ".")
    assert spans(item) == [("Ms. Haag\\r", "PER"), ("Ms.", "PER_part"), ("play", "EVT")]
    assert (lost["other_layers"], lost["untyped"]) == (2, 1)
    assert item.labels == ("O", "B-PER", "I-PER", "O", "O")
    with pytest.raises(CorpusError, match=r"b\.tsv:8: the token is not what its offsets lead to"):
        read(write_file(tmp_path, "b.tsv", WEBANNO.replace("\tMs.\tN", "\tMrs\tN")), "webanno")
    with pytest.raises(CorpusError, match=r"a\.tsv:1: this is WebAnno TSV.*format: webanno"):
        list(read_sentences(tmp_path / "a.tsv"))


# -- CoNLL-U, Hugging Face, tables


def test_conllu_keeps_ids_spacing_and_multiword_tokens(tmp_path: Path) -> None:
    rows = [
        "# newdoc id = d7",
        "# sent_id = s1",
        "# text = Vámonos  al mar.",
        "1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\tNER=O|SpacesAfter=\\s\\s",
        *(f"{n}\t{form}" + "\t_" * 7 + "\tNER=O" for n, form in enumerate(("vamos", "nos"), 1)),
        "3\tal" + "\t_" * 8,
        "4\tmar" + "\t_" * 7 + "\tNER=B-LOC|SpaceAfter=No",
        "5\t." + "\t_" * 8,
    ]
    (item,), _ = read(write_file(tmp_path, "a.conllu", "\n".join(rows) + "\n\n"), "conllu")
    assert (item.sentence.id, item.sentence.document, item.sentence.text) == ("s1", "d7", "Vámonos  al mar.")
    assert spans(item) == [("mar", "LOC")]


def test_hugging_faces_numbers_need_their_names(tmp_path: Path) -> None:
    features = {"ner_tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "List"}}
    table = pyarrow.table({"tokens": [["Anna", "sang"]], "ner_tags": [[1, 0]]})
    parquet.write_table(table, tmp_path / "bare.parquet")
    with pytest.raises(
        CorpusError, match=r"bare\.parquet:1: the file does not say what the numbers in `ner_tags` mean"
    ):
        read(tmp_path / "bare.parquet", "hugging_face")
    named = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(named, tmp_path / "named.parquet")
    (item,), _ = read(tmp_path / "named.parquet", "hugging_face")
    assert spans(item) == [("Anna", "PER")]


def test_a_table_of_spans_has_lines_for_one_text(tmp_path: Path) -> None:
    text = '"Anna, née\r\nWeber"'
    rows = ["id,Sentence,Begin,End,Label,Score", f"7,{text},0,4,PER,0.5", f"7,{text},11,16,PER,", "8,Nobody,,,,"]
    path = write_file(tmp_path, "a.csv", "\n".join(rows))
    items, _ = read(path, "csv_spans")
    assert [spans(item) for item in items] == [[("Anna", "PER"), ("Weber", "PER")], []]
    assert [entity.confidence for entity in items[0].entities or ()] == [0.5, None]
    with pytest.raises(CorpusError, match=r"b\.csv:2: `start` is no number: 'x'"):
        read(write_file(tmp_path, "b.csv", "text,start,end,type\nAnna,x,4,PER\n"), "csv_spans")
    with pytest.raises(CorpusError, match=r"c\.csv:2: lines of the same id have different texts"):
        read(write_file(tmp_path, "c.csv", "id,text,start,end,type\n1,Anna,0,4,PER\n1,Bob,0,3,PER\n"), "csv_spans")
    with pytest.raises(CorpusError, match=r"d\.csv:1: a table of spans has a header"):
        read(write_file(tmp_path, "d.csv", "a,b\n1,2\n"), "csv_spans")


def test_text_that_begins_like_a_formula_and_numbers_are_the_text_that_was_typed(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra xlsx is not installed")
    book = openpyxl.Workbook()
    for row in (["text", "class"], ["=SUM(1,2)", "sport"], [42, "water"]):
        book.active.append(row)
    book.active["A2"].data_type = "s"  # as a spreadsheet stores what was typed behind an apostrophe
    book.save(tmp_path / "a.xlsx")
    items, _ = read(tmp_path / "a.xlsx", "xlsx", "sequence-classification")
    assert [(item.sentence.text, item.labels) for item in items] == [("=SUM(1,2)", ("sport",)), ("42", ("water",))]
    with pytest.raises(CorpusError, match=r"b\.xlsx: not a workbook"):
        read(write_file(tmp_path, "b.xlsx", "nothing"), "xlsx")


def test_what_needs_a_package_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    monkeypatch.setitem(__import__("sys").modules, "spacy", None)
    for name, extra in (("xlsx", "xlsx"), ("spacy", "languages")):
        with pytest.raises(MissingPackage, match=rf"pip install 'distill_offline\[{extra}\]'"):
            read(write_file(tmp_path, f"a.{name}", "x"), name)


# -- every tool


def test_training_and_scoring_refuse_entities_that_overlap_with_their_line(tmp_path: Path) -> None:
    record = {"text": TEXT, "label": [[2, 6, "PER"], [2, 11, "X"]]}
    path = write_file(tmp_path, "a.jsonl", json.dumps(record))
    with pytest.raises(CorpusError, match=r"a\.jsonl:1: `spans`: span . to . overlaps another span"):
        list(read_examples(Source(path=str(path), format="doccano"), origin="original"))


def test_what_gold_of_another_tool_says_and_nobody_reads_is_told(tmp_path: Path) -> None:
    tasks = [
        task(1, {"result": [region(2, 6, "PER"), {"type": "relation"}]}),
        task(2, {"result": [], "was_cancelled": True}),
    ]
    path = write_file(tmp_path, "gold.json", json.dumps(tasks))
    labelled = write_file(tmp_path, "mine.jsonl", json.dumps({"text": TEXT, "spans": []}))
    ran = CliRunner().invoke(commands, ["evaluate", str(labelled), "--gold", str(path)])
    assert ran.exit_code == 0, ran.exception
    assert f"warning: {path}: not read: 1 relations, events and links between entities (rows 1)" in ran.output
    assert f"warning: {path}: not read: 1 annotations that were cancelled (rows 2)" in ran.output
    corpus = {"original": {"train": str(path)}}
    gold = read_gold(parse_settings({"name": "x", "task": {"types": {"PER": "a"}}, "corpus": corpus}, "x"))
    assert [example.labels[1] for example in gold.train] == ["B-PER"]
    assert dict(gold.lost["train"]) == {"relations": 1, "cancelled": 1}


@pytest.mark.parametrize("name", ["x*", "(p", "p)"])
def test_conll2012_refuses_types_that_would_be_read_as_brackets(tmp_path: Path, name: str) -> None:
    row = {"tokens": ["Anna"], "labels": [f"B-{name}"]}
    path = write_file(tmp_path, "a.jsonl", json.dumps(row) + "\n")
    with pytest.raises(CorpusError, match=r"holds \( \) or \*") as caught:
        convert(Source(path=str(path)), tmp_path / "b", output_format="conll2012")
    assert str(caught.value).startswith(f"{tmp_path / 'b'}: ")  # and not some temporary file
    assert not (tmp_path / "b").exists()


def test_a_region_that_somebody_says_the_unit_of_is_shifted_once(tmp_path: Path) -> None:
    text = "🚰 Zoë Haag"
    for own in ("Zoë Haag", None):
        task = {"data": {"text": text}, "annotations": [{"result": [region(3, 11, "PER", own)]}]}
        path = write_file(tmp_path, "a.json", json.dumps([task]))
        items, _ = read(path, "label_studio", offsets="utf16")
        assert spans(items[0]) == [("Zoë Haag", "PER")]
    path = write_file(tmp_path, "a.tsv", WEBANNO)
    assert read(path, "webanno")[0]
    with pytest.raises(CorpusError, match="webanno shows itself what its offsets count"):
        read(path, "webanno", offsets="utf16")
