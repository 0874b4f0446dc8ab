"""The quickstart with its real models: whole, with no network but loopback; and killed in the middle."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from model_fixtures import SMOLLM, real_model

from distill_offline import manifest
from distill_offline.cli import commands
from distill_offline.models.catalogue import Catalogue
from distill_offline.offline.isolation import probe
from distill_offline.storage.files import read_rows

ROOT = Path(__file__).parent.parent
CONFIG = str(ROOT / "configs/quickstart.yaml")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The real models' folder, handed to child processes; skips where they are absent."""
    models = real_model(SMOLLM).parent
    assert real_model("all-MiniLM-L6-v2").parent == models
    return {**os.environ, "DISTILL_MODELS": str(models)}


def test_the_quickstart_runs_with_no_network_but_loopback(tmp_path: Path, environment: dict[str, str]) -> None:
    """All stages and arms with their real models, on few of the sentences: the teacher takes most of the time.

    It learns from gold once instead of twelve times, and there are two students of each arm instead of three, which
    learn half as long.
    """
    if fault := probe().fault:
        pytest.skip(f"no network namespace here: {fault}")
    command = [sys.executable, "-m", "distill_offline", "--isolate", "run", CONFIG, "--json"]
    command += ["--set", "annotate.limit=12", "--set", "adapt.epochs=1", "--set", "train.seeds=2"]
    command += [
        "--set",
        "train.updates=80",
        "--set",
        "train.arms=[{name: original_only}, {name: simple_mix, updates: 160}]",
    ]
    command += ["--set", "corpus.original.test={path: 'package:demo/test.jsonl', limit: 30}"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    value = json.loads(result.stdout)
    scores = {row["name"]: row["overall"]["f1"] for row in value["rows"]}
    assert list(scores) == ["teacher", "original_only", "original_only-2", "simple_mix", "simple_mix-2"]
    assert min(scores["simple_mix"], scores["simple_mix-2"]) > 0.3
    assert min(scores["original_only"], scores["original_only-2"]) > 0.4
    means = {arm: (scores[arm] + scores[f"{arm}-2"]) / 2 for arm in ("original_only", "simple_mix")}
    report = (tmp_path / "runs/quickstart/report/index.html").read_text("utf-8")
    assert all(f"{100 * mean:.1f}" in report for mean in means.values())
    assert manifest.verify(tmp_path / "runs/quickstart") == []
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == json.loads(result.stdout)
    assert "asked" not in again.stderr


def test_a_real_teacher_killed_in_the_middle_goes_on_without_asking_again(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "distill_offline", "annotate", CONFIG, "--json"]
    command += ["--set", "annotate.limit=16", "--set", "annotate.gold=[]", "--set", "annotate.chunk=2"]
    command += ["--set", "annotate.max_quarantined=1", "--set", "adapt=null"]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    folder = tmp_path / "runs/quickstart/annotate"
    stored: set[str] = set()
    deadline = time.monotonic() + 240
    while len(stored) < 4 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.2)
        stored = completions(folder)
    assert child.poll() is None, "it ended before it could be killed"
    child.send_signal(signal.SIGKILL)
    child.wait()
    stored = completions(folder)
    assert 4 <= len(stored) < 16
    assert not (folder / "manifest.json").exists()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)["unlabelled"]
    assert counts["cached"] == len(stored)
    assert counts["asked"] == 16 - len(stored)
    assert stored <= completions(folder)
    rows = [*read_rows(folder / "annotations.jsonl"), *read_rows(folder / "quarantine.jsonl")]
    assert len({row["id"] for row in rows}) == len(rows) == 16


def completions(folder: Path) -> set[str]:
    """Every stored completion, with its key, as another process sees it."""
    import sqlite3
    from contextlib import closing

    if not (folder / "completions.sqlite").exists():
        return set()
    with closing(sqlite3.connect(f"file:{folder / 'completions.sqlite'}?mode=ro", uri=True)) as connection:
        try:
            return {
                digest.hex() + text for digest, text in connection.execute("SELECT digest, completion FROM completions")
            }
        except sqlite3.OperationalError:  # the tables are not there yet
            return set()


def test_the_examples_about_models_and_the_machine_run_as_printed(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both models here, `fetch` has nothing to download, and `pin` finds the digests that the catalogue has."""
    for name in (SMOLLM, "all-MiniLM-L6-v2"):
        wanted = Catalogue.load(ROOT / "models/catalogue.yaml").entry(name).files
        (tmp_path / "models" / name).mkdir(parents=True)
        for file in wanted:
            shutil.copy(Path(environment["DISTILL_MODELS"]) / name / file, tmp_path / "models" / name / file)
    shutil.copy(ROOT / "models/catalogue.yaml", tmp_path / "models/catalogue.yaml")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTILL_MODELS", raising=False)
    ran = 0
    for group in ("models", "doctor"):
        command = commands.get_command(click.Context(commands), group)
        assert command is not None
        for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
            example = re.search(r"Example: distill-offline (.+)$", " ".join((leaf.help or "").split()))
            assert example
            result = CliRunner(catch_exceptions=False).invoke(commands, shlex.split(example[1]))
            assert result.exit_code == 0, f"{example[1]}: {result.output}"
            ran += 1
    assert ran == 5
    before = Catalogue.load(ROOT / "models/catalogue.yaml").entry("all-MiniLM-L6-v2").files
    assert Catalogue.load(tmp_path / "models/catalogue.yaml").entry("all-MiniLM-L6-v2").files == before
