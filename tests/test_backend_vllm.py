from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from model_fixtures import PAIRS, ner_prompt, plain_prompt, smollm_folder

from distill_offline.backends.base import Backend
from distill_offline.backends.vllm import Vllm
from distill_offline.errors import BackendError, MissingModel, MissingPackage
from distill_offline.schema import Completion, Prompt, Sampling

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
# The engine's own imports warn of PyTorch's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

PLAIN = ("Say hello.", "Write 東京 and 🎉 and Zürich.", "Name a colour.", "Count: one, two,")
STORY = "Tell me a long story about a dog."


@pytest.fixture(scope="module")
def folder() -> Path:
    return smollm_folder()


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[Vllm]:
    # In this process, and with little memory: what a test machine has.
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    options = {"max_model_len": 512, "max_num_seqs": 4, "enforce_eager": True}
    backend = Vllm(folder, Sampling(max_tokens=32, logprobs=True), options)
    yield backend
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        next(backend.complete([plain_prompt("Hello.")]))


def completions(backend: Backend, prompts: Sequence[Prompt]) -> list[Completion]:
    done = dict(backend.complete(prompts))
    assert sorted(done) == list(range(len(prompts)))
    return [done[position] for position in range(len(prompts))]


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_extra_that_brings_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    for name in ("VLLM_LOGGING_STREAM", "VLLM_LOGGING_LEVEL", "VLLM_USE_FLASHINFER_SAMPLER"):
        monkeypatch.setenv(name, "")
    with pytest.raises(MissingPackage, match=r"distill_offline\[vllm\]"):
        Vllm(tmp_path, Sampling(), {})


def test_missing_folder_is_told_before_the_engine_starts(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="nowhere"):
        Vllm(tmp_path / "nowhere", Sampling(), {})


@pytest.mark.slow
@needs_vllm
def test_greedy_texts_equal_those_of_transformers_on_the_same_weights(backend: Vllm, folder: Path) -> None:
    from distill_offline.backends.transformers import Transformers

    assert isinstance(backend, Backend)
    prompts = [plain_prompt(text) for text in PLAIN[:3]]
    prompts.append(ner_prompt("Nokia left Helsinki ."))
    oracle = Transformers(folder, Sampling(max_tokens=32, logprobs=True), {"dtype": "float32"})
    expected = completions(oracle, prompts)
    assert len({completion.text for completion in expected}) == len(prompts)
    for ours, theirs in zip(completions(backend, prompts), expected, strict=True):
        assert ours.text == theirs.text != ""
        assert ours.finish_reason == theirs.finish_reason
        assert (ours.prompt_tokens, ours.completion_tokens) == (theirs.prompt_tokens, theirs.completion_tokens)
        assert ours.token_texts == theirs.token_texts
        assert ours.token_logprobs == pytest.approx(theirs.token_logprobs, abs=1e-2)
    listed = [replace(plain_prompt(PLAIN[0]), first_tokens=20, max_tokens=1)]
    (ours,), (theirs,) = completions(backend, listed), completions(oracle, listed)
    assert len(ours.first_tokens) == len(theirs.first_tokens) == 20
    assert dict(ours.first_tokens).keys() == dict(theirs.first_tokens).keys()
    assert dict(ours.first_tokens) == pytest.approx(dict(theirs.first_tokens), abs=1e-2)
    assert backend.identity()["chat_template_sha256"] == oracle.identity()["chat_template_sha256"]


@pytest.mark.slow
@needs_vllm
def test_answers_follow_the_schema_in_compact_json(backend: Vllm) -> None:
    # Bounds that max_tokens cannot meet first.
    text = {"type": "string", "minLength": 1, "maxLength": 6}
    kinds = {"enum": ["PER", "ORG", "LOC"]}
    pair = {"type": "array", "prefixItems": [text, kinds], "items": False, "minItems": 2}
    entity = {
        "type": "object",
        "properties": {"text": text, "type": kinds},
        "required": ["text", "type"],
        "additionalProperties": False,
    }
    listed = {"type": "array", "items": entity, "minItems": 1, "maxItems": 1}
    pairs, entities = completions(
        backend,
        [
            ner_prompt("Nokia left Helsinki .", {"type": "array", "items": pair, "minItems": 1, "maxItems": 1}),
            plain_prompt(
                STORY,
                {
                    "type": "object",
                    "properties": {"entities": listed},
                    "required": ["entities"],
                    "additionalProperties": False,
                },
            ),
        ],
    )
    for completion, kind in ((pairs, list), (entities, dict)):
        assert completion.finish_reason == "stop"
        value = json.loads(completion.text)
        assert isinstance(value, kind)
        assert completion.text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert "".join(completion.token_texts) == completion.text
    (((mention, kind_of_mention),), (found,)) = json.loads(pairs.text), json.loads(entities.text)["entities"]
    assert len(mention) <= 6
    assert kind_of_mention in kinds["enum"]
    assert list(found) == ["text", "type"]


@pytest.mark.slow
@needs_vllm
def test_prompts_that_fail_alone_leave_their_neighbours_be(backend: Vllm) -> None:
    before, long, unenforceable, after = completions(
        backend,
        [
            plain_prompt(PLAIN[0]),
            plain_prompt("word " * 2000),
            plain_prompt(STORY, {**PAIRS, "uniqueItems": True}),
            plain_prompt(PLAIN[0]),
        ],
    )
    assert before.text == after.text != ""
    assert long.finish_reason == "prompt_too_long"
    assert long.prompt_tokens > 2000
    assert unenforceable.finish_reason.startswith("error: ")


@pytest.mark.slow
@needs_vllm
def test_shared_prefix_is_computed_once(backend: Vllm) -> None:
    # Only whole blocks are shared, and on a CPU a block holds 128 tokens.
    first, second = (completions(backend, [plain_prompt("rule " * 300 + text)])[0] for text in ("One.", "Two."))
    assert first.cached_tokens == 0
    assert 256 <= second.cached_tokens < second.prompt_tokens


@pytest.mark.slow
@needs_vllm
def test_prompts_are_taken_as_room_appears_and_an_abandoned_stream_is_cleaned_up(backend: Vllm) -> None:
    taken = 0

    def source() -> Iterator[Prompt]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield plain_prompt(PLAIN[2], PAIRS)

    stream = backend.complete(source())
    next(stream)
    assert taken == 8  # Twice max_num_seqs.
    for _ in range(4):
        next(stream)
    assert 9 <= taken <= 16
    assert isinstance(stream, Generator)
    stream.close()
    assert not backend._llm.llm_engine.has_unfinished_requests()
    assert [position for position, _ in backend.complete([plain_prompt(PLAIN[0])])] == [0]


@pytest.mark.slow
@needs_vllm
def test_identity_names_what_changes_answers(backend: Vllm, folder: Path) -> None:
    identity = dict(backend.identity())
    assert identity["backend"] == "vllm"
    assert identity["dtype"] == "float32"
    assert identity["max_model_len"] == 512
    assert "max_num_seqs" not in identity
    assert str(folder) not in json.dumps(identity)


@pytest.mark.slow
@needs_vllm
def test_telemetry_and_the_hub_are_off(backend: Vllm) -> None:
    assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["DO_NOT_TRACK"] == os.environ["HF_HUB_OFFLINE"] == "1"
