"""`from distill_offline import ...` is the API: light, typed, documented, and nothing beside it."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from annotated_runs import TYPES

import distill_offline
from distill_offline.errors import ConfigError, InputError
from distill_offline.pipeline.opened import open_run, read_annotations
from distill_offline.student.model import Student

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/api.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.S)
LABELS = ("O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI"))


def test_all_names_are_there_and_no_others() -> None:
    assert set(distill_offline._PLACES) | {"__version__"} == set(distill_offline.__all__)
    assert sorted(distill_offline.__all__) == list(distill_offline.__all__)
    for name in distill_offline.__all__:
        assert getattr(distill_offline, name) is not None, name
        assert name in dir(distill_offline)
    with pytest.raises(AttributeError, match="has no attribute 'Studnet'"):
        distill_offline.Studnet  # noqa: B018


def test_a_type_checker_sees_what_a_program_gets() -> None:
    tree = ast.parse((ROOT / "distill_offline/__init__.py").read_text("utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == distill_offline._PLACES


def test_no_name_is_that_of_a_module() -> None:
    modules = {path.stem for path in (ROOT / "distill_offline").iterdir()}
    assert set(distill_offline.__all__) & modules == set()


def test_importing_it_imports_nothing_else_and_a_name_only_what_it_needs() -> None:
    code = (
        "import sys; before = set(sys.modules); import distill_offline\n"
        "new, ours = set(sys.modules) - before, sys.stdlib_module_names\n"
        "print(sorted(name for name in new if name.split('.')[0] not in ours))\n"
        "from distill_offline import Annotation, Source, decode_bio, read_examples, score\n"
        "print(sorted({'torch', 'transformers', 'pydantic', 'rich', 'click'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["['distill_offline']", "[]"]


def test_every_name_is_on_the_page() -> None:
    words = set(re.findall(r"\w+", PAGE))
    assert set(distill_offline.__all__) - words == set()


@pytest.fixture
def place(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page names: two students, and the quickstart's configuration with a scripted teacher."""
    monkeypatch.chdir(tmp_path)
    arm = "train/simple_mix/student"
    for folder in (arm, arm.replace("simple_mix", "simple_mix-2")):
        Student.create(encoder, LABELS, "token-classification").save(tmp_path / "runs/quickstart" / folder)
    Student.create(encoder, ("sport", "water"), "sequence-classification").save(tmp_path / "runs/topics" / arm)
    corpus = {split: {"path": f"package:demo/{split}.jsonl", "limit": 20} for split in ("train", "dev", "test")}
    config = {
        "name": "quickstart",
        "task": {"types": TYPES},
        "corpus": {"original": corpus, "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 40}},
        "backend": {"name": "scripted", "options": {"noise": 0.3}},
        "annotate": {"max_quarantined": 0.9},
        "train": {"encoder": str(encoder), "updates": 4, "eval_every": 2, "arms": [{"name": "simple_mix"}]},
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_the_pages_examples_run_as_printed(place: Path) -> None:
    space: dict[str, object] = {}
    assert len(BLOCKS) >= 7
    for number, (source, printed) in enumerate(BLOCKS):
        if "enforce_offline()" in source:
            continue  # in a process of its own: test_the_network_is_shut
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, f"docs/api.md, block {number}", "exec"), space)
        assert not printed or out.getvalue() == printed, number
        assert out.getvalue(), number


def test_the_network_is_shut() -> None:
    (source,) = [block for block, _ in BLOCKS if "enforce_offline()" in block]
    code = f"{source}\nimport socket\nsocket.create_connection(('198.51.100.1', 9), 1)\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NetworkBlocked" in result.stderr


@pytest.mark.slow
def test_a_run_says_what_is_missing_and_skips_what_is_done(place: Path) -> None:
    said: list[str] = []
    run = open_run("configs/quickstart.yaml", changes=["annotate.limit=10"], say=said.append)
    assert (run.path, run.settings.annotate.limit) == (Path("runs/quickstart"), 10)
    with pytest.raises(InputError, match=r"annotate has not been run to its end"):
        next(run.annotations())
    with pytest.raises(ConfigError, match=r"train\.epochs is unknown"):
        open_run("configs/quickstart.yaml", changes=["train.epochs=1"])
    first = run.annotate()
    assert run.annotate() == first
    assert any("up to date" in line for line in said)
    annotations = list(run.annotations())
    counts = first["unlabelled"]
    assert len(annotations) == counts["annotated"]
    assert sum(len(line.rejected) for line in annotations) == sum(counts["rejected"].values()) > 0


def test_annotations_without_a_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there are no annotations"):
        next(read_annotations(tmp_path))
    (tmp_path / "annotations.jsonl").write_text('{"tokens": ["a"], "labels": ["O"]}\n')
    with pytest.raises(InputError, match=r"has not been run to its end"):
        next(read_annotations(tmp_path))


SCRIPT = """
from pathlib import Path
from distill_offline import Entity, LabelledText, Source, Student, open_run, read_annotations, read_examples, score

student = Student.load("student")
one: LabelledText = student.label("text")
many: list[LabelledText] = student.label(["text", "more"])
first: Entity = many[0].entities[0]
place: int = first.start
sure: float | None = one.probability
count: int = sum(len(example.labels) for example in read_examples(Source(path="a.jsonl"), origin="original"))
f1: float = score("entity_f1", [("O",)], [("O",)]).overall.f1
run = open_run("a.yaml", Path("runs") / "a", changes=["train.updates=3"])
arms: list[str] = list(run.train())
mentions: list[str] = [each.mention for line in read_annotations("runs/a/select") for each in line.rejected]
"""


@pytest.mark.slow
def test_a_users_script_passes_mypy_strict_where_the_package_is_installed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "distill_offline", site / "distill_offline", ignore=shutil.ignore_patterns("data"))
    (tmp_path / "script.py").write_text(SCRIPT + 'wrong: str = student.label("text")\n')
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    command += ["--python-executable", str(tmp_path / "venv/bin/python"), "script.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[:-1] == [
        f"script.py:{len(SCRIPT.splitlines()) + 1}: error: Incompatible types in assignment "
        '(expression has type "LabelledText", variable has type "str")  [assignment]'
    ], result.stdout
