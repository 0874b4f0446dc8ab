"""Several processes that train one student: equal to one, exactly repeatable, and ended together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from studying import runner, write_config
from tiny_training import TINY, selected_and_trained, training_child, training_settings

from distill_offline import pipeline
from distill_offline.config.loading import dump
from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError, DistillError, EnvironmentFault, Interrupted
from distill_offline.learning.group import Group
from distill_offline.offline import isolation
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Progress
from distill_offline.storage.digests import file_digests
from distill_offline.student.batching import share
from distill_offline.study import Results, Study
from distill_offline.train.at_once import Started, Task, run_at_once
from distill_offline.train.processes import PATIENCE, Crew, Member, count, threads_each

needs_namespaces = pytest.mark.skipif(bool(isolation.obstacles()), reason="no network namespaces here")


@pytest.fixture(scope="session")
def calm(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, which would draw other masks in each process."""
    folder = tmp_path_factory.mktemp("calm")
    for file in encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def settings(encoder: Path, **train: Any) -> Settings:
    return training_settings(encoder, **{**TINY, "arms": [{"name": "simple_mix"}], **train})


def train(path: Path, given: Settings, **more: Any) -> dict[str, Any]:
    counts: dict[str, Any] = selected_and_trained(path, given, **more)["simple_mix"]
    return counts


def history(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "train/simple_mix/history.jsonl").read_text().splitlines()]


def digest(path: Path) -> str:
    file = path / "train/simple_mix/student/model.safetensors"
    return file_digests([file])[file]


def held_together(path: Path, other: Path) -> float:
    """The largest difference between two students' weights."""
    first, second = (load_file(each / "train/simple_mix/student/model.safetensors") for each in (path, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


# --- what needs no second process


def test_the_windows_of_an_update_are_shared_out_and_none_is_lost() -> None:
    class Window:
        def __init__(self, length: int) -> None:
            self.ids = (0,) * length

    windows = [Window(length) for length in (3, 9, 4, 4, 7)]
    shares = [share(windows, rank, 2) for rank in range(2)]
    assert [[len(w.ids) for w in each] for each in shares] == [[9, 4, 3], [7, 4]]
    assert {id(w) for each in shares for w in each} == {id(w) for w in windows}
    assert share(windows[:1], 1, 2) == []


def test_each_process_draws_numbers_of_its_own_and_the_same_ones_again() -> None:
    def drawn(rank: int, seed: int) -> list[float]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            Group(rank, 2).seed()
            return torch.rand(3).tolist()

    seen = [tuple(drawn(rank, seed)) for rank in (0, 1) for seed in (1, 2)]
    assert len(set(seen)) == 4
    assert tuple(drawn(1, 2)) == seen[3]


def test_auto_is_the_number_of_gpus_and_one_without() -> None:
    assert count(1) == 1
    assert count("auto") == max(1, torch.cuda.device_count())
    if not torch.cuda.is_available():
        assert count(3) == 3
    assert threads_each(10_000) == 1


@pytest.mark.parametrize("wrong", [0, -1, 2000, "many", "2"])
def test_a_number_of_processes_that_is_none_is_refused(wrong: Any, encoder: Path) -> None:
    with pytest.raises(ConfigError, match=r"train: .*processes: a number from 1 to 1024, or auto"):
        settings(encoder, processes=wrong)


def test_one_process_is_not_part_of_what_decides_a_result(encoder: Path, tmp_path: Path) -> None:
    train(tmp_path, settings(encoder, updates=1))
    said: list[str] = []
    for one in (1, "auto") if not torch.cuda.is_available() else (1,):
        counts = train(tmp_path, settings(encoder, updates=1, processes=one), say=said.append)
    assert said[-1] == "train simple_mix: up to date"
    assert (counts["processes"], counts["threads"]) == (1, torch.get_num_threads())


def test_a_dry_run_starts_nothing(encoder: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, settings(encoder, processes=2))
    steps = pipeline.plan(folder, ["train"])
    assert [step["stage"] for step in steps] == ["train simple_mix"]
    assert list(tmp_path.iterdir()) == []


# --- processes without a student: bodies are found by name in the child


def meet(job: Any, member: Member) -> Any:
    group = member.group
    if group.rank == 0:
        member.say("here")
        member.watch(Progress("meeting", 1, 1))
    weight = torch.nn.Parameter(torch.zeros(4, 2))
    bias, idle = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))
    rows = torch.tensor([1, 3])
    if group.rank:  # process 0 had no part in the update
        weight.grad = torch.zeros(4, 2)
        weight.grad[rows] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    bias.grad = torch.full((3,), float(group.rank + 1))
    sums = group.add_up([weight, bias, idle], [torch.tensor(2.5), torch.tensor(group.rank)], {weight: rows})
    assert weight.grad is not None
    return {
        "job": job,
        "gathered": group.gather({"rank": group.rank, "text": "é" * (1 + 9 * group.rank)}),
        "any": [group.any(group.rank == 1), group.any(False)],
        "same": [group.have_the_same({"a": bias}), group.have_the_same({"a": torch.tensor(group.rank)})],
        "sums": [float(each) for each in sums],
        "gradients": [weight.grad.tolist(), bias.grad.tolist(), idle.grad],
        "threads": torch.get_num_threads(),
    }


def together(body: Any, job: Any = None, processes: int = 2, gpus: str | None = None, **more: Any) -> Any:
    def start(slot: int) -> Started:
        patience = more.pop("patience", PATIENCE)
        crew = Crew(body, job, processes, name="train arm", threads=1, gpus=gpus, patience=patience)
        return Started(crew, lambda result: {"result": result})

    task = Task("arm", frozenset(), start)
    given: dict[str, Any] = {"say": [].append, "watch": lambda progress: None, "stop": lambda: False}
    talk = {key: more.get(key, value) for key, value in given.items()}
    return run_at_once([task], 1, **talk)["arm"]["result"]


@pytest.mark.slow
def test_processes_add_up_and_agree_and_process_0_is_heard() -> None:
    said: list[str] = []
    seen: list[Progress] = []
    found = together(meet, {"a": (1, 2)}, say=said.append, watch=seen.append)
    assert found["job"] == {"a": (1, 2)}
    assert found["gathered"] == [{"rank": 0, "text": "é"}, {"rank": 1, "text": "é" * 10}]
    assert found["any"] == [True, False]
    assert found["same"] == [True, False]
    assert found["sums"] == [5.0, 1.0]
    assert found["gradients"] == [[[0, 0], [1, 2], [0, 0], [3, 4]], [3, 3, 3], None]
    assert found["threads"] == 1
    assert (said, [progress.stage for progress in seen]) == (["here"], ["meeting"])


def fail(job: Any, member: Member) -> None:
    if member.group.rank == job.get("rank", 1):
        if job["how"] == "ours":
            raise ConfigError("train.clip: what is wrong.")
        if job["how"] == "foreign":
            raise KeyError("weights")
        if job["how"] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if job["how"] == "hangs":
            os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        member.group.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("ours", ConfigError, r"^train\.clip: what is wrong\.$"),
        ("foreign", RuntimeError, r"(?s)^train arm: process 2 of 2 failed:\nTraceback.*KeyError: 'weights'"),
        (
            "dies",
            EnvironmentFault,
            r"^train arm: process 2 of 2 ended with signal SIGKILL .*Run the same command",
        ),
        ("hangs", EnvironmentFault, r"^train arm: process 1 of 2 got no answer from the others"),
    ],
)
def test_what_befalls_one_process_ends_all_and_is_said(how: str, error: type[Exception], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=message):
        together(fail, {"how": how}, patience=20.0)
    assert time.monotonic() - began < 60


def stand(job: Any, member: Member) -> None:
    if member.group.rank == 0:
        member.say(str(os.getpid()))
    while not member.group.any(member.stop()):
        time.sleep(0.01)
    raise Interrupted("stopped.")


@pytest.mark.slow
def test_all_processes_hear_that_they_are_to_stop() -> None:
    said: list[str] = []
    with pytest.raises(Interrupted, match=r"^stopped\.$"):
        together(stand, say=said.append, stop=lambda: bool(said))


def look_around(job: Any, member: Member) -> Any:
    assert job == "look"
    return member.group.size, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"]


def die(job: Any, member: Member) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_one_process_is_no_group_and_sees_the_gpus_that_it_is_given() -> None:
    assert together(look_around, "look", processes=1, gpus="GPU-7,3") == (1, "GPU-7,3", "1")
    with pytest.raises(
        EnvironmentFault, match=r"^train arm: its process ended with signal SIGKILL .* or set train\.at_once lower\.$"
    ):
        together(die, processes=1)


class Aborted(BaseException):
    """A second Ctrl-C."""


@pytest.mark.slow
def test_what_the_parent_raises_leaves_no_process_behind() -> None:
    before = set(threading.enumerate())
    left: list[int] = []

    def say(line: str) -> None:
        left.append(int(line))
        raise Aborted

    with pytest.raises(Aborted):
        together(stand, say=say)
    with pytest.raises(ProcessLookupError):
        os.kill(left[0], 0)
    assert set(threading.enumerate()) <= before


# --- students


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "batch_size"), [(2, 5), (3, 2)])  # 3 for 2 sentences: one has nothing to do
def test_several_processes_train_the_student_that_one_trains(
    calm: Path, tmp_path: Path, processes: int, batch_size: int
) -> None:
    given = settings(calm, batch_size=batch_size, gce_q=0.5, gce_after=1, mask_errors=0.5, mask_after=1)
    train(tmp_path / "one", given)
    counts = train(tmp_path / "several", replace(given, train=replace(given.train, processes=processes)))
    assert counts["processes"] == processes
    assert counts["threads"] == max(1, torch.get_num_threads() // processes)
    assert counts["best_update"] == pipeline.train(RunFolder(tmp_path / "one", given))["simple_mix"]["best_update"]
    for ours, theirs in zip(history(tmp_path / "several"), history(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours == pytest.approx(theirs, rel=1e-5)
    # Of the 0.003 that each of 6 updates moves a weight by, a hundredth of one.
    assert held_together(tmp_path / "several", tmp_path / "one") < 3e-5


@pytest.mark.slow
def test_stopped_and_killed_runs_of_two_processes_end_in_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, processes=2, updates=20, checkpoint_every=0.0)
    whole = tmp_path / "whole"
    train(whole, given)

    seen: list[int] = []
    with pytest.raises(Interrupted, match="stopped at update"):
        train(tmp_path / "stopped", given, watch=lambda each: seen.append(each.done), stop=lambda: len(seen) > 2)
    again: list[int] = []
    train(tmp_path / "stopped", given, watch=lambda each: again.append(each.done))
    assert seen[-1] + 1 == again[0]
    assert [*seen, *again] == list(range(1, 21))

    with training_child(tmp_path / "killed", given) as child:
        assert child.stdout is not None
        while int(child.stdout.readline().split()[-1]) < 5:
            pass
        child.send_signal(signal.SIGKILL)
    began: list[int] = []
    train(tmp_path / "killed", given, watch=lambda each: began.append(each.done))
    assert began[0] > 4

    for run in ("stopped", "killed"):
        assert digest(tmp_path / run) == digest(whole), run
        assert history(tmp_path / run) == history(whole), run
        assert not (tmp_path / run / "train/simple_mix/checkpoint").exists()


@pytest.mark.slow
def test_the_number_of_processes_is_part_of_what_decides_a_result(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, updates=2)
    train(tmp_path, given)
    one = digest(tmp_path)
    train(tmp_path, replace(given, train=replace(given.train, processes=2)))
    assert digest(tmp_path) != one


@pytest.mark.slow
def test_training_that_diverges_in_two_processes_says_so_once(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=r"the loss of update 1 is nan.*Lower train\.learning_rate"):
        train(tmp_path, settings(encoder, processes=2, learning_rate=1e30))


@pytest.mark.slow
@needs_namespaces
def test_two_processes_train_from_the_command_line_with_loopback_alone(encoder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump(settings(encoder, processes=2, updates=2)))
    command = [sys.executable, "-m", "distill_offline", "--isolate", "train", str(config), "--json"]
    done = subprocess.run([*command, "-o", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["simple_mix"]["processes"] == 2


@pytest.mark.slow
def test_the_cells_of_a_study_are_trained_by_two_processes(encoder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", encoder, seeds=[0])
    assert runner(config, ("train.processes=2",)).run() == 2
    rows = Results(tmp_path / "rows.jsonl").read()
    assert [row.arm for row in rows] == ["original_only", "union"]
    assert {row.key for row in rows}.isdisjoint(Study.load(config).key(cell) for cell in Study.load(config).cells)
