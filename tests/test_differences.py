"""What differs between two runs: the first cause first, each cause where it first acts, and what followed from it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from chains import CONFIG, write
from click.testing import CliRunner

from distill_offline import manifest
from distill_offline.cli import commands
from distill_offline.config.loading import as_plain, parse_settings
from distill_offline.errors import InputError, IntegrityError
from distill_offline.provenance import Difference, difference

STAGES = ("annotate", "select", "train/simple_mix", "evaluate")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place := tmp_path_factory.mktemp("template"))
        return place / run("a")


@pytest.fixture(autouse=True)
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the run `a`, to which each test makes another."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(template, tmp_path / "runs/a")
    return tmp_path


A = Path("runs/a")


def run(
    name: str,
    *,
    outputs: dict[str, str] | None = None,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    sealed: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """A sealed run of four stages; `outputs` says what a stage wrote, `sealed` what a stage is sealed with."""
    folder, value = Path("runs") / name, copy.deepcopy(CONFIG)
    for key, changed in (config or {}).items():
        section, _, last = key.rpartition(".")
        (value[section] if section else value)[last] = changed
    settings = as_plain(parse_settings(value, name))
    write(folder / "config.yaml", json.dumps(settings))
    for stage in STAGES:
        write(folder / stage / "output.jsonl", (outputs or {}).get(stage, "{}"))
        given = {"inputs": [], "models": {}, **(sealed or {}).get(stage, {})}
        manifest.seal(folder / stage, stage=stage, config=settings, seeds={"seed": seed}, **given)
    manifest.seal_run(folder, config=settings, seeds={"seed": seed})
    return folder


def test_run_equals_itself_sealed_again() -> None:
    assert difference(A, run("b")) == ([], "")


def test_changed_setting_is_the_first_cause_and_what_followed_is_named() -> None:
    b = run("b", config={"train.updates": 400}, outputs={"train/simple_mix": "[]", "evaluate": "[]"})
    found, in_words = difference(A, b)
    assert [each.stage for each in found] == ["train/simple_mix", "evaluate"]
    assert found[0].causes == (Difference("config", "train.updates", 5, 400),)
    assert found[1].causes == ()
    assert [each.key for each in found[0].effects] == ["output.jsonl"]
    assert in_words == (
        "config differs in train.updates: 5 → 400; therefore train/simple_mix (outputs), evaluate (outputs)"
    )


def test_more_seeds_change_no_student_and_act_on_what_is_compared() -> None:
    found, _ = difference(A, run("b", config={"train.seeds": 3}, outputs={"evaluate": "[]"}))
    assert [each.stage for each in found] == ["evaluate"]
    assert found[0].causes == (Difference("config", "train.seeds", 1, 3),)


def test_arms_are_compared_by_name_and_a_missing_stage_is_told() -> None:
    found, _ = difference(A, run("b", config={"train.arms": [{"name": "simple_mix", "updates": 9}]}))
    [stage] = found
    assert stage.causes == (Difference("config", "train.arms.simple_mix.updates", None, 9),)


@pytest.mark.parametrize(
    ("stage", "given", "what", "key"),
    [
        ("annotate", {"models": {"teacher": "f" * 64}}, "model", "teacher"),
        ("train/simple_mix", {"engine": {"device": "cuda"}}, "engine", "device"),
        ("train/simple_mix", {"method": "0123456789abcdef"}, "method", "of training, labelling and scoring"),
        ("evaluate", {"counts": {"simple_mix": {"f1": 0.5}}}, "score", "simple_mix.f1"),
        ("select", {"counts": {"kept": 2}}, "count", "kept"),
    ],
)
def test_each_kind_of_difference_has_its_word(stage: str, given: dict[str, Any], what: str, key: str) -> None:
    [found] = difference(A, run("b", sealed={stage: given}))[0]
    assert found.stage == stage
    assert [(each.what, each.key) for each in (*found.causes, *found.effects)] == [(what, key)]


def test_input_is_named_by_its_stage(place: Path) -> None:
    write(place / "plain.txt", "one")
    a = run("a", sealed={"annotate": {"inputs": [Path("plain.txt")]}})
    write(place / "plain.txt", "two")
    [found] = difference(a, run("b", sealed={"annotate": {"inputs": [Path("plain.txt")]}}))[0]
    assert (found.stage, found.causes[0].what, found.causes[0].key) == ("annotate", "input", "plain.txt")


def test_seed_is_one_cause_though_every_stage_has_it() -> None:
    found, in_words = difference(A, run("b", seed=1, outputs={"train/simple_mix": "[]"}))
    assert [(each.stage, len(each.causes)) for each in found] == [("annotate", 1), ("train/simple_mix", 0)]
    assert in_words == "seed differs in seed: 0 → 1; therefore train/simple_mix (outputs)"


def test_another_output_without_a_cause_is_said_to_have_none() -> None:
    _, in_words = difference(A, run("b", outputs={"annotate": "[]"}))
    assert in_words == "no recorded cause differs, and yet what came out does: annotate (outputs)"


def test_name_alone_changes_nothing_that_came_out() -> None:
    _, in_words = difference(A, run("b", config={"name": "other"}))
    assert in_words == "config differs in name: demo → other; what came out is the same"


def test_two_stages_are_compared_with_the_whole_configuration() -> None:
    a, b = A, run("b", config={"train.updates": 7})
    [found] = difference(a / "select", b / "select")[0]
    assert found.causes == (Difference("config", "train.updates", 5, 7),)
    for one, other in ((a, b / "select"), (a / "annotate", b / "select")):
        with pytest.raises(InputError, match="name two runs, or two stages of one kind"):
            difference(one, other)
    with pytest.raises(IntegrityError):
        difference(a, Path())


def test_command_tells_by_its_exit_code_as_diff_does() -> None:
    run("b"), run("c", config={"train.updates": 400})
    same = CliRunner().invoke(commands, ["manifest", "diff", "runs/a", "runs/b"])
    assert (same.exit_code, same.stdout) == (0, "runs/a and runs/b are equal.\n")
    other = CliRunner().invoke(commands, ["manifest", "diff", "runs/a", "runs/c", "--json"])
    assert other.exit_code == 1
    assert json.loads(other.stdout) == {
        "equal": False,
        "first_cause": "config differs in train.updates: 5 → 400; what came out is the same",
        "stages": [
            {
                "stage": "train/simple_mix",
                "causes": [{"what": "config", "key": "train.updates", "a": 5, "b": 400}],
                "effects": [],
            }
        ],
    }
