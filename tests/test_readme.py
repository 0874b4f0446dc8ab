"""What the README prints is what works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from distill_offline.backends import BACKENDS
from distill_offline.cli import commands
from distill_offline.cli.verbs import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FENCED = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]


def test_the_first_line_with_the_quickstart_is_the_whole_main_job() -> None:
    line = next(line for line in FENCED if "configs/quickstart.yaml" in line)
    for part in ("-m venv .venv", "pip install", "[quickstart]", "models fetch", "run configs/quickstart.yaml"):
        assert part in line


def test_the_first_line_with_pytest_makes_its_environment_and_runs_the_tests() -> None:
    line = next(line for line in FENCED if "pytest" in line)
    assert "-m venv .venv" in line
    assert "[test]" in line


@pytest.mark.parametrize("line", re.findall(r"^ {4}distill-offline (.+)$", README, re.M))
def test_every_other_command_is_one_that_exists(line: str) -> None:
    verb, *rest = shlex.split(line)
    command = commands.get_command(click.Context(commands), verb)
    assert command is not None, verb
    command.make_context(verb, list(rest))
    assert (ROOT / rest[0]).is_file()


def test_every_verb_and_backend_is_in_a_table() -> None:
    for name in (*VERBS, *BACKENDS):
        assert f"`{name}" in README, name


def test_links_point_at_files() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
