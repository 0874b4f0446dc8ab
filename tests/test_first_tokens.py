"""The likeliest first tokens of an answer, as each engine lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import SMOLLM, plain_prompt, real_model, tiny_llama
from openai_fake import Server, backend, said

from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.backends.ray_worker import decode_completion, encode_completion
from distill_offline.backends.transformers import Transformers
from distill_offline.completions import Answer, CompletionStore
from distill_offline.schema import Completion, Sampling

LISTED = replace(plain_prompt("Zürich", sentence_id="z"), max_tokens=1, first_tokens=5)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_transformers_lists_what_a_forward_pass_says_of_the_next_token(tmp_path: Path, temperature: float) -> None:
    import torch

    engine = Transformers(tiny_llama(tmp_path), Sampling(temperature=temperature, top_p=0.5), {})
    plain = replace(LISTED, first_tokens=0, sentence_id="y")
    found = dict(engine.complete([LISTED, plain]))
    with torch.inference_mode():
        head = engine.chat.token_ids(LISTED.messages)
        expected = engine.model(torch.tensor([head])).logits[0, -1].log_softmax(-1).topk(5)
    texts = [engine.tokenizer.decode([token]) for token in expected.indices.tolist()]
    assert [text for text, _ in found[0].first_tokens] == texts
    assert [log for _, log in found[0].first_tokens] == pytest.approx(expected.values.tolist(), abs=1e-4)
    assert found[1].first_tokens == ()


def test_servers_are_asked_for_them_and_only_where_a_prompt_is(server: Server) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        answer = said("No")
        listed = [{"token": "No", "logprob": -0.5}, {"token": " Yes", "logprob": -9999.0}, {"token": "Y", "logprob": 0}]
        answer["choices"][0]["logprobs"] = {"content": [{"token": "No", "logprob": -0.5, "top_logprobs": listed}]}
        return 200, {}, answer

    server.reply = reply
    engine = backend(server)
    found = dict(engine.complete([LISTED, replace(LISTED, first_tokens=0)]))
    engine.close()
    assert found[0].first_tokens == (("Y", 0.0), ("No", -0.5), (" Yes", -9999.0))
    assert found[1].first_tokens == ()
    asked = sorted((body.get("top_logprobs", 0), body.get("logprobs", False)) for body in server.bodies)
    assert asked == [(0, False), (5, True)]


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": []}, {"content": [{"top_logprobs": "x"}]}, {"content": [{"top_logprobs": [{}]}]}]
)
def test_answer_without_them_is_an_answer_all_the_same(server: Server, logprobs: Any) -> None:
    answer = said("No")
    answer["choices"][0]["logprobs"] = logprobs
    server.reply = lambda body: (200, {}, answer)
    engine = backend(server)
    ((_, completion),) = engine.complete([LISTED])
    engine.close()
    assert (completion.text, completion.first_tokens) == ("No", ())


def test_they_survive_the_store_and_the_wire(tmp_path: Path) -> None:
    completion = Completion("Yes", "length", first_tokens=(("Yes", -0.25), (" no", -1.5)))
    assert decode_completion(encode_completion(completion)) == completion
    with CompletionStore(tmp_path / "store.sqlite") as store:
        store.add([Answer(b"key", b"recipe", "a", "d", completion)])
        assert store.get(b"key") == completion


@pytest.mark.slow
@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_llama_cpp_lists_the_chosen_token_first_with_its_own_probability() -> None:
    engine = LlamaCpp(real_model(SMOLLM), Sampling(logprobs=True), {"slots": 1, "context": 512, "threads": 1})
    ((_, completion),) = engine.complete([LISTED])
    engine.close()
    logs = [log for _, log in completion.first_tokens]
    assert len(logs) == 5
    assert logs == sorted(logs, reverse=True)
    assert completion.first_tokens[0][0] == completion.token_texts[0]
    assert logs[0] == pytest.approx(completion.token_logprobs[0])
