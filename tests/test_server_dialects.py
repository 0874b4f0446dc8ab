from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from annotated_runs import run_of
from openai_fake import Server, answers, backend, prompt, said

from distill_offline import pipeline
from distill_offline.artifacts import read_rows
from distill_offline.backends.dialects import count, error_of, finish_of, is_too_long, without_words_of
from distill_offline.backends.http_exchange import Exchange, TooLarge
from distill_offline.settings import BackendSettings, Settings

PAIR = '[["Ada","PER"]]'


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def one(server: Server, content: Any, status: int = 200, headers: dict[str, str] | None = None, **options: Any) -> Any:
    server.reply = lambda body: (status, headers or {}, content)
    return answers(backend(server, retries=0, **options), "Ada met Bob in Oslo")[0]


@pytest.mark.parametrize(
    "reason",
    [
        *("stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "stop-sequence", " stop ", "completed"),
        *("FINISH_REASON_STOP", "FinishReason.STOP", None, ""),
    ],
)
def test_an_answer_that_is_there_is_taken_however_its_end_is_called(server: Server, reason: str | None) -> None:
    reply = said(PAIR)
    reply["choices"][0]["finish_reason"] = reason
    completion = one(server, reply)
    assert (completion.text, completion.finish_reason) == (PAIR, "stop")


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "max_new_tokens", "model_length"])
def test_a_cut_off_answer_is_one_in_every_dialect(reason: str) -> None:
    assert finish_of(reason) == "length"


def test_without_a_reason_an_answer_that_spent_all_its_tokens_was_cut_off(server: Server) -> None:
    reply = said(PAIR)
    del reply["choices"][0]["finish_reason"]
    assert one(server, reply).finish_reason == "stop"
    reply["usage"]["completion_tokens"] = 512
    assert one(server, reply).finish_reason == "length"


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", "abort", "error", 7, {"a": 1}])
def test_any_other_end_is_an_error_with_its_name(reason: object) -> None:
    assert finish_of(reason).startswith("error: the server ended the answer with ")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "none",
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": 3, "completion_tokens": 3, "prompt_tokens_details": None},
        {"prompt_tokens": -1, "completion_tokens": float("inf"), "prompt_tokens_details": [1]},
    ],
)
def test_usage_may_be_missing_or_odd(server: Server, usage: Any) -> None:
    completion = one(server, {**said(PAIR), "usage": usage})
    assert (completion.text, completion.finish_reason) == (PAIR, "stop")
    assert completion.cached_tokens == 0


def test_counts_are_whole_numbers_or_nothing() -> None:
    assert [count(value) for value in (5, 5.0, "5", True, None, -1, float("nan"), "five", 10**30)] == [
        *(5, 5, 5, 0, 0, 0, 0, 0, 0)
    ]


@pytest.mark.parametrize(
    ("content", "text", "thinking"),
    [
        ([{"type": "text", "text": PAIR}], PAIR, ""),
        ([{"type": "output_text", "text": PAIR[:4]}, {"type": "output_text", "text": PAIR[4:]}], PAIR, ""),
        ([PAIR], PAIR, ""),
        ({"type": "text", "text": {"value": PAIR}}, PAIR, ""),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "[]"}],
            "[]",
            "hm",
        ),
        ([{"type": "reasoning", "text": "hm"}, {"type": "image_url"}, {"type": "text", "text": "[]"}], "[]", "hm"),
        (None, "", ""),
    ],
)
def test_content_may_come_in_parts(server: Server, content: Any, text: str, thinking: str) -> None:
    completion = one(server, said(content))
    assert (completion.text, completion.thinking, completion.finish_reason) == (text, thinking, "stop")


def test_an_answer_in_the_field_of_thoughts_alone_is_no_answer(server: Server) -> None:
    reply = said("", reasoning_content=PAIR)
    reply["choices"][0]["message"]["content"] = None
    completion = one(server, reply)
    assert (completion.text, completion.thinking) == ("", PAIR)


def test_the_shape_of_plain_completions_is_read(server: Server) -> None:
    assert one(server, {"choices": [{"text": PAIR, "finish_reason": "stop"}]}).text == PAIR


@pytest.mark.parametrize("logprobs", [{"content": None}, {"tokens": ["a"]}, [], {"content": [{"token": "x"}]}])
def test_log_probabilities_in_a_shape_of_their_own_are_none(server: Server, logprobs: Any) -> None:
    reply = said(PAIR)
    reply["choices"][0]["logprobs"] = logprobs
    completion = one(server, reply)
    assert (completion.text, completion.token_logprobs) == (PAIR, ())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "This model's maximum context length is 10 tokens.", "type": "BadRequestError"}}),
        (400, {"object": "error", "message": "maximum context length is 10 tokens", "code": 400}),
        (400, {"error": {"code": "context_length_exceeded", "message": "no"}}),
        (413, {"error": {"message": "Payload"}}),
        (413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
        (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"}),
        (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 2048", "error_type": "validation"}),
        (400, {"detail": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}),
        (400, {"detail": [{"msg": "prompt is too long: 9 tokens > 8 maximum"}]}),
        (400, {"message": "Requested tokens (3000) exceed context window of 2048"}),
        (500, {"error": {"message": "input length exceeds the context length"}}),
        (400, b"Error: too many tokens"),
        (400, {"error": {"message": "Please reduce the length of the messages"}}),
    ],
)
def test_a_prompt_that_is_too_long_is_known_in_every_dialect(server: Server, status: int, body: Any) -> None:
    assert one(server, body, status).finish_reason == "prompt_too_long"


@pytest.mark.parametrize(
    "message",
    ["response_format not supported", "unknown field: seed", "the model is loading", "invalid length of logit_bias"],
)
def test_other_refusals_are_not_called_too_long(message: str) -> None:
    assert not is_too_long(400, {"message": message})


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, {"error": {"message": "boom", "type": "server_error"}}, "an error (server_error: boom)"),
        (200, {"error": "boom"}, "an error (boom)"),
        (200, {"choices": []}, "holds no choices"),
        (200, {"choices": None, "detail": "engine gone"}, "an error (engine gone)"),
        (200, b"<html>proxy</html>", "another shape"),
        (200, b'{"choices": [{"mess', "another shape"),
        (200, b"[" * 100_000, "another shape"),
        (200, b"\xff\xfe", "another shape"),
        (200, {"choices": [{"message": {"content": 7}}]}, "another shape"),
        (200, {"choices": [7]}, "another shape"),
        (400, {"error": {"message": "response_format not supported"}}, "400 (response_format not supported)"),
        (400, b"plain words", "400 (plain words)"),
        (400, b"<html><b>plain</b> words</html>", "400 (plain words)"),
        (500, b"", "500"),
    ],
)
def test_the_cause_of_an_error_is_told(server: Server, status: int, body: Any, cause: str) -> None:
    reason = one(server, body, status).finish_reason
    assert reason.startswith("error: the server")
    assert cause in reason


def test_what_the_server_quotes_of_a_prompt_goes_no_further(server: Server) -> None:
    reason = one(server, {"error": {"message": "cannot tokenise 'Ada met Bob in Oslo'"}}, 400).finish_reason
    assert "cannot tokenise" in reason
    assert not any(word in reason for word in ("Ada", "Bob", "Oslo"))
    assert without_words_of("Bad: ADA, bob!", ["ada Bob"]) == "Bad: …!"


def test_a_body_of_any_depth_says_something_or_nothing() -> None:
    assert error_of(b"[" * 90_000)["message"].startswith("[")
    assert error_of({"error": {"error": {"message": "inner"}}})["message"] == "inner"
    assert error_of({"answer": 1}) == error_of([]) == error_of(None) == {}


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_of_gigabytes_is_not_read_to_its_end(server: Server, packed: bool) -> None:
    body = gzip.compress(b" " * (64 << 20)) if packed else b"x" * (4 << 20)
    server.reply = lambda _: (200, {"Content-Encoding": "gzip"} if packed else {}, body)
    exchange = Exchange({}, connections=1, timeout_s=20.0, retries=0, backoff_s=0.0, largest=1 << 20)
    with pytest.raises(TooLarge, match="more than 1 MiB"):
        exchange.post(server.url, b'{"messages": []}')
    exchange.close()


def test_a_compressed_answer_is_read(server: Server) -> None:
    packed = gzip.compress(json.dumps(said(PAIR)).encode())
    assert one(server, packed, headers={"Content-Encoding": "gzip"}).text == PAIR


def test_an_answer_that_never_ends_fails_alone_when_the_time_is_up() -> None:
    """A byte now and then: each keeps the connection alive, and none finishes the answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1 << 16)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.02):
                try:
                    client.sendall(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    engine = backend(_At(listener.getsockname()[1]), retries=0, timeout_s=0.3)
    started = time.monotonic()
    try:
        [(_, completion)] = engine.complete([prompt("x")])
    finally:
        over.set()
        engine.close()
        thread.join(10)
        listener.close()
    assert completion.finish_reason == "error: no whole answer within 0.3 s"
    assert time.monotonic() - started < 5


def test_each_kind_of_error_is_on_the_screen_once_and_its_cause_in_the_quarantine(
    server: Server, tmp_path: Path, settings: Settings
) -> None:
    """Servers that refuse half of the rows with one error, whose numbers differ, and a few with another."""

    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        number = len(server.bodies)
        if number % 2:
            return 400, {}, {"error": {"message": f"grammar {1000 + number} not supported", "type": "bad"}}
        return (200, {}, {"choices": []}) if number % 8 == 0 else (200, {}, said("[]"))

    server.reply = judge
    options = {"base_url": server.url, "retries": 0, "concurrency": 1}
    assert settings.backend is not None
    lenient = replace(settings.annotate, max_quarantined=1.0, max_failure_rate=1.0)
    asked = replace(
        settings, annotate=lenient, backend=BackendSettings(name="openai_server", model="m", options=options)
    )
    news: list[str] = []
    folder = run_of(tmp_path, asked, news)
    counts = pipeline.annotate(folder)["unlabelled"]
    causes = counts["causes"]
    assert sum(causes.values()) == counts["quarantined"]["engine_error"]
    assert "the server refused it with status 400 (bad: grammar N not supported)" in " ".join(causes)
    shown = [line for line in news if line.startswith("annotate unlabelled: engine_error: ")]
    assert len(shown) == len(causes) == 2
    rows = list(read_rows(folder.folder("annotate") / "quarantine.jsonl"))
    assert {row["finish_reason"][:17] for row in rows} == {"error: the server"}


class _At(Server):
    """An address alone."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
