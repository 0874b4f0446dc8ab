"""All that is wrong with a configuration, found at once and without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from distill_offline.backends import BACKENDS, OPTIONS
from distill_offline.cli import commands
from distill_offline.config.loading import load, parse_settings
from distill_offline.errors import EnvironmentFault
from distill_offline.pipeline.faults import faults

ROOT = Path(__file__).parent.parent
WRONG = {
    "name": "wrong",
    "task": {"types": {"PERSON": "a human"}, "prompt": "standrad"},
    "corpus": {
        "original": {"train": "package:demo/train.jsonl", "dev": "nowhere.conll"},
        "unlabelled": "nothing/",
    },
    "backend": {"name": "llama_cpp", "options": {"slot": 2, "context": 1}},
    "train": {"arms": [{"name": "simple_mix", "options": {"taw": 0.5}}]},
}


def test_every_backend_has_its_options_in_the_table() -> None:
    assert set(OPTIONS) == set(BACKENDS)


def test_a_teacher_that_cannot_be_asked_yes_or_no_is_a_fault() -> None:
    right = {**WRONG, "task": {"types": {"PERSON": "a human"}}, "corpus": {}, "train": {"arms": []}}
    scripted = {**right, "backend": {"name": "scripted"}, "annotate": {"verify": {}}}
    assert [line.partition(": ")[0] for line in faults(parse_settings(scripted, "test"))] == ["annotate.verify"]


def test_all_faults_are_found_at_once() -> None:
    found = faults(parse_settings({**WRONG, "task": {"types": {"PERSON": "a human"}}}, "wrong.yaml"))
    assert [line.partition(": ")[0].partition(" is unknown")[0] for line in found] == [
        "package:demo/train.jsonl:1", "nowhere.conll", "nothing/", "backend.options.slot", "backend.options.context",
        "train.arms",
    ]  # fmt: skip
    assert "DATE" in found[0]


def test_a_prompt_that_is_none_is_told_once() -> None:
    found = faults(parse_settings(WRONG, "wrong.yaml"))
    assert sum("task.prompt: 'standrad'" in line for line in found) == 1
    assert any(line.startswith("nowhere.conll: there is no such file") for line in found)
    assert any("backend.options.slot" in line for line in found)


def test_our_quickstart_has_no_fault_with_and_without_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(ROOT / "configs/quickstart.yaml")
    assert faults(settings) == []
    monkeypatch.setenv("DISTILL_MODELS", str(tmp_path))
    assert faults(settings) == []  # that they are not here is doctor's to say


@pytest.mark.parametrize("at_a_server", [False, True])
def test_a_model_that_is_here_and_cannot_be_adapted_is_a_fault(tmp_path: Path, *, at_a_server: bool) -> None:
    (tmp_path / "teacher.gguf").write_bytes(b"GGUF of nothing")
    settings = load(ROOT / "configs/quickstart.yaml")
    assert settings.backend is not None
    assert settings.adapt is not None
    if at_a_server:
        options = {"base_url": "http://127.0.0.1:9/v1"}
        server = replace(settings.backend, name="openai_server", model="its-name-there", options=options)
        wrong = replace(settings, backend=server, adapt=replace(settings.adapt, base=str(tmp_path)))
    else:
        wrong = replace(settings, backend=replace(settings.backend, model=str(tmp_path)))
    told = faults(wrong)
    assert any("teacher.gguf" in line for line in told)
    assert not any("its-name-there" in line for line in told)


@pytest.mark.slow  # it looks at the whole machine
def test_doctor_shows_them(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(yaml.safe_dump(WRONG), "utf-8")
    result = CliRunner().invoke(commands, ["doctor", str(config)])
    assert isinstance(result.exception, EnvironmentFault)
    assert "fail  configuration: nowhere.conll: there is no such file" in result.output
    assert "fail  configuration: backend.options.slot is unknown. Did you mean backend.options.slots?" in result.output
