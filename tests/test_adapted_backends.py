"""An adapter in the engines: transformers, vLLM, llama.cpp, a server."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from model_fixtures import SMOLLM, ner_prompt, plain_prompt, real_model, smollm_folder, tiny_llama
from openai_fake import Server, said

from distill_offline.adapt.base_model import base_of
from distill_offline.adapt.gguf_adapter import _permuted, write_gguf
from distill_offline.backends.adapter import CONFIG, GGUF, WEIGHTS, gguf_adapter
from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.backends.openai_server import OpenAIServer
from distill_offline.backends.transformers import Transformers
from distill_offline.backends.vllm import Vllm
from distill_offline.config.loading import parse_settings
from distill_offline.config.settings import AdaptSettings
from distill_offline.errors import BackendError, ConfigError, MissingModel
from distill_offline.models.adapting import need
from distill_offline.schema import Sampling

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapter(folder: Path, model: Path, *, rank: int = 4, only: tuple[str, ...] = ALL) -> Any:
    """An adapter of random matrices for those weight matrices of a model; gives the model's configuration."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    draw = torch.Generator().manual_seed(5)
    tensors, targets = dict[str, torch.Tensor](), set[str]()
    for name, each in loaded.named_modules():
        if name.endswith("_proj"):
            place = f"base_model.model.{name}"
            rows, columns = each.weight.shape
            first = torch.randn(rank, columns, generator=draw) * 0.05
            second = torch.randn(rows, rank, generator=draw) * 0.05
            if name.endswith(only):
                tensors |= {f"{place}.lora_A.weight": first, f"{place}.lora_B.weight": second}
                targets.add(name.rpartition(".")[2])
    folder.mkdir(parents=True)
    save_file(tensors, folder / WEIGHTS)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
    (folder / CONFIG).write_text(json.dumps(settings | {"target_modules": sorted(targets)}))
    return loaded.config


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


def test_rows_of_a_head_are_in_the_order_of_llama_cpp() -> None:
    rows = np.arange(8).reshape(8, 1)  # two heads of four rows: halves (0, 1) and (2, 3)
    assert _permuted(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_the_gguf_adapter_holds_the_same_numbers(tmp_path: Path, tiny: Path) -> None:
    from gguf import GGUFReader
    from safetensors.numpy import load_file

    config = adapter(tmp_path / "a", tiny)
    assert write_gguf(tmp_path / "a", config)
    reader = GGUFReader(tmp_path / "a" / GGUF)
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    given = load_file(tmp_path / "a" / WEIGHTS)
    assert len(found) == len(given) == 2 * 7 * 2
    place = "base_model.model.model.layers.1."
    for name, there in {"mlp.down_proj": "ffn_down", "self_attn.v_proj": "attn_v"}.items():
        for which in ("A", "B"):
            own = found[f"blk.1.{there}.weight.lora_{which.lower()}"]
            assert np.array_equal(own, given[f"{place}{name}.lora_{which}.weight"])
    q = given[f"{place}self_attn.q_proj.lora_B.weight"]
    assert np.array_equal(found["blk.1.attn_q.weight.lora_b"], _permuted(q, 4))
    assert np.array_equal(
        np.sort(found["blk.1.attn_k.weight.lora_b"], 0), np.sort(given[f"{place}self_attn.k_proj.lora_B.weight"], 0)
    )
    assert reader.fields["adapter.lora.alpha"].contents() == 8.0
    assert reader.fields["general.type"].contents() == "adapter"


def test_an_architecture_that_is_not_known_has_no_gguf_adapter(tmp_path: Path, tiny: Path) -> None:
    config = adapter(tmp_path / "a", tiny)
    config.model_type = "unheard_of"
    assert not write_gguf(tmp_path / "a", config)
    with pytest.raises(MissingModel, match=r"adapter\.gguf is missing, which llama_cpp needs"):
        gguf_adapter(tmp_path / "a", tmp_path / "m.gguf")


def test_a_gguf_adapter_for_another_architecture_is_refused(tmp_path: Path, tiny: Path) -> None:
    from gguf import GGUFWriter

    write_gguf(tmp_path / "a", adapter(tmp_path / "a", tiny))
    file = tmp_path / "m.gguf"
    writer = GGUFWriter(file, "qwen2")
    writer.add_tensor("output_norm.weight", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BackendError, match=r"b'llama' and b'qwen2' are their architectures"):
        gguf_adapter(tmp_path / "a", file)


@pytest.mark.slow
def test_llama_cpp_answers_as_transformers_does_with_the_same_adapter(tmp_path: Path) -> None:
    # Of q and k alone: with their rows in the other order, none of these answers is the same.
    pytest.importorskip("xllamacpp")
    folder = smollm_folder()
    write_gguf(tmp_path / "a", adapter(tmp_path / "a", folder, rank=8, only=("q_proj", "k_proj")))
    sampling, chosen = Sampling(max_tokens=8), {"adapter": str(tmp_path / "a")}
    prompts = [ner_prompt("Peter Blackburn visited Brussels ."), *map(plain_prompt, ("Say hello.", "Name a colour."))]
    expected = dict(Transformers(folder, sampling, chosen).complete(prompts))
    backend = LlamaCpp(real_model(SMOLLM), sampling, {"slots": 1, "context": 512, **chosen})
    found = dict(backend.complete(prompts))
    backend.close()
    assert {n: each.text for n, each in found.items()} == {n: each.text for n, each in expected.items()}


@pytest.mark.slow
def test_a_gguf_file_is_a_base_and_takes_the_memory_of_float32() -> None:
    pytest.importorskip("gguf")
    file = real_model(SMOLLM)
    plain: dict[str, Any] = {
        "name": "gguf",
        "task": {"name": "ner", "types": {"LOC": "places"}},
        "corpus": {"original": {"train": "package:demo/train.jsonl"}},
        "backend": {"name": "llama_cpp", "model": str(file)},
        "adapt": {},
    }
    assert base_of(parse_settings(plain, "test")) == file
    found = need(file, AdaptSettings(), on_gpu=False)
    assert found is not None
    assert found.weights == 4 * 134_515_008  # float32; the table of subwords stands for the output's as well


class FakeEngine:
    """What Vllm needs of an engine: takes requests, and answers nothing."""

    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=512, dtype="torch.float32"),
        scheduler_config=SimpleNamespace(max_num_seqs=2),
    )

    def __init__(self) -> None:
        self.added: list[tuple[Any, dict[str, Any]]] = []
        self.engine_core = SimpleNamespace(shutdown=lambda: None)

    def add_request(self, request_id: str, prompt: Any, params: Any, **more: Any) -> str:
        self.added.append((prompt, more))
        return request_id

    def step(self) -> list[Any]:
        answer = SimpleNamespace(text="[]", token_ids=[1], logprobs=None, finish_reason="stop")
        return [
            SimpleNamespace(finished=True, request_id="1", outputs=[answer], prompt_token_ids=[1], num_cached_tokens=0)
        ]


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A module `vllm` that starts FakeEngines; gives (arguments, engine) of each that was started."""
    started: list[Any] = []

    def start(**arguments: Any) -> Any:
        from transformers import AutoTokenizer

        engine = FakeEngine()
        started.append((arguments, engine))
        tokenizer = AutoTokenizer.from_pretrained(arguments["model"])
        return SimpleNamespace(get_tokenizer=lambda: tokenizer, llm_engine=engine)

    parts: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": start, "__version__": "0"},
        "vllm.exceptions": {"VLLMClientError": KeyError},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: True)},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY=0), "SamplingParams": dict, "StructuredOutputsParams": dict
        },
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda *given: given},
    }  # fmt: skip
    for name, content in parts.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return started


@pytest.mark.parametrize(("rank", "room"), [(4, 8), (16, 16), (17, 32)])
def test_vllm_is_given_the_adapter_with_each_request(
    tmp_path: Path, tiny: Path, fake_vllm: list[Any], rank: int, room: int
) -> None:
    adapter(tmp_path / "a", tiny, rank=rank)
    backend = Vllm(tiny, Sampling(), {"adapter": str(tmp_path / "a")})
    list(backend.complete([plain_prompt("Hello")]))
    [(arguments, engine)] = fake_vllm
    assert {key: arguments[key] for key in ("enable_lora", "max_loras", "max_lora_rank")} == {
        "enable_lora": True, "max_loras": 1, "max_lora_rank": room
    }  # fmt: skip
    assert "adapter" not in arguments
    assert [more for _, more in engine.added] == [{"lora_request": ("adapter", 1, str((tmp_path / "a").resolve()))}]


def test_vllm_without_an_adapter_is_started_as_before(tiny: Path, fake_vllm: list[Any]) -> None:
    list(Vllm(tiny, Sampling(), {}).complete([plain_prompt("Hello")]))
    [(arguments, engine)] = fake_vllm
    assert not any("lora" in key for key in arguments)
    assert [more for _, more in engine.added] == [{}]


def test_vllm_has_no_room_for_a_rank_above_512(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / WEIGHTS).touch()
    (tmp_path / CONFIG).write_text('{"r": 600}')
    with pytest.raises(ConfigError, match=r"rank is 600, and vLLM has room for 512\. Lower adapt\.rank"):
        Vllm(tiny, Sampling(), {"adapter": str(tmp_path)})


def test_a_server_is_asked_for_the_adapter_by_its_name() -> None:
    with contextlib.closing(Server()) as server:
        server.reply = lambda body: (200, {}, said("[]") | {"model": body["model"]})
        options = {"base_url": server.url, "adapter": "mine", "retries": 0}
        backend = OpenAIServer(Path("base"), Sampling(), options)
        list(backend.complete([plain_prompt("Hello")]))
        assert [body["model"] for body in server.bodies] == ["mine"]
        assert backend.identity()["adapter"] == "mine"
        server.reply = lambda body: (404, {}, {"error": {"code": "model_not_found", "message": "no such model"}})
        with pytest.raises(ConfigError, match=r"backend\.options\.adapter: the server does not know the model 'mine'"):
            list(backend.complete([plain_prompt("Hello")]))
        backend.close()
