"""Students whose folder was changed so that they would label otherwise than they learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from distill_offline.cli import commands
from distill_offline.errors import InputError, MissingModel
from distill_offline.student.checks import check_students
from distill_offline.student.model import Student

TAGS = ("O", "B-PER", "I-PER")


@pytest.fixture
def student(encoder: Path, tmp_path: Path) -> Path:
    Student.create(encoder, TAGS, "token-classification").save(tmp_path / "student")
    return tmp_path / "student"


def changed(student: Path, name: str, **changes: Any) -> Path:
    copy = student.parent / name
    shutil.copytree(student, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_a_student_as_it_was_saved_is_good_and_what_is_none_is_left_to_others(student: Path, tmp_path: Path) -> None:
    check_students([student, tmp_path / "nowhere", changed(student, "german", distill_language="de")])
    (changed(student, "broken") / "config.json").write_text("{")
    check_students([tmp_path / "broken"])


def test_layers_that_would_be_left_out_are_refused_wherever_a_student_is_named(student: Path, tmp_path: Path) -> None:
    cut = changed(student, "cut", num_hidden_layers=1)
    text, gold = tmp_path / "text.txt", tmp_path / "gold.conll"
    text.write_text("Anna met Bob.\n")
    gold.write_text("Anna B-PER\nsleeps O\n\n")
    with pytest.raises(MissingModel, match="num_hidden_layers is 1, and the weights have 2 layers"):
        check_students([student, cut])
    output = tmp_path / "out.jsonl"
    given: list[list[str | Path]] = [
        ["predict", cut, text, "-o", output],
        ["predict", student, text, "--with", cut, "-o", output],
        ["evaluate", cut, "--gold", gold],
        ["acquire", cut, text, "-n", "1", "-o", output],
    ]
    for arguments in given:
        result = run(*arguments)
        assert isinstance(result.exception, MissingModel), result.output
        assert "the last 1 would be left out" in str(result.exception)
    assert not output.exists()
    assert run("predict", student, text, "-o", output).exit_code == 0


@pytest.mark.parametrize("language", [5, ["de"], {}])
def test_a_language_that_is_none_is_named(student: Path, tmp_path: Path, language: Any) -> None:
    (tmp_path / "text.txt").write_text("Anna met Bob.\n")
    odd = changed(student, "odd", distill_language=language)
    with pytest.raises(InputError, match="distill_language is"):
        check_students([odd])
    result = run("predict", odd, tmp_path / "text.txt", "-o", tmp_path / "out.jsonl")
    assert isinstance(result.exception, InputError)
    assert "not the code of a language" in str(result.exception)
