"""Students that train at the same time: the same as in turn, in the order that they need, and ended together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from studying import runner, write_config
from tiny_training import TINY, selected_and_trained, training_child, training_settings

from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError, DistillError, InputError, Interrupted
from distill_offline.schema import Progress
from distill_offline.storage.digests import file_digests
from distill_offline.train.at_once import Started, Task, gpus_of, how_many, run_at_once
from distill_offline.train.processes import Crew

# --- how many


def test_auto_is_a_thread_each_as_far_as_students_and_memory_go(monkeypatch: pytest.MonkeyPatch) -> None:
    free: list[float | None] = [64e9]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)
    monkeypatch.setattr("distill_offline.train.at_once.free_memory", lambda: free[0])
    assert how_many("auto", 6, 1, 90_000_000) == 6
    assert how_many("auto", 100, 1, 90_000_000) == 16
    assert how_many("auto", 100, 4, 90_000_000) == 4
    assert how_many("auto", 100, 1, 1_400_000_000) == 5  # 12 GB for each
    free[0] = 2e8
    assert how_many("auto", 6, 1, 90_000_000) == 1
    free[0] = None
    assert how_many("auto", 6, 1, 90_000_000) == 6
    assert [how_many(wanted, 3, 1, 0) for wanted in (1, 2, 8)] == [1, 2, 3]


def test_students_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [4]
    monkeypatch.setattr("torch.cuda.device_count", lambda: there[0])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert how_many("auto", 8, 1, 0) == 4
    assert how_many("auto", 8, 2, 0) == 2
    assert [gpus_of(slot, 1) for slot in range(5)] == ["0", "1", "2", "3", "0"]
    assert [gpus_of(slot, 2) for slot in range(3)] == ["0,1", "2,3", "0,1"]
    there[0] = 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-ab")
    assert [gpus_of(slot, 1) for slot in range(3)] == ["5", "GPU-ab", "5"]
    there[0] = 0
    assert gpus_of(0, 1) is None


@pytest.mark.parametrize("wrong", [0, -1, 2000, "many", "2"])
def test_a_number_that_is_none_is_refused(wrong: Any, encoder: Path) -> None:
    with pytest.raises(ConfigError, match=r"train: .*at_once: a number from 1 to 1024, or auto"):
        training_settings(encoder, at_once=wrong)


# --- the order, without processes


class Fake:
    """What a crew is to run_at_once; it ends after `ticks` looks."""

    def __init__(self, ticks: int, outcome: Any) -> None:
        self._ours, self._theirs = Pipe()
        self.ticks, self.outcome = ticks, outcome
        self.is_told = self.is_ended = False
        self._theirs.send("something to wake up for")

    @property
    def pipes(self) -> list[Connection]:
        return [self._ours]

    def messages(self) -> Iterator[tuple[str, Any]]:
        yield "say", f"{self.outcome} goes on"

    def has_ended(self) -> bool:
        self.ticks -= 1
        return self.ticks < 0

    def stop(self) -> None:
        self.is_told, self.ticks = True, 0
        if not isinstance(self.outcome, Exception):
            self.outcome = Interrupted(f"{self.outcome} was stopped.")

    def end(self) -> None:
        self.is_ended = True

    def result(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Place:
    """Tasks out of fakes, and what happened to them."""

    def __init__(self) -> None:
        self.fakes: dict[str, Fake] = {}
        self.events: list[str] = []
        self.slots: dict[str, int] = {}

    def task(self, name: str, ticks: int = 1, needs: tuple[str, ...] = (), outcome: Any = None) -> Task:
        def start(slot: int) -> Started | dict[str, Any]:
            self.events.append(f"+{name}")
            self.slots[name] = slot
            if isinstance(outcome, dict):
                return outcome
            if ticks < 0:
                raise InputError(f"{name} cannot begin.")
            fake = self.fakes[name] = Fake(ticks, outcome or name)
            return Started(cast("Crew", fake), finish)

        def finish(result: Any) -> dict[str, Any]:
            self.events.append(f"-{name}")
            return {"result": result}

        return Task(name, frozenset(needs), start)


def run(tasks: list[Task], at_once: int = 2, stop: Callable[[], bool] = lambda: False) -> dict[str, dict[str, Any]]:
    return run_at_once(tasks, at_once, say=lambda line: None, watch=lambda progress: None, stop=stop)


def test_no_more_than_so_many_run_and_what_is_needed_comes_first() -> None:
    place = Place()
    done = run(
        [
            place.task("a", 3),
            place.task("mean", outcome={"averaged": 2}, needs=("a", "b", "elsewhere")),
            place.task("b", 1),
            place.task("c", 5),
        ]
    )
    assert place.events == ["+a", "+b", "-b", "+c", "-a", "+mean", "-c"]
    assert place.slots == {"a": 0, "b": 1, "c": 1, "mean": 0}
    assert done == {"a": {"result": "a"}, "b": {"result": "b"}, "c": {"result": "c"}, "mean": {"averaged": 2}}
    assert all(fake.is_ended for fake in place.fakes.values())


@pytest.mark.parametrize("ticks", [-1, 0])  # at its start, and while it runs
def test_the_first_error_stops_the_rest_and_is_raised(ticks: int) -> None:
    place = Place()
    wrong = place.task("b", ticks, outcome=InputError("b cannot go on."))
    with pytest.raises(InputError, match=r"^b cannot"):
        run([place.task("a", 9), wrong, place.task("c")])
    assert (place.fakes["a"].is_told, place.fakes["a"].is_ended) == (True, True)
    assert "+c" not in place.events


def test_who_asks_to_stop_stops_all_and_nothing_begins() -> None:
    place = Place()
    with pytest.raises(Interrupted, match=r"^a was stopped"):
        run([place.task("a", 9), place.task("b")], 1, stop=lambda: True)
    assert place.events == ["+a"]


def test_a_failure_while_stopping_is_what_is_told() -> None:
    place = Place()
    with pytest.raises(InputError, match=r"^b is broken"):
        run([place.task("a", 9), place.task("b", 9, outcome=InputError("b is broken."))], stop=lambda: True)


# --- students

ARMS: list[dict[str, Any]] = [
    {"name": "mean", "average": ["simple_mix", "union"]},
    {"name": "simple_mix"},
    {"name": "union"},
    {"name": "again", "schedule": "distilled_only", "labelled_by": "mean"},
]


def settings(encoder: Path, **train: Any) -> Settings:
    return training_settings(encoder, **{**TINY, "arms": ARMS, **train})


def is_under_way(seen: list[Progress]) -> bool:
    return any(each.done > 3 for each in seen)


def test_the_longest_training_begins_first_and_counts_keep_their_order(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [{"name": "union"}, {"name": "simple_mix", "updates": 9}, {"name": "reverse"}]
    began: list[str] = []

    def run_at_once(tasks: list[Task], at_once: int, **talk: Any) -> dict[str, dict[str, Any]]:
        began.extend(task.name for task in tasks)
        return {name: {"at_once": at_once} for name in began}

    monkeypatch.setattr("distill_offline.train.stage.run_at_once", run_at_once)
    counts = selected_and_trained(tmp_path, settings(encoder, arms=arms, at_once=2))
    assert began == ["simple_mix", "union", "reverse"]
    assert list(counts) == ["union", "simple_mix", "reverse"]
    assert counts["union"] == {"at_once": 2}


def test_a_study_trains_the_one_student_of_a_cell_here(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*job: Any, **more: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("distill_offline.train.stage.Crew", refuse)
    config = write_config(tmp_path / "c.yaml", encoder, seeds=[0])
    assert runner(config, ("train.at_once=2", "train.updates=1")).run() == 2


def digests(path: Path) -> dict[str, str]:
    files = sorted(path.glob("train/*/student/model.safetensors"))
    return {file.parts[-3]: digest for file, digest in file_digests(files).items()}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """In turn as at once: the sums of one thread are those of two in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_students_are_those_that_are_trained_in_turn_to_the_bit(encoder: Path, tmp_path: Path) -> None:
    in_turn = selected_and_trained(tmp_path / "in-turn", settings(encoder, seeds=2))
    seen: list[str] = []
    at_once = selected_and_trained(
        tmp_path / "at-once",
        settings(encoder, seeds=2, at_once=2),
        watch=lambda progress: seen.append(progress.stage),
    )
    assert at_once == in_turn
    assert list(at_once) == list(in_turn)
    assert digests(tmp_path / "at-once") == digests(tmp_path / "in-turn")
    assert len(set(digests(tmp_path / "at-once").values())) == len(in_turn) == 8
    assert {"train simple_mix", "train union", "train simple_mix-2", "train again-2"} <= set(seen)
    said: list[str] = []
    selected_and_trained(tmp_path / "at-once", settings(encoder, seeds=2, at_once=3), say=said.append)
    assert said[-8:] == [f"train {name}: up to date" for name in ("simple_mix", "union", "mean", "again")] + [
        f"train {name}-2: up to date" for name in ("simple_mix", "union", "mean", "again")
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_each_and_two_students_at_once(encoder: Path, tmp_path: Path) -> None:
    arms = ARMS[1:3]
    in_turn = selected_and_trained(tmp_path / "in-turn", settings(encoder, arms=arms, processes=2))
    at_once = selected_and_trained(tmp_path / "at-once", settings(encoder, arms=arms, processes=2, at_once=2))
    assert at_once == in_turn
    assert at_once["union"]["processes"] == 2
    assert digests(tmp_path / "at-once") == digests(tmp_path / "in-turn")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_stopped_and_killed_runs_end_in_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, arms=ARMS[1:3], at_once=2, updates=20, checkpoint_every=0.0)
    whole = selected_and_trained(tmp_path / "whole", given)

    seen: list[Progress] = []
    with pytest.raises(Interrupted, match="stopped at update"):
        selected_and_trained(
            tmp_path / "stopped", given, watch=seen.append, stop=lambda: any(each.done > 3 for each in seen)
        )
    done = {each.stage: each.done for each in seen}
    again: list[Progress] = []
    assert selected_and_trained(tmp_path / "stopped", given, watch=again.append) == whole
    first = {each.stage: each.done for each in reversed(again)}
    assert all(first[stage] == done[stage] + 1 for stage in done if done[stage] < 20)

    with training_child(tmp_path / "killed", given) as child:
        assert child.stdout is not None
        while int(child.stdout.readline().split()[-1]) < 5:
            pass
        child.send_signal(signal.SIGKILL)
    assert selected_and_trained(tmp_path / "killed", given) == whole

    for name in ("stopped", "killed"):
        assert digests(tmp_path / name) == digests(tmp_path / "whole"), name
        assert not [*(tmp_path / name).glob("train/*/checkpoint")]


@pytest.mark.slow
def test_what_befalls_one_student_is_said_and_the_other_goes_on_later(encoder: Path, tmp_path: Path) -> None:
    wrong = {"name": "union", "learning_rate": 1e30}
    given = settings(encoder, arms=[ARMS[1], wrong], at_once=2, updates=400)
    done = {"before": 0, "began": 0}

    def watch_first(progress: Progress) -> None:
        if progress.stage == "train simple_mix":
            done["before"] = progress.done

    def watch_second(progress: Progress) -> None:
        if progress.stage == "train simple_mix":
            done["began"] = done["began"] or progress.done

    with pytest.raises(DistillError, match=r"^train union: the loss of update \d+ is .* has diverged"):
        selected_and_trained(tmp_path, given, watch=watch_first)
    with pytest.raises(DistillError, match=r"^train union"):
        selected_and_trained(tmp_path, given, watch=watch_second)
    assert done["before"] < 400
    # It may not have come to its first update yet, the first time or the second.
    assert done["began"] in (0, done["before"] + 1)
