"""The experiment of docs/why.md rests on these files: each puts right its own kinds of errors and leaves the others."""

from __future__ import annotations

import runpy
from pathlib import Path

from click.testing import CliRunner

from distill_offline.corpus import read_examples

SCRIPT = Path(__file__).parent.parent / "benchmarks/corrected_teacher.py"
ROWS = (
    # token, teacher, gold
    ("Leeds", "B-LOC", "B-ORG"),  # a wrong type
    ("beat", "O", "O"),
    ("York", "O", "B-ORG"),  # with the next row: a wrong boundary
    ("City", "B-ORG", "I-ORG"),
    ("on", "O", "O"),
    ("Monday", "B-MISC", "O"),  # spurious
    ("in", "O", "O"),
    ("Hull", "O", "B-LOC"),  # missed
    (".", "O", "O"),
)


def test_each_file_puts_its_own_kinds_right(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{' '.join(row)}\n" for row in ROWS) + "\nNo O O\nnews O O\n")
    done = CliRunner().invoke(runpy.run_path(str(SCRIPT))["main"], [str(corpus), "--work", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    labels = {
        name: [each.labels for each in read_examples(tmp_path / f"made/{name}.conll", origin="distilled")]
        for name in ("types", "places")
    }
    given, gold = (tuple(row[column] for row in ROWS) for column in (1, 2))
    assert labels["types"] == [("B-ORG", *given[1:]), ("O", "O")]
    assert labels["places"] == [("B-LOC", *gold[1:]), ("O", "O")]
    assert "types.conll: {'wrong_type': 1} corrected" in done.output
    assert "'wrong_boundary': 1" in done.output
    assert "'missed': 1" in done.output
    assert "'spurious': 1" in done.output
