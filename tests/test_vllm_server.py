"""openai_server against vLLM's own API server, with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import vllm_server
from model_fixtures import PAIRS, ner_prompt, plain_prompt, smollm_folder

from distill_offline.backends.base import Backend
from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.errors import ConfigError
from distill_offline.schema import Completion, Message, Prompt, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
    # The engine's own imports warn of PyTorch's deprecations.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

STORY = "Tell me a long story about a dog."
# As the task writes it; bounded, so that max_tokens is never met first.
TEXT = {"type": "string", "minLength": 1, "maxLength": 12}
KIND = {"enum": ["PER", "ORG", "LOC"]}
PAIR = {"type": "array", "prefixItems": [TEXT, KIND], "minItems": 2, "maxItems": 2}
LISTED = {"type": "array", "items": PAIR, "minItems": 1, "maxItems": 2}
ENTITY = {"type": "object", "properties": {"text": TEXT, "type": KIND}, "required": ["text", "type"]}
ENTITIES = {
    "type": "object",
    "properties": {"entities": {"type": "array", "items": ENTITY, "minItems": 1, "maxItems": 2}},
    "required": ["entities"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder() -> Path:
    return smollm_folder()


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with vllm_server.running(folder, log, "--enable-prompt-tokens-details") as address:
        yield address


def engine(url: str, sampling: Sampling | None = None, /, model: str = "smollm", **options: Any) -> OpenAIServer:
    options = {"base_url": url, "server": "vllm", "retries": 1, **options}
    return OpenAIServer(Path(model), sampling or Sampling(max_tokens=48), options)


def completions(backend: Backend, prompts: Sequence[Prompt]) -> list[Completion]:
    done = dict(backend.complete(prompts))
    backend.close()
    assert sorted(done) == list(range(len(prompts)))
    return [done[position] for position in range(len(prompts))]


def test_greedy_answers_equal_those_of_transformers_on_the_same_weights(url: str, folder: Path) -> None:
    from distill_offline.backends.transformers import Transformers

    sampling = Sampling(max_tokens=24, logprobs=True)
    prompts = [plain_prompt(text) for text in ("Say hello.", "Write 東京 and 🎉 and Zürich.", "Name a colour.")]
    prompts.append(ner_prompt("Nokia left Helsinki ."))
    expected = completions(Transformers(folder, sampling, {"dtype": "float32"}), prompts)
    for ours, theirs in zip(completions(engine(url, sampling), prompts), expected, strict=True):
        assert ours.text == theirs.text != ""
        assert ours.finish_reason == theirs.finish_reason
        assert (ours.prompt_tokens, ours.completion_tokens) == (theirs.prompt_tokens, theirs.completion_tokens)
        assert ours.token_texts == theirs.token_texts
        assert ours.token_logprobs == pytest.approx(theirs.token_logprobs, abs=1e-2)
        assert "".join(ours.token_texts) == ours.text


@pytest.mark.parametrize("schema", [LISTED, ENTITIES], ids=["listed", "entities"])
def test_a_schema_is_enforced_in_compact_json(url: str, schema: dict[str, Any]) -> None:
    sampling = Sampling(max_tokens=160, logprobs=True)
    for completion in completions(
        engine(url, sampling), [plain_prompt(STORY, schema), ner_prompt("Nokia left Helsinki .", schema)]
    ):
        assert completion.finish_reason == "stop"
        value = json.loads(completion.text)
        assert completion.text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert "".join(completion.token_texts) == completion.text
        assert len(completion.token_logprobs) == len(completion.token_texts)


def test_response_format_which_every_server_has_is_enforced_as_well(url: str) -> None:
    with closing(engine(url, server=None)) as served:
        ((_, listed),) = served.complete([ner_prompt("Nokia left Helsinki .", LISTED)])
        # It took a schema before: this prompt alone is at fault.
        ((_, refused),) = served.complete([plain_prompt(STORY, {**PAIRS, "uniqueItems": True})])
    assert listed.finish_reason == "stop"
    assert all(kind in ("PER", "ORG", "LOC") for _, kind in json.loads(listed.text))
    assert refused.finish_reason.startswith("error: the server refused it with status 400 (BadRequestError)")


def test_a_prompt_fails_alone_where_it_is_too_long_and_gets_more_room_where_it_says_so(url: str) -> None:
    shared = Prompt("s", (Message("user", "rule " * 300 + "One."),), max_tokens=2)
    long, cut, roomy, first = completions(
        engine(url, Sampling(max_tokens=5)),
        [
            plain_prompt("word " * 2000),
            plain_prompt(STORY),
            Prompt("s", (Message("user", STORY),), None, 0, 20),
            shared,
        ],
    )
    assert (long.finish_reason, long.text) == ("prompt_too_long", "")
    assert (cut.finish_reason, cut.completion_tokens, roomy.completion_tokens) == ("length", 5, 20)
    assert roomy.text.startswith(cut.text)
    (again,) = completions(engine(url, Sampling(max_tokens=5)), [shared])
    assert again.text == first.text
    assert again.cached_tokens >= 128


def test_a_short_answer_overtakes_a_long_one(url: str) -> None:
    prompts = [Prompt("s", (Message("user", STORY),), max_tokens=64)]
    prompts += [Prompt("s", (Message("user", f"Say {word}."),), max_tokens=2) for word in ("one", "two", "three")]
    order = [position for position, _ in engine(url, concurrency=3).complete(prompts)]
    assert sorted(order) == [0, 1, 2, 3]
    assert order[-1] == 0


def test_a_name_that_the_server_does_not_know_stops_the_run(url: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.model: the server does not know the model 'another' \(status 404"):
        completions(engine(url, model="another"), [plain_prompt("Say hello.")])
