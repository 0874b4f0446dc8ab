"""Labels without text: written, and joined with their corpus again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import TYPES
from click.testing import CliRunner
from corpus_files import write_file
from hypothesis import HealthCheck, given, settings, strategies

from distill_offline import manifest, pipeline
from distill_offline.annotations import AnnotationLine, LineValues, write_lines
from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import CorpusSettings, Source
from distill_offline.corpus import head_of, read_annotations, read_examples, read_sentences, write_examples
from distill_offline.errors import CorpusError, InputError
from distill_offline.pipeline.export_labels import export_labels
from distill_offline.run.folder import RunFolder
from distill_offline.run.sources import source_digest, source_paths
from distill_offline.schema import Annotation, Example, Sentence, Span
from distill_offline.storage.files import read_rows, write_rows

CONLL = "-DOCSTART- O\n\nAda B-PER\nsings O\n\nno O\n\n-DOCSTART- O\n\nBonn B-LOC\n\nAda B-PER\nsings O\n\nend O\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_file(tmp_path, "text.conll", CONLL)


def annotated(folder: Path, corpus: Path, *spans: tuple[int, Span], **beside: Any) -> Path:
    """An annotate folder with a row for each named sentence of the corpus; sealed as a stage would be."""
    sentences = list(read_sentences(corpus))
    lines = []
    for position, span in spans:
        labels = ["O"] * len(sentences[position].tokens)
        labels[span.start : span.end] = [f"B-{span.type}"] + [f"I-{span.type}"] * (span.end - span.start - 1)
        annotation = Annotation(sentences[position].id, tuple(labels), (span,))
        lines.append(AnnotationLine.of(sentences[position], annotation, LineValues(**beside)))
    write_lines(folder / "annotations.jsonl", lines)
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    manifest.seal(
        folder,
        stage="annotate",
        config={},
        seeds={},
        inputs=[],
        models={},
        parents=[],
        command=(),
        started=datetime.now(UTC),
        counts={},
        fingerprint="0",
        engine={},
    )


def joined(corpus: Path, labels: Path, **part: Any) -> list[Example]:
    return list(read_examples(Source(path=str(corpus), labels=str(labels), **part), origin="distilled"))


@pytest.fixture
def labels(tmp_path: Path, corpus: Path) -> Path:
    """Stand-off labels of sentences 0, 2 and 3, the last with the text of the first but another label."""
    spans = ((0, Span(0, 1, "PER", 0.25, "exact")), (2, Span(0, 1, "LOC", None, "fuzzy")), (3, Span(0, 2, "ORG", 1.0)))
    export_labels(annotated(tmp_path / "run", corpus, *spans), corpus, tmp_path / "labels.jsonl")
    return tmp_path / "labels.jsonl"


def test_labels_meet_their_sentences_again_and_the_others_are_left_out(corpus: Path, labels: Path) -> None:
    found = joined(corpus, labels)
    assert [(e.sentence.id, e.labels, e.origin) for e in found] == [
        ("text-0:0", ("B-PER", "O"), "distilled"),
        ("text-1:0", ("B-LOC",), "distilled"),
        ("text-1:1", ("B-ORG", "I-ORG"), "distilled"),
    ]
    sentences = list(read_sentences(corpus))
    assert [e.sentence for e in found] == [sentences[i] for i in (0, 2, 3)]


def test_confidence_alignment_and_what_else_was_carried_come_back(tmp_path: Path, corpus: Path) -> None:
    span = Span(0, 2, "ORG", 0.1 + 0.2, "fuzzy", agreement=0.75)
    folder = annotated(tmp_path / "run", corpus, (3, span), masked=(1,), missed=0.5)
    counts = export_labels(folder, corpus, tmp_path / "labels.jsonl")
    assert counts == {"sentences": 1, "spans": 1, "not_in_corpus": 0, "in_corpus": 5}
    source = Source(path=str(corpus), labels=str(tmp_path / "labels.jsonl"))
    (line,) = read_annotations(source, types=["ORG"])
    (row,) = read_rows(folder / "annotations.jsonl")
    assert json.loads(line.as_line()) == row
    (example,) = joined(corpus, tmp_path / "labels.jsonl")
    assert (example.masked, example.weight) == ((1,), 1.0)


def test_the_file_is_small_deterministic_and_its_owners_alone(tmp_path: Path, corpus: Path, labels: Path) -> None:
    lines = labels.read_text().splitlines()
    assert json.loads(lines[0]) == {
        "format": "distill_offline stand-off labels",
        "version": 1,
        "task": "token-classification",
        "types": ["LOC", "ORG", "PER"],
        "sentences": 3,
        "corpus": {"name": "text.conll", "sentences": 5},
    }
    first = json.loads(lines[1])
    assert (first["n"], first["spans"]) == (0, [[0, 1, "PER", 0.25, "exact"]])
    assert len(first["content"]) == 12
    assert labels.stat().st_mode & 0o777 == 0o600
    turned = tmp_path / "turned"
    write_rows(turned / "annotations.jsonl", reversed(list(read_rows(tmp_path / "run/annotations.jsonl"))))
    seal(turned)
    export_labels(turned, corpus, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == labels.read_bytes()


@pytest.mark.parametrize(
    ("part", "ids"),
    [
        ({"documents": "odd"}, ["text-1:0", "text-1:1"]),
        ({"max_documents": 1}, ["text-0:0"]),
        ({"skip": 1, "limit": 2}, ["text-1:0"]),  # of five sentences, not of the three with labels
        ({"skip": 3}, ["text-1:1"]),
    ],
)
def test_the_part_is_one_of_the_whole_corpus(corpus: Path, labels: Path, part: dict[str, Any], ids: list[str]) -> None:
    assert [e.sentence.id for e in joined(corpus, labels, **part)] == ids


def test_disjoint_ranges_of_one_shuffle_stay_disjoint(corpus: Path, labels: Path) -> None:
    text = [s.id for s in read_sentences(Source(path=str(corpus), shuffle=5, limit=2))]
    rest = [e.sentence.id for e in joined(corpus, labels, shuffle=5, skip=2)]
    assert rest
    assert not set(text) & set(rest)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (CONLL.replace("Bonn", "Rome"), r"labels.jsonl:3: sentence 2 \(from 0; .*text.conll:10\) has other tokens"),
        (CONLL.replace("no O\n\n", ""), r"labels.jsonl:3: sentence 2 .* has other tokens"),
        (CONLL[: CONLL.index("Ada", 40)], r"labels.jsonl:4: these are labels for sentence 3 .* has only 3"),
    ],
)
def test_a_changed_corpus_is_refused(corpus: Path, labels: Path, changed: str, fault: str) -> None:
    corpus.write_text(changed)
    with pytest.raises(CorpusError, match=fault) as caught:
        joined(corpus, labels)
    assert "Rome" not in str(caught.value)


def test_other_tags_and_line_ends_are_no_change(corpus: Path, labels: Path) -> None:
    before = joined(corpus, labels)
    corpus.write_bytes(CONLL.replace("B-PER", "O").replace("\n", "\r\n").encode())
    assert joined(corpus, labels) == before


@pytest.mark.parametrize(
    ("line", "instead", "fault"),
    [
        (0, {"format": "other"}, ":1: these are not stand-off labels"),
        (0, {"version": 2}, ":1: stand-off labels of version 2"),
        (0, {"sentences": 9}, ":4: the file ends after 3 sentences of 9"),
        (0, {"task": "sequence-classification"}, ":1: these are labels for sequence-classification"),
        (0, {"types": 3}, ":1: the header lacks"),
        (1, {"n": 3}, ":3: sentence 2 comes after 3"),
        (1, {"n": -1}, ":2: a line needs `n`"),
        (1, {"spans": [[0, 3, "PER", None, "exact"]]}, ":2: sentence 0 .*: span 0 to 3 is out of range"),
        (1, {"spans": [[0, 1, "PER"]]}, r":2: a span is \[start, end"),
        (1, {"spans": None}, ":2: `spans` are missing"),
        (1, {"masked": ["Ada"]}, ":2: `masked` is not a list of token positions"),
        (1, {"masked": [2]}, ":2: sentence 0 .*`masked` is out of range"),
        (1, {"weight": "much"}, ":2: `weight` is not a number"),
        (1, {"weight": float("nan")}, ":2: `weight` is not a number, 0 or more"),
        (1, {"weight": -1}, ":2: `weight` is not a number, 0 or more"),
        (1, {"weight": 10**400}, ":2: `weight` is not a number"),
        (1, {"missed": 1.5}, ":2: `missed` is not a number, 0 to 1"),
        (1, {"spans": [[0, 1, "PER", 1.5, "exact"]]}, r":2: a span is .* with a confidence of 0 to 1"),
        (1, {"spans": [[0, 1, "PER", float("nan"), "exact"]]}, r":2: a span is"),
        (1, {"spans": [[0, 1, "PER", True, "exact"]]}, r":2: a span is"),
        (1, {"spans": [[False, True, "PER", None, "exact"]]}, r":2: a span is"),
        (1, {"spans": [[0, 1, "PER", None, "exact", -0.5]]}, r":2: a span is"),
    ],
)
def test_a_spoilt_file_is_refused_with_its_line(
    corpus: Path, labels: Path, line: int, instead: dict[str, Any], fault: str
) -> None:
    lines = [json.loads(text) for text in labels.read_text().splitlines()]
    lines[line].update(instead)
    labels.write_text("".join(json.dumps(value) + "\n" for value in lines))
    with pytest.raises(CorpusError, match="labels.jsonl" + fault):
        joined(corpus, labels)


def test_labels_are_for_distilled_data_with_known_types_alone(corpus: Path, labels: Path) -> None:
    source = Source(path=str(corpus), labels=str(labels))
    with pytest.raises(CorpusError, match=r"labels.jsonl: stand-off labels are a teacher's"):
        list(read_examples(source, origin="original"))
    with pytest.raises(CorpusError, match=r"go with corpus.distilled alone"):
        list(read_sentences(source))
    with pytest.raises(CorpusError, match=r"labels.jsonl:4: type 'ORG' is unknown"):
        list(read_examples(source, origin="distilled", types=["PER", "LOC"]))
    with pytest.raises(CorpusError, match="no labels for the chosen part"):
        joined(corpus, labels, skip=4)
    assert head_of(source) == "token-classification"


def test_a_tagged_file_is_matched_by_content_in_order(tmp_path: Path, corpus: Path) -> None:
    # The teacher's file has no documents, other ids, a column more, and stops early.
    tagged = write_file(tmp_path, "teacher.txt", "Ada\tB-X\tO\nsings\tO\tO\n\nno\tO\tO\n\nAda\tO\tO\nsings\tB-Y\tO\n")
    counts = export_labels(tagged, corpus, tmp_path / "labels.jsonl", tag_column=1)
    assert counts == {"sentences": 3, "spans": 2, "not_in_corpus": 0, "in_corpus": 5}
    found = {e.sentence.id: e.labels for e in joined(corpus, tmp_path / "labels.jsonl")}
    assert found == {"text-0:0": ("B-X", "O"), "text-0:1": ("O",), "text-1:1": ("O", "B-Y")}


def test_rows_of_another_corpus_are_counted_and_none_at_all_is_an_error(tmp_path: Path, corpus: Path) -> None:
    tagged = write_file(tmp_path, "other.conll", "no O\n\nelsewhere B-X\n")
    assert export_labels(tagged, corpus, tmp_path / "labels.jsonl")["not_in_corpus"] == 1
    write_file(tmp_path, "other.conll", "elsewhere B-X\nsurely O\n")
    with pytest.raises(InputError, match="none of its sentences occurs in"):
        export_labels(tagged, corpus, tmp_path / "labels.jsonl")


def test_an_unfinished_stage_is_not_exported(tmp_path: Path, corpus: Path) -> None:
    folder = annotated(tmp_path / "run", corpus, (0, Span(0, 1, "PER")))
    manifest.unseal(folder)
    with pytest.raises(InputError, match="has not been run to its end"):
        export_labels(folder, corpus, tmp_path / "labels.jsonl")


def test_jsonl_and_folders_of_text_make_the_round_trip(tmp_path: Path) -> None:
    jsonl = write_file(tmp_path, "in.jsonl", '{"text": "Ada  sings.", "id": "x"}\n{"text": "Bonn"}\n')
    folder = tmp_path / "texts"
    write_file(folder, "b.txt", "Bonn. Ada sings.")
    write_file(folder, "a/a.txt", "No.")
    for number, corpus in enumerate((jsonl, folder)):
        place = annotated(tmp_path / f"run{number}", corpus, (1, Span(0, 1, "X", 0.5, "exact")))
        export_labels(place, corpus, tmp_path / "labels.jsonl")
        (example,) = joined(corpus, tmp_path / "labels.jsonl")
        assert example.sentence.tokens[0] == "Bonn"
        assert example.labels[0] == "B-X"


def test_classes_of_texts_make_the_round_trip(tmp_path: Path) -> None:
    folder, lines = tmp_path / "texts", []
    for name in ("sport/1", "sport/2", "tech/1"):
        write_file(folder, f"{name}.txt", f"About {name}. Two sentences.")
    sentences = list(read_sentences(folder, head="sequence-classification"))
    for sentence, label in list(zip(sentences, ("sport", "tech", "tech"), strict=True))[1:]:
        lines.append(AnnotationLine.of(sentence, Annotation(sentence.id, (label,), confidence=0.5)))
    write_lines(tmp_path / "run/annotations.jsonl", lines)
    seal(tmp_path / "run")
    export_labels(tmp_path / "run", folder, tmp_path / "labels.jsonl")
    source = Source(path=str(folder), labels=str(tmp_path / "labels.jsonl"), limit=2)
    assert head_of(source) == "sequence-classification"
    (line,) = read_annotations(source, head="sequence-classification")
    assert (line.sentence, line.labels, line.beside) == (sentences[1], ("tech",), LineValues(confidence=0.5))


TOKENS = strategies.text(strategies.characters(categories=["L"], min_codepoint=0x370), min_size=2, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.lists(strategies.lists(TOKENS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_no_token_of_the_corpus_stands_in_the_file(tmp_path: Path, corpus_tokens: list[list[str]]) -> None:
    examples = []
    for index, tokens in enumerate(corpus_tokens):
        text = " ".join(tokens)
        starts = [len(" ".join(tokens[:i])) + bool(i) for i in range(len(tokens))]
        offsets = tuple((start, start + len(token)) for start, token in zip(starts, tokens, strict=True))
        sentence = Sentence(f"{tokens[0]}:{index}", tokens[0], index, text, tuple(tokens), offsets)
        examples.append(Example(sentence, ("B-X",) + ("O",) * (len(tokens) - 1), "distilled"))
    corpus = tmp_path / "corpus.jsonl"
    write_examples(corpus, examples)
    export_labels(corpus, corpus, tmp_path / "labels.jsonl")
    content = (tmp_path / "labels.jsonl").read_text("utf-8")
    assert content.isascii()
    assert [e.labels for e in joined(corpus, tmp_path / "labels.jsonl")] == [e.labels for e in examples]


def test_a_run_takes_them_as_its_distilled_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "train.jsonl"
    demo = list(read_examples("package:demo/train.jsonl", origin="original"))
    write_examples(corpus, demo[:40])
    spans = [(i, Span(0, 1, "PERSON", i / 40, "exact")) for i in range(40)]
    export_labels(annotated(tmp_path / "elsewhere", corpus, *spans), corpus, tmp_path / "labels.jsonl")
    distilled = {"path": str(corpus), "labels": str(tmp_path / "labels.jsonl"), "limit": 30}
    settings = parse_settings(
        {
            "name": "r",
            "task": {"types": TYPES},
            "corpus": {"distilled": distilled, "original": {"test": "package:demo/test.jsonl"}},
            "select": {"min_confidence": 0.5, "deduplicate": False},
        },
        "test",
    )
    folder = RunFolder(tmp_path / "run", settings)
    counts = pipeline.select(folder)
    assert counts["seen"] == 30
    kept = list(read_rows(tmp_path / "run/select/annotations.jsonl"))
    assert min(row["spans"][0]["confidence"] for row in kept) == 0.5
    assert all(row["labels"][0] == "B-PERSON" for row in kept)


def test_a_changed_label_changes_the_fingerprint_and_its_path_does_not(
    tmp_path: Path, corpus: Path, labels: Path
) -> None:
    source = Source(path=str(corpus), labels=str(labels))
    assert source_paths(source) == [corpus, labels]
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(labels.read_bytes())

    def digest(source: Source) -> Any:
        return source_digest(source, CorpusSettings())

    assert digest(replace(source, labels=str(moved))) == source_digest(source, CorpusSettings())
    moved.write_bytes(labels.read_bytes().replace(b"0.25", b"0.35"))
    assert digest(replace(source, labels=str(moved))) != source_digest(source, CorpusSettings())


def test_the_command_says_what_it_wrote_and_what_it_left_out(tmp_path: Path, corpus: Path) -> None:
    tagged, output = write_file(tmp_path, "t.conll", "Ada B-X\nsings O\n\nelsewhere B-X\n"), tmp_path / "labels.jsonl"
    command = ["export-labels", str(tagged), "--corpus", str(corpus), "-o", str(output)]
    result = CliRunner().invoke(commands, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 of 5 sentences, 1 spans" in result.stdout
    assert "1 rows are not in this corpus" in result.stdout
    as_json = CliRunner().invoke(commands, [*command, "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout) == {"sentences": 1, "spans": 1, "not_in_corpus": 1, "in_corpus": 5}


def test_tags_without_spans_are_exported_as_what_they_are(tmp_path: Path, corpus: Path) -> None:
    (first, *_) = read_sentences(corpus)
    file = tmp_path / "annotations.jsonl"
    write_rows(file, [{"id": first.id, "tokens": first.tokens, "labels": ["B-PER", "O"]}])
    export_labels(file, corpus, tmp_path / "labels.jsonl")
    source = Source(path=str(corpus), labels=str(tmp_path / "labels.jsonl"))
    (line,) = read_annotations(source)
    assert line.spans == (Span(0, 1, "PER", alignment="tags"),)


@pytest.mark.parametrize("wrong", [{"confidence": float("nan")}, {"confidence": "high"}, {"start": "0"}, {"type": ""}])
def test_spans_that_make_no_sense_are_not_exported(tmp_path: Path, corpus: Path, wrong: dict[str, Any]) -> None:
    file = annotated(tmp_path / "run", corpus, (0, Span(0, 1, "PER"))) / "annotations.jsonl"
    (row,) = read_rows(file)
    write_rows(file, [{**row, "spans": [{**row["spans"][0], **wrong}]}])
    with pytest.raises(InputError, match=r"annotations\.jsonl:1: this is not a line of annotations") as caught:
        export_labels(file, corpus, tmp_path / "labels.jsonl")
    assert "Ada" not in str(caught.value)
    assert not (tmp_path / "labels.jsonl").exists()
