"""Names planted in a run folder that lead out of it: nothing is written through them, and each is named."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from annotated_runs import TYPES
from click.testing import CliRunner

from distill_offline.bundle.staging import Staging
from distill_offline.cli import commands
from distill_offline.completions import CompletionStore
from distill_offline.errors import InputError
from distill_offline.learning.checkpoint import Checkpoint, Checkpoints
from distill_offline.pipeline import purge
from distill_offline.storage.files import fresh_folder, make_folder, open_in_place, remove_folder, replacing, write_text
from distill_offline.storage.lock import Lock
from distill_offline.study.results import Results

FILES = (
    "config.yaml",
    "manifest.json",
    "annotate/annotations.jsonl.partial",
    "annotate/annotations.jsonl",
    "annotate/quarantine.jsonl.partial",
    "annotate/completions.sqlite",
    "annotate/completions.sqlite-wal",
    "annotate/completions.sqlite-shm",
    "annotate/completions.sqlite-journal",
    "annotate/completions.sqlite.lock",
    "annotate/frozen/current.json",
    "annotate/gold/test/annotations.jsonl.partial",
    "select/annotations.jsonl.partial",
    "select/report.json.partial",
    "train/simple_mix/history.jsonl.partial",
    "train/simple_mix/checkpoint/2/state.json.partial",
    "train/simple_mix/student/model.safetensors",
    "evaluate/report.json.partial",
    "report/index.html.partial",
    "shards/1-of-2/completions.sqlite",
    "sample/completions.sqlite",
)
FOLDERS = (
    *("annotate", "annotate/frozen", "annotate/gold", "annotate/gold/test", "select", "train", "train/simple_mix"),
    *("train/simple_mix/student", "train/simple_mix/checkpoint", "evaluate", "report", "shards", "cross_fit"),
)


def as_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def as_relative_link(place: Path, victim: Path) -> None:
    place.symlink_to(os.path.relpath(victim, place.parent))


def as_chain(place: Path, victim: Path) -> None:
    between = victim.with_name("between")
    between.symlink_to(victim)
    place.symlink_to(between)


def as_dangling_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("not-there-yet"))


def as_second_name(place: Path, victim: Path) -> None:
    os.link(victim, place)


def as_fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def as_socket(place: Path, victim: Path) -> None:
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's whole path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(place.name)
    finally:
        os.chdir(here)


SPECIAL = (as_link, as_relative_link, as_chain, as_dangling_link, as_fifo, as_socket)
Plant = Callable[[Path, Path], None]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    return outside / "victim"


def unharmed(victim: Path) -> bool:
    left = {path.name for path in victim.parent.iterdir()} - {"between"}
    return victim.read_text() == "mine" and left == {"victim"}


def planted(run: Path, name: str, plant: Plant, victim: Path) -> Path:
    place = run / name
    place.parent.mkdir(parents=True, exist_ok=True)
    plant(place, victim)
    return place


def refused(*arguments: str | Path) -> str:
    """What the command says, once it ended with a user's error."""
    result = CliRunner().invoke(commands, [str(each) for each in arguments])
    assert isinstance(result.exception, InputError), (result.exception, result.output)
    return str(result.exception)


def config_of(tmp_path: Path) -> Path:
    value = {
        "name": "planted",
        "task": {"types": TYPES},
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 8},
                "test": {"path": "package:demo/test.jsonl", "limit": 2},
            },
            "unlabelled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 4},
        },
        "backend": {"name": "scripted"},
        "train": {"encoder": "none", "arms": [{"name": "simple_mix"}]},
        "study": {"seeds": [1], "sizes": [4], "baseline": "simple_mix", "against": ["simple_mix"]},
    }
    path = tmp_path / "planted.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.parametrize("plant", SPECIAL)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.attack("links in run folders")
def test_a_planted_file_is_named_before_anything_is_written(
    tmp_path: Path, victim: Path, name: str, plant: Plant
) -> None:
    run = tmp_path / "run"
    place = planted(run, name, plant, victim)
    before = sorted(str(path) for path in run.rglob("*"))
    said = refused("run", config_of(tmp_path), "-o", run)
    assert str(place) in said
    assert unharmed(victim)
    assert sorted(str(path) for path in run.rglob("*")) == before


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".partial", "-wal", ".sqlite", ".lock"))])
@pytest.mark.attack("links in run folders")
def test_a_file_with_a_second_name_elsewhere_is_not_written(tmp_path: Path, victim: Path, name: str) -> None:
    place = planted(tmp_path / "run", name, as_second_name, victim)
    said = refused("run", config_of(tmp_path), "-o", tmp_path / "run")
    assert str(place) in said
    assert "hard links" in said
    assert unharmed(victim)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.attack("links in run folders")
def test_a_stage_that_is_a_link_is_not_followed(tmp_path: Path, victim: Path, name: str) -> None:
    place = planted(tmp_path / "run", name, lambda place, victim: place.symlink_to(victim.parent), victim)
    said = refused("run", config_of(tmp_path), "-o", tmp_path / "run")
    assert said.startswith(f"{place}: is a symbolic link")
    assert unharmed(victim)


@pytest.mark.parametrize(
    "verb",
    [
        ["annotate"], ["annotate", "--shard", "1/2"], ["annotate", "--probe", "2"], ["annotate", "--reparse"],
        ["annotate", "--refreeze"], ["merge"], ["select"], ["train"], ["run"], ["study"],
    ],
)  # fmt: skip
@pytest.mark.attack("links in run folders")
def test_every_verb_that_writes_looks_first(tmp_path: Path, victim: Path, verb: list[str]) -> None:
    place = planted(tmp_path / "run", "annotate/annotations.jsonl.partial", as_link, victim)
    option = "--folder" if verb == ["study"] else "-o"
    assert str(place) in refused(*verb, config_of(tmp_path), option, tmp_path / "run")
    assert unharmed(victim)


@pytest.mark.attack("links in run folders")
def test_a_sample_writes_into_no_run_with_a_link(tmp_path: Path, victim: Path) -> None:
    run, config = tmp_path / "run", config_of(tmp_path)
    done = CliRunner().invoke(commands, ["annotate", str(config), "-o", str(run)])
    assert done.exit_code == 0, done.output
    place = planted(run, "sample", lambda place, victim: place.symlink_to(victim.parent), victim)
    assert str(place) in refused("annotate", config, "-o", run, "--sample", "1")
    assert unharmed(victim)


@pytest.mark.attack("links in run folders")
def test_purge_writes_into_no_run_with_a_link(tmp_path: Path, victim: Path) -> None:
    run = tmp_path / "run"
    place = planted(run, "annotate", lambda place, victim: place.symlink_to(victim.parent), victim)
    (run / "config.yaml").write_text("name: x\n")
    (victim.parent / "annotations.jsonl.partial").write_text("theirs")
    with pytest.raises(InputError, match=f"{place}: is a symbolic link"):
        purge("d", [run])
    assert (victim.parent / "annotations.jsonl.partial").read_text() == "theirs"


@pytest.mark.attack("links in run folders")
def test_the_run_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    done = CliRunner().invoke(commands, ["annotate", str(config_of(tmp_path)), "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "disk" / "annotate" / "manifest.json").is_file()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    assert modes == {0o600}


# Each writer by itself, for what appears after the look at the whole folder.


@pytest.mark.parametrize("plant", [*SPECIAL, as_second_name])
@pytest.mark.attack("links in run folders")
def test_a_replaced_file_is_never_written_through_its_partial_name(tmp_path: Path, victim: Path, plant: Plant) -> None:
    place = planted(tmp_path / "run", "x.jsonl.partial", plant, victim)
    write_text(tmp_path / "run" / "x.jsonl", "new")
    assert unharmed(victim)
    assert [path.name for path in place.parent.iterdir()] == ["x.jsonl"]
    assert (tmp_path / "run" / "x.jsonl").read_text() == "new"


@pytest.mark.parametrize("plant", [*SPECIAL, as_second_name])
@pytest.mark.attack("links in run folders")
def test_a_replaced_file_takes_the_place_of_a_link_and_not_of_what_that_leads_to(
    tmp_path: Path, victim: Path, plant: Plant
) -> None:
    place = planted(tmp_path / "run", "x.jsonl", plant, victim)
    write_text(place, "new")
    assert unharmed(victim)
    assert place.is_file()
    assert not place.is_symlink()
    assert place.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["x", "x.partial"])
@pytest.mark.attack("links in run folders")
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "inner").mkdir(parents=True)
    with pytest.raises(InputError, match=f"{name}: is a folder"), replacing(tmp_path / "x") as file:
        file.write("new")
    assert (tmp_path / name / "inner").is_dir()


@pytest.mark.parametrize("beside", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("plant", [*SPECIAL, as_second_name])
@pytest.mark.attack("links in run folders")
def test_a_store_is_not_opened_through_any_of_its_names(
    tmp_path: Path, victim: Path, plant: Plant, beside: str
) -> None:
    place = planted(tmp_path / "run", f"completions.sqlite{beside}", plant, victim)
    with (
        pytest.raises(InputError, match=place.name.replace(".", r"\.")),
        CompletionStore(tmp_path / "run" / "completions.sqlite"),
    ):
        raise AssertionError("opened")
    assert unharmed(victim)


@pytest.mark.parametrize("plant", [*SPECIAL, as_second_name])
@pytest.mark.attack("links in run folders")
def test_a_lock_file_is_not_made_through_a_link(tmp_path: Path, victim: Path, plant: Plant) -> None:
    planted(tmp_path / "run", "completions.sqlite.lock", plant, victim)
    with pytest.raises(InputError, match=r"completions\.sqlite\.lock"):
        Lock(tmp_path / "run" / "completions.sqlite", is_shared=True)
    assert unharmed(victim)


@pytest.mark.parametrize("plant", [*SPECIAL, as_second_name])
@pytest.mark.attack("links in run folders")
def test_a_file_that_is_appended_to_is_not_reached_through_a_link(tmp_path: Path, victim: Path, plant: Plant) -> None:
    place = planted(tmp_path / "run", "results.jsonl", plant, victim)
    with pytest.raises(InputError, match=r"results\.jsonl: "):
        open_in_place(place)
    assert unharmed(victim)
    assert Results(place).path == place


@pytest.mark.attack("links in run folders")
def test_a_checkpoint_is_kept_and_removed_in_no_folder_but_its_own(tmp_path: Path, victim: Path) -> None:
    theirs = victim.parent / "7"
    theirs.mkdir()
    (theirs / "state.json").write_text(json.dumps({}))
    (tmp_path / "checkpoint").symlink_to(victim.parent)
    checkpoints = Checkpoints(tmp_path / "checkpoint", "f")
    for use in (checkpoints.latest, lambda: checkpoints.save(Checkpoint(1, {}, {})), checkpoints.clear):
        with pytest.raises(InputError, match="checkpoint: is a symbolic link"):
            use()
    assert (theirs / "state.json").is_file()


@pytest.mark.parametrize("use", [make_folder, remove_folder, fresh_folder])
@pytest.mark.attack("links in run folders")
def test_a_folder_is_neither_made_nor_removed_through_a_link(
    tmp_path: Path, victim: Path, use: Callable[[Path], None]
) -> None:
    (tmp_path / "link").symlink_to(victim.parent)
    with pytest.raises(InputError, match="link: is a symbolic link"):
        use(tmp_path / "link")
    assert unharmed(victim)


@pytest.mark.attack("links in run folders")
def test_a_bundle_grows_through_no_link(tmp_path: Path, victim: Path) -> None:
    planted(tmp_path / "work", "README.txt.partial", as_link, victim)
    with pytest.raises(InputError, match=r"README\.txt\.partial: is a symbolic link"):
        Staging(tmp_path / "work", 1 << 20)
    (tmp_path / "work" / "README.txt.partial").unlink()
    staging = Staging(tmp_path / "work", 1 << 20)
    planted(tmp_path / "work", "README.txt.partial", as_link, victim)
    staging.add("README.txt", b"read me")
    assert unharmed(victim)
