"""Layers that weights have beyond those that the configuration speaks of: loaders leave them out in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

__all__ = ["ignored_layers"]

_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")
_SAID = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


def ignored_layers(model: Path) -> tuple[int, int] | None:
    """(layers by config.json, layers of the weights) if the weights have more; None if not, or if it cannot be told.

    A model may be cut so on purpose. What is wrong with its files is for others to say.
    """
    try:
        config = json.loads((model / "config.json").read_text("utf-8"))
        names = _tensors(model)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None
    if not isinstance(config, dict) or config.get("is_encoder_decoder"):
        return None
    said = next((config[key] for key in _SAID if isinstance(config.get(key), int)), None)
    highest = max((int(found[1]) for name in names if (found := _LAYER.search(name))), default=-1)
    return (said, highest + 1) if said is not None and highest >= said else None


def _tensors(model: Path) -> list[str]:
    """The names of a model's tensors, of those files alone that transformers reads."""
    index = model / "model.safetensors.index.json"
    if not (model / "model.safetensors").exists() and index.exists():
        return list(json.loads(index.read_text("utf-8"))["weight_map"])
    with safe_open(model / "model.safetensors", framework="np") as weights:
        return list(weights.keys())
