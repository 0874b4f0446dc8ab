"""manifest: what sealing records, what verifying finds, and what never gets in."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from distill_offline import manifest
from distill_offline.errors import InputError, IntegrityError
from distill_offline.manifest import Finding

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two stages, one of them an arm, sealed from the inside out."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "demo"
    write(folder / "config.yaml", "name: demo\n")
    write(folder / "annotate" / "annotations.jsonl", "{}\n")
    write(folder / "train" / "mix" / "student" / "config.json", "{}")
    write(tmp_path / "corpus" / "train.conll", "Ada B-PER\n")
    first = seal(folder / "annotate", stage="annotate", inputs=[Path("corpus/train.conll")])
    seal(folder / "train" / "mix", stage="train", parents=[first])
    manifest.seal_run(folder, config={"name": "demo"}, seeds={"seed": 0})
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def seal(folder: Path, **changed: Any) -> Path:
    arguments: dict[str, Any] = {"stage": "annotate", "config": {}, "seeds": {"seed": 0}, "inputs": [], "models": {}}
    return manifest.seal(folder, **arguments | changed)


def statement(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def places(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*so_far, key)
        yield from places(each, (*so_far, key))


def with_value(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    inside = changed = copy.deepcopy(whole)
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return changed


def test_sealed_folder_is_a_statement_with_the_digests_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.txt", "hello")
    path = seal(tmp_path / "out", models={"teacher": "f" * 64}, started=STARTED, counts={"rows": 3}, fingerprint="abc")
    content = statement(tmp_path / "out")
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    assert content["predicateType"] == "https://slsa.dev/provenance/v1"
    digest = hashlib.sha256(b"hello").hexdigest()
    assert content["subject"] == [{"name": "a.txt", "digest": {"sha256": digest}, "annotations": {"size": 5}}]
    assert content["predicate"]["runDetails"]["metadata"]["startedOn"] == "2026-01-02T03:04:05Z"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["a.txt", "manifest.json"]


def test_every_descriptor_has_a_digest(run: Path) -> None:
    predicate = statement(run / "train" / "mix")["predicate"]
    [parent] = predicate["buildDefinition"]["resolvedDependencies"]
    assert parent["name"] == "annotate/manifest.json"
    [given] = statement(run / "annotate")["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert given["name"] == "corpus/train.conll"
    assert given["digest"]["sha256"] == hashlib.sha256(b"Ada B-PER\n").hexdigest()
    assert given["annotations"] == {"size": 10, "kind": "input"}


def test_folder_as_input_changes_its_digest_with_any_file_in_it(tmp_path: Path) -> None:
    write(tmp_path / "texts" / "one.txt", "one")
    (tmp_path / "out").mkdir()

    def digest() -> str:
        seal(tmp_path / "out", inputs=[tmp_path / "texts"])
        return str(statement(tmp_path / "out")["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"])

    before = digest()
    assert digest() == before
    write(tmp_path / "texts" / "two.txt", "two")
    assert digest() != before


def test_missing_input_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.conll"):
        seal(tmp_path, inputs=[tmp_path / "gone.conll"])
    assert not (tmp_path / "manifest.json").exists()


def test_no_home_host_or_secret_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "corpus": {"unlabelled": "/home/kateryna/secret-project/x.jsonl", "dev": str(tmp_path / "data" / "dev.conll")},
        "backend": {
            "options": {"api_key": "sk-1", "base_url": "http://kateryna:pw@gpu7.site:8000/v1", "max_tokens": 5}
        },
        "local": "http://127.0.0.1:8000/v1",
        "task": {"types": {"X": "a/b or /c, as in\n/home text"}},
    }
    command = ["distill-offline", "run", "/home/kateryna/c.yaml", "--set", "backend.options.api_key=sk-2"]
    command += ["--set", "corpus.original.dev=/home/kateryna/d.conll", "--set", "backend.options={api_key: sk-3}"]
    seal(tmp_path, config=config, command=command, models={"/home/kateryna/models/bert": "e" * 64})
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    for leak in ("kateryna", "sk-", "gpu7", "pw@", "secret-project", str(tmp_path)):
        assert leak not in text, leak
    external = statement(tmp_path)["predicate"]["buildDefinition"]["externalParameters"]
    assert external["config"]["corpus"] == {"unlabelled": "x.jsonl", "dev": "data/dev.conll"}
    assert external["config"]["backend"]["options"]["base_url"] == "http://<host>/v1"
    assert external["config"]["backend"]["options"]["max_tokens"] == 5
    assert external["config"]["local"] == "http://127.0.0.1:8000/v1"
    assert external["config"]["task"] == config["task"]
    assert external["command"][2:5] == ["c.yaml", "--set", "backend.options.api_key=<secret>"]


def test_untouched_run_verifies_down_to_its_arms(run: Path) -> None:
    assert manifest.verify(run) == []
    assert manifest.verify(run / "train" / "mix") == []
    names = [each["name"] for each in statement(run)["subject"]]
    assert names == ["annotate/manifest.json", "config.yaml", "train/mix/manifest.json"]


def test_changed_missing_and_extra_files_are_found(run: Path) -> None:
    write(run / "annotate" / "annotations.jsonl", "[]\n")
    (run / "train" / "mix" / "student" / "config.json").unlink()
    write(run / "train" / "mix" / "student" / "extra.bin", "x")
    write(run / "config.yaml", "name: other\n")
    write(run / "notes.txt", "x")
    assert [(each.path, each.problem.split()[:2]) for each in manifest.verify(run)] == [
        ("annotate/annotations.jsonl", ["was", "changed:"]),
        ("config.yaml", ["was", "changed:"]),
        ("notes.txt", ["is", "not"]),
        ("train/mix/student/config.json", ["is", "missing"]),
        ("train/mix/student/extra.bin", ["is", "not"]),
    ]


def test_resealed_stage_does_not_fit_the_old_run_manifest(run: Path) -> None:
    write(run / "annotate" / "annotations.jsonl", "{1}\n")
    seal(run / "annotate")
    assert [each.path for each in manifest.verify(run)] == ["annotate/manifest.json"]


def test_stage_that_the_run_does_not_list_is_extra(run: Path) -> None:
    write(run / "select" / "annotations.jsonl", "{}\n")
    seal(run / "select", stage="select")
    assert [each.path for each in manifest.verify(run)] == ["select/annotations.jsonl", "select/manifest.json"]
    manifest.seal_run(run, config={}, seeds={})
    assert manifest.verify(run) == []


def test_unsealed_stage_is_not_whole_and_not_in_the_run(run: Path) -> None:
    manifest.unseal(run / "annotate")
    manifest.unseal(run / "annotate")
    assert not manifest.is_whole(run / "annotate")
    assert Finding("annotate/manifest.json", "is missing") in manifest.verify(run)
    manifest.seal_run(run, config={}, seeds={})
    assert "annotate/manifest.json" not in [each["name"] for each in statement(run)["subject"]]


def test_folder_whose_file_lost_its_end_is_not_whole(run: Path) -> None:
    assert manifest.is_whole(run / "annotate")
    write(run / "annotate" / "annotations.jsonl", "{}")
    assert not manifest.is_whole(run / "annotate")
    assert manifest.fingerprint_of(run / "annotate") is None


def test_link_is_refused_and_found(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.txt", "a")
    seal(tmp_path / "out")
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    assert [each.path for each in manifest.verify(tmp_path / "out")] == ["link"]
    with pytest.raises(IntegrityError, match="link"):
        seal(tmp_path / "out")


def test_empty_journals_are_no_extra_files_but_waiting_rows_are(tmp_path: Path) -> None:
    write(tmp_path / "completions.sqlite", "rows")
    write(tmp_path / "completions.sqlite-wal", "")
    write(tmp_path / "completions.sqlite-shm", "shared memory")
    seal(tmp_path)
    assert [each["name"] for each in statement(tmp_path)["subject"]] == ["completions.sqlite"]
    assert manifest.verify(tmp_path) == []
    write(tmp_path / "completions.sqlite-wal", "more rows")
    assert [each.path for each in manifest.verify(tmp_path)] == ["completions.sqlite-wal"]
    with pytest.raises(IntegrityError, match="checkpoint"):
        seal(tmp_path)


def test_excluded_files_may_come_and_go(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    seal(tmp_path, exclude=["*.log"])
    write(tmp_path / "run.log", "x")
    assert manifest.verify(tmp_path) == []


def test_name_that_points_outside_is_never_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret.txt", "s")
    write(tmp_path / "out" / "a.txt", "a")
    seal(tmp_path / "out")
    content = statement(tmp_path / "out")
    content["subject"][0]["name"] = "../secret.txt"
    write(tmp_path / "out" / "manifest.json", json.dumps(content))
    assert Finding("../secret.txt", "lies outside the folder") in manifest.verify(tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"subject": [], "_type": "x"}', '{"subject": [{"name": "a"}]}'])
def test_damaged_manifest_is_an_integrity_error(tmp_path: Path, text: str) -> None:
    write(tmp_path / "manifest.json", text)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        manifest.read(tmp_path)
    assert [each.path for each in manifest.verify(tmp_path)] == ["manifest.json"]
    assert not manifest.is_whole(tmp_path)


def test_no_part_of_another_type_gets_past_reading(tmp_path: Path) -> None:
    """Every value of a manifest, replaced by values of other types: told as damaged, or told as changed; no crash."""
    write(tmp_path / "a.txt", "a")
    seal(tmp_path, models={"teacher": "f" * 64}, counts={"rows": 1}, engine={"name": "x"})
    whole = statement(tmp_path)
    for place in places(whole):
        for value in (None, 0, "x", [], {}, [None], {"x": 1}, "\ud800"):
            write(tmp_path / "manifest.json", json.dumps(with_value(whole, place, value)))
            manifest.verify(tmp_path)
            with suppress(IntegrityError):
                json.dumps(manifest.show(tmp_path))


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.write_text("[" * 200_000)], ids=["fifo", "folder", "endless"]
)
def test_manifest_that_is_no_file_or_endless_is_an_integrity_error(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "manifest.json")
    with pytest.raises(IntegrityError):
        manifest.read(tmp_path)


def test_show_is_compact_and_leads_to_the_stages(run: Path) -> None:
    seal(run / "annotate", models={"teacher": "f" * 64}, started=STARTED, counts={"rows": 3}, fingerprint="abc")
    view = manifest.show(run)
    assert view["stage"] == "run"
    assert sorted(view["stages"]) == ["annotate", "train/mix"]
    inner = view["stages"]["annotate"]
    assert (inner["counts"], inner["models"], inner["fingerprint"]) == ({"rows": 3}, {"teacher": "f" * 64}, "abc")
    assert manifest.fingerprint_of(run / "annotate") == "abc"
    assert inner["outputs"][0]["name"] == "annotations.jsonl"


def test_versions_name_what_is_installed_without_importing_it() -> None:
    found = manifest.versions()
    assert found["python"].startswith("3.")
    assert "transformers" in found


def test_digest_depends_on_the_value_and_not_on_key_order() -> None:
    assert manifest.digest_of({"a": 1, "b": 2}) == manifest.digest_of({"b": 2, "a": 1})
    assert manifest.digest_of({"a": 1}) != manifest.digest_of({"a": 2})
