"""kill -9 at random moments, over and over: what comes out at last has the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from studying import write_config

from distill_offline.completions import CompletionStore
from distill_offline.storage.files import write_rows

ROOT, PROGRAM = Path(__file__).parent.parent, Path(__file__).with_name("killing.py")


def kill(what: str, config: Path, folder: Path, times: int) -> int:
    """How many processes were killed."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(config), str(folder), str(times)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout))


def stored(folder: Path) -> list[tuple[str, bytes, str]]:
    with CompletionStore(folder / "annotate" / "completions.sqlite", read_only=True) as store:
        return [(id_, digest, completion.text) for id_, digest, completion in store.rows("unlabelled") if completion]


@pytest.mark.slow
def test_fifteen_kills_of_annotate_change_no_byte(tmp_path: Path) -> None:
    answers, corpus = tmp_path / "answers.jsonl", tmp_path / "corpus.jsonl"
    write_rows(
        corpus, ({"id": f"d{n // 9}:{n}", "document": f"d{n // 9}", "text": f"Ada saw Unit {n}."} for n in range(5000))
    )
    write_rows(answers, ({"id": f"d{n // 9}:{n}", "text": f'[["Ada","PER"],["Unit {n}","ORG"]]'} for n in range(5000)))
    config = tmp_path / "config.yaml"
    value = {
        "name": "killed",
        "task": {"types": {"PER": "a human", "ORG": "a unit"}},
        "corpus": {"unlabelled": str(corpus)},
        "backend": {"name": "scripted", "options": {"answers": str(answers), "noise": 0.1}},
        "annotate": {"demonstrations": {"strategy": "none"}, "max_quarantined": 0.9},
    }
    config.write_text(yaml.safe_dump(value), "utf-8")
    assert kill("annotate", config, tmp_path, 15) == 15
    for name in ("annotations.jsonl", "quarantine.jsonl"):
        whole, killed = ((tmp_path / run / "annotate" / name).read_bytes() for run in ("whole", "killed"))
        assert whole == killed
        assert whole
    assert stored(tmp_path / "whole") == stored(tmp_path / "killed")
    assert len(stored(tmp_path / "killed")) == 5000
    left = {path.name for path in (tmp_path / "killed" / "annotate").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole" / "annotate").iterdir()}


@pytest.mark.slow
def test_six_kills_of_a_study_change_no_score(tmp_path: Path, encoder: Path) -> None:
    config = write_config(tmp_path / "small.yaml", encoder)
    assert kill("study", config, tmp_path, 6) == 6
    rows = []
    for run in ("whole", "killed"):
        found = [json.loads(line) for line in (tmp_path / run / "rows.jsonl").read_text("utf-8").splitlines()]
        for row in found:
            row["training"].pop("seconds")
        rows.append(found)
    assert len(rows[0]) == 4
    assert rows[0] == rows[1]
