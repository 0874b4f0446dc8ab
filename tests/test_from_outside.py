"""Tasks, backends, schedules and metrics from outside the package: what is wrong with them is one clear line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from distill_offline import registry
from distill_offline.cli import commands
from distill_offline.errors import ConfigError, MissingPackage
from distill_offline.pipeline import uncertainty as acquire
from distill_offline.registry import MOVED, load
from distill_offline.scoring import metrics as scoring
from distill_offline.train import blending

Module = Callable[[str, str], None]

TASK = """
from distill_offline.spans.bio import encode_bio
from distill_offline.schema import Annotation, Message, Prompt, Span

class T:
    head, metric = "token-classification", "entity_f1"
    labels = ("O", "B-PER", "I-PER")
    def __init__(self, settings): pass
    def identity(self): return {"task": "t"}
    def prompt(self, sentence, demonstrations): return Prompt(sentence.id, (Message("user", sentence.text),))
    def answer(self, example): return "x"
    def parse(self, sentence, completion): return Annotation(sentence.id, ("O",) * len(sentence.tokens))
"""
BACKEND = """
from distill_offline.schema import Completion
class B:
    needs_model, speed_only = False, frozenset()
    def __init__(self, model, sampling, options): pass
    def identity(self): return {"backend": "b"}
    def complete(self, prompts):
        for position, prompt in enumerate(prompts): yield position, Completion("[]", "stop")
    def close(self): pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> None:
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source)

    return write


def annotate(folder: Path, task: str, backend: str) -> Result:
    (folder / "text.jsonl").write_text(json.dumps({"id": "row7", "text": "Zacharias met Ada ."}) + "\n")
    config = {
        "name": "run",
        "task": {"name": task, "types": {"PER": "a human"}},
        "corpus": {"unlabelled": str(folder / "text.jsonl")},
        "backend": {"name": backend, "model": "m"},
        "annotate": {"demonstrations": {"strategy": "none"}, "max_quarantined": 1.0},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return CliRunner().invoke(commands, ["annotate", str(folder / "run.yaml"), "-o", str(folder / "run")])


def said(ran: Result) -> str:
    assert isinstance(ran.exception, ConfigError), ran.exception
    assert "Zacharias" not in str(ran.exception)
    return str(ran.exception)


def test_a_sound_task_and_backend_from_outside_are_used(tmp_path: Path, module: Module) -> None:
    module("outside_task", TASK)
    module("outside_backend", BACKEND)
    ran = annotate(tmp_path, "outside_task:T", "outside_backend:B")
    assert ran.exit_code == 0, ran.exception


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class T(\n", r"mod_a\.py:1: SyntaxError: '\(' was never closed"),
        (
            "\nimport nothing_of_that_name\n",
            r"mod_a\.py:2: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("\n\nT = 1 / 0\n", r"mod_a\.py:3: ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)\n", r"mod_a\.py:1: SystemExit: 0"),
        ("from json import nothing\n", r"mod_a\.py:1: ImportError: cannot import name 'nothing'"),
        ("class Tt: pass\n", r"has no 'T'\. Did you mean mod_a:Tt\?"),
    ],
)
def test_a_module_that_does_not_import_is_one_line_with_key_file_and_line(
    module: Module, source: str, message: str
) -> None:
    module("mod_a", source)
    for key in ("task.name", "backend.name", "train.arms.schedule", "metric", "measure"):
        with pytest.raises(ConfigError, match=rf"^{key}: .*mod_a.*{message}"):
            load(key, "mod_a:T", {})


@pytest.mark.parametrize("name", ["a:b:c", ":b", "a:", "a b:c", ".a:b", "a/b:c", "a.b:c.d"])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=r"task\.name: .* is not written as package\.module:Name"):
        load("task.name", name, {})


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_module_of_ours_that_moved_is_found_by_its_old_name_and_told_to_code_that_imports_it(
    module: Module, old: str, new: str
) -> None:
    there = import_module(f"distill_offline.{new}")
    name = next(iter(there.__all__))
    assert load("task.name", f"distill_offline.{old}:{name}", {}) is getattr(there, name)
    module("mod_o", f"\nfrom distill_offline.{old} import {name}\n")
    message = rf"mod_o\.py:2: .*\. distill_offline\.{old} is distill_offline\.{new} now\.$"
    with pytest.raises(ConfigError, match=message):
        load("task.name", "mod_o:T", {})


def test_old_names_of_modules_are_none_that_are_there_and_lead_to_none() -> None:
    package = Path(registry.__file__).parent
    files = {old: package / Path(*old.split(".")).with_suffix(".py") for old in MOVED}
    assert [old for old, file in files.items() if file.exists()] == []
    assert set(MOVED.values()) & set(MOVED) == set()


def test_every_module_that_the_history_moved_is_known_by_its_old_name() -> None:
    """Only in a clone that has the history: elsewhere there is nothing to compare with."""
    root = Path(registry.__file__).parents[1]
    command = ["git", "-C", str(root), "log", "-M40%", "--diff-filter=R", "--name-status", "--format=", "--"]
    done = subprocess.run([*command, "distill_offline"], capture_output=True, text=True, check=False)
    if done.returncode or "R" not in done.stdout:
        pytest.skip("no history of moves")
    olds = {line.split("\t")[1] for line in done.stdout.splitlines() if line.startswith("R")}
    modules = [old for old in olds if old.endswith(".py") and "/bundle/" not in old and "/cli/" not in old]
    gone = {old for old in modules if not (root / old).exists() and not (root / old).with_suffix("").is_dir()}
    names = {old.removeprefix("distill_offline/").removesuffix(".py").replace("/", ".") for old in gone}
    assert {name for name in names if not name.endswith("__init__")} - set(MOVED) == set()


def test_a_schedule_metric_or_measure_is_found_by_its_old_name() -> None:
    import numpy as np

    old = blending.make_schedule("distill_offline.blending:linear", {}, tau=0.5, n_distilled=1, n_original=1)
    new = blending.make_schedule("linear", {}, tau=0.5, n_distilled=1, n_original=1)
    assert [old(t / 4) for t in range(5)] == [new(t / 4) for t in range(5)]
    labels = [["B-PER", "O"]]
    assert scoring.score("distill_offline.scoring:entity_f1", labels, labels, on="x").overall.f1 == 1.0
    assert acquire.uncertainty("distill_offline.stages.acquire:mnlp", np.ones((1, 2), np.float32)) == 0.0


def test_a_module_that_is_not_there_is_told_from_one_of_ours_whose_dependency_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"there is no module not_there\. Is its folder on PYTHONPATH"):
        load("task.name", "not_there.inside:T", {})
    with pytest.raises(MissingPackage, match=r"Install it: pip install 'distill_offline\[vllm\]'"):
        load("backend.name", "vllm", {"vllm": "not_there.inside:T"}, {"vllm": "vllm"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class T:", "def T(settings): pass\nclass U:", r"mod_t:T is not a class"),
        ("def answer", "def reply", r"mod_t:T has no answer"),
        ('head, metric = "token-classification", "entity_f1"', "", r"mod_t:T has no head, no metric"),
        ('"token-classification"', '"token"', r"head 'token' is unknown\. Known: token-classification"),
        ('"entity_f1"', '"entity_f2"', r"metric: 'entity_f2' is unknown\. Did you mean entity_f1"),
        ("__init__(self, settings)", "__init__(self)", r"made with the settings of task: .*TypeError"),
        ('labels = ("O", "B-PER", "I-PER")', 'labels = "O"', r"labels must be a tuple of texts"),
        ('return {"task": "t"}', "return {1, 2}", r"identity\(\): .*TypeError"),
        ("return Prompt(", "return dict, (", r"prompt\(\) of row row7: .*must give a Prompt"),
        ("return Prompt(", "sentence.text[99]; (", r"prompt\(\) of row row7: .*mod_t\.py:10: IndexError$"),
        ("return Prompt(", "raise SystemExit; (", r"prompt\(\) of row row7: .*mod_t\.py:10: SystemExit$"),
        ("return Annotation(sentence.id", "return (sentence.id", r"parse\(\) of row row7: must give an Annotation"),
        ("return Annotation(", "int(sentence.text); (", r"parse\(\) of row row7: .*mod_t\.py:12: ValueError$"),
        ('("O",) * len(sentence.tokens)', '("O",)', r"row7: it gives 1 labels, and the row wants 4"),
        ('("O",) * len(sentence.tokens)', '("X",) * 4', r"row7: label 0 is not among"),
        ('("O",) * len(sentence.tokens)', '("O", "I-PER", "O", "O")', r"no valid BIO tags \(token 1\)"),
        ("len(sentence.tokens))", 'len(sentence.tokens), (Span(0, 9, "PER"),))', r"a span lies outside"),
        ("len(sentence.tokens))", 'len(sentence.tokens), (Span(0.0, 1.0, "PER"),))', r"must be positions of tokens"),
        ("len(sentence.tokens))", 'len(sentence.tokens), ((0, 1, "PER"),))', r"spans must be of the class Span"),
        ("len(sentence.tokens))", 'len(sentence.tokens), (Span(0, 1, "PER", 7.5),))', r"row7: .*confidence.*0 to 1"),
        ("len(sentence.tokens))", 'len(sentence.tokens), (Span(0, 1, "PER", "high"),))', r"confidence.*0 to 1"),
        ("len(sentence.tokens))", 'len(sentence.tokens), (Span(0, 1, "PER", 0.5, "x"),))', r"alignment must be one of"),
        ("len(sentence.tokens))", 'len(sentence.tokens), rejected=("x",))', r"rejected must be of the class Rejection"),
        ("len(sentence.tokens))", 'len(sentence.tokens), confidence=float("nan"))', r"`confidence` is not a number"),
        ('labels = ("O", "B-PER", "I-PER")', "labels = None", r"labels must be a tuple of texts"),
        ('"entity_f1"', "None", r"metric must be the name of one"),
        ('return {"task": "t"}', "return __import__('time').time_ns()", r"identity\(\) differs from call to"),
        ("return Prompt(sentence.id, (Message(", "return Prompt(sentence.id, schema={1: object()}, messages=(Message(",
         r"prompt\(\) of row row7: .*TypeError"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_task_is_told_with_the_row(
    tmp_path: Path, module: Module, old: str, new: str, message: str
) -> None:
    assert TASK.count(old) == 1
    source = TASK.replace(old, new)
    module("mod_t", source)
    module("mod_b", BACKEND)
    assert re.search(message, said(annotate(tmp_path, "mod_t:T", "mod_b:B")))


def files_of(folder: Path) -> list[list[dict[str, Any]]]:
    names = ("annotations.jsonl", "quarantine.jsonl")
    return [[json.loads(row) for row in (folder / "run/annotate" / name).read_text().splitlines()] for name in names]


def test_an_overlapping_span_of_a_task_is_a_rejection_and_the_others_stay(tmp_path: Path, module: Module) -> None:
    told = 'encode_bio([Span(0, 2, "PER")], 4), (Span(0, 2, "PER", 0.5, "exact"), Span(1, 3, "PER")))'
    module("mod_t", TASK.replace('("O",) * len(sentence.tokens))', told))
    module("mod_b", BACKEND)
    ran = annotate(tmp_path, "mod_t:T", "mod_b:B")
    assert ran.exit_code == 0, ran.exception
    ((line,), refused) = files_of(tmp_path)
    assert (line["labels"], refused) == (["B-PER", "I-PER", "O", "O"], [])
    assert [(span["start"], span["end"], span["confidence"]) for span in line["spans"]] == [(0, 2, 0.5)]
    assert line["rejected"] == [{"mention": "met Ada", "reason": "overlapping"}]


@pytest.mark.parametrize(
    "told",
    [
        '("O",) * 4, (Span(0, 2, "PER"), Span(1, 3, "PER")))',  # what cannot be said is not "no entity"
        'encode_bio([Span(0, 1, "PER")], 4), (Span(0, 1, "PER"), Span(2, 3, "PER")))',
        'encode_bio([Span(0, 1, "PER"), Span(2, 3, "PER")], 4), (Span(0, 1, "PER"),))',
        'encode_bio([Span(0, 1, "PER")], 4), (Span(0, 1, "PER"), Span(0, 1, "PER")))',
    ],
)
def test_labels_and_spans_of_a_task_that_contradict_each_other_are_quarantined(
    tmp_path: Path, module: Module, told: str
) -> None:
    module("mod_t", TASK.replace('("O",) * len(sentence.tokens))', told))
    module("mod_b", BACKEND)
    ran = annotate(tmp_path, "mod_t:T", "mod_b:B")
    assert ran.exit_code == 0, ran.exception
    ((), (row,)) = files_of(tmp_path)
    assert (row["id"], row["reason"]) == ("row7", "spans_unlike_labels")
    assert "1 spans_unlike_labels" in ran.output


def test_spans_that_a_task_leaves_out_are_those_of_its_labels(tmp_path: Path, module: Module) -> None:
    told = 'encode_bio([Span(0, 1, "PER")], 4))'
    module("mod_t", TASK.replace('("O",) * len(sentence.tokens))', told))
    module("mod_b", BACKEND)
    assert annotate(tmp_path, "mod_t:T", "mod_b:B").exit_code == 0
    ((line,), _) = files_of(tmp_path)
    assert line["spans"] == [{"start": 0, "end": 1, "type": "PER", "confidence": None, "alignment": "tags"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class B:", "B = 3\nclass C:", r"backend\.name: mod_b:B is not a class"),
        ("def complete", "def answer", r"mod_b:B has no complete"),
        ("needs_model, speed_only = False, frozenset()", "needs_model = False", r"mod_b:B has no speed_only"),
        ("__init__(self, model, sampling, options)", "__init__(self)", r"made with model, .*TypeError"),
        ("yield position, Completion", "yield str.join", r"must yield \(position, Completion\)"),
        ("yield position, Completion", "raise KeyError", r"complete\(\): .*mod_b\.py:8: KeyError$"),
        ('"[]", "stop"', 'None, "stop"', r"mod_b:B, complete\(\): a Completion's text must be a text"),
        ('"[]", "stop"', 'b"[]", "stop"', r"a Completion's text must be a text"),
        ('"[]", "stop"', '"[]", None', r"a Completion's finish_reason must be a text"),
        ('"[]", "stop"', '"[]", "stop", completion_tokens="x"', r"completion_tokens must be a number, 0 or more"),
        ('"[]", "stop"', '"[]", "stop", token_texts=(b"a",)', r"token_texts must be texts"),
        ('return {"backend": "b"}', 'return {"backend": object()}', r"identity\(\): .*TypeError"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_backend_is_told(tmp_path: Path, module: Module, old: str, new: str, message: str) -> None:
    module("mod_t", TASK)
    module("mod_b", BACKEND.replace(old, new))
    assert re.search(message, said(annotate(tmp_path, "mod_t:T", "mod_b:B")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("f = 3", r"schedule mod_s:f is not a function"),
        ("def f(): return 1", r"mod_s:f must take t"),
        ("def f(*, t): return 1", r"mod_s:f must take t"),
        ("def f(t):\n    return {}[t]", r"fails at t = 0 \(.*mod_s\.py:2: KeyError"),
        ("def f(t): return 'much'", r"fails at t = 0 \(.*ValueError"),
        ("def f(t): return 7", r"gives 7 at t = 0, which is not a probability"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(module: Module, source: str, message: str) -> None:
    module("mod_s", source)
    with pytest.raises(ConfigError, match=message):
        blending.make_schedule("mod_s:f", {}, tau=0.5, n_distilled=1, n_original=1)(0.0)


def test_what_is_wrong_with_a_metric_or_a_measure_is_told(module: Module) -> None:
    import numpy as np

    module("mod_m", "n = 3\ndef f(*given): return given[9]\ndef g(*given): return 'good'")
    with pytest.raises(ConfigError, match=r"metric: mod_m:n is not a function"):
        scoring.check_metric("mod_m:n")
    with pytest.raises(ConfigError, match=r"metric: mod_m:f: .*mod_m\.py:2: IndexError"):
        scoring.score("mod_m:f", [["O"]], [["O"]], on="x")
    with pytest.raises(ConfigError, match=r"metric: mod_m:g must give a scoring\.Measured"):
        scoring.score("mod_m:g", [["O"]], [["O"]], on="x")
    with pytest.raises(ConfigError, match=r"measure: mod_m:g: .*ValueError"):
        acquire.uncertainty("mod_m:g", np.ones((1, 2), np.float32))


def test_a_question_whether_a_stage_is_fresh_changes_nothing(tmp_path: Path, module: Module) -> None:
    from distill_offline.annotate.work import AnnotateInputs
    from distill_offline.config.loading import load as load_config
    from distill_offline.run.folder import RunFolder

    module("mod_t", TASK)
    module("mod_b", BACKEND)
    assert annotate(tmp_path, "mod_t:T", "mod_b:B").exit_code == 0
    manifest = tmp_path / "run/annotate/manifest.json"
    before = manifest.stat().st_mtime_ns, manifest.stat().st_ino, manifest.read_bytes()
    stage = AnnotateInputs.of(RunFolder(tmp_path / "run", load_config(tmp_path / "run.yaml"))).stage()
    assert stage.is_fresh()
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino, manifest.read_bytes()) == before


def test_a_study_of_an_installed_configuration_writes_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill_offline.cli.study import default_rows_file

    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "package" / "x.yaml"
    installed.parent.mkdir()
    rows = installed.with_name("x.results.jsonl")
    assert default_rows_file(Path("package:configs/x.yaml"), installed, only_read=False) == Path("x.results.jsonl")
    assert default_rows_file(Path("package:configs/x.yaml"), installed, only_read=True) == Path("x.results.jsonl")
    rows.touch()
    assert default_rows_file(Path("package:configs/x.yaml"), installed, only_read=True) == rows
    assert default_rows_file(Path("package:configs/x.yaml"), installed, only_read=False) == Path("x.results.jsonl")
    Path("x.results.jsonl").touch()
    assert default_rows_file(Path("package:configs/x.yaml"), installed, only_read=True) == Path("x.results.jsonl")
    assert default_rows_file(installed, installed, only_read=False) == rows
