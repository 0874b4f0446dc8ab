"""What a release carries to label with, against predict: the same tags from plain transformers."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import sentence
from test_decoding import random_rows, scored

from distill_offline.bundle import label as script
from distill_offline.corpus import read_sentences
from distill_offline.label_kinds.decoding import decode
from distill_offline.student.model import Student

LABELS = ("O", "B-PERSON", "I-PERSON", "B-DATE", "I-DATE")


@pytest.fixture(scope="module")
def folder(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    made = tmp_path_factory.mktemp("released")
    Student.create(encoder, LABELS, "token-classification", max_length=32).save(made)
    (made / "label.py").write_bytes(Path(script.__file__).read_bytes())
    return made


def test_it_gives_what_predict_gives_for_long_texts_and_unseen_tokens_too(folder: Path) -> None:
    sentences = list(read_sentences("package:demo/dev.jsonl"))[:12]
    sentences.append(sentence(" ".join(f"word{number}" for number in range(90))))
    sentences.append(sentence("Marta \x07 closed \u200b \u200b V-17 \x07"))
    sentences.append(sentence("\x07"))
    student = Student.load(folder)
    given = script.load(folder)
    found = [tuple(script.label(each.tokens, *given)) for each in sentences]
    assert found == [student.predict([each])[0] for each in sentences]
    assert {tag for tags in found for tag in tags} > {"O"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.sampled_from([LABELS, ("O", "I-X", "B-Y", "I-Y", "B-Z")]))
def test_its_viterbi_is_the_packages(seed: int, length: int, labels: tuple[str, ...]) -> None:
    rows = random_rows(seed, length)
    assert tuple(script.likeliest(rows.astype(np.float64).tolist(), labels)) == decode([scored(rows)], labels)[0]


def test_it_needs_nothing_of_this_package() -> None:
    tree = ast.parse(Path(script.__file__).read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    own = {"torch", "transformers"}
    assert {name.partition(".")[0] for name in names} - own <= set(sys.stdlib_module_names)


@pytest.mark.slow
def test_it_labels_lines_where_the_package_is_not_installed(folder: Path) -> None:
    text = "Marta closed V-17 at 06:00\n\nGate V-17\nPeter\u00a0Müller IBM\u3000Köln  closed\r\nGate\tV-17\r\n"
    blocked = "import runpy, sys; sys.modules['distill_offline'] = None; "
    blocked += "runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", blocked, str(folder / "label.py")]
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(command, input=text.encode(), capture_output=True, env=ascii_only, check=True)
    said = [line.split() for line in result.stdout.decode().split("\n")]
    assert [len(tags) for tags in said] == [5, 0, 2, 3, 2, 0]  # of tokens that blanks part, and nothing else
    student, lines = Student.load(folder), text.split("\n")
    assert [tuple(said[at]) for at in (0, 2)] == [student.predict([sentence(lines[at])])[0] for at in (0, 2)]
