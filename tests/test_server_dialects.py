"""openai_server: what servers of other makes answer, and how they say that they do not."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from openai_fake import Server, answers, backend, prompt, said

from distill_offline.backends.chat_completion import finish_of, read_chat_completion
from distill_offline.backends.server_errors import Fault, fault_in, seconds_to_wait, without_echo
from distill_offline.schema import Completion, Message, Prompt, Sampling

ANSWER = '[["Ada Lovelace","PERSON"]]'


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def answered(server: Server, status: int, content: Any, headers: dict[str, str] | None = None) -> Completion:
    server.reply = lambda body: (status, headers or {}, content)
    return answers(backend(server, retries=0), "Maria Keller of Nordbank")[0]


def choice(**changes: Any) -> dict[str, Any]:
    whole = {"message": {"content": ANSWER}, "finish_reason": "stop"} | changes
    return {"choices": [{key: value for key, value in whole.items() if value != "left out"}]}


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        *((word, "stop") for word in ("stop", "STOP", "eos_token", "eos", "end_turn", "stop_sequence", "COMPLETE")),
        *((word, "stop") for word in (None, "", "left out", "tool_calls", "function_call", {"type": "stop"}, "</s>")),
        *((word, "length") for word in ("length", "max_tokens", "MAX_TOKENS", "FINISH_REASON_MAX_TOKENS")),
        *((word, "length") for word in ("model_length", "model_context_window_exceeded", {"type": "length"})),
        *((word, "content_filter") for word in ("content_filter", "SAFETY", "refusal", "RECITATION", "ERROR_TOXIC")),
        *((word, "error: the server broke off the answer") for word in ("error", "abort", "cancelled", "timeout")),
    ],
)
def test_why_an_answer_ended_is_understood(word: Any, finish: str) -> None:
    assert read_chat_completion(choice(finish_reason=word), prompt("x")).finish_reason == finish


@pytest.mark.parametrize(("tokens", "finish"), [(8, "length"), (9, "length"), (7, "stop"), (None, "stop")])
def test_an_answer_that_does_not_say_why_it_ended_was_cut_off_if_it_is_as_long_as_it_may_be(
    tokens: int | None, finish: str
) -> None:
    response = choice(finish_reason=None) | {"usage": {"completion_tokens": tokens}}
    assert read_chat_completion(response, prompt("x"), max_tokens=8).finish_reason == finish
    assert finish_of("stop", is_full=True) == "stop"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (0, 0, 0)),
        ({"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}, (0, 0, 0)),
        (
            {"prompt_tokens": "12", "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": "4"}},
            (12, 3, 4),
        ),
        ({"input_tokens": 7, "output_tokens": 2}, (7, 2, 0)),
        ({"prompt_tokens": -1, "completion_tokens": True, "prompt_tokens_details": []}, (0, 0, 0)),
        (
            {"prompt_tokens": 1e300, "completion_tokens": 2**70, "prompt_tokens_details": {"cached_tokens": []}},
            (0, 0, 0),
        ),
        ({"prompt_tokens": float("nan"), "completion_tokens": {"a": 1}}, (0, 0, 0)),
        ("none", (0, 0, 0)),
        ([], (0, 0, 0)),
    ],
)
def test_counts_of_any_kind_cost_no_answer(usage: Any, counts: tuple[int, int, int]) -> None:
    found = read_chat_completion(choice() | {"usage": usage}, prompt("x"))
    assert (found.text, found.finish_reason) == (ANSWER, "stop")
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == counts


@pytest.mark.parametrize(
    ("changes", "text", "thinking"),
    [
        ({"message": {"content": [{"type": "text", "text": ANSWER}]}}, ANSWER, ""),
        ({"message": {"content": [{"type": "output_text", "text": "[["}, {"type": "text", "text": "]]"}]}}, "[[]]", ""),
        ({"message": {"content": ["[", "]"]}}, "[]", ""),
        ({"message": {"content": {"type": "text", "text": ANSWER}}}, ANSWER, ""),
        ({"message": {"content": {"parts": [{"text": ANSWER}]}}}, ANSWER, ""),
        (
            {"message": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "[]"]}},
            "[]",
            "hm",
        ),
        ({"message": {"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "[]"}]}}, "[]", "hm"),
        ({"message": {"content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "[]"}]}}, "[]", ""),
        # An answer that the server has parsed.
        ({"message": {"content": [["Ada", "PERSON"]]}}, '[["Ada", "PERSON"]]', ""),
        ({"message": {"content": {"entities": []}}}, '{"entities": []}', ""),
        ({"message": {"content": [{"text": "Ada", "type": "PERSON"}]}}, '[{"text": "Ada", "type": "PERSON"}]', ""),
        # Parts of kinds that are not known yet, beside one that is.
        ({"message": {"content": [{"type": "memo", "text": "[[1]]"}, {"type": "text", "text": "[]"}]}}, "[]", ""),
        ({"message": {"content": [7, {"type": "text", "text": "[]"}, {"type": "memo"}]}}, "[]", ""),
        # No chat, or a stream's piece.
        ({"message": "left out", "text": ANSWER}, ANSWER, ""),
        ({"message": None, "delta": {"content": ANSWER}}, ANSWER, ""),
        ({"message": ANSWER}, ANSWER, ""),
        # Thinking is no answer, whatever it holds.
        ({"message": {"content": None, "reasoning_content": ANSWER}}, "", ANSWER),
        ({"message": {"content": "[]", "reasoning": {"effort": 1}}}, "[]", ""),
        # A part without a text, and no parts at all: nothing was said.
        ({"message": {"content": [{"type": "text", "text": None}]}}, "", ""),
        ({"message": {"content": []}}, "", ""),
        ({"message": {"content": None, "tool_calls": []}, "finish_reason": "tool_calls"}, "", ""),
    ],
)
def test_an_answer_is_found_wherever_it_lies(changes: dict[str, Any], text: str, thinking: str) -> None:
    found = read_chat_completion(choice(**changes), prompt("x"))
    assert (found.text, found.thinking, found.finish_reason) == (text, thinking, "stop")


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "left out", "finish_reason": "content_filter"},
        {"message": {"content": None, "refusal": "I cannot"}},
        {"message": {"content": "[]", "refusal": "I cannot"}},
        {"message": {"content": ""}, "finish_reason": "SAFETY"},
    ],
)
def test_an_answer_that_was_withheld_is_told_from_an_empty_one(changes: dict[str, Any]) -> None:
    assert read_chat_completion(choice(**changes), prompt("x")).finish_reason == "content_filter"


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"tokens": ["a"], "token_logprobs": [-0.5]},
        {"content": [{"token": "a", "logprob": None}]},
        {"content": [{"token": "a", "bytes": [97], "logprob": float("nan")}]},
        {"content": [{"token": "a", "bytes": [97], "logprob": 3.0}]},
        {"content": [{"token": "a", "bytes": [970], "logprob": -1}]},
        {"content": [{"token": "a", "bytes": "a", "logprob": -1}]},
        {"content": ["a"]},
        [],
    ],
)
def test_log_probabilities_that_are_none_are_left_out(logprobs: Any) -> None:
    found = read_chat_completion(choice(logprobs=logprobs), prompt("x"))
    assert (found.text, found.token_texts, found.token_logprobs) == (ANSWER, (), ())


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ({"error": {"message": "boom"}}, "the server answers with an error: boom"),
        ({"error": "boom"}, "the server answers with an error: boom"),
        ({"error": {"type": "overloaded", "message": ""}}, "the server answers with an error (overloaded)"),
        ({"object": "error", "message": "boom", "type": "X"}, "the server answers with an error (X): boom"),
        ({"detail": "boom"}, "the server answers with an error: boom"),
        ({"detail": [{"loc": ["seed"], "msg": "too big"}]}, "the server answers with an error: seed: too big"),
        ({"message": "boom"}, "the server answers with an error: boom"),
        ({"choices": None, "detail": "engine gone"}, "the server answers with an error: engine gone"),
        ([{"error": {"code": 499, "message": "boom"}}], "the server refused it with status 499: boom"),
        ({"errors": [{"message": "boom"}]}, "the server answers with an error: boom"),
        ({"success": False, "msg": "quota"}, "the server answers with an error: quota"),
        ({"code": 418, "msg": "boom"}, "the server refused it with status 418: boom"),
        ({"success": False}, "the server answers with an error"),
        ({"choices": []}, "the server's answer has another shape (it has no choices)"),
        ({"choices": {}}, "the server's answer has another shape (it has no choices)"),
        ({"choices": [None]}, "the server's answer has another shape (it has no choices)"),
        ({"choices": [{}]}, "the server's answer has another shape (it has no message)"),
        ([], "the server's answer has another shape (AttributeError)"),
        (b"", "the server's answer is not JSON, or breaks off"),
        (b'{"choices": [{"message": {"content": "[', "the server's answer is not JSON, or breaks off"),
        (b"<html><body>Maria Keller</body></html>", "the server's answer is not JSON, or breaks off"),
        (b'{"choices": [{"message": {"content": "\xff"}}]}', "the server's answer is not UTF-8"),
        (b'{"choices": ' + b"[" * 200_000, "the server's answer is nested too deeply"),
        (b'{"choices": ' + b"9" * 5000 + b"}", "the server's answer is not JSON, or breaks off"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_says_why_in_few_words(server: Server, content: Any, cause: str) -> None:
    assert answered(server, 200, content).finish_reason == f"error: {cause}"


@pytest.mark.parametrize(
    ("status", "content", "cause"),
    [
        (400, {"error": {"message": "bad seed", "type": "BadRequest", "code": 400}}, " (BadRequest): bad seed"),
        (400, {"error": {"message": "cannot parse 'Maria Keller'", "code": "x"}}, " (x): cannot parse '…'"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "bad", "input": "Maria Keller"}]}, ": body.n: bad"),
        (418, b"Nordbank says no\n", ": … says no"),
        (418, b"<html><head><title>Teapot</title></head><body>Maria Keller</body></html>", ": Teapot"),
        (418, b"<p>short &amp; stout</p>", ": short & stout"),
        (418, b"", ""),
        (418, b'{"error": {"mess', ': {"error": {"mess'),
        (418, {"error": {"message": ["a", "b"], "type": ["Maria"]}}, ": a"),
        (500, {"error": {"type": "MariaError", "message": None}}, ""),
    ],
)  # fmt: skip
def test_a_refusal_carries_what_the_server_said_without_the_prompts_words(
    server: Server, status: int, content: Any, cause: str
) -> None:
    found = answered(server, status, content)
    assert found.finish_reason == f"error: the server refused it with status {status}{cause}"


TOO_LONG = """\
This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4744 in the messages).
The decoder prompt (length 5000) is longer than the maximum model length of 4096.
'max_tokens' is too large: 256. This model's maximum context length is 512 tokens and your request has 400 input tokens
the request exceeds the available context size, try increasing it
Requested tokens (1200) exceed context window of 512
Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. LabelledSentence: 2000 and 256
Input validation error: `inputs` must have less than 1024 tokens. LabelledSentence: 1500
Trying to keep the first 5000 tokens when context the overflows. The model is loaded with context length of only 4096
The number of tokens to keep from the initial prompt is greater than the context length.
input length exceeds maximum context length
prompt too long; exceeded max context length by 40 tokens
The input (5000 tokens) is longer than the model's context length (4096 tokens).
Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens).
litellm.ContextWindowExceededError: litellm.BadRequestError
prompt is too long: 210000 tokens > 200000 maximum
The input token count (1000001) exceeds the maximum number of tokens allowed (1000000).
Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length
too many tokens: total number of tokens in the prompt cannot exceed 4081
Please reduce the length of the messages or completion.
Prompt length 5000 is greater than max_seq_len 4096
Range of input length should be [1, 6000]
Your input exceeds the context window of this model.
""".splitlines()


@pytest.mark.parametrize("message", TOO_LONG)
@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_every_way_to_say_that_a_prompt_is_too_long_is_understood(message: str, status: int) -> None:
    for body in ({"error": {"message": message}}, {"object": "error", "message": message}, {"error": message}):
        fault = fault_in(json.dumps(body).encode(), is_refusal=status != 200)
        assert fault is not None
        assert fault.is_too_long(status)


@pytest.mark.parametrize(
    "message",
    [
        *("response_format not supported", "Grammar error", "max_tokens: Input should be greater than 0", "boom"),
        *("temperature must be less than or equal to 2", "Rate limit exceeded", "CUDA out of memory"),
        *("Requested sample logprobs of 20, which is greater than max allowed: 5", "the JSON schema is too large"),
        *("max_tokens is too large: 9000. This model supports at most 4096 completion tokens", "Too many requests"),
    ],
)
def test_other_refusals_are_not_taken_for_a_prompt_that_is_too_long(message: str) -> None:
    assert not Fault(message).is_too_long(400)


@pytest.mark.parametrize(
    ("status", "content", "tokens"),
    [
        (413, b"<html><title>413 Request Entity Too Large</title></html>", 0),
        (400, {"error": {"message": "no", "type": "exceed_context_size_error", "n_prompt_tokens": 3031}}, 3031),
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}, 0),
        (200, {"error": {"message": "maximum context length is 8", "code": 400}}, 0),
        (500, {"error": "prompt is too long"}, 0),
    ],
)
def test_a_prompt_that_is_too_long_is_asked_once(server: Server, status: int, content: Any, tokens: int) -> None:
    server.reply = lambda body: (status, {}, content)
    [found] = answers(backend(server, retries=3), "x")
    assert (found.finish_reason, found.prompt_tokens, len(server.bodies)) == ("prompt_too_long", tokens, 1)


@pytest.mark.parametrize(
    "content",
    [{"error": {"code": 503, "message": "warming up"}}, {"error": {"code": "429"}}, {"code": 500, "msg": "busy"}],
)
def test_a_busy_server_that_says_200_is_asked_again(server: Server, content: Any) -> None:
    replies: Iterator[Any] = iter([(200, {}, content), (200, {}, said("[]"))])
    server.reply = lambda body: next(replies)
    assert answers(backend(server), "x")[0].text == "[]"


def test_a_stream_that_nobody_asked_for_is_put_together(server: Server) -> None:
    def event(**delta: Any) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": None}]}).encode() + b"\n\n"

    whole = (
        event(role="assistant", content="") + event(reasoning_content="hm") + event(content="[") + event(content="]")
    )
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}\n\n'
    found = answered(server, 200, whole + end + b"data: [DONE]\n\n", {"Content-Type": "text/event-stream"})
    assert (found.text, found.thinking, found.finish_reason, found.completion_tokens) == ("[]", "hm", "stop", 2)
    assert answered(server, 200, whole).finish_reason == "error: the server's answer is not JSON, or breaks off"


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "boom"}}\n\n',
        b'event: error\ndata: {"message": "boom"}\n\n',
        b'event: error\ndata: "boom"\n\n',
        b'data: {"object": "error", "message": "boom"}\n\n',
    ],
)
def test_an_error_in_the_middle_of_a_stream_makes_no_answer_of_what_came_before(server: Server, event: bytes) -> None:
    begun = b'data: {"choices": [{"delta": {"content": "[]"}, "finish_reason": null}]}\n\n'
    for stream in (begun + event + b"data: [DONE]\n\n", event, b": ping\n\n" + event):
        assert answered(server, 200, stream).finish_reason == "error: the server answers with an error: boom"


def test_an_error_of_a_stream_that_may_pass_is_waited_for(server: Server) -> None:
    busy = b'data: {"error": {"message": "busy", "code": 503}}\n\n'
    replies: Iterator[Any] = iter([(200, {}, busy), (529, {}, {}), (200, {}, said("[]"))])
    server.reply = lambda body: next(replies)
    assert answers(backend(server, retries=2), "x")[0].text == "[]"


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (400, {"error": {"code": "content_filter", "message": "no"}}),
        (400, {"code": "content_filter", "message": "no"}),
        (200, {"error": {"type": "ContentPolicyViolationError", "message": "no"}}),
        (400, {"error": {"message": "The response was filtered due to our content management policy."}}),
    ],
)
def test_a_prompt_that_a_filter_holds_back_is_told_so_and_proves_nothing_of_schemas(
    server: Server, status: int, content: Any
) -> None:
    replies: Iterator[Any] = iter([(status, {}, content), (400, {}, {"error": "no schemas"}), (200, {}, said("[]"))])
    server.reply = lambda body: next(replies)
    first, second = asked_with_schema(server, "a", "b")
    assert (first.finish_reason, second.text) == ("content_filter", "[]")


def test_a_packed_answer_is_unpacked(server: Server) -> None:
    packed = gzip.compress(json.dumps(said("[]")).encode())
    assert answered(server, 200, packed, {"Content-Encoding": "gzip"}).text == "[]"
    for wrong in (packed[:-9], b"no gzip"):
        assert answered(server, 200, wrong, {"Content-Encoding": "gzip"}).finish_reason.startswith(
            "error: the server's"
        )
    assert "packed in a way" in answered(server, 200, packed, {"Content-Encoding": "gzip, gzip"}).finish_reason


def asked_with_schema(asked: Server, *texts: str, kind: str | None = None) -> list[Completion]:
    engine = backend(asked, concurrency=1, retries=0, server=kind)
    found = dict(engine.complete(prompt(text, {"type": "array", "items": {"type": "string"}}) for text in texts))
    engine.close()
    return [found[number] for number in range(len(texts))]


@pytest.mark.parametrize("kind", [None, "vllm"])
def test_a_server_that_knows_no_schemas_is_asked_without_one_and_that_is_said_once(
    server: Server, caplog: pytest.LogCaptureFixture, kind: str | None
) -> None:
    fields = {"response_format", "structured_outputs"}

    def judge(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        return (400, {}, {"error": {"message": "unknown field"}}) if fields & set(body) else (200, {}, said("[]"))

    server.reply = judge
    with caplog.at_level(logging.WARNING):
        found = asked_with_schema(server, "a", "b", "c", kind=kind)
    assert [completion.text for completion in found] == ["[]"] * 3
    assert [bool(fields & set(body)) for body in server.bodies] == [True, False, False, False]
    [line] = caplog.messages
    assert "status 400: unknown field" in line
    assert "asked without from now on" in line


def test_a_prompt_that_is_refused_with_and_without_a_schema_leaves_the_schema_in_force(server: Server) -> None:
    server.reply = lambda body: (400, {}, {}) if body["messages"][-1]["content"] == "bad" else (200, {}, said("[]"))
    bad, good, bad_again = asked_with_schema(server, "bad", "good", "bad")
    assert (good.text, bad.finish_reason) == ("[]", bad_again.finish_reason)
    # The first is tried both ways; once a schema has worked, it is not to blame.
    assert [("response_format" in body) for body in server.bodies] == [True, False, True, True]


def test_a_server_with_another_model_or_no_log_probabilities_is_told_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda body: (200, {}, said("[]") | {"model": "other-7b"})
    with caplog.at_level(logging.WARNING):
        answers(backend(server, Sampling(logprobs=True)), "a", "b")
        server.reply = lambda body: (200, {}, said("[]") | {"model": "org/Model-2024-08-06"})
        answers(backend(server), "a")
    assert [line.partition(":")[2] for line in caplog.messages] == [
        " the server gives no log-probabilities: labels will have no confidence.",
        " the server answers as 'other-7b', and was asked for 'my/model'.",
    ]


ASKED = Prompt("x", (Message("system", "Rules."), Message("user", "Maria Keller, 東京都に住む, Müller 4711.")))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("unsupported parameter", "unsupported parameter"),
        ("cannot parse 'Maria Keller'", "cannot parse '…'"),
        ("near <MARIA>, textMaria, foo_Keller_bar", "near <…"),
        ("M\\u00fcller", "…"),
        ("入力は東京です", "…"),
        ("patient 4711 of 12", "patient … of 12"),
        ("ids [101, 2023, 7592, 102]", "ids […]"),
        ("x" * 300, "…"),
        ("a\x1b[2J\nb", "a [2J b"),
        ("fault " * 100, ("fault " * 100)[:160] + " …"),
    ],
)
def test_no_word_of_the_prompt_is_shown(message: str, shown: str) -> None:
    found = without_echo(message, ASKED)
    assert not any(word in found.casefold() for word in ("maria", "keller", "müller", "4711", "東京"))
    assert found.startswith(shown)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("1.5", 1.5), ("86400", 60.0), ("", None), ("-5", None), ("nan", None), ("soon", None), ("1e9", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Fri, 31 Dec 2998 23:59:59 GMT", 60.0), ("Fri, 99 Foo 2998", None)],
)  # fmt: skip
def test_a_time_to_wait_is_read_as_seconds_or_date_and_bounded(header: str, seconds: float | None) -> None:
    assert seconds_to_wait(header, 60.0) == seconds
