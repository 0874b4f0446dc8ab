from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Echo

from distill_offline.backends.worker import Worker
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Message, Prompt, Sampling


def prompt(text: str) -> Prompt:
    return Prompt(text, (Message("user", text),))


def worker(**options: str) -> Worker:
    return Worker(Echo, Path("model"), Sampling(), options)


@pytest.fixture
def engine() -> Iterator[Worker]:
    made = worker()
    yield made
    made.close()


def answers(engine: Worker, texts: list[str]) -> dict[int, tuple[str, str]]:
    found: dict[int, tuple[str, str]] = {}
    for position, completion in engine.complete(prompt(text) for text in texts):
        assert position not in found
        found[position] = (completion.text, completion.finish_reason)
    return found


def test_answers_come_from_another_process_under_their_positions(engine: Worker) -> None:
    texts = [f"text {number}" for number in range(50)]
    assert answers(engine, texts) == {n: (text.upper(), "stop") for n, text in enumerate(texts)}
    assert engine.identity()["pid"] != os.getpid()
    assert answers(engine, ["once more"]) == {0: ("ONCE MORE", "stop")}


def test_a_prompt_that_kills_the_engine_costs_its_neighbours_nothing(engine: Worker) -> None:
    texts = [f"t{number}" for number in range(30)]
    texts[7] = texts[19] = "poison"
    found = answers(engine, texts)
    assert found[7] == found[19] == ("", "engine_died")
    assert {n: found[n] for n in found if n not in (7, 19)} == {
        n: (text.upper(), "stop") for n, text in enumerate(texts) if n not in (7, 19)
    }
    assert len(found) == 30


def test_an_engine_killed_from_outside_is_started_again(engine: Worker) -> None:
    found, first = {}, engine.identity()["pid"]
    for position, completion in engine.complete(prompt(f"t{number}") for number in range(40)):
        found[position] = completion.text
        if len(found) == 5:
            os.kill(first, signal.SIGKILL)
    assert found == {number: f"T{number}" for number in range(40)}
    assert engine.identity()["pid"] != first


@pytest.mark.slow
def test_an_engine_that_always_dies_is_given_up() -> None:
    engine = worker()
    with pytest.raises(BackendError, match=r"keeps dying|died 20 times"):
        answers(engine, ["poison"] * 60)
    engine.close()


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ("config", ConfigError, r"backend\.options\.broken is unknown"),
        ("death", BackendError, "could not start: its process ended with signal SIGKILL"),
        ("foreign", BackendError, "RuntimeError: no memory left"),
    ],
)
def test_an_engine_that_cannot_start_says_why(broken: str, error: type[Exception], message: str) -> None:
    engine = worker(broken=broken)
    with pytest.raises(error, match=message):
        answers(engine, ["x"])
    engine.close()


def test_an_error_of_the_engine_reaches_the_caller(engine: Worker) -> None:
    with pytest.raises(BackendError, match="the engine gave up"):
        answers(engine, ["fine", "raise"])


def test_signals_that_ask_the_parent_to_drain_leave_the_engine_alone(engine: Worker) -> None:
    child = engine.identity()["pid"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(child, number)
    assert answers(engine, ["still here"]) == {0: ("STILL HERE", "stop")}
    assert engine.identity()["pid"] == child


def test_close_ends_the_process_and_may_be_called_twice() -> None:
    engine = worker()
    child = engine.identity()["pid"]
    engine.close()
    engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_the_engine_ends_itself_when_its_parent_is_killed(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from engines import Echo\n"
        "from distill_offline.backends.worker import Worker; from distill_offline.schema import Sampling\n"
        "if __name__ == '__main__':\n"
        "    engine = Worker(Echo, Path('m'), Sampling(), {})\n"
        "    print(engine.identity()['pid'], flush=True); sys.stdin.read()\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in state(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists() or "Z" in state(child)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
