"""Models for the backends' tests: where the real ones lie, and tiny ones built in memory."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from distill_offline.schema import Message, Prompt

SMOLLM = "SmolLM2-135M-Instruct-GGUF"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_THINKING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)

PAIRS: dict[str, Any] = {
    "type": "array",
    "maxItems": 8,
    "items": {
        "type": "array",
        "prefixItems": [{"type": "string", "maxLength": 60}, {"enum": ["PER", "ORG", "LOC", "MISC"]}],
        "items": False,
        "minItems": 2,
    },
}
ENTITIES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "entities": {
            "type": "array",
            "maxItems": 8,
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string", "maxLength": 60}, "type": {"enum": ["PER", "ORG"]}},
                "required": ["text", "type"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["entities"],
    "additionalProperties": False,
}

_DEMONSTRATIONS = (
    ("The pump in hall 3 was checked by Anna Weber .", '[["Anna Weber","PER"]]'),
    ("Siemens delivered the valve to Rotterdam .", '[["Siemens","ORG"],["Rotterdam","LOC"]]'),
)


def real_model(name: str) -> Path:
    """The folder of a real model, below DISTILL_TEST_MODELS or the checkout's models/; skips the test without it."""
    root = Path(os.environ.get("DISTILL_TEST_MODELS") or Path(__file__).parents[1] / "models")
    if not (root / name).is_dir():
        pytest.skip(f"no model {name}: fetch it into models/, or set DISTILL_TEST_MODELS")
    return root / name


def smollm_folder() -> Path:
    """SmolLM2 as float32 safetensors with its tokenizer and chat template, converted from the GGUF once a session."""
    pytest.importorskip("gguf", reason="gguf is not installed: the model cannot be converted")
    return _convert(next(real_model(SMOLLM).glob("*.gguf")))


@functools.cache
def _convert(gguf: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(tempfile.mkdtemp(prefix="distill-smollm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    del config.quantization_config
    # What came out of a GGUF file refuses to be saved; a model built from its configuration doesn't.
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder


def tiny_llama(folder: Path, template: str | None = CHATML, context: int = 512) -> Path:
    """A random Llama of two layers with a tokenizer that knows single bytes, saved to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: place for place, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", bos_token="<|im_start|>")
    tokenizer.chat_template = template
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        # Wide enough that answers depend on the prompt and don't repeat one byte for ever.
        initializer_range=0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    # It says printable ASCII, so that its answers are whole characters.
    printable = torch.tensor(
        [len(symbol) == 1 and "!" <= symbol <= "~" for symbol in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    )
    with torch.no_grad():
        model.lm_head.weight[~printable] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain_prompt(text: str, schema: dict[str, Any] | None = None, sentence_id: str = "s") -> Prompt:
    """One user turn."""
    return Prompt(sentence_id, (Message("user", text),), schema)


def ner_prompt(sentence: str, schema: dict[str, Any] | None = None) -> Prompt:
    """A prompt as the task writes it: system, two demonstrations, the sentence."""
    messages = [Message("system", "List the entities of the sentence as JSON: [[mention, type], ...].")]
    for text, answer in _DEMONSTRATIONS:
        messages += [Message("user", text), Message("assistant", answer)]
    return Prompt(sentence, (*messages, Message("user", sentence)), schema)
