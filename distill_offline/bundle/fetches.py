"""What engines would fetch while they run, and why they do not: listed in every bundle."""

from __future__ import annotations

from collections.abc import Iterable

from distill_offline.bundle.settings import CarriedFile
from distill_offline.errors import ConfigError
from distill_offline.offline.connections import ENVIRONMENT

__all__ = ["runtime_fetches"]

_ALWAYS = ""
# What, for which package, and by which of our switches; what has no switch of its own is told in words.
_SWITCHED_OFF: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("models and kernels from a hub", _ALWAYS, ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")),
    ("usage reports of hub libraries", _ALWAYS, ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")),
    ("questions for newer versions", _ALWAYS, ("HF_HUB_DISABLE_UPDATE_CHECK", "PIP_DISABLE_PIP_VERSION_CHECK")),
    ("models by llama.cpp", "xllamacpp", ("LLAMA_ARG_OFFLINE",)),
    ("usage reports of vLLM", "vllm", ("VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK")),
    ("models from another hub by vLLM", "vllm", ("VLLM_USE_MODELSCOPE",)),
    ("usage reports of Ray", "ray", ("RAY_USAGE_STATS_ENABLED",)),
    ("traces by OpenTelemetry", "opentelemetry-sdk", ("OTEL_SDK_DISABLED",)),
)  # fmt: skip
_IN_WORDS = (
    (
        "GPU kernels by FlashInfer",
        "flashinfer-python",
        "VLLM_USE_FLASHINFER_SAMPLER=0 unless the site sets it; the hub is closed",
    ),
    (
        "vocabularies by tiktoken",
        "tiktoken",
        "only models with a .tiktoken file need them; it travels in the model's folder",
    ),
)


def runtime_fetches(packages: Iterable[str], carried: Iterable[CarriedFile]) -> list[dict[str, str]]:
    """The manifest's list, sorted by name: what is switched off for these packages, and what is shipped in runtime/."""
    present = {_ALWAYS, *packages}
    fetches = [
        {
            "name": name,
            "answer": "switched off",
            "how": " ".join(f"{switch}={ENVIRONMENT[switch]}" for switch in switches),
        }
        for name, package, switches in _SWITCHED_OFF
        if package in present
    ]
    fetches += [
        {"name": name, "answer": "switched off", "how": how} for name, package, how in _IN_WORDS if package in present
    ]
    for model in carried:
        if model.instead_of:
            shipped = f"runtime/{model.path.rpartition('/')[2]}"
            fetches.append({"name": model.instead_of, "answer": "shipped", "how": shipped})
    names = [fetch["name"] for fetch in fetches]
    if len(set(names)) != len(names):
        raise ConfigError("runtime: instead_of names the same download twice.")
    return sorted(fetches, key=lambda fetch: fetch["name"])
