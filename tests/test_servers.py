"""openai_server against llama.cpp's own HTTP server, with a real model. (vLLM's: test_vllm_server.py.)"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llama_server
import pytest
from model_fixtures import ENTITIES, PAIRS, SMOLLM, ner_prompt, plain_prompt, real_model

from distill_offline.backends.base import Backend
from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.schema import Completion, Message, Prompt, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed"),
]

STORY = "Tell me a long story about a dog."
SENTENCES = ("Peter Blackburn visited Brussels .", "Nokia left Helsinki .", "EU rejects German call .", "It rained .")
# As the task writes it.
PAIR = {"type": "array", "prefixItems": [{"type": "string"}, {"enum": ["PER", "ORG", "LOC"]}]}
LISTED = {"type": "array", "items": {**PAIR, "minItems": 2, "maxItems": 2}}


@pytest.fixture(scope="module")
def gguf() -> Path:
    return next(real_model(SMOLLM).glob("*.gguf"))


@pytest.fixture(scope="module")
def url(gguf: Path) -> Iterator[str]:
    """One slot: batched sums round differently, and greedy texts are compared."""
    with llama_server.running(gguf, slots=1, context=1024) as (address, _):
        yield address


def engine(url: str, sampling: Sampling | None = None, /, **options: Any) -> OpenAIServer:
    return OpenAIServer(Path("smollm"), sampling or Sampling(max_tokens=48), {"base_url": url, **options})


def completions(backend: Backend, prompts: Sequence[Prompt]) -> list[Completion]:
    done = dict(backend.complete(prompts))
    backend.close()
    assert sorted(done) == list(range(len(prompts)))
    return [done[position] for position in range(len(prompts))]


def test_greedy_answers_equal_those_of_the_backend_that_holds_the_same_model_itself(url: str) -> None:
    sampling = Sampling(max_tokens=32, logprobs=True)
    prompts = [plain_prompt(text) for text in ("Say hello.", "Repeat: Zürich, 東京 and 🎉.", STORY)]
    prompts += [ner_prompt(sentence, LISTED) for sentence in SENTENCES]
    ours = completions(engine(url, sampling, server="llama.cpp", concurrency=1), prompts)
    local = LlamaCpp(real_model(SMOLLM), sampling, {"slots": 1, "context": 1024})
    for served, held in zip(ours, completions(local, prompts), strict=True):
        assert served.text == held.text != ""
        assert served.finish_reason == held.finish_reason
        assert (served.prompt_tokens, served.completion_tokens) == (held.prompt_tokens, held.completion_tokens)
        assert served.token_texts == held.token_texts
        # Sums round differently where another part of a prompt comes from the cache.
        assert served.token_logprobs == pytest.approx(held.token_logprobs, abs=0.1)
        assert "".join(served.token_texts) == served.text
    assert any(completion.cached_tokens for completion in ours)


@pytest.mark.parametrize("schema", [PAIRS, ENTITIES, LISTED], ids=["pairs", "entities", "listed"])
def test_a_schema_is_enforced_in_compact_json(url: str, schema: dict[str, Any]) -> None:
    prompts = [plain_prompt(STORY, schema), *(ner_prompt(sentence, schema) for sentence in SENTENCES[:2])]
    for completion in completions(engine(url, Sampling(max_tokens=400), server="llama.cpp"), prompts):
        assert completion.finish_reason == "stop"
        value = json.loads(completion.text)
        assert completion.text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_response_format_which_every_server_has_is_enforced_as_well(url: str) -> None:
    with closing(engine(url)) as served:
        ((_, listed),) = served.complete([ner_prompt(SENTENCES[0], LISTED)])
        # This server does not know `"items": false`. It took a schema before: this prompt alone is at fault.
        ((_, refused),) = served.complete([plain_prompt(STORY, PAIRS)])
    assert listed.finish_reason == "stop"
    assert all(kind in ("PER", "ORG", "LOC") for _, kind in json.loads(listed.text))
    assert refused.finish_reason.startswith("error: the server refused it with status 400 (invalid_request_error)")


def test_a_server_that_refuses_the_first_schema_is_asked_without_one(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = completions(engine(url), [plain_prompt(STORY, PAIRS)])
    assert answer.finish_reason in ("stop", "length")
    assert answer.text
    assert "asked without from now on" in caplog.text


def test_an_overlong_prompt_is_told_with_its_length_and_leaves_its_neighbours_be(url: str) -> None:
    before, long, after = completions(
        engine(url), [plain_prompt("Say hello."), plain_prompt("word " * 3000), plain_prompt("Say hello.")]
    )
    assert long.finish_reason == "prompt_too_long"
    assert long.prompt_tokens > 3000
    assert before.text == after.text != ""


def test_a_prompt_with_more_room_gets_it(url: str) -> None:
    cut, longer = completions(
        engine(url, Sampling(max_tokens=5)),
        [plain_prompt(STORY), Prompt("s", (Message("user", STORY),), max_tokens=20)],
    )
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 5)
    assert longer.completion_tokens == 20
    assert longer.text.startswith(cut.text)


def test_a_short_answer_overtakes_a_long_one_and_a_restarted_server_is_asked_again(gguf: Path) -> None:
    prompts = [Prompt("s", (Message("user", STORY),), max_tokens=96)]
    prompts += [Prompt("s", (Message("user", f"Say {word}."),), max_tokens=4) for word in ("one", "two", "three")]
    reborn: list[subprocess.Popen[str]] = []
    ended = threading.Event()
    with llama_server.running(gguf, slots=2, context=512) as (address, process):
        port = int(address.removesuffix("/v1").rpartition(":")[2])

        def die_and_come_back() -> None:
            process.kill()
            process.wait()
            time.sleep(0.5)
            with llama_server.running(gguf, slots=2, context=512, port=port) as (_, second):
                reborn.append(second)
                ended.wait(120)

        restart = threading.Thread(target=die_and_come_back)
        order: list[int] = []
        backend = engine(address, concurrency=3, backoff_s=0.2)
        for position, completion in backend.complete(prompts):
            if not order:
                restart.start()
            order.append(position)
            assert completion.finish_reason in ("stop", "length")
            assert completion.text
        ended.set()
        restart.join()
        backend.close()
    assert sorted(order) == [0, 1, 2, 3]
    assert order[0] != 0
    assert order[-1] == 0
    assert len(reborn) == 1
