"""The learning rate: over the updates, and over the depth of an encoder."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from distill_offline.errors import ConfigError

__all__ = ["Decay", "layer_depths", "learning_rate_factor", "parameter_groups"]

Decay = Literal["linear", "cosine", "constant"]

_LAYER = re.compile(r"(?:^|\.)(?:layers?|albert_layers|blocks?|h)\.(\d+)\.")
_EMBEDDINGS = re.compile(r"embed|relative_attention_bias")  # tables that the first layer sees already


def learning_rate_factor(
    update: int, updates: int, warmup: float, phases: Sequence[float] = (), decay: Decay = "linear"
) -> float:
    """Linear warm-up over the share `warmup` of the updates, then the decay to zero, as a factor of the peak rate.

    With x from 0 to 1 over what follows the warm-up: linear 1 − x, cosine (1 + cos πx) / 2, constant 1. `phases` are
    the points of progress at which the whole schedule starts again.
    """
    borders = [0, *sorted(round(p * updates) for p in phases), updates]
    start, end = next((a, b) for a, b in itertools.pairwise(borders) if a <= update < b)
    length, step = end - start, update - start
    rise = min(math.ceil(warmup * length), length - 1)
    if step < rise:
        return (step + 1) / (rise + 1)
    x = (step - rise) / (length - rise)
    return {"linear": 1.0 - x, "cosine": (1.0 + math.cos(math.pi * x)) / 2.0, "constant": 1.0}[decay]


def layer_depths(names: Sequence[str], base: str) -> dict[str, int]:
    """How far below the head each parameter lies: 0 in the head, 1 in the encoder's last layer, and so on.

    `base` is the prefix of the encoder's parameters in the student (`bert`, `roberta`, `deberta`, `mpnet`, `model` for
    ModernBERT, ...). Embeddings and tables of relative positions lie below the first layer; what the encoder has above
    its layers (a final norm, a pooler) goes with the last one. Raises ConfigError if no layer is found.
    """
    inner = {name: name.removeprefix(base + ".") for name in names if name.startswith(base + ".")}
    layers = {name: int(match[1]) for name, short in inner.items() if (match := _LAYER.search(short))}
    if not layers:
        raise ConfigError(
            "train.layer_decay: the layers of this encoder cannot be recognised by their names. Set it to 1.0."
        )
    count = max(layers.values()) + 1
    depths = {}
    for name in names:
        if name in layers:
            depths[name] = count - layers[name]
        elif name in inner:
            depths[name] = count + 1 if _EMBEDDINGS.search(inner[name]) else 1
        else:
            depths[name] = 0
    return depths


def parameter_groups(model: Any, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """AdamW's groups, each with its `scale`: what the learning rate is multiplied by there.

    Weights decay; biases and normalisation scales (vectors) do not. `scale` is `layer_decay` to the power of a
    parameter's depth below the head, so that general lower layers move less (Howard and Ruder 2018; as in ELECTRA,
    Clark et al. 2020).
    """
    named: Mapping[str, Any] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    depths = dict.fromkeys(named, 0) if layer_decay == 1.0 else layer_depths(list(named), model.base_model_prefix)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named.items():
        key = (depths[name], parameter.ndim > 1)
        settings = {"weight_decay": weight_decay if key[1] else 0.0, "scale": layer_decay ** key[0]}
        groups.setdefault(key, {"params": [], **settings})["params"].append(parameter)
    return list(groups.values())
