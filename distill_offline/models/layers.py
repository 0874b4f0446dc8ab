"""Layers that weights have beyond those that the configuration speaks of: loaders leave them out in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["ignored_layers"]

_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")
_SAID = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


def ignored_layers(model: Path) -> tuple[int, int] | None:
    """(layers by config.json, layers of the weights) if the weights have more; None if not, or if it cannot be told.

    A model may be cut so on purpose. Raises OSError if a file cannot be read.
    """
    from safetensors import safe_open

    try:
        config = json.loads((model / "config.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    said = next((config[key] for key in _SAID if isinstance(config.get(key), int)), None)
    if said is None or config.get("is_encoder_decoder"):
        return None
    highest = -1
    for file in model.glob("*.safetensors"):
        with safe_open(file, framework="np") as weights:
            numbers = [int(found[1]) for name in weights.keys() if (found := _LAYER.search(name))]  # noqa: SIM118
        highest = max([highest, *numbers])
    return (said, highest + 1) if highest >= said else None
