"""Which model an adapter is trained on, and whether one can be."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from distill_offline.adapt.gguf_adapter import ARCHITECTURES
from distill_offline.backends.gguf_file import find_gguf
from distill_offline.backends.vllm import room_for
from distill_offline.config.settings import AdaptSettings, Settings
from distill_offline.errors import ConfigError, MissingModel
from distill_offline.models import catalogue
from distill_offline.models.headers import Unusable, gguf_header

__all__ = ["base_of"]

_ARCHITECTURE = "general.architecture"
_INSTALL = "Run: pip install 'distill_offline[llama-cpp]'"


def base_of(settings: Settings) -> Path:
    """The model that the adapter is trained on. Raises ConfigError and MissingModel if there is none to train on."""
    adapt, backend = settings.adapt, settings.backend
    if backend is None or adapt is None:
        raise ConfigError(f"{settings.name}: adapt needs a teacher: give the section backend.")
    if backend.name == "scripted":
        raise ConfigError("adapt: a scripted teacher has no weights. Name an engine and a model in backend.")
    if not adapt.base and backend.name == "openai_server":
        raise ConfigError(
            "adapt.base is missing: a server's model is known here by its name alone. Name the folder of the same "
            "model as safetensors; when adapt is done, serve its adapter and name it in backend.options.adapter."
        )
    if backend.name != "openai_server" and "adapter" in backend.options:
        raise ConfigError(
            "backend.options.adapter: the section adapt makes an adapter of its own. Leave one of the two out."
        )
    if backend.name == "vllm":
        room_for(adapt.rank)
    base = catalogue.locate(adapt.base or backend.model)
    if not (base / "config.json").is_file():
        _check_gguf(base, adapt)
    elif backend.name == "llama_cpp":
        _check_becomes_gguf(base, catalogue.locate(backend.model))
    if adapt.base and backend.name in ("transformers", "vllm"):
        teacher = catalogue.locate(backend.model)
        if catalogue.model_digest(teacher) != catalogue.model_digest(base):
            raise ConfigError(
                f"adapt.base: {base.name} is another model than backend.model ({teacher.name}): an adapter fits only "
                "the weights that it was trained on. Leave adapt.base out."
            )
    return base


def _check_gguf(base: Path, adapt: AdaptSettings) -> None:
    """Raises MissingModel or ConfigError for a GGUF file that transformers cannot make the model of again."""
    file = find_gguf(base)
    found = _architecture(file)
    known = sorted({name for name, _ in ARCHITECTURES.values()})
    if found not in known:
        raise MissingModel(
            f"adapt: {file.name} is a GGUF file of the architecture {found!r}, and an adapter can be trained from one "
            f"of {', '.join(known)} alone. Fetch the same model as safetensors (a folder with config.json, tokenizer "
            "and *.safetensors), and name it in adapt.base."
        )
    if find_spec("gguf") is None:
        raise ConfigError(
            f"adapt: {file.name} is a GGUF file, and the package gguf, which reads it, is not installed. {_INSTALL}"
        )
    if adapt.quantization:
        raise ConfigError(
            f"adapt.quantization: {file.name} is a GGUF file, whose weights cannot be quantized again. Leave it out, "
            "or name the same model as safetensors in adapt.base."
        )


def _check_becomes_gguf(base: Path, model: Path) -> None:
    """Raises MissingModel or ConfigError if llama.cpp could not put an adapter of `base` onto the GGUF file `model`."""
    try:
        kind = json.loads((base / "config.json").read_bytes())
        name = str((kind.get("text_config") or kind).get("model_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise MissingModel(f"adapt.base: the config.json of {base.name} cannot be read.") from error
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"adapt.base: {base.name} is a {name}, and an adapter for llama_cpp can be written for "
            f"{', '.join(sorted(ARCHITECTURES))} alone. Use backend.name: transformers or vllm."
        )
    if find_spec("gguf") is None:
        raise ConfigError(
            f"adapt: the package gguf, which writes an adapter for llama_cpp, is not installed. {_INSTALL}"
        )
    if (there := _architecture(find_gguf(model))) != ARCHITECTURES[name][0]:
        raise ConfigError(
            f"adapt.base: {base.name} is a {name}, and backend.model ({model.name}) a {there}: an adapter fits only "
            "the model that it was trained on."
        )


def _architecture(file: Path) -> str:
    """What a GGUF file says of itself. Raises MissingModel if it cannot be read."""
    with file.open("rb") as stream:
        try:
            found: bytes = gguf_header(stream, file.stat().st_size, [_ARCHITECTURE]).get(_ARCHITECTURE, b"")
            return found.decode()
        except (Unusable, UnicodeDecodeError) as error:
            raise MissingModel(f"adapt: {file.name} {error}.") from error
