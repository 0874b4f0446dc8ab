"""The adapter once more as a GGUF file, which llama.cpp puts onto a model that it has loaded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill_offline.backends.adapter import CONFIG, GGUF, WEIGHTS

__all__ = ["ARCHITECTURES", "write_gguf"]

# By transformers' model_type: the name that llama.cpp has for it, and whether its files hold the rows of q and k in
# another order (halves of a head's rotation beside each other instead of behind each other).
ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
}


def write_gguf(folder: Path, config: Any) -> bool:
    """Write `folder`/adapter.gguf from the safetensors beside it; False where that cannot be done.

    `config` is the base's. It cannot be done for an architecture that is not in the table, or without the package gguf.
    """
    inner = config.get_text_config()
    if inner.model_type not in ARCHITECTURES or find_spec("gguf") is None:
        return False
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    name, is_permuted = ARCHITECTURES[inner.model_type]
    settings = json.loads((folder / CONFIG).read_bytes())
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(architecture, inner.num_hidden_layers)
    heads = {"q_proj": inner.num_attention_heads, "k_proj": inner.num_key_value_heads}
    writer = gguf.GGUFWriter(folder / GGUF, name)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    for key, matrix in sorted(load_file(folder / WEIGHTS).items()):
        module, _, which = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        there = names.get_name(module)
        if there is None:
            writer.close()
            (folder / GGUF).unlink(missing_ok=True)
            return False
        values = matrix.astype(np.float32)
        count = heads.get(module.rpartition(".")[2])
        if is_permuted and which == "B" and count:
            values = _permuted(values, count)
        writer.add_tensor(f"{there}.weight.lora_{which.lower()}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / GGUF).chmod(0o600)
    return True


def _permuted(matrix: Any, heads: int) -> Any:
    """The rows as llama.cpp has those of q and k: of each head, row i of the first half, then row i of the second."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
