from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Batch, Echo, Wrong

from distill_offline.backends import worker as worker_module
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


@pytest.mark.slow
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


LARGE = 1 << 20  # more than any pipe holds


def batches(size: int = 512) -> Worker:
    return Worker(Batch, Path("model"), Sampling(), {"size": size, "answer": LARGE})


@pytest.fixture
def no_hang() -> Iterator[None]:
    """What hangs ends the process that runs the tests, and says where it hung."""
    faulthandler.dump_traceback_later(90, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("no_hang")
def test_large_prompts_and_a_whole_batch_of_large_answers_never_wait_for_each_other() -> None:
    engine, large = batches(), prompt("p" * LARGE)
    found = {position: len(completion.text) for position, completion in engine.complete([large] * 600)}
    engine.close()
    assert found == dict.fromkeys(range(600), LARGE)


@pytest.mark.usefixtures("no_hang")
def test_a_process_that_dies_among_large_answers_loses_none() -> None:
    engine, texts = batches(8), ["p" * LARGE] * 24
    texts[13] = "poison"
    found = {position: completion.finish_reason for position, completion in engine.complete(map(prompt, texts))}
    engine.close()
    assert found == dict.fromkeys(range(24), "stop") | {13: "engine_died"}


@pytest.mark.usefixtures("no_hang")
def test_close_ends_a_process_whose_answers_nobody_reads_any_more() -> None:
    engine = batches()
    for _ in engine.complete([prompt("p" * LARGE)] * 512):
        break  # as an error or Ctrl-C does; 511 MB are still to come
    child = engine.identity()["pid"]
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.usefixtures("no_hang")
def test_close_kills_a_process_that_hangs_with_a_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_LEAVE_S", 0.2)
    engine, taken = batches(4), []

    def source() -> Iterator[Prompt]:
        for number in range(8):
            taken.append(number)
            yield prompt("hang" if number == 0 else "p" * LARGE)
        os.kill(engine.identity()["pid"], signal.SIGSTOP)  # it reads nothing any more, and hears of nothing
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.complete(source()))
    engine.close()
    assert taken == list(range(8))


def test_a_stream_that_was_left_does_not_answer_the_next(engine: Worker) -> None:
    for position, completion in engine.complete(prompt(f"old {number}") for number in range(20)):
        assert (position, completion.text) == (1, "OLD 1")
        break
    assert answers(engine, ["new", "newer"]) == {0: ("NEW", "stop"), 1: ("NEWER", "stop")}


def test_an_error_class_of_somebody_else_reaches_the_caller_as_ours(engine: Worker) -> None:
    with pytest.raises(BackendError, match="OddError: 3 apples"):
        answers(engine, ["odd"])


@pytest.mark.parametrize("what", ["twice", "text", "nobody"])
def test_an_answer_that_is_none_is_told_with_the_backend(what: str) -> None:
    engine = Worker(Wrong, Path("model"), Sampling(), {"size": 1, "answer": 1})
    with pytest.raises(BackendError, match=r"backend\.name: engines:Wrong: complete\(\) must yield"):
        answers(engine, [what])
    engine.close()


def test_an_error_in_a_backend_from_outside_has_its_file_and_line(engine: Worker) -> None:
    with pytest.raises(BackendError, match=r"engines:Echo: .*engines\.py:\d+: RuntimeError: the engine gave up"):
        answers(engine, ["raise"])
