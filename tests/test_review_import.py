"""Decisions that come back: half files, other tasks, doubtful names; and what the review refuses before it begins."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reviewing import GOOD, run_to_review

from distill_offline import manifest
from distill_offline.cli import commands
from distill_offline.config.loading import dump
from distill_offline.corpus import write_examples
from distill_offline.errors import InputError
from distill_offline.review.decisions import read
from distill_offline.review.server import Review
from distill_offline.review.session import import_reviews, open_review
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, text_digest


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return run_to_review(tmp_path)


def test_a_file_that_was_brought_back_loses_no_line_in_silence(tmp_path: Path) -> None:
    file, line = tmp_path / "decisions.jsonl", json.dumps(GOOD)
    file.write_text(f"{line}\n\n{line}")  # an editor took the last line end away
    assert len(list(read(file, may_be_cut=False))) == 2
    file.write_text(f"{line}\n{line[:50]}")
    with pytest.raises(InputError, match=r"decisions.jsonl:2: .* is it whole"):
        list(read(file, may_be_cut=False))
    with pytest.raises(InputError, match="No such file"):
        list(read(tmp_path / "nowhere", may_be_cut=False))


def row_of(review: Review, number: int = 0, **more: Any) -> dict[str, Any]:
    """A decision as a page without a server writes it."""
    item = review.items["ana"][number]
    return {
        **GOOD, "id": item.sentence.id, "document": item.sentence.document, "text": text_digest(item.sentence.text),
        "spans": item.suggested, "suggested": item.suggested, "guideline": review.guideline_digest, **more,
    }  # fmt: skip


def test_types_of_another_task_make_no_gold_and_another_guideline_is_told(run: RunFolder, tmp_path: Path) -> None:
    review = open_review(run, ["ana"], count=3)
    rows = [
        row_of(review),
        row_of(review, 1, guideline="another"),
        row_of(review, 2, action="correct", spans=[[0, 1, "PLANET"]]),
    ]
    file = tmp_path / "back.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    joined = import_reviews(run, tmp_path / "out", files=[file])
    assert joined.lost == {"'PLANET' is none of the types": [rows[2]["id"]]}
    assert (len(joined.examples), joined.other_guideline) == (2, 1)
    assert manifest.show(tmp_path / "out")["counts"]["other_guideline"] == 1
    run.path.joinpath("config.yaml").write_text(dump(run.settings), "utf-8")
    command = ["review", "import", str(run.path), "-o", str(tmp_path / "told"), "--decisions", str(file)]
    assert (
        "1 decisions were made under other types, or another guideline" in CliRunner().invoke(commands, command).output
    )


def test_an_import_of_which_nothing_can_be_used_makes_no_folder(run: RunFolder, tmp_path: Path) -> None:
    review = open_review(run, ["ana"], count=1)
    file = tmp_path / "back.jsonl"
    file.write_text("")
    with pytest.raises(InputError, match=r"back\.jsonl: no decision can be used\. There is none"):
        import_reviews(run, tmp_path / "out", files=[file])
    file.write_text(json.dumps(row_of(review, text=text_digest("another"))) + "\n")
    with pytest.raises(InputError, match="another text now: 1"):
        import_reviews(run, tmp_path / "out", files=[file])
    assert not (tmp_path / "out").exists()


def test_names_that_would_hide_a_reading_are_refused(run: RunFolder, tmp_path: Path) -> None:
    review = open_review(run, ["ana"], count=1)
    file = tmp_path / "back.jsonl"
    file.write_text(json.dumps(row_of(review)) + "\n")
    with pytest.raises(InputError, match=r"--prefer zoe: nobody .* There are: 'ana'"):
        import_reviews(run, tmp_path / "out", files=[file], prefer="zoe")
    item = review.items["ana"][0]
    name = next(iter(run.settings.task.types))
    tags = (
        ("O",) * len(item.sentence.tokens)
        if item.suggested
        else (f"B-{name}", *("O",) * (len(item.sentence.tokens) - 1))
    )
    write_examples(tmp_path / "other.jsonl", [Example(item.sentence, tags, "original")])
    with pytest.raises(InputError, match=r"ana has decided .* otherwise before"):
        import_reviews(run, tmp_path / "out", files=[file], labelled={"ana": tmp_path / "other.jsonl"})
    command = ["review", "import", str(run.path), "-o", str(tmp_path / "out")]
    twice = CliRunner().invoke(commands, [*command, "--labelled", "ana=a.jsonl", "--labelled", "ana=b.jsonl"])
    assert "a name of its own" in str(twice.exception)
    for name in ("", " ana", "../a\n", "\x1b[31m"):
        with pytest.raises(InputError, match="is no name"):
            open_review(run, [name])


def test_what_cannot_be_served_or_resumed_is_told_before_anything_is_shown(run: RunFolder, tmp_path: Path) -> None:
    run.path.joinpath("config.yaml").write_text(dump(run.settings), "utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(commands, ["review", str(run.path), "--port", str(taken.getsockname()[1])])
    assert "cannot be served (Address already in use)" in str(result.exception)
    assert result.output == ""
    command = ["review", str(run.path), "--host", "0.0.0.0", "--certificate", str(tmp_path), "--key", str(tmp_path)]
    assert "cannot be used" in str(CliRunner().invoke(commands, command).exception)
    there = tmp_path / "mine.html"
    there.write_text("mine")
    result = CliRunner().invoke(commands, ["review", str(run.path), "--file", str(there)])
    assert "is there already" in str(result.exception)
    assert there.read_text() == "mine"
    for content in ("{", "[]", '{"ana": 7}'):
        (run.path / "review" / "queue.json").write_text(content)
        with pytest.raises(InputError, match=r"queue.json: this is not the list"):
            open_review(run, ["ana"])
