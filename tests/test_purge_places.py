"""purge: every run below a folder is found, whatever lies above, beside or between, and the rest is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from annotated_runs import pool, run_of, settings
from click.testing import CliRunner, Result

from distill_offline import manifest, pipeline
from distill_offline.cli import commands
from distill_offline.completions import CompletionStore
from distill_offline.config.settings import Settings
from distill_offline.errors import InputError, StoreError
from distill_offline.pipeline.purge_places import find_runs
from distill_offline.storage.files import read_rows

__all__ = ["pool", "settings"]


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Path:
    """A run that is annotated and selected."""
    folder = run_of(tmp_path, settings)
    pipeline.annotate(folder)
    pipeline.select(folder)
    folder.seal()
    return folder.path


@pytest.fixture
def document(run: Path) -> str:
    return str(next(read_rows(run / "select" / "annotations.jsonl"))["document"])


def purge(cwd: Path, *arguments: str) -> Result:
    before = Path.cwd()
    os.chdir(cwd)
    try:
        return CliRunner().invoke(commands, ["purge", *arguments], env={"COLUMNS": "250"})
    finally:
        os.chdir(before)


def holding(folder: Path, document: str) -> list[str]:
    """The stages' files that hold the document still."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml"]
    return [str(path) for path in files if document.encode() in path.read_bytes()]


def test_every_run_below_runs_is_purged_at_any_depth(tmp_path: Path, run: Path, document: str) -> None:
    runs = tmp_path / "site" / "runs"
    places = ["single", "single/tries/again", "study/base/250/0", "study/base/250/1", "teams/a/b/c/d/deep"]
    for place in places:
        shutil.copytree(run, runs / place)
    (runs / "teams" / "x" / "notes").mkdir(parents=True)
    found = purge(runs.parent, "--document", document)
    assert found.exit_code == 0, found.output
    assert holding(runs, document) == []
    for place in places:
        assert f"runs/{place}" in found.stdout
        assert manifest.verify(runs / place / "annotate") == []
        assert manifest.verify(runs / place / "select") == []
    assert "5 runs were looked at; the document was in 5 of them" in found.stdout
    assert "folder runs/teams/x: skipped: no run is in it" in found.stdout
    again = purge(runs.parent, "--document", document)
    assert "5 runs were looked at; the document was in none of them" in again.stdout


def test_a_named_folder_of_a_study_means_the_runs_in_it_alone(tmp_path: Path, run: Path, document: str) -> None:
    for place in ("study/base/250/0", "other"):
        shutil.copytree(run, tmp_path / "runs" / place)
    found = json.loads(purge(tmp_path, "--document", document, "--json", "runs/study").stdout)
    assert [row["run"] for row in found["runs"]] == ["runs/study/base/250/0"]
    assert holding(tmp_path / "runs" / "study", document) == []
    assert holding(tmp_path / "runs" / "other", document) != []


def test_links_are_followed_once_wherever_they_lead(tmp_path: Path, run: Path, document: str) -> None:
    runs, far = tmp_path / "runs", tmp_path / "far"
    shutil.copytree(run, runs / "one")
    shutil.copytree(run, far / "study" / "base" / "0")
    (far / "study" / "up").symlink_to(runs)
    (runs / "latest").symlink_to("one")
    (runs / "loop").symlink_to(".")
    (runs / "far").symlink_to(far)
    (runs / "gone").symlink_to("nowhere")
    found = json.loads(purge(tmp_path, "--document", document, "--json").stdout)
    assert [row["run"] for row in found["runs"]] == ["runs/one", "runs/far/study/base/0"]
    assert holding(runs, document) == holding(far, document) == []
    skipped = {each["folder"]: each["why"] for each in found["skipped"]}
    assert set(skipped) == {"runs/latest", "runs/loop", "runs/gone", "runs/far/study/up"}
    assert "runs/one" in skipped["runs/latest"]
    assert "leads nowhere" in skipped["runs/gone"]


def test_a_run_with_a_link_in_it_is_said_and_the_others_are_purged(tmp_path: Path, run: Path, document: str) -> None:
    runs = tmp_path / "runs"
    for name in ("a", "b"):
        shutil.copytree(run, runs / name)
    (runs / "a" / "annotate").rename(tmp_path / "disk")
    (runs / "a" / "annotate").symlink_to(tmp_path / "disk")
    found = purge(tmp_path, "--document", document)
    assert found.exit_code == 1
    assert "runs/a: NOT DONE: runs/a/annotate: is a symbolic link" in found.stdout
    assert holding(tmp_path / "disk", document) != []
    assert holding(runs / "b", document) == []


def test_a_run_without_its_configuration_is_purged_too(tmp_path: Path, run: Path, document: str) -> None:
    (run / "config.yaml").unlink()
    (found,) = pipeline.purge_below(document, [run.parent])["runs"]
    assert found["lines"] > 0
    assert holding(run / "annotate", document) == holding(run / "select", document) == []


def test_files_outside_of_runs_that_name_the_document_are_said(tmp_path: Path, run: Path, document: str) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run, runs / "one")
    (runs / "acquired.jsonl").write_text(json.dumps({"id": "1", "document": document, "text": "x"}) + "\n")
    (runs / "none.jsonl").write_text(json.dumps({"id": "1", "document": "another", "text": document}) + "\n")
    (runs / "labels").mkdir()
    (runs / "labels" / "out.parquet").write_bytes(b"PAR1")
    found = purge(tmp_path, "--document", document)
    assert "file runs/acquired.jsonl: it names the document" in found.stdout
    assert "file runs/labels/out.parquet: not looked into" in found.stdout


def test_one_running_annotation_stops_the_purge_of_all_runs(tmp_path: Path, run: Path, document: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    with CompletionStore(other / "annotate" / "completions.sqlite"), pytest.raises(StoreError):
        pipeline.purge(document, [run, other])
    assert holding(run, document) != []


def test_a_run_that_cannot_be_purged_is_said_and_the_others_are_purged(
    tmp_path: Path, run: Path, document: str
) -> None:
    runs = tmp_path / "runs"
    for name in ("a", "b"):
        shutil.copytree(run, runs / name)
    (runs / "a" / "annotate" / "annotations.jsonl").write_text("{half a li")
    found = purge(tmp_path, "--document", document)
    assert found.exit_code == 1
    assert "runs/a: NOT DONE: " in found.stdout
    assert "annotations.jsonl:1" in str(found.exception)
    assert holding(runs / "b", document) == []


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("distill_offline.pipeline.purge_places.os.scandir", scandir)
    (skipped,) = find_runs(tmp_path, "d").skipped
    assert skipped["folder"] == str(tmp_path / "closed")
    assert "NOT LOOKED AT" in skipped["why"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    found = purge(tmp_path, "--document", "d")
    assert isinstance(found.exception, InputError)
    assert "no run is here or below" in str(found.exception)
