"""What a shell offers at Tab, and what `--help` shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from distill_offline.cli import commands
from distill_offline.cli.verbs import VERBS

VARIABLE = "_DISTILL_OFFLINE_COMPLETE"
ROOT = Path(__file__).parent.parent


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What is offered for the last word, typed in a folder with two configurations and a run."""
    monkeypatch.chdir(tmp_path)
    runs = ("runs/mine/manifest.json", "runs/mine/train/manifest.json", "runs/grid/study.json")
    for name in ("mine.yaml", "configs/paper/phase.yaml", *runs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    def ask(*words: str) -> list[str]:
        complete = BashComplete(commands, {}, "distill-offline", VARIABLE)
        found = complete.get_completions(list(words[:-1]), words[-1])
        return [item.value if item.type == "plain" else item.type for item in found]

    return ask


def test_verbs_and_options_are_offered(offered: Callable[..., list[str]]) -> None:
    assert offered("re") == ["release", "report", "review"]
    assert offered("--q") == ["--quiet"]
    assert offered("--log-format", "") == ["text", "json"]
    assert "--dry-run" in offered("run", "mine.yaml", "--")
    assert offered("models", "") == ["fetch", "list", "pin", "verify"]


def test_configurations_runs_stages_models_and_settings_are_offered(offered: Callable[..., list[str]]) -> None:
    assert offered("run", "") == ["mine.yaml", "configs/paper/phase.yaml"]
    assert offered("doctor", "configs") == ["configs/paper/phase.yaml"]
    assert offered("review", "") == ["import", "open", "runs/mine"]
    assert offered("review", "runs/mine", "--ho") == ["--host"]
    assert offered("report", "") == ["runs/grid", "runs/mine", "mine.yaml", "configs/paper/phase.yaml"]
    assert offered("purge", "--document", "x", "") == ["runs/mine"]
    assert offered("manifest", "show", "") == ["runs/mine", "runs/mine/train"]
    assert offered("models", "verify", "SmolLM2-135M-Instruct-G") == ["SmolLM2-135M-Instruct-GGUF"]
    assert offered("run", "mine.yaml", "--set", "train.upd") == ["train.updates="]
    assert offered("run", "mine.yaml", "--set", "nam") == ["name="]


def test_a_name_that_nothing_here_has_is_left_to_the_shells_files(offered: Callable[..., list[str]]) -> None:
    assert offered("run", "/etc/") == ["file"]


def test_the_settings_offered_are_those_of_the_schema(offered: Callable[..., list[str]]) -> None:
    schema = json.loads((ROOT / "configs/schema.json").read_text("utf-8"))
    sections = {setting.partition(".")[0].removesuffix("=") for setting in offered("run", "x", "--set", "")}
    assert sections == set(schema["properties"])


def test_a_broken_catalogue_offers_nothing(
    offered: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_MODELS", str(tmp_path))
    (tmp_path / "catalogue.yaml").write_text("no: [catalogue")
    assert offered("models", "verify", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_calls_the_program(shell: str) -> None:
    done = CliRunner().invoke(commands, ["completion", shell])
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.stdout


def test_an_unknown_shell_is_refused() -> None:
    assert CliRunner().invoke(commands, ["completion", "csh"]).exit_code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script_and_offers_verbs_without_importing_them(tmp_path: Path) -> None:
    script = CliRunner().invoke(commands, ["completion", "bash"]).stdout
    program = tmp_path / "distill-offline"
    check = "assert not {'rich', 'yaml', 'distill_offline.cli.run'} & set(sys.modules)"
    program.write_text(
        f"#!{sys.executable}\nimport atexit, sys\nfrom distill_offline.cli import main\n"
        f"def look():\n    {check}\natexit.register(look)\nmain()\n"
    )
    program.chmod(0o755)
    typed = "COMP_WORDS=(distill-offline re); COMP_CWORD=1; _distill_offline_completion distill-offline"
    command = f'{script}\n{typed} distill-offline; echo "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["release", "report", "review"]
    assert "AssertionError" not in done.stderr


def test_every_help_fits_80_columns_and_is_cut_nowhere() -> None:
    def helps(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
        context = click.Context(group, info_name=path, terminal_width=80)
        yield path, group.get_help(context)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from helps(command, f"{path} {name}")
            else:
                yield f"{path} {name}", command.get_help(click.Context(command, info_name=name, terminal_width=80))

    shown = dict(helps(commands, "distill-offline"))
    assert len(shown) > len(VERBS)
    for path, text in shown.items():
        assert [line for line in text.splitlines() if len(line) > 80] == [], path
        assert not re.search(r"[a-z]\.\.\.$|…$", text, re.MULTILINE), path
