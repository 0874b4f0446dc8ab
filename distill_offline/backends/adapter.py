"""A LoRA adapter in a folder, as `adapt` writes it: looked at, and put onto a model of transformers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from distill_offline.errors import BackendError, MissingModel
from distill_offline.models.headers import Unusable, gguf_header

__all__ = ["CONFIG", "GGUF", "WEIGHTS", "adapted", "gguf_adapter", "rank_of"]

CONFIG, WEIGHTS, GGUF = "adapter_config.json", "adapter_model.safetensors", "adapter.gguf"


def rank_of(folder: Path) -> int:
    """The adapter's rank. Raises MissingModel if its two files are not there or not readable."""
    lacking = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if lacking:
        raise MissingModel(
            f"backend.options.adapter: {folder.name}: {lacking[0]} is missing. Run adapt, or name an adapter's folder "
            "with safetensors."
        )
    try:
        rank = json.loads((folder / CONFIG).read_bytes())["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingModel(f"backend.options.adapter: {CONFIG} cannot be read ({type(error).__name__}).") from error
    if type(rank) is not int or rank < 1:
        raise MissingModel(f"backend.options.adapter: {CONFIG}: r is no rank.")
    return rank


def gguf_adapter(folder: Path, model: Path) -> Path:
    """The adapter as GGUF, for the GGUF file `model`.

    Raises MissingModel if it is not there, BackendError where it is for another architecture.
    """
    file = folder / GGUF
    if not file.is_file():
        raise MissingModel(
            f"backend.options.adapter: {folder.name}: {GGUF} is missing, which llama_cpp needs. adapt writes it for "
            "architectures that it knows, with the package gguf (pip install 'distill_offline[llama-cpp]')."
        )
    key = "general.architecture"
    found = []
    for each in (file, model):
        try:
            with each.open("rb") as stream:
                found.append(gguf_header(stream, each.stat().st_size, [key]).get(key))
        except (OSError, Unusable) as error:
            raise MissingModel(f"backend.options.adapter: {each.name} cannot be read ({error}).") from error
    if found[0] != found[1]:
        raise BackendError(
            f"backend.options.adapter: it was made for another model than backend.model: {found[0]!r} and {found[1]!r} "
            "are their architectures. Run adapt again, with adapt.base naming the same model as safetensors."
        )
    return file


def adapted(model: Any, folder: Path) -> Any:
    """The model with the adapter: merged where it computes in float32, else beside the weights.

    Raises BackendError if the adapter was made for another model.
    """
    import torch
    from peft import PeftModel

    rank_of(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said of missing keys, which are an error here
            found = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    except (RuntimeError, ValueError, KeyError) as error:
        raise _foreign(model) from error
    if not any(".lora_" in name for name, _ in found.named_parameters()) or _lacks(found, folder):
        raise _foreign(model)
    is_plain = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    return found.merge_and_unload().eval() if is_plain else found.eval()


def _foreign(model: Any) -> BackendError:
    kind = getattr(model.config, "model_type", "model")
    return BackendError(
        f"backend.options.adapter: it was made for another model than backend.model (a {kind} of "
        f"{model.config.get_text_config().hidden_size} dimensions). Run adapt for this one."
    )


def _lacks(found: Any, folder: Path) -> bool:
    """Whether the file and the model have other matrices."""
    from safetensors import safe_open

    there = {name.replace(".default.", ".") for name, _ in found.named_parameters() if ".lora_" in name}
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return there != set(file.keys())
