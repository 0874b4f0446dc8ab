from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import crafted_models
import pytest
from model_fixtures import (
    ENTITIES,
    PAIRS,
    SMOLLM,
    WITH_THINKING,
    WITHOUT_SYSTEM,
    ner_prompt,
    plain_prompt,
    real_model,
)

from distill_offline.backends.base import Backend
from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.errors import BackendError, ConfigError, MissingModel
from distill_offline.schema import Completion, Message, Prompt, Sampling

# Not by importing it: the backend has something to settle before that.
pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")

SENTENCES = ("Peter Blackburn visited Brussels .", "Nokia left Helsinki .", "EU rejects German call .", "It rained .")
STORY = "Tell me a long story about a dog."


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaCpp]:
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=48, logprobs=True), {"slots": 2, "context": 1024})
    yield backend
    backend.close()


def completions(backend: LlamaCpp, prompts: Sequence[Prompt]) -> list[Completion]:
    done = dict(backend.complete(prompts))
    assert sorted(done) == list(range(len(prompts)))
    return [done[position] for position in range(len(prompts))]


def test_folder_without_a_gguf_file_is_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="no GGUF file"):
        LlamaCpp(tmp_path, Sampling(), {})


def test_context_too_small_to_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend\.options\.context"):
        LlamaCpp(tmp_path, Sampling(), {"context": 8})


@pytest.mark.slow
@pytest.mark.parametrize("schema", [PAIRS, ENTITIES], ids=["pairs", "entities"])
def test_answers_follow_the_schema_in_compact_json(backend: LlamaCpp, schema: dict[str, Any]) -> None:
    assert isinstance(backend, Backend)
    for completion in completions(backend, [ner_prompt(sentence, schema) for sentence in SENTENCES]):
        assert completion.finish_reason == "stop"
        value = json.loads(completion.text)
        assert completion.text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if schema is PAIRS:
            assert all(len(item) == 2 and item[1] in ("PER", "ORG", "LOC", "MISC") for item in value)
        else:
            assert list(value) == ["entities"]
            assert all(list(item) == ["text", "type"] for item in value["entities"])


@pytest.mark.slow
def test_schema_shapes_an_answer_that_would_be_prose(backend: LlamaCpp) -> None:
    free, shaped = completions(backend, [plain_prompt(STORY), plain_prompt(STORY, PAIRS)])
    assert free.finish_reason == "length"
    assert free.completion_tokens == 48
    assert isinstance(json.loads(shaped.text), list)


@pytest.mark.slow
def test_schema_is_left_alone_unless_sampling_is_structured() -> None:
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=8, structured=False), {"slots": 1, "context": 512})
    (completion,) = completions(backend, [plain_prompt(STORY, PAIRS)])
    backend.close()
    assert completion.text[0].isalpha()
    assert completion.token_texts == ()


@pytest.mark.slow
def test_schema_that_cannot_be_enforced_is_an_error_and_not_dropped(backend: LlamaCpp) -> None:
    unique, good, nonsense = completions(
        backend,
        [
            plain_prompt(STORY, {**PAIRS, "uniqueItems": True}),
            ner_prompt(SENTENCES[0]),
            plain_prompt(STORY, {"type": "x"}),
        ],
    )
    assert "cannot enforce" in unique.finish_reason
    assert unique.finish_reason.startswith("error: ")
    assert nonsense.finish_reason.startswith("error: ")
    assert good.finish_reason in ("stop", "length")


@pytest.mark.slow
def test_logprobs_cover_the_answer_token_by_token(backend: LlamaCpp) -> None:
    for completion in completions(backend, [ner_prompt(SENTENCES[0], PAIRS), plain_prompt("Repeat: Zürich, 東京.")]):
        assert "".join(completion.token_texts) == completion.text
        assert len(completion.token_logprobs) == len(completion.token_texts) > 0
        assert all(-50 < value <= 0 for value in completion.token_logprobs)


@pytest.mark.slow
def test_overlong_prompt_is_refused_and_its_neighbours_are_answered(backend: LlamaCpp) -> None:
    before, long, after = completions(
        backend, [ner_prompt(SENTENCES[0], PAIRS), plain_prompt("word " * 3000), ner_prompt(SENTENCES[1], PAIRS)]
    )
    assert (before.finish_reason, after.finish_reason) == ("stop", "stop")
    assert long.finish_reason == "prompt_too_long"
    assert long.prompt_tokens > 3000
    assert long.completion_tokens == 0


@pytest.mark.slow
def test_shared_prefix_is_computed_once() -> None:
    options = {"slots": 1, "context": 512}
    prompts = [ner_prompt(sentence, PAIRS) for sentence in SENTENCES]
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=4), options)
    cached = completions(backend, prompts)
    backend.close()
    assert all(completion.cached_tokens > 0.7 * completion.prompt_tokens for completion in cached[1:])
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=4), {**options, "cache_prompt": False})
    uncached = completions(backend, prompts)
    backend.close()
    assert [completion.cached_tokens for completion in uncached] == [0] * len(prompts)
    assert [completion.prompt_tokens for completion in cached] == [completion.prompt_tokens for completion in uncached]


@pytest.mark.slow
def test_slots_are_fed_continuously_and_no_faster_than_there_is_room(backend: LlamaCpp) -> None:
    taken = 0

    def source() -> Iterator[Prompt]:
        nonlocal taken
        for number in range(12):
            taken += 1
            yield ner_prompt(SENTENCES[number % 4], PAIRS)

    stream = backend.complete(source())
    next(stream)
    assert taken <= 5
    assert isinstance(stream, Generator)
    stream.close()
    assert [position for position, _ in backend.complete([ner_prompt(SENTENCES[3], PAIRS)])] == [0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("llama_cpp")]


@pytest.mark.slow
def test_same_seed_draws_the_same_and_another_sample_draws_anew() -> None:
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=12, temperature=1.5), {"slots": 1, "context": 512})
    first, again, other = completions(backend, [Prompt("s", (Message("user", STORY),), None, n) for n in (0, 0, 1)])
    backend.close()
    assert first.text == again.text != other.text
    assert other.sample == 1


@pytest.mark.slow
def test_template_without_a_system_role_still_reads_the_system_text(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(WITHOUT_SYSTEM)
    options = {"slots": 1, "context": 1024, "chat_template": str(tmp_path / "chat.jinja")}
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=4), options)
    plain, ruled = completions(
        backend,
        [plain_prompt("Hello."), Prompt("s", (Message("system", "rule " * 200), Message("user", "Hello.")))],
    )
    backend.close()
    assert plain.finish_reason in ("stop", "length")
    assert ruled.prompt_tokens > plain.prompt_tokens + 190


@pytest.mark.slow
def test_thinking_is_switched_by_the_template_and_frees_the_answer(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(WITH_THINKING)
    options = {"slots": 1, "context": 512, "chat_template": str(tmp_path / "chat.jinja")}
    prompt = plain_prompt(STORY, PAIRS)
    tokens, texts, identities = [], [], []
    for thinking in (False, True):
        backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=8), {**options, "thinking": thinking})
        (completion,) = completions(backend, [prompt])
        identities.append(backend.identity())
        backend.close()
        tokens.append(completion.prompt_tokens)
        texts.append(completion.text + completion.thinking)
    assert tokens[0] > tokens[1]
    assert texts[0].startswith("[")
    assert not texts[1].startswith("[")
    assert identities[0] != identities[1]


@pytest.mark.slow
def test_identity_names_what_changes_answers_and_no_speed(backend: LlamaCpp) -> None:
    other = LlamaCpp(real_model(SMOLLM), Sampling(), {"slots": 1, "context": 1024, "threads": 1})
    assert other.identity() == backend.identity()
    other.close()
    assert json.loads(json.dumps(dict(backend.identity()))) == {
        "backend": "llama_cpp",
        "engine": backend.identity()["engine"],
        "context": 1024,
        "chat_template_sha256": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
        "thinking": False,
    }


@pytest.mark.slow
def test_closed_backend_leaves_no_socket_and_answers_no_more(capfd: pytest.CaptureFixture[str]) -> None:
    backend = LlamaCpp(real_model(SMOLLM), Sampling(max_tokens=2), {"slots": 1, "context": 256})
    folder = Path(backend._socket_folder.name)
    assert folder.stat().st_mode & 0o077 == 0
    assert len(completions(backend, [plain_prompt("Hello.")])) == 1
    backend.close()
    backend.close()
    assert not folder.exists()
    with pytest.raises(BackendError, match="closed"):
        next(backend.complete([plain_prompt("Hello.")]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_backend_that_is_closed_before_its_first_prompt_lets_go() -> None:
    for _ in range(8):
        LlamaCpp(real_model(SMOLLM), Sampling(), {"slots": 1, "context": 256}).close()


@pytest.mark.slow
def test_file_that_is_no_model_is_told_without_its_folder(tmp_path: Path) -> None:
    whole = next(real_model(SMOLLM).glob("*.gguf"))
    with whole.open("rb") as stream:
        (tmp_path / "cut.gguf").write_bytes(stream.read(4_000_000))
    with pytest.raises(MissingModel, match=r"cut\.gguf is not a whole GGUF file") as caught:
        LlamaCpp(tmp_path, Sampling(), {"slots": 1, "context": 256})
    assert str(tmp_path) not in str(caught.value)
    template = crafted_models.key("tokenizer.chat_template", 8, crafted_models.text("{{ messages }}"))
    (tmp_path / "cut.gguf").write_bytes(crafted_models.gguf([*crafted_models.KEYS, template]))
    with pytest.raises(BackendError, match=r"cannot start with cut\.gguf") as started:
        LlamaCpp(tmp_path, Sampling(), {"slots": 1, "context": 256})
    assert str(tmp_path) not in str(started.value)
