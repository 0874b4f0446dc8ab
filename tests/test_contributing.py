"""The worked examples of CONTRIBUTING.md run as they are printed: by module, and as an installed distribution."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from outside import distribution, forget

from distill_offline.cli import commands

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
SECTION = PAGE.partition("## Add a task")[2]
FILES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", SECTION, re.S))
MODULES = ("urgency", "keywords", "fading", "table")
COMMANDS = re.findall(r"^PYTHONPATH=\. distill-offline (.+)$", SECTION, re.M)
(POINTS,) = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", SECTION, re.S)]
NOTES = ("A leak at gate", "The alarm of pump", "Paint is needed at gate", "A new lamp for pump")


def labelled(first: int, count: int) -> list[tuple[str, str]]:
    every = [(NOTES[n % 4] + f" {n}.", "urgent" if n % 4 < 2 else "routine") for n in range(first, first + count)]
    assert {label for _, label in every} == {"urgent", "routine"}
    return every


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tables that the example's configuration names."""
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, *MODULES)
    for name, first, count in (("train", 0, 12), ("dev", 20, 8), ("test", 40, 8), ("notes", 60, 20)):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("note", "class"), *labelled(first, count)])
    return tmp_path


def run(command: str, encoder: Path) -> None:
    verb, *rest = shlex.split(command)
    quick = ["--set", f"train.encoder={encoder}", "--set", "train.updates=4", "--set", "train.eval_every=2"]
    ran = CliRunner().invoke(commands, [verb, *rest, *(quick if verb == "run" else ())])
    assert ran.exit_code == 0, (command, ran.exception)


def test_the_section_has_all_its_files_short_enough_to_be_typed() -> None:
    assert set(FILES) == {*(f"{name}.py" for name in MODULES), "urgency.yaml"}
    assert all(len(source.splitlines()) <= 42 for source in FILES.values())
    assert len(COMMANDS) == 2


@pytest.mark.slow
def test_the_examples_run_by_module(place: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(place))
    for name, source in FILES.items():
        (place / name).write_text(source)
    for command in COMMANDS:
        run(command, encoder)
    assert_run(place)
    said = [json.loads(line) for line in (place / "said.jsonl").read_text().splitlines()]
    assert len(said) == 20


def test_the_examples_run_as_an_installed_distribution(
    place: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = POINTS["project"]["entry-points"]
    points = {group.removeprefix("distill_offline."): offers for group, offers in groups.items()}
    monkeypatch.syspath_prepend(str(distribution(place / "site", "examples", "", points)))
    for name in MODULES:
        (place / "site" / f"{name}.py").write_text(FILES[f"{name}.py"])
    config = re.sub(r'"?\b(\w+):[A-Za-z]+\b"?(?=[\n,}])', r"\1", FILES["urgency.yaml"])
    config = re.sub(r"\{path: (\S+), format: table\}", r"\1", config)
    assert ":Csv" not in config
    assert "format" not in config
    (place / "urgency.yaml").write_text(config)
    run("run urgency.yaml", encoder)
    assert_run(place)
    run("predict runs/urgency/train/fading/student notes.csv -o said.csv", encoder)
    with (place / "said.csv").open(encoding="utf-8", newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} <= {"urgent", "routine"}


def assert_run(place: Path) -> None:
    """The teacher's words became classes, and the student was trained by the schedule."""
    lines = (place / "runs/urgency/annotate/annotations.jsonl").read_text().splitlines()
    assert [json.loads(line)["labels"] for line in lines] == [[label] for _, label in labelled(60, 20)]
    report = json.loads((place / "runs/urgency/evaluate/report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["fading"]
    history = place / "runs/urgency/train/fading/history.jsonl"
    shares = [json.loads(line)["p"] for line in history.read_text().splitlines()]
    assert shares[-1] < 1.0


@pytest.mark.slow
def test_the_examples_pass_mypy_strict(tmp_path: Path) -> None:
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(FILES[f"{name}.py"])
    command = [sys.executable, "-m", "mypy", "--strict", *(str(tmp_path / f"{name}.py") for name in MODULES)]
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
