"""Checkpoints, and that a run which was stopped or killed ends in the very weights of the one that was not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_offline.config.settings import TrainSettings
from distill_offline.corpus import read_examples
from distill_offline.errors import EnvironmentFault, Interrupted
from distill_offline.learning.checkpoint import Checkpoint, Checkpoints, random_state, restore_random_state
from distill_offline.schema import Progress
from distill_offline.storage.digests import file_digests
from distill_offline.student.model import Student
from distill_offline.train.blending import Blend, make_schedule
from distill_offline.train.loop import Pools, Trained, prepare, train

LABELS = ("O", *(f"{p}-{t}" for t in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE") for p in "BI"))
# An evaluation after updates 3, 6, 9 and 10; every option that has state or draws random numbers.
SETTINGS = TrainSettings(
    updates=10,
    batch_size=6,
    learning_rate=3e-2,
    eval_every=3,
    micro_batch_tokens=90,
    restart=True,
    layer_decay=0.9,
    gce_q=0.5,
    gce_after=3,
    mask_errors=0.5,
    mask_after=4,
    checkpoint_every=0.0,
)


def tensors(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"model.a": torch.full((3, 2), value), "best.a": torch.arange(6).reshape(2, 3).T}


def whole(value: float, updates: int) -> Checkpoint:
    return Checkpoint(updates, tensors(value), {"history": [{"loss": 0.1 + 0.2}], "best_f1": None})


class Killed(BaseException):
    """Where a kill -9 would have struck: nothing in the library may catch it."""


@dataclass
class Arm:
    """One arm, run as often as need be; each run begins as a new process would."""

    encoder: Path
    folder: Path
    said: list[str] = field(default_factory=list)

    def run(
        self,
        *,
        stop_after: int | None = None,
        kill_after: int | None = None,
        settings: TrainSettings = SETTINGS,
        checkpoints: bool = True,
        fingerprint: str = "f",
    ) -> tuple[str, Trained]:
        """SHA-256 of model.safetensors and what training gave; a stop or kill after that many updates in all."""
        random.seed(random.SystemRandom().random())
        np.random.seed(random.randrange(2**32))
        done = 0

        def watch(progress: Progress) -> None:
            nonlocal done
            done = progress.done
            if done == kill_after:
                raise Killed

        prepare(5)
        student = Student.create(self.encoder, LABELS, "token-classification")
        examples = list(read_examples("package:demo/train.jsonl", origin="original"))[:40]
        distilled = [replace(example, origin="distilled") for example in examples[:20]]
        schedule = make_schedule("linear", {}, tau=0.5, n_distilled=20, n_original=20)
        trained = train(
            student,
            Pools(distilled, examples[20:], examples[:8]),
            Blend(schedule, 20, 20, settings.updates, settings.batch_size, 5),
            settings,
            name="arm",
            metric="entity_f1",
            watch=watch,
            stop=lambda: done == stop_after,
            checkpoints=Checkpoints(self.folder / "checkpoint", fingerprint, self.said.append) if checkpoints else None,
        )
        student.save(self.folder / "student")
        file = self.folder / "student/model.safetensors"
        return file_digests([file])[file], trained


@pytest.fixture(scope="module")
def uninterrupted(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Trained]:
    return Arm(encoder, tmp_path_factory.mktemp("whole")).run(checkpoints=False)


@pytest.fixture
def arm(encoder: Path, tmp_path: Path) -> Arm:
    return Arm(encoder, tmp_path)


# 2, 3: before and after an evaluation; 4, 5: about the restart and the first masked update; 9: the last but one
@pytest.mark.parametrize("updates", [1, 2, 3, 4, 5, 9])
@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(arm: Arm, uninterrupted: tuple[str, Trained], updates: int) -> None:
    with pytest.raises(Interrupted, match=f"stopped at update {updates}"):
        arm.run(stop_after=updates, settings=replace(SETTINGS, checkpoint_every=1e9))
    assert arm.run() == uninterrupted
    assert arm.said == []


def test_a_run_that_is_killed_again_and_again_goes_on_to_the_same_bytes(
    arm: Arm, uninterrupted: tuple[str, Trained]
) -> None:
    for updates in (2, 3, 4, 7, 9):
        with pytest.raises(Killed):
            arm.run(kill_after=updates)
    assert arm.run() == uninterrupted


def test_checkpoints_alone_change_nothing(arm: Arm, uninterrupted: tuple[str, Trained]) -> None:
    assert arm.run() == uninterrupted
    kept = sorted(path.name for path in (arm.folder / "checkpoint").iterdir())
    assert kept == ["8", "9"]


def test_checkpoint_that_is_torn_gives_way_to_the_one_before(arm: Arm, uninterrupted: tuple[str, Trained]) -> None:
    with pytest.raises(Killed):
        arm.run(kill_after=7)
    newest = arm.folder / "checkpoint/6/tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01")
    assert arm.run() == uninterrupted
    assert arm.said == [f"{arm.folder.name}: the checkpoint of update 6 is damaged; it is not used."]


def test_checkpoint_of_another_configuration_is_not_used(arm: Arm, uninterrupted: tuple[str, Trained]) -> None:
    with pytest.raises(Killed):
        arm.run(kill_after=5, fingerprint="other", settings=replace(SETTINGS, learning_rate=1.0))
    assert arm.run() == uninterrupted
    assert len(arm.said) == 2
    assert all("another configuration" in line for line in arm.said)


def test_checkpoint_of_another_version_is_not_used(
    arm: Arm, uninterrupted: tuple[str, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_offline.learning.checkpoint._FORMAT", 1)
    with pytest.raises(Killed):
        arm.run(kill_after=5)
    monkeypatch.undo()
    assert arm.run() == uninterrupted
    assert len(arm.said) == 2
    assert all("of another version of distill_offline" in line for line in arm.said)


def test_stopping_before_the_first_update_leaves_no_checkpoint(arm: Arm) -> None:
    with pytest.raises(Interrupted):
        arm.run(stop_after=0)
    assert not (arm.folder / "checkpoint").exists()


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoint", "f")
    assert checkpoints.latest() is None
    checkpoints.save(whole(1.0, 10))
    found = checkpoints.latest()
    assert found is not None
    assert (found.updates, found.values) == (10, {"history": [{"loss": 0.1 + 0.2}], "best_f1": None})
    assert {name: t.tolist() for name, t in found.tensors.items()} == {n: t.tolist() for n, t in tensors().items()}
    assert torch.equal(found.part("best")["a"], tensors()["best.a"])
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


def test_files_are_the_owners_alone_and_hold_no_pickle(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "checkpoint", "f").save(whole(1.0, 10))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["state.json", "tensors.safetensors"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


def test_two_generations_are_kept_and_a_partial_one_never_counts(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    for updates in (8, 9, 10):
        checkpoints.save(whole(float(updates), updates))
    (tmp_path / "10").rename(tmp_path / "11.partial")  # killed before it took its name
    found = checkpoints.latest()
    assert found is not None
    assert found.updates == 9
    assert [path.name for path in tmp_path.iterdir()] == ["9"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def alter(file: Path) -> None:
    file.write_text(file.read_text().replace("0.30000000000000004", "0.4"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("tensors.safetensors", cut),
        ("tensors.safetensors", Path.unlink),
        ("state.json", cut),
        ("state.json", alter),
        ("state.json", Path.unlink),
        ("state.json", lambda file: file.write_text("[]")),
    ],
)
def test_every_damage_is_noticed(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    for updates in (8, 9):
        checkpoints.save(whole(1.0, updates))
    damage(tmp_path / "9" / name)
    found = checkpoints.latest()
    assert found is not None
    assert found.updates == 8
    assert not (tmp_path / "9").exists()


def test_a_disk_that_takes_no_more_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentFault, match="update 3 cannot be written"):
        Checkpoints(tmp_path / "checkpoint", "f").save(whole(1.0, 3))


def draws() -> tuple[float, float, float, float]:
    return random.random(), random.gauss(0, 1), float(np.random.normal()), float(torch.rand(()))


def test_every_random_generator_goes_on_where_it_stood() -> None:
    draws()  # now Python's and numpy's gauss hold a second number back
    held, values = random_state()
    expected = [draws() for _ in range(3)]
    restore_random_state(held, json.loads(json.dumps(values)))
    assert [draws() for _ in range(3)] == expected
