from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Completion, Message, Prompt, Sampling

Reply = Callable[[dict[str, Any]], tuple[int, dict[str, str], Any]]


def said(text: str, **more: Any) -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
    }


class Server:
    """A real HTTP server on loopback; `reply` decides what it answers."""

    def __init__(self) -> None:
        self.reply: Reply = lambda body: (200, {}, said(body["messages"][-1]["content"].upper()))
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.busiest = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.busy += 1
                    outer.busiest = max(outer.busiest, outer.busy)
                status, headers, content = outer.reply(body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                with lock:
                    outer.busy -= 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def backend(server: Server, sampling: Sampling | None = None, **options: Any) -> OpenAIServer:
    return OpenAIServer(
        Path("my/model"), sampling or Sampling(), {"base_url": server.url, "backoff_s": 0.01, "retries": 3, **options}
    )


def prompt(text: str, schema: dict[str, Any] | None = None) -> Prompt:
    return Prompt(text, (Message("system", "Rules."), Message("user", text)), schema)


def answers(engine: OpenAIServer, *texts: str) -> list[Completion]:
    found = dict(engine.complete(prompt(text) for text in texts))
    engine.close()
    return [found[number] for number in range(len(texts))]


def test_answers_come_under_their_positions_with_token_counts(server: Server) -> None:
    completions = answers(backend(server), *(f"t{n}" for n in range(40)))
    assert [c.text for c in completions] == [f"T{n}" for n in range(40)]
    assert {(c.finish_reason, c.prompt_tokens, c.completion_tokens, c.cached_tokens) for c in completions} == {
        ("stop", 7, 3, 5)
    }


def test_the_request_carries_sampling_schema_and_the_served_name(server: Server) -> None:
    schema = {"type": "array"}
    engine = backend(server, Sampling(0.7, 0.9, 33, 5, logprobs=True), extra={"top_k": 4})
    list(engine.complete([Prompt("s", (Message("user", "x"),), schema, sample=2)]))
    engine.close()
    [body] = server.bodies
    assert body["model"] == "my/model"
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.7, 0.9, 33, 7)
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert (body["logprobs"], body["top_k"]) == (True, 4)
    server.bodies.clear()
    free = backend(server, Sampling(structured=False))
    list(free.complete([prompt("x", schema)]))
    free.close()
    assert "response_format" not in server.bodies[0]


def test_concurrency_is_bounded_and_used(server: Server) -> None:
    def slowly(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        time.sleep(0.05)
        return 200, {}, said("x")

    server.reply = slowly
    answers(backend(server, concurrency=3), *map(str, range(15)))
    assert server.busiest == 3


def test_a_busy_server_is_asked_again(server: Server) -> None:
    tries = iter([(503, {}, b""), (429, {"Retry-After": "0"}, b""), (200, {}, said("at last"))])
    server.reply = lambda body: next(tries)
    assert answers(backend(server), "x")[0].text == "at last"
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [503, 401, 404, 302])
def test_a_server_that_refuses_us_as_such_stops_the_run(server: Server, status: int) -> None:
    server.reply = lambda body: (status, {"Location": "http://127.0.0.1:9/elsewhere"}, b"")
    with pytest.raises(BackendError, match=f"status {status}"):
        answers(backend(server), "x")


def test_a_server_that_is_not_there_stops_the_run() -> None:
    absent = Server()
    absent.close()
    with pytest.raises(BackendError, match="no answer from the server after 2 tries"):
        answers(backend(absent, retries=1), "x")


def test_a_prompt_that_is_too_long_or_refused_fails_alone(server: Server) -> None:
    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        text = body["messages"][-1]["content"]
        if text == "long":
            return 400, {}, {"error": {"message": "This model's maximum context length is 8 tokens, not 9"}}
        if text == "bad":
            return 422, {}, {"error": {"message": "secret prompt text"}}
        if text == "odd":
            return 200, {}, {"choices": []}
        return 200, {}, said("fine")

    server.reply = judge
    long, bad, odd, fine = answers(backend(server), "long", "bad", "odd", "fine")
    assert long.finish_reason == "prompt_too_long"
    assert bad.finish_reason == "error: the server refused it with status 422"
    assert odd.finish_reason.startswith("error: the server's answer has another shape")
    assert fine.text == "fine"


def test_thinking_is_kept_apart_however_the_server_names_it(server: Server) -> None:
    replies = {
        "a": said("[]", reasoning_content="hm"),
        "b": said("<think>hm</think>[]"),
        "c": said("[]", reasoning="hm"),
    }
    server.reply = lambda body: (200, {}, replies[body["messages"][-1]["content"]])
    assert {(c.thinking, c.text) for c in answers(backend(server), "a", "b", "c")} == {("hm", "[]")}


def test_log_probabilities_spell_the_answer(server: Server) -> None:
    reply = said("é")
    reply["choices"][0]["logprobs"] = {
        "content": [
            {"bytes": [0xC3], "logprob": -0.5},
            {"bytes": [0xA9], "logprob": -0.25},
            {"bytes": None, "logprob": 0},
        ]
    }
    server.reply = lambda body: (200, {}, reply)
    [completion] = answers(backend(server, Sampling(logprobs=True)), "x")
    assert "".join(completion.token_texts) == "é"
    assert completion.token_logprobs == (-0.5, -0.25)


def test_the_key_comes_from_the_environment_and_stays_out_of_the_identity(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="SITE_KEY is not set"):
        backend(server, api_key_variable="SITE_KEY")
    monkeypatch.setenv("SITE_KEY", "s3cret")
    engine = backend(server, api_key_variable="SITE_KEY", served="sha256:12")
    assert "s3cret" not in json.dumps(dict(engine.identity()))
    answers(engine, "x")
    assert server.headers[0]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("m", {}, r"base_url is missing"),
        ("m", {"base_url": "10.0.0.7:8000"}, r"must start with http"),
        ("", {"base_url": "http://10.0.0.7:8000"}, r"backend\.model is missing"),
        ("m", {"base_url": "http://h", "concurency": 3}, r"Did you mean backend\.options\.concurrency"),
    ],
)
def test_a_wrong_setting_is_named(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIServer(Path(model), Sampling(), options)
