from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_fake import Server, answers, backend, prompt, said

from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.errors import ConfigError
from distill_offline.schema import Message, Prompt, Sampling


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def test_answers_come_under_their_positions_with_token_counts(server: Server) -> None:
    completions = answers(backend(server), *(f"t{n}" for n in range(40)))
    assert [c.text for c in completions] == [f"T{n}" for n in range(40)]
    assert {(c.finish_reason, c.prompt_tokens, c.completion_tokens, c.cached_tokens) for c in completions} == {
        ("stop", 7, 3, 5)
    }


def test_the_request_carries_sampling_schema_and_the_served_name(server: Server) -> None:
    schema = {"type": "array"}
    engine = backend(server, Sampling(0.7, 0.9, 33, seed=5, logprobs=True), extra={"top_k": 4})
    list(engine.complete([Prompt("s", (Message("user", "x"),), schema, sample=2)]))
    engine.close()
    [body] = server.bodies
    assert body["model"] == "my/model"
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.7, 0.9, 33, 7)
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert (body["logprobs"], body["top_k"]) == (True, 4)
    assert not {"top_logprobs", "min_p", "structured_outputs", "grammar"} & set(body)
    server.bodies.clear()
    free = backend(server, Sampling(structured=False))
    list(free.complete([prompt("x", schema)]))
    free.close()
    assert "response_format" not in server.bodies[0]


@pytest.mark.parametrize(
    ("kind", "plain", "ours"),
    [
        ("vllm", {"repetition_penalty": 1.0}, lambda body: body["structured_outputs"]["grammar"]),
        ("llama.cpp", {"repeat_penalty": 1.0, "top_logprobs": 1}, lambda body: body["grammar"]),
    ],
)
def test_a_known_server_gets_a_compact_grammar_and_no_sampling_of_its_own(
    server: Server, kind: str, plain: dict[str, Any], ours: Callable[[dict[str, Any]], str]
) -> None:
    engine = backend(server, Sampling(logprobs=True), server=kind)
    fine, odd = dict(engine.complete([prompt("x", {"const": "a"}), prompt("y", {"$ref": "#/x"})])).values()
    engine.close()
    [body] = server.bodies
    assert ours(body).startswith("root ::=")
    assert "response_format" not in body
    assert body.items() >= {"top_k": 0, "min_p": 0.0, **plain}.items()
    assert {fine.text, odd.text} == {"X", ""}
    assert "has no grammar" in fine.finish_reason + odd.finish_reason
    assert engine.identity()["server"] == kind


def test_a_prompt_with_more_room_says_so(server: Server) -> None:
    engine = backend(server, Sampling(max_tokens=8))
    list(engine.complete([Prompt("s", (Message("user", "x"),)), Prompt("s", (Message("user", "y"),), max_tokens=90)]))
    engine.close()
    assert {body["messages"][0]["content"]: body["max_tokens"] for body in server.bodies} == {"x": 8, "y": 90}


def test_concurrency_is_bounded_and_used(server: Server) -> None:
    def slowly(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        time.sleep(0.05)
        return 200, {}, said("x")

    server.reply = slowly
    answers(backend(server, concurrency=3), *map(str, range(15)))
    assert server.busiest == 3


def test_a_prompt_that_is_too_long_or_refused_fails_alone(server: Server) -> None:
    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        text = body["messages"][-1]["content"]
        if text == "long":
            return 400, {}, {"error": {"message": "This model's maximum context length is 8 tokens, not 9"}}
        if text == "bulky":
            return 422, {}, {"error": {"message": "cannot read 'bulky'", "type": "BadRequestError"}}
        if text == "odd":
            return 200, {}, {"choices": []}
        return 200, {}, said("fine")

    server.reply = judge
    long, bad, odd, fine = answers(backend(server), "long", "bulky", "odd", "fine")
    assert long.finish_reason == "prompt_too_long"
    assert bad.finish_reason == "error: the server refused it with status 422 (BadRequestError): cannot read '…'"
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


@pytest.mark.parametrize(
    ("content", "tokens", "texts", "logprobs"),
    [
        # llama.cpp: a token has its own bytes, the end-of-turn token none.
        ("é", [([0xC3], -0.5), ([0xA9], -0.25), ([], 0)], ("", "é"), (-0.5, -0.25)),
        # vLLM: a character's bytes are all at its last token, the end-of-turn token has those of its name.
        ("é", [([], -0.5), ([0xC3, 0xA9], -0.25), (list(b"<|end|>"), 0)], ("", "é"), (-0.5, -0.25)),
        # Others: no end-of-turn token, or no bytes at all.
        ("aa", [([97], -0.5), ([97], -0.25)], ("a", "a"), (-0.5, -0.25)),
        ("", [(list(b"<|end|>"), 0)], (), ()),
        ("[]", [(None, -0.5)], (), ()),
        # The server has split the thinking off, the tokens have it still.
        ("[]", [(list(b"<think>x</think>"), -1), (list(b"[]"), -0.5), (list(b"<e>"), 0)], None, (-1, -0.5)),
    ],
)
def test_log_probabilities_belong_to_the_tokens_that_spell_the_answer(
    server: Server, content: str, tokens: list[Any], texts: tuple[str, ...] | None, logprobs: tuple[float, ...]
) -> None:
    reply = said(content)
    reply["choices"][0]["logprobs"] = {"content": [{"bytes": b, "logprob": p} for b, p in tokens]}
    server.reply = lambda body: (200, {}, reply)
    [completion] = answers(backend(server, Sampling(logprobs=True)), "x")
    assert completion.text == content
    assert texts is None or completion.token_texts == texts
    assert completion.token_logprobs == logprobs


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
