"""openai_server: what is tried again, what stops a run, and that nothing but the named server is reached."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_fake import Server, answers, backend, prompt, said

from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Completion, Prompt


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def test_a_busy_server_is_asked_again(server: Server) -> None:
    tries = iter([(503, {}, b""), (429, {"Retry-After": "0"}, b""), (200, {}, said("at last"))])
    server.reply = lambda body: next(tries)
    assert answers(backend(server), "x")[0].text == "at last"
    assert len(server.bodies) == 3


def test_a_server_says_how_long_to_wait_and_is_not_believed_for_ever(server: Server) -> None:
    tries = iter([(429, {"Retry-After": "3600"}, b""), (200, {}, said("x"))])
    server.reply = lambda body: next(tries)
    started = time.monotonic()
    assert answers(backend(server, timeout_s=1.0, backoff_s=0.0), "x")[0].text == "x"
    assert 0.9 < time.monotonic() - started < 10


def test_a_server_that_hangs_up_and_starts_anew_gets_the_same_prompts(server: Server) -> None:
    """The first two answers break off; then it is gone for a while, and another process takes its place."""
    broken = threading.Event()

    def hang_up(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if len(server.bodies) >= 2:
            broken.set()
        return 0, {}, said("half an ans")

    server.reply = hang_up
    engine = backend(server, concurrency=2, retries=8, backoff_s=0.1)
    found: list[Completion] = []
    asking = threading.Thread(target=lambda: found.extend(answers(engine, "a", "b")))
    asking.start()
    broken.wait(10)
    server.close()
    time.sleep(0.2)
    reborn = Server(server.port)
    asking.join(30)
    reborn.close()
    assert [completion.text for completion in found] == ["A", "B"]
    assert all(completion.finish_reason == "stop" for completion in found)
    assert sorted(body["messages"][-1]["content"] for body in reborn.bodies) == ["a", "b"]


def test_a_prompt_without_an_answer_in_time_is_asked_once_and_fails_alone(server: Server) -> None:
    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if body["messages"][-1]["content"] == "slow":
            time.sleep(0.5)
        return 200, {}, said("fine")

    server.reply = judge
    slow, quick = answers(backend(server, timeout_s=0.2), "slow", "quick")
    assert (slow.finish_reason, quick.text) == ("error: no answer within 0.2 s", "fine")
    assert len(server.bodies) == 2


def test_a_prompt_on_which_the_server_always_breaks_fails_alone(server: Server) -> None:
    server.reply = lambda body: (
        (500, {}, {"error": "boom"}) if body["messages"][-1]["content"] == "bad" else (200, {}, said("fine"))
    )
    bad, good = answers(backend(server), "bad", "good")
    assert (bad.finish_reason, good.text) == ("error: the server refused it with status 500: boom", "fine")
    assert len(server.bodies) == 5  # One, and three more tries of the other.


def test_answers_that_were_under_way_are_kept_when_the_server_fails(server: Server) -> None:
    failed = threading.Event()

    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if body["messages"][-1]["content"] == "first":
            failed.set()
            return 401, {}, b""
        failed.wait(10)
        time.sleep(0.1)
        return 200, {}, said("late")

    server.reply = judge
    found: list[tuple[int, Completion]] = []
    taken: list[str] = []

    def source() -> Iterator[Prompt]:
        for text in ("first", "second", "third", "fourth"):
            taken.append(text)
            yield prompt(text)

    engine = backend(server, concurrency=3)
    with pytest.raises(ConfigError, match="status 401"):
        found.extend(engine.complete(source()))
    engine.close()
    assert {position: completion.text for position, completion in found} == {1: "late", 2: "late"}
    assert taken == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("status", "content", "error", "message"),
    [
        (
            503,
            {"error": {"message": "Loading model"}},
            BackendError,
            r"base_url: .* status 503: Loading model, 4 times",
        ),
        (401, {"detail": "no key"}, ConfigError, r"api_key_variable: .*without a key.*status 401: no key"),
        (403, b"", ConfigError, r"api_key_variable: .*status 403"),
        (404, b"<html><title>Not Found</title>", ConfigError, r"base_url: no such API .*status 404: Not Found"),
        (404, {"error": {"message": "The model `x` does not exist."}}, ConfigError, r"backend\.model: .*'my/model'"),
        (400, {"error": {"code": "model_not_found"}}, ConfigError, r"backend\.model: .* \(model_not_found\)"),
        (200, {"error": {"message": "no", "code": 401}}, ConfigError, r"status 401"),
    ],
)
def test_a_server_that_refuses_us_as_such_stops_the_run(
    server: Server, status: int, content: Any, error: type[Exception], message: str
) -> None:
    server.reply = lambda body: (status, {}, content)
    with pytest.raises(error, match=message):
        answers(backend(server, retries=3, backoff_s=0), "x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_is_not_followed_not_even_to_another_port_of_this_machine(
    server: Server, status: int, host: str
) -> None:
    elsewhere = Server()
    elsewhere.reply = lambda body: (200, {}, said("from elsewhere"))
    address = f"http://{host}:{elsewhere.port}/v1/chat/completions"
    server.reply = lambda body: (status, {"Location": address}, b"")
    try:
        with pytest.raises(ConfigError, match=f"status {status}.*Redirects are not followed"):
            answers(backend(server), "x")
    finally:
        elsewhere.close()
    assert (len(server.bodies), elsewhere.bodies) == (1, [])


def test_only_the_host_that_the_configuration_names_is_opened(server: Server) -> None:
    """In a process of its own, since an audit hook is for life; a proxy in the environment changes nothing."""
    code = """
        import sys
        from pathlib import Path
        from distill_offline import offline
        from distill_offline.backends.openai_server import OpenAIServer
        from distill_offline.errors import NetworkBlocked
        from distill_offline.schema import Message, Prompt, Sampling

        offline.enforce()
        for url in (sys.argv[1], "http://192.0.2.1:8000/v1", "http://llm.example.invalid/v1"):
            engine = OpenAIServer(Path("m"), Sampling(), {"base_url": url, "retries": 0, "timeout_s": 2.0})
            try:
                print([c.text for _, c in engine.complete([Prompt("s", (Message("user", "hello"),))])])
            except NetworkBlocked:
                print("blocked")
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), server.url],
        env={**os.environ, "http_proxy": "http://192.0.2.9:3128", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.splitlines() == ["['HELLO']", "blocked", "blocked"], ran.stderr


def test_a_server_that_is_not_there_stops_the_run() -> None:
    absent = Server()
    absent.close()
    with pytest.raises(BackendError, match="no answer from the server after 2 tries"):
        answers(backend(absent, retries=1), "x")
