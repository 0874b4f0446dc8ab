"""How much memory it takes to adapt a model: by its config.json and the headers of its weights."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from distill_offline.config.settings import AdaptSettings

__all__ = ["Need", "need"]

_LIMIT = 100 * 2**20  # bytes of a header
_KEPT = 34  # numbers of a layer's width that are kept for each token (Korthikanti et al. 2022, without attention maps)
_LEARNT = 16  # bytes of a learnt number: itself, its gradient and two moments, in float32
_PROCESS = 0.6e9  # bytes of a process that has loaded torch and transformers
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
    """An estimate from above for a folder with safetensors; None for anything else."""
    shapes = [shape for file in sorted(model.glob("*.safetensors")) for shape in _shapes(file)]
    if not shapes or not (model / "config.json").is_file():
        return None
    config = json.loads((model / "config.json").read_bytes())
    config = config.get("text_config", config)
    width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    vocabulary, number = int(config.get("vocab_size", 0)), 2 if on_gpu else 4
    matrices = [shape for _, shape in shapes if len(shape) == 2]
    tables = sum(a * b for a, b in matrices if vocabulary in (a, b))
    inner = [
        shape for name, shape in shapes if len(shape) == 2 and vocabulary not in shape and _is_target(name, settings)
    ]
    whole = sum(_count(shape) for _, shape in shapes)
    weights = whole * number if settings.quantization is None else (whole - tables) * 0.56 + tables * number
    learnt = settings.rank * sum(a + b for a, b in inner)
    tokens = max(settings.batch_tokens, settings.max_length)
    kept = _KEPT if not settings.gradient_checkpointing else 2
    activations = tokens * width * (layers * kept + _KEPT) * number / 2 + tokens * layers * settings.rank * 7 * 4
    activations += tokens * _ANSWER * vocabulary * 4 * 3
    return Need(weights, learnt * _LEARNT, activations)


def _is_target(name: str, settings: AdaptSettings) -> bool:
    module = name.removesuffix(".weight")
    return not settings.targets or module.endswith(settings.targets)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for each in shape:
        count *= each
    return count


def _shapes(file: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors in a safetensors file, by its header."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(min(size, _LIMIT)))
    return [(name, tuple(each["shape"])) for name, each in header.items() if name != "__metadata__"]
