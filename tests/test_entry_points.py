"""What an installed distribution offers is found by its name: lazily, once, and never in place of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outside import distribution, forget
from test_from_outside import BACKEND, TASK, annotate, said

from distill_offline import registry
from distill_offline.corpus import read_examples
from distill_offline.errors import ConfigError
from distill_offline.scoring import metrics as scoring
from distill_offline.train import blending

METRIC = """
from distill_offline.scoring.metrics import Measured
from distill_offline.schema import Scores
def share(gold, predicted):
    same = sum(list(a) == list(b) for a, b in zip(gold, predicted))
    return Measured(Scores(same / len(gold), same / len(gold), same / len(gold), len(gold)), {})
def broken(gold, predicted):
    return gold[99]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    forget(monkeypatch, "ep_one", "ep_two")
    return tmp_path / "path"


def test_a_task_and_a_backend_are_found_by_the_names_of_their_entry_points(tmp_path: Path, path: Path) -> None:
    points = {"tasks": {"people": "ep_one:T"}, "backends": {"silent": "ep_one:B"}}
    distribution(path, "ep_one", TASK + BACKEND, points)
    ran = annotate(tmp_path, "people", "silent")
    assert ran.exit_code == 0, ran.exception
    lines = (tmp_path / "run/annotate/annotations.jsonl").read_text().splitlines()
    assert [json.loads(line)["labels"] for line in lines] == [["O"] * 4]


def test_what_fails_in_it_is_told_with_its_name_its_target_and_its_line(tmp_path: Path, path: Path) -> None:
    task = TASK.replace("return Prompt(", "sentence.text[99]; (")
    distribution(path, "ep_one", task + BACKEND, {"tasks": {"people": "ep_one:T"}, "backends": {"b": "ep_one:B"}})
    message = said(annotate(tmp_path, "people", "b"))
    assert message.startswith("task.name: people (ep_one:T), prompt() of row row7: ")
    assert message.endswith("ep_one.py:10: IndexError")


def test_a_schedule_and_a_metric_are_found_by_the_names_of_their_entry_points(path: Path) -> None:
    points = {
        "schedules": {"half": "ep_one:half", "bad": "ep_one:bad"},
        "metrics": {"share": "ep_one:share", "broken": "ep_one:broken"},
    }
    source = METRIC + "\ndef half(t, *, p=0.5): return p\ndef bad(t): return {}[t]\n"
    distribution(path, "ep_one", source, points)
    made = blending.make_schedule("half", {"p": 0.25}, tau=0.5, n_distilled=1, n_original=1)
    assert made(0.1) == 0.25
    bad = blending.make_schedule("bad", {}, tau=0.5, n_distilled=1, n_original=1)
    with pytest.raises(ConfigError, match=r"schedule bad fails at t = 0 \(.*ep_one\.py:11: KeyError"):
        bad(0.0)
    assert scoring.score("share", [["O"], ["O"]], [["O"], ["B-X"]], on="").overall.f1 == 0.5
    with pytest.raises(ConfigError, match=r"metric: broken \(ep_one:broken\): .*ep_one\.py:8: IndexError"):
        scoring.score("broken", [["O"]], [["O"]], on="")


def test_a_name_that_two_distributions_offer_is_refused_with_both(path: Path) -> None:
    for name in ("ep_one", "ep_two"):
        distribution(path, name, "def f(t): return 0.0\n", {"schedules": {"mine": f"{name}:f"}})
    with pytest.raises(ConfigError) as caught:
        registry.load("train.arms.schedule", "mine", {}, group="schedules")
    assert "ep_one 1.0 (ep_one:f)" in str(caught.value)
    assert "ep_two 1.0 (ep_two:f)" in str(caught.value)
    assert registry.load("train.arms.schedule", "ep_one:f", {}, group="schedules")(0.5) == 0.0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ep_one", r"mine \(of ep_one 1\.0\): its entry point 'ep_one' is not written as package\.module:Name"),
        ("ep_gone:f", r"mine \(of ep_one 1\.0\): there is no module ep_gone"),
        ("ep_one:ff", r"mine \(of ep_one 1\.0\): module ep_one has no 'ff'\. Did you mean ep_one:fff\?"),
        ("ep_two:f", r"mine \(of ep_one 1\.0\): module ep_two does not import: .*ep_two\.py:1: ZeroDivisionError"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_told_with_its_distribution(path: Path, target: str, message: str) -> None:
    distribution(path, "ep_one", "def fff(t): return 0.0\n", {"schedules": {"mine": target}})
    (path / "ep_two.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=message):
        registry.load("train.arms.schedule", "mine", {}, group="schedules")


def test_a_distribution_without_metadata_can_still_be_named(path: Path) -> None:
    distribution(path, "ep_one", "", {"schedules": {"mine": "ep_one:f"}})
    (path / "ep_one-1.0.dist-info/METADATA").unlink()
    with pytest.raises(ConfigError, match=r"mine \(of a distribution without METADATA\): module ep_one has no 'f'"):
        registry.load("train.arms.schedule", "mine", {}, group="schedules")


def test_an_unknown_name_is_told_what_is_installed(path: Path) -> None:
    distribution(path, "ep_one", "", {"schedules": {"half_and_half": "ep_one:f"}})
    with pytest.raises(ConfigError, match=r"Did you mean half_and_half\? Known: .*half_and_half.*simple_mix"):
        registry.load("train.arms.schedule", "half_and_hal", blending.SCHEDULES, group="schedules")


def test_an_entry_point_never_stands_in_for_one_of_ours(path: Path) -> None:
    distribution(path, "ep_one", "def f(t): return 0.0\n", {"schedules": {"linear": "ep_one:f"}})
    assert registry.load("train.arms.schedule", "linear", blending.SCHEDULES, group="schedules") is blending.linear


def test_names_of_ours_look_up_no_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    monkeypatch.syspath_prepend("/nowhere")  # what was looked up before is of another path
    blending.make_schedule("linear", {}, tau=0.5, n_distilled=1, n_original=1)
    scoring.check_metric("entity_f1")
    assert list(read_examples("package:demo/dev.jsonl", origin="original"))
    with pytest.raises(TypeError):
        registry.is_offered("formats", "csv")
