"""A disk that fills up: exit code 4 and a message of one line in every stage; nothing is lost, and the run goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import pool, run_of, settings

from distill_offline import pipeline
from distill_offline.config.loading import dump
from distill_offline.config.settings import ConfiguredArm, Settings

__all__ = ["pool", "settings"]

ROOT, PROGRAM = Path(__file__).parent.parent, Path(__file__).with_name("filling.py")


@pytest.fixture
def whole(tmp_path: Path, settings: Settings, pool: Path, encoder: Path) -> Path:
    """A run to its end, and its configuration beside it."""
    arms = (ConfiguredArm(name="simple_mix"),)
    train = replace(settings.train, encoder=str(encoder), updates=4, batch_size=2, eval_every=2, arms=arms)
    corpus = replace(settings.corpus, original=replace(settings.corpus.original, dev=settings.corpus.original.test))
    settings = replace(settings, train=train, corpus=corpus)
    folder = run_of(tmp_path, settings)
    pipeline.run(folder)
    (tmp_path / "config.yaml").write_text(dump(settings), "utf-8")
    return folder.path


def in_tmpfs(disk: Path, *command: str) -> subprocess.CompletedProcess[str]:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "mount", "-t", "tmpfs", "t", disk]).returncode:
        pytest.skip("no mount namespaces here")
    inside = [unshare, "-rm", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"', str(disk), *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
    return subprocess.run(inside, capture_output=True, text=True, env=environment, check=False, timeout=600)


@pytest.mark.slow
def test_a_disk_that_fills_up_in_any_stage_is_told_and_nothing_is_lost(tmp_path: Path, whole: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = in_tmpfs(disk, sys.executable, str(PROGRAM), str(tmp_path / "config.yaml"), str(whole), str(disk))
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["stage"] for each in seen} == {"annotate", "select", "train", "evaluate", "report"}
    for each in seen:
        assert each["first"] == 4, each
        assert "Traceback" not in each["said"], each["said"]
        # SQLite calls it an I/O error where the index of its log cannot grow.
        assert any(words in each["said"] for words in ("No space left on device", "check disk space")), each["said"]
        assert (each["second"], each["same"], each["left"]) == (0, True, []), each


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_told_and_nothing_is_lost(tmp_path: Path, whole: Path) -> None:
    """As on a disk whose largest file is small, or under `ulimit -f`."""
    config = str(tmp_path / "config.yaml")
    shutil.copytree(whole, tmp_path / "again")
    for stage in ("train", "evaluate", "report"):
        shutil.rmtree(tmp_path / "again" / stage)
    command = [sys.executable, "-m", "distill_offline", "run", config, "-o", str(tmp_path / "again")]

    def call(limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, preexec_fn=limit, check=False, timeout=300
        )

    limited = call(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert limited.returncode == 4, limited.stderr
    assert "Files may not grow so large there" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert call().returncode == 0
    weights = "train/simple_mix/student/model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (whole / weights).read_bytes()
