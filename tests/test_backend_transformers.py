from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import (
    CHATML,
    PAIRS,
    SMOLLM,
    WITH_THINKING,
    WITHOUT_SYSTEM,
    ner_prompt,
    plain_prompt,
    real_model,
    smollm_folder,
    tiny_llama,
)

from distill_offline.backends.base import Backend
from distill_offline.backends.chat import Chat, token_texts
from distill_offline.backends.transformers import Transformers
from distill_offline.errors import BackendError, ConfigError, MissingModel
from distill_offline.schema import Completion, Message, Prompt, Sampling

PROMPTS = [
    plain_prompt(text, sentence_id=text) for text in ("a", "Zürich", "b" * 90, "東京 🎉", "cc d", "e" * 40, "f?")
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait for one another in a model this small."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("tiny"))


def completions(backend: Transformers, prompts: Sequence[Prompt]) -> list[Completion]:
    done = dict(backend.complete(prompts))
    assert sorted(done) == list(range(len(prompts)))
    return [done[position] for position in range(len(prompts))]


def with_end_token(folder: Path, token: int) -> Path:
    """The same model, for which `token` ends an answer."""
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": [token], "repetition_penalty": 5.0}))
    return folder


def test_batched_greedy_texts_equal_those_of_one_prompt_at_a_time(tiny: Path) -> None:
    sampling = Sampling(max_tokens=12)
    together = Transformers(tiny, sampling, {"batch_size": 4})
    assert isinstance(together, Backend)
    alone = Transformers(tiny, sampling, {"batch_size": 1})
    batched = completions(together, PROMPTS)
    assert batched == completions(alone, PROMPTS)
    assert len({completion.text for completion in batched}) == len(PROMPTS)
    assert {completion.finish_reason for completion in batched} == {"length"}


def test_answers_stream_by_batch_and_prompts_are_taken_by_window(tiny: Path) -> None:
    taken = 0

    def source() -> Iterator[Prompt]:
        nonlocal taken
        for prompt in PROMPTS:
            taken += 1
            yield prompt

    stream = Transformers(tiny, Sampling(max_tokens=2), {"batch_size": 2, "window": 4}).complete(source())
    first, second, third = (next(stream)[0] for _ in range(3))
    assert taken == 4
    # The longest two of the first four stand in the first batch.
    assert {first, second} == {2, 3}
    assert third in (0, 1)


def test_end_of_answer_token_stops_a_row_and_the_models_sampling_habits_do_not_count(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    sampling = Sampling(max_tokens=12, logprobs=True)
    backend = Transformers(folder, sampling, {})
    free = completions(backend, PROMPTS)
    mark = free[0].text[5]
    (token,) = backend.tokenizer(mark, add_special_tokens=False)["input_ids"]
    stopped = completions(Transformers(with_end_token(folder, token), sampling, {}), PROMPTS)
    assert stopped[0].finish_reason == "stop"
    for whole, ended in zip(free, stopped, strict=True):
        assert ended.text == whole.text.partition(mark)[0]
        assert ended.finish_reason == ("stop" if mark in whole.text else "length")
        assert ended.token_texts == tuple(ended.text)
        assert ended.token_logprobs == pytest.approx(whole.token_logprobs[: len(ended.text)], abs=1e-4)
        assert ended.completion_tokens == len(ended.text) + (mark in whole.text)


def test_logprobs_are_those_of_a_forward_pass_over_prompt_and_answer(tiny: Path) -> None:
    import torch

    backend = Transformers(tiny, Sampling(max_tokens=8, logprobs=True, temperature=0.7, top_p=0.9), {})
    answers = completions(backend, PROMPTS)
    for prompt, completion in zip(PROMPTS, answers, strict=True):
        assert "".join(completion.token_texts) == completion.text
        head = backend.chat.token_ids(prompt.messages)
        assert completion.prompt_tokens == len(head)
        tail = backend.tokenizer(completion.text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = backend.model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
        expected = [float(logits[len(head) + place - 1, token]) for place, token in enumerate(tail)]
        assert list(completion.token_logprobs) == pytest.approx(expected, abs=1e-3)


def test_same_seed_draws_the_same_and_another_sample_draws_anew(tiny: Path) -> None:
    def drawn(seed: int, sample: int) -> list[str]:
        backend = Transformers(tiny, Sampling(max_tokens=12, temperature=1.0, seed=seed), {})
        return [
            completion.text for completion in completions(backend, [Prompt("s", PROMPTS[0].messages, None, sample)] * 2)
        ]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(1, 0)
    assert drawn(0, 0) != drawn(0, 1)


def test_overlong_prompt_is_refused_and_its_neighbours_are_answered(tiny: Path) -> None:
    backend = Transformers(tiny, Sampling(max_tokens=16), {"max_context": 120})
    fits, tight, long = plain_prompt("x"), plain_prompt("y" * 90), plain_prompt("z" * 500)
    alone = completions(backend, [fits])
    first, second, third = completions(backend, [fits, long, tight])
    assert [first] == alone
    assert second.finish_reason == "prompt_too_long"
    assert second.prompt_tokens > 500
    assert second.completion_tokens == 0
    assert third.finish_reason == "length"
    assert third.prompt_tokens + third.completion_tokens == 120


class SmallMemory(Transformers):
    """Memory for two prompts at a time."""

    def _generate(self, batch: Sequence[Any]) -> list[Completion]:
        import torch

        if len(batch) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return super()._generate(batch)

    limit = 2


def test_batch_that_does_not_fit_into_memory_is_halved(tiny: Path) -> None:
    sampling = Sampling(max_tokens=4)
    expected = completions(Transformers(tiny, sampling, {}), PROMPTS)
    assert completions(SmallMemory(tiny, sampling, {}), PROMPTS) == expected


def test_no_memory_for_a_single_prompt_is_a_backend_error(tiny: Path) -> None:
    backend = SmallMemory(tiny, Sampling(), {})
    backend.limit = 0
    with pytest.raises(BackendError, match="out of memory"):
        completions(backend, PROMPTS)


def test_template_without_a_system_role_gets_the_system_text_in_the_first_user_turn(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, WITHOUT_SYSTEM)
    backend = Transformers(folder, Sampling(max_tokens=2), {})
    prompt = Prompt("s", (Message("system", "Rules."), Message("user", "Text.")))
    assert (
        backend.chat.render(prompt.messages) == "<|im_start|>user\nRules.\n\nText.<|im_end|>\n<|im_start|>assistant\n"
    )
    (completion,) = completions(backend, [prompt])
    assert completion.finish_reason in ("stop", "length")


def test_template_that_drops_the_system_turn_in_silence_is_found_out(tiny: Path) -> None:
    deaf = CHATML.replace("{% for message in messages %}", "{% for message in messages if message.role != 'system' %}")
    chat = Chat(Transformers(tiny, Sampling(), {}).tokenizer, template=deaf)
    assert "Rules.\n\nText." in chat.render((Message("system", "Rules."), Message("user", "Text.")))


def test_template_that_knows_the_system_role_keeps_it(tiny: Path) -> None:
    chat = Transformers(tiny, Sampling(), {}).chat
    assert chat.render((Message("system", "R"), Message("user", "T"))).startswith("<|im_start|>system\nR<|im_end|>\n")


def test_thinking_is_told_by_special_tokens_that_the_text_has_lost(tiny: Path) -> None:
    tokenizer = Transformers(tiny, Sampling(), {}).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|channel|>", "<|message|>", "<mull>", "</mull>"]})
    template = (
        "{% for m in messages %}{% if m.thinking %}<mull>{{ m.thinking }}</mull>{% endif %}{{ m.content }}{% endfor %}"
    )
    chat = Chat(tokenizer, template=template)
    for said in (
        "<|channel|>analysis<|message|>hm<|channel|>final<|message|>[1]<|im_end|>",
        "<mull>hm</mull>[1]<|im_end|>",
    ):
        ids = tokenizer(said, add_special_tokens=False)["input_ids"]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert "<" not in text
        assert chat.split(text, ids) == ("hm", "[1]")


@pytest.mark.parametrize(("options", "end"), [({}, "<think>\n\n</think>\n\n"), ({"thinking": True}, "<think>\n")])
def test_thinking_is_switched_by_the_template(tmp_path: Path, options: dict[str, Any], end: str) -> None:
    backend = Transformers(tiny_llama(tmp_path, WITH_THINKING), Sampling(), options)
    assert backend.chat.render((Message("user", "T"),)).endswith("assistant\n" + end)
    assert backend.identity()["thinking"] is bool(options)


def test_conversation_that_the_template_refuses_fails_alone(tmp_path: Path) -> None:
    picky = "{% if messages[-1].content == 'bad' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    backend = Transformers(tiny_llama(tmp_path, picky), Sampling(max_tokens=2), {})
    good, bad = completions(backend, [plain_prompt("good"), plain_prompt("bad")])
    assert good.finish_reason in ("stop", "length")
    assert bad.finish_reason.startswith("error: chat template: ")


def test_model_without_a_chat_template_needs_one_from_a_file(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model", template=None)
    with pytest.raises(ConfigError, match=r"backend\.options\.chat_template"):
        Transformers(folder, Sampling(), {})
    file = tmp_path / "chat.jinja"
    with pytest.raises(ConfigError, match=r"backend\.options\.chat_template: cannot read"):
        Transformers(folder, Sampling(), {"chat_template": str(file)})
    file.write_text(CHATML)
    identity = Transformers(folder, Sampling(), {"chat_template": str(file)}).identity()
    same = Transformers(tiny_llama(tmp_path / "other"), Sampling(), {}).identity()
    assert identity == same
    file.write_text(CHATML + " ")
    assert Transformers(folder, Sampling(), {"chat_template": str(file)}).identity() != identity


def test_identity_names_what_changes_answers_and_no_speed(tiny: Path) -> None:
    identity = Transformers(tiny, Sampling(), {"batch_size": 2, "window": 3}).identity()
    assert identity == Transformers(tiny, Sampling(), {}).identity()
    assert identity["dtype"] == "float32"
    assert identity["max_context"] == 512
    assert identity != Transformers(tiny, Sampling(), {"dtype": "bfloat16"}).identity()
    assert str(tiny) not in json.dumps(dict(identity))


def test_missing_and_broken_models_are_told_apart(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(MissingModel, match="nowhere"):
        Transformers(tmp_path / "nowhere", Sampling(), {})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(BackendError, match="transformers cannot load broken") as caught:
        Transformers(broken, Sampling(), {})
    assert str(tmp_path) not in str(caught.value)


def test_closed_backend_answers_no_more_and_closes_again(tiny: Path) -> None:
    backend = Transformers(tiny, Sampling(), {})
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        next(backend.complete(PROMPTS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("quantization", "layer"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_quantized_model_has_the_layers_of_bitsandbytes_and_answers(tiny: Path, quantization: str, layer: str) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    backend = Transformers(tiny, Sampling(max_tokens=3), {"quantization": quantization})
    inner = [module for name, module in backend.model.named_modules() if name.endswith("_proj")]
    assert len(inner) == 14
    assert all(isinstance(module, getattr(bnb.nn, layer)) for module in inner)
    if quantization == "4bit":
        assert {module.weight.quant_type for module in inner} == {"nf4"}
        assert all(module.weight.quant_state.nested for module in inner)
    assert backend.identity()["quantization"] == quantization
    assert all(completion.completion_tokens > 0 for completion in completions(backend, PROMPTS[:3]))


def test_token_texts_join_to_the_decoded_text(tiny: Path) -> None:
    tokenizer = Transformers(tiny, Sampling(), {}).tokenizer
    ids = tokenizer("a 東 🎉b", add_special_tokens=False)["input_ids"]
    pieces = token_texts(tokenizer, [*ids, tokenizer.eos_token_id])
    assert "".join(pieces) == "a 東 🎉b"
    assert pieces == ("a", " ", "", "", "東", " ", "", "", "", "🎉", "b", "")
    assert "".join(token_texts(tokenizer, ids[:4])) == tokenizer.decode(ids[:4])


@pytest.mark.slow
def test_gguf_file_and_its_converted_folder_answer_alike() -> None:
    sampling = Sampling(max_tokens=6)
    prompts = [ner_prompt("Peter Blackburn visited Brussels ."), plain_prompt("Say hello.", PAIRS)]
    gguf = Transformers(real_model(SMOLLM), sampling, {})
    folder = Transformers(smollm_folder(), sampling, {})
    assert completions(gguf, prompts) == completions(folder, prompts)
    assert gguf.identity()["chat_template_sha256"] == folder.identity()["chat_template_sha256"]


@pytest.mark.slow
def test_gguf_file_is_not_quantized_again() -> None:
    with pytest.raises(ConfigError, match=r"backend\.options\.quantization"):
        Transformers(real_model(SMOLLM), Sampling(), {"quantization": "4bit"})
