"""A corpus format from outside is read and written wherever ours are; what is wrong with it is one clear line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from outside import distribution, forget

from distill_offline.cli import commands
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import CorpusSettings, Source
from distill_offline.corpus import (
    check_writable,
    head_of,
    read_annotations,
    read_examples,
    read_sentences,
    write_examples,
    write_sentences,
)
from distill_offline.errors import ConfigError, CorpusError, InputError
from distill_offline.run.gold import read_gold
from distill_offline.run.sources import reading_of, source_digest
from distill_offline.schema import Example
from distill_offline.student.model import Student

SOURCE = '''
from distill_offline.errors import CorpusError
class Piped:
    """A sentence a line: token/TAG token/TAG."""
    def read(self, path, shown):
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                pairs = [pair.rpartition("/") for pair in text.split()]
                if not all(pair[0] for pair in pairs):
                    raise CorpusError(f"{shown}:{line}: a token without a tag.")
                yield line, {"tokens": tuple(p[0] for p in pairs), "labels": tuple(p[2] for p in pairs), "extra": 1}
    def write(self, path, rows):
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                labels = row.get("labels") or ["O"] * len(row["tokens"])
                print(" ".join(map("/".join, zip(row["tokens"], labels, strict=True))), file=file)
class Classes:
    """class<TAB>text"""
    def read(self, path, shown):
        for line, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            label, _, rest = text.partition(": ")
            yield line, {"text": rest, "label": label}
class Folder:
    def read(self, path, shown):
        for file in sorted(path.glob("*.sgml")):
            yield 1, {"text": file.read_text("utf-8"), "document": file.stem}
'''
ROWS = "Ada/B-PER Lovelace/I-PER met/O Zacharias/B-PER ./O\nThe/O pump/O ran/O ./O\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with gold.piped, where a distribution with the format `piped` is installed."""
    points = {"formats": {"piped": "fmt_one:Piped", "csv": "fmt_one:Classes"}}
    monkeypatch.syspath_prepend(str(distribution(tmp_path / "path", "fmt_one", SOURCE, points)))
    forget(monkeypatch, "fmt_one", "fmt_two")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.piped").write_text(ROWS)
    return tmp_path


def examples(source: str | Source) -> list[Example]:
    return list(read_examples(source, origin="original"))


def test_a_suffix_names_an_installed_format_and_a_source_names_any(folder: Path) -> None:
    (folder / "gold.dat").write_text(ROWS)
    by_suffix = examples("gold.piped")
    assert [example.labels[:2] for example in by_suffix] == [("B-PER", "I-PER"), ("O", "O")]
    assert by_suffix[0].sentence.id == "gold:0"
    assert by_suffix == examples(Source(path="gold.dat", format="piped"))
    assert by_suffix == examples(Source(path="gold.dat", format="fmt_one:Piped"))
    assert [s.tokens for s in read_sentences("gold.piped")] == [e.sentence.tokens for e in by_suffix]
    assert [line.labels for line in read_annotations("gold.piped")] == [e.labels for e in by_suffix]
    assert head_of("gold.piped") == "token-classification"


def test_an_installed_format_goes_before_ours_of_another_tools_suffix(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "topics.csv").write_text("sport: The match was won.\nwater: The pump ran.\n")
    read = list(read_examples("topics.csv", origin="original", head="sequence-classification"))
    assert [(e.labels, e.sentence.text) for e in read] == [
        (("sport",), "The match was won."),
        (("water",), "The pump ran."),
    ]
    assert head_of("topics.csv") == "sequence-classification"
    monkeypatch.syspath_prepend(str(folder))  # another path, without the distribution
    monkeypatch.setattr("sys.path", [each for each in __import__("sys").path if each != str(folder / "path")])
    with pytest.raises(
        CorpusError, match=r"topics\.csv:1: a table of spans has a header"
    ):  # ours, where none is installed
        examples("topics.csv")


def test_a_format_of_ours_can_be_named_where_the_suffix_says_something_else(folder: Path) -> None:
    (folder / "rows.log").write_text('{"tokens": ["Ada"], "labels": ["B-PER"]}\n')
    (folder / "columns.jsonl").write_text("Ada\tB-PER\n")
    (folder / "prose.conll").write_text("Ada met Bob.\n")
    assert examples(Source(path="rows.log", format="jsonl"))[0].labels == ("B-PER",)
    assert examples(Source(path="columns.jsonl", format="columns"))[0].labels == ("B-PER",)
    assert next(read_sentences(Source(path="prose.conll", format="text"))).tokens == ("Ada", "met", "Bob", ".")
    with pytest.raises(
        ConfigError, match=r"format: 'jsonl_' is unknown\. Did you mean jsonl\? Known: .*columns, .*piped, .*text"
    ):
        examples(Source(path="rows.log", format="jsonl_"))


def test_a_format_may_read_a_folder(folder: Path) -> None:
    (folder / "corpus").mkdir()
    (folder / "corpus/a.sgml").write_text("Ada met Bob .")
    (sentence,) = read_sentences(Source(path="corpus", format="fmt_one:Folder"))
    assert (sentence.document, sentence.tokens) == ("a", ("Ada", "met", "Bob", "."))
    with pytest.raises(CorpusError, match=r"corpus: is a folder, and jsonl is a format of files"):
        examples(Source(path="corpus", format="jsonl"))


def test_it_is_written_by_suffix_or_name_whole_private_and_as_it_was_read(folder: Path) -> None:
    read = examples("gold.piped")
    write_examples("out.piped", read)
    write_examples("out.dat", read, file_format="fmt_one:Piped")
    assert (folder / "out.piped").read_text() == (folder / "out.dat").read_text() == ROWS
    assert (folder / "out.dat").stat().st_mode & 0o777 == 0o600
    write_sentences("bare.piped", (example.sentence for example in read))
    assert (folder / "bare.piped").read_text().startswith("Ada/O Lovelace/O")
    write_examples("rows.log", read, file_format="jsonl")
    assert examples(Source(path="rows.log", format="jsonl"))[0].labels == read[0].labels


def test_what_only_reads_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"format: csv \(fmt_one:Classes\) has no method write; .* cannot be written"):
        check_writable("out.csv", ())
    with pytest.raises(CorpusError, match=r"cannot write the format text"):
        check_writable("out.txt", (), file_format="text")
    with pytest.raises(CorpusError, match=r"cannot write the format \.tsv"):
        check_writable("out.tsv", ())


def test_predict_evaluate_export_and_a_configuration_read_and_write_it(folder: Path, encoder: Path) -> None:
    student = Student.create(encoder, ("O", "B-PER", "I-PER"), "token-classification")
    student.save(folder / "student")

    def run(*command: str) -> Result:
        ran = CliRunner().invoke(commands, command)
        assert ran.exit_code == 0, (command, ran.exception)
        return ran

    run("predict", "student", "gold.piped", "-o", "labelled.piped")
    (folder / "gold.dat").write_text(ROWS)
    run("predict", "student", "gold.dat", "--input-format", "piped", "--output-format", "piped", "-o", "again.dat")
    assert (folder / "labelled.piped").read_text() == (folder / "again.dat").read_text()
    found = json.loads(run("evaluate", "gold.piped", "--gold", "gold.piped", "--json").output)
    assert found["overall"]["f1"] == 1.0
    by_name = ("evaluate", "gold.dat", "--input-format", "piped", "--gold", "gold.dat", "--format", "piped", "--json")
    assert json.loads(run(*by_name).output) == found
    run("export-labels", "gold.dat", "--input-format", "piped", "--corpus", "gold.piped", "-o", "labels.jsonl")
    read = list(read_annotations(Source(path="gold.piped", labels="labels.jsonl")))
    assert [line.labels for line in read] == [example.labels for example in examples("gold.piped")]
    run("acquire", "student", "gold.dat", "--input-format", "piped", "-n", "1", "-o", "next.jsonl")
    corpus = {"original": {"train": "gold.piped", "dev": {"path": "gold.dat", "format": "piped"}}, "on_overlap": "drop"}
    gold = read_gold(parse_settings({"name": "x", "task": {"types": {"PER": "a"}}, "corpus": corpus}, "x"))
    assert (gold.dropped, [example.labels[0] for example in gold.dev]) == (2, ["B-PER", "O"])


def test_a_stage_knows_that_a_format_decides_and_an_old_fingerprint_stays(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"tokens": ["a"]}\n')
    corpus = CorpusSettings()
    plain = source_digest(Source(path="a.jsonl"), corpus)
    assert "format" not in plain["part"]
    assert source_digest(Source(path="a.jsonl", format="columns"), corpus) != plain
    assert "tokens" in reading_of("gold.piped", corpus)  # it may yield raw text
    assert reading_of(Source(path="gold.piped", format="columns"), corpus) == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("X = 3", r"format: fmt_two:X is not a class"),
        ("class X:\n    def __init__(self, a): pass", r"fmt_two:X, made without arguments: .*TypeError"),
        ("class X: pass", r"fmt_two:X has no method read; files of it cannot be read"),
        ("class X:\n    def read(self, path): yield", r"read\(\) of gold\.piped: .*TypeError$"),
        ("class X:\n    def read(self, path, shown): yield {}", r"gold\.piped: it must yield \(line, row\)"),
        ("class X:\n    def read(self, path, shown): yield 7, 'x'", r"the row of line 7 is not a mapping"),
        ("class X:\n    def read(self, path, shown): yield 1, int(path.read_text())", r"fmt_two\.py:2: ValueError$"),
        ("class X:\n    def read(self, path, shown): yield 7, {'tokens': []}", r"gold\.piped:7: `tokens` is empty"),
        ("class X:\n    def read(self, path, shown): yield from ()", r"gold\.piped:1: there is no sentence in it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_reading_is_told_without_the_text(folder: Path, source: str, message: str) -> None:
    (folder / "path/fmt_two.py").write_text(source)
    with pytest.raises(InputError, match=message) as caught:
        examples(Source(path="gold.piped", format="fmt_two:X"))
    assert "Lovelace" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", r"format: fmt_two:X, write\(\): it did not take all the rows"),
        ("list(rows); path.unlink()", r"write\(\): it did not write the file"),
        ("[row['tokens'][99] for row in rows]", r"write\(\): .*fmt_two\.py:2: IndexError$"),
    ],
)
def test_what_is_wrong_with_writing_is_told_and_leaves_nothing(folder: Path, body: str, message: str) -> None:
    (folder / "path/fmt_two.py").write_text(f"class X:\n    def write(self, path, rows): {body}\n")
    (folder / "out.dat").write_text("before")
    with pytest.raises(ConfigError, match=message):
        write_examples("out.dat", examples("gold.piped"), file_format="fmt_two:X")
    assert (folder / "out.dat").read_text() == "before"
    assert sorted(path.name for path in folder.iterdir()) == ["gold.piped", "out.dat", "path"]


def test_what_goes_wrong_in_making_rows_is_not_blamed_on_the_format(folder: Path) -> None:
    def rows() -> Iterator[Example]:
        yield from examples("gold.piped")
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        write_examples("out.piped", rows())
