"""How much memory it takes to adapt a model: by the headers of its weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from distill_offline.config.settings import AdaptSettings

__all__ = ["MOST_PACKED", "Need", "need"]

MOST_PACKED = {False: 2048, True: 8192}  # tokens of lessons in one row, on a CPU and a GPU: a mask has them squared

_KEPT = 34  # numbers of a layer's width that are kept for each token (Korthikanti et al. 2022, without attention maps)
_LEARNT = 16  # bytes of a learnt number: itself, its gradient and two moments, in float32
_PROCESS = 0.6e9  # bytes of a process that has loaded torch and transformers
_TABLE, _UNNAMED = "token_embd.weight", ""
_ANSWER = 0.3  # share of a lesson's tokens whose logits are computed


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes: of the base's weights, of the adapter with its optimizer, and of what is kept to compute gradients."""

    weights: float
    adapter: float
    activations: float

    @property
    def total(self) -> int:
        return round(self.weights + self.adapter + self.activations + _PROCESS)

    def in_words(self) -> str:
        parts = {"base": self.weights, "adapter": self.adapter, "activations": self.activations}
        told = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())
        return f"about {self.total / 1e9:.1f} GB of memory ({told})"


def need(model: Path, settings: AdaptSettings, *, on_gpu: bool) -> Need | None:
    """An estimate from above for a folder with safetensors or a GGUF file; None for anything else."""
    found = _of_safetensors(model) or _of_gguf(model)
    if found is None:
        return None
    shapes, width, layers, vocabulary = found.shapes, found.width, found.layers, found.vocabulary
    number = 2 if on_gpu else 4
    matrices = [shape for _, shape in shapes if len(shape) == 2]
    tables = sum(a * b for a, b in matrices if vocabulary in (a, b))
    inner = [
        shape for name, shape in shapes if len(shape) == 2 and vocabulary not in shape and _is_target(name, settings)
    ]
    whole = sum(math.prod(shape) for _, shape in shapes)
    weights = whole * number if settings.quantization is None else (whole - tables) * 0.56 + tables * number
    learnt = settings.rank * sum(a + b for a, b in inner)
    tokens = max(settings.batch_tokens, settings.max_length)
    kept = _KEPT if not settings.gradient_checkpointing else 2
    activations = tokens * width * (layers * kept + _KEPT) * number / 2 + tokens * layers * settings.rank * 7 * 4
    activations += tokens * _ANSWER * vocabulary * 4 * 3
    # The mask of a packed row; a GPU's layers may each keep a copy.
    masks = layers if on_gpu and not settings.gradient_checkpointing else 1
    activations += min(settings.batch_tokens, MOST_PACKED[on_gpu]) ** 2 * (masks * number + 3)
    return Need(weights, learnt * _LEARNT, activations)


@dataclass(frozen=True, slots=True)
class _Model:
    """Names and shapes of its weights; numbers of its hidden layers' width, its layers, and its subwords."""

    shapes: list[tuple[str, tuple[int, ...]]]
    width: int
    layers: int
    vocabulary: int


def _of_safetensors(model: Path) -> _Model | None:
    shapes = [shape for file in sorted(model.glob("*.safetensors")) for shape in _shapes(file)]
    if not shapes or not (model / "config.json").is_file():
        return None
    config = json.loads((model / "config.json").read_bytes())
    config = config.get("text_config", config)
    vocabulary = int(config.get("vocab_size", 0))
    return _Model(shapes, int(config["hidden_size"]), int(config["num_hidden_layers"]), vocabulary)


def _of_gguf(model: Path) -> _Model | None:
    """Of all parts, by their headers; None without the package gguf or if there is no such file."""
    files = [model] if model.is_file() else sorted(model.glob("*.gguf"))
    if not files or files[0].suffix.lower() != ".gguf" or find_spec("gguf") is None:
        return None
    from gguf import GGUFReader

    tensors = [tensor for file in files for tensor in GGUFReader(file).tensors]
    shapes = [(tensor.name, tuple(int(each) for each in tensor.shape)) for tensor in tensors]
    table = dict(shapes).get(_TABLE)
    if table is None or len(table) != 2:
        return None
    layers = {name.split(".")[1] for name, _ in shapes if name.startswith("blk.")}
    # The names of `targets` are not a GGUF file's: all of its matrices are counted.
    return _Model([(_UNNAMED, shape) for _, shape in shapes], table[0], len(layers), table[1])


def _is_target(name: str, settings: AdaptSettings) -> bool:
    module = name.removesuffix(".weight")
    return not settings.targets or name == _UNNAMED or module.endswith(settings.targets)


def _shapes(file: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors in a safetensors file, by its header."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return [(name, tuple(tensors.get_slice(name).get_shape())) for name in tensors.keys()]  # noqa: SIM118
