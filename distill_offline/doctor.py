"""What this machine has and lacks: one check a line, each with what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from distill_offline import children, offline
from distill_offline.config.settings import AdaptSettings, Settings
from distill_offline.errors import DistillError
from distill_offline.manifest.pace import pace_of
from distill_offline.models import catalogue
from distill_offline.models.adapting import need
from distill_offline.models.casing import reads_capitals, require_capitals
from distill_offline.models.encoder_tokenizer import tokenizer_of
from distill_offline.models.fitting import BESIDE, largest, memory_for_a_teacher, weights_of
from distill_offline.models.layers import ignored_layers
from distill_offline.offline import isolation
from distill_offline.storage.filesystem import NETWORK, filesystem_of

__all__ = ["Check", "Status", "examine", "worst"]

Status = Literal["ok", "warn", "fail"]

_RANK: Mapping[Status, int] = {"ok": 0, "warn": 1, "fail": 2}
_BACKEND_PACKAGES = {
    "llama_cpp": ("xllamacpp", "llama-cpp"),
    "vllm": ("vllm", "vllm"),
    "transformers": ("transformers", ""),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is empty if nothing needs doing."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def examine(config: Settings | None = None) -> list[Check]:
    """Every check, in the order in which problems should be solved; with a configuration, also what that one needs.

    Nothing is changed and nothing is downloaded. Imports torch, reads every byte of the catalogue's models that are
    here, and starts nvidia-smi where it exists.
    """
    checks = [
        _check_python(sys.version_info[:3]),
        *_check_packages(),
        *_check_accelerator(config),
        *_check_models(),
        *(_check_needs(config) if config else ()),
        *_check_memory(config, memory_for_a_teacher()),
        *([_check_pace(Path("runs") / config.name)] if config and config.asks_a_teacher else ()),
        *_check_disks({"working folder": Path.cwd(), "models folder": catalogue.models_folder()}),
        _check_environment(os.environ),
        _check_namespaces(isolation.probe().fault),
        _check_clock(datetime.now(UTC)),
        _check_umask(_umask()),
    ]
    return list(checks)


def worst(checks: Iterable[Check]) -> Status:
    """The gravest status: "fail" is for exit code 4, the others for 0."""
    return max((check.status for check in checks), key=lambda status: _RANK[status], default="ok")


def _check_python(version: Sequence[int]) -> Check:
    text = ".".join(str(part) for part in version)
    if tuple(version) < (3, 11):
        return Check("python", "fail", text, "Install Python 3.11 or later.")
    return Check("python", "ok", text)


def _check_packages() -> list[Check]:
    """Installed versions against the requirements in our own metadata; an extra is all there, or not installed."""
    try:
        requirements = metadata.requires("distill_offline") or []
        extras = metadata.metadata("distill_offline").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return [Check("packages", "warn", "distill_offline itself is not installed", "Install it: pip install -e .")]
    unmet = _unmet(requirements, "", metadata.version)
    checks = [
        Check("packages", "fail", "; ".join(unmet), "Install what is pinned: pip install --upgrade distill_offline")
        if unmet
        else Check("packages", "ok", "all as required")
    ]
    for extra in extras:
        lacking = _unmet(requirements, extra, metadata.version)
        detail = "installed" if not lacking else "not installed: " + "; ".join(lacking)
        checks.append(Check(f"extra {extra}", "ok", detail))
    return checks


def _unmet(requirements: Iterable[str], extra: str, version_of: Callable[[str], str]) -> list[str]:
    """Requirements of the base (extra "") or of one extra that are absent or have another version."""
    from packaging.requirements import Requirement

    unmet = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if extra and (marker is None or marker.evaluate({"extra": ""})):
            continue
        if requirement.name.replace("-", "_").lower() == "distill_offline" or (
            marker and not marker.evaluate({"extra": extra})
        ):
            continue
        try:
            version = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            unmet.append(f"{requirement.name} is absent")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            unmet.append(f"{requirement.name} is {version}, needs {requirement.specifier}")
    return unmet


def _check_accelerator(config: Settings | None) -> list[Check]:
    driver = _nvidia_driver()
    try:
        import torch
    except ImportError as error:
        return [Check("torch", "fail", f"does not import: {error}", "Reinstall torch in the pinned version.")]
    build = (
        f"{torch.__version__}, CUDA {torch.version.cuda}" if torch.version.cuda else f"{torch.__version__}, CPU build"
    )
    checks = [Check("torch", "ok", build)]
    usable = torch.cuda.is_available()
    if usable:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        checks.append(Check("gpu", "ok", f"{names}; driver {driver or 'unknown'}"))
    elif driver:
        remedy = "Install the CUDA build of torch, or a driver that is new enough for it."
        checks.append(Check("gpu", "warn", f"driver {driver} is there, but this torch cannot use it", remedy))
    else:
        checks.append(Check("gpu", "ok", "none; everything runs on the CPU"))
    if config and config.backend and config.backend.name == "vllm" and not usable:
        remedy = "Use backend.name: llama_cpp or transformers, or run on a machine with a GPU."
        checks.append(Check("backend.name", "warn", "vllm without a GPU needs vllm's CPU build", remedy))
    return checks


def _nvidia_driver() -> str | None:
    """Driver version and memory as nvidia-smi says them; None without nvidia-smi or without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = children.run(query, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (answer.stdout.strip().splitlines() or [""])[0] or None


def _check_models() -> list[Check]:
    try:
        known = catalogue.Catalogue.load()
    except DistillError as error:
        return [
            Check("catalogue", "fail", str(error), "Repair the file, or remove it to use the one that came with us.")
        ]
    checks = []
    for entry in known.entries:
        name = f"model {entry.id}"
        if not entry.folder.is_dir():
            checks.append(Check(name, "ok", f"not here ({entry.status})"))
            continue
        findings = catalogue.verify(entry.id, known)
        if findings:
            detail = "; ".join(f"{finding.file} {finding.problem}" for finding in findings[:3])
            grave = (
                any("is not in the catalogue" not in finding.problem for finding in findings)
                and entry.status == "pinned"
            )
            remedy = f"Run: distill-offline models verify {entry.id}"
            checks.append(Check(name, "fail" if grave else "warn", detail, remedy))
        else:
            checks.append(Check(name, "ok", "here and intact"))
    return checks


def _check_needs(config: Settings) -> list[Check]:
    """What this configuration names and cannot do without."""
    checks = []
    wanted = {"train.encoder": config.train.encoder, "backend.model": config.backend.model if config.backend else ""}
    for key, model in wanted.items():
        if model:
            try:
                catalogue.locate(model)
                checks.append(Check(key, "ok", f"{model} is here"))
            except DistillError as error:
                checks.append(Check(key, "fail", f"{model} cannot be used", str(error)))
    if config.backend and config.backend.name in _BACKEND_PACKAGES:
        package, extra = _BACKEND_PACKAGES[config.backend.name]
        if util.find_spec(package) is None:
            remedy = f"Install it: pip install 'distill_offline[{extra}]'" if extra else "Reinstall distill_offline."
            checks.append(Check("backend.name", "fail", f"{config.backend.name} needs the package {package}", remedy))
    if config.train.encoder:
        checks += _check_layers(config.train.encoder)
        checks += _check_capitals(config.train.encoder, wanted=config.train.capitals)
    if config.pretrain is not None and config.train.encoder:
        checks += _check_pretraining(config.train.encoder)
    if config.adapt is not None and config.backend is not None:
        checks += _check_adapting(config.adapt.base or config.backend.model, config.adapt)
    return checks


def _check_memory(config: Settings | None, free: int | None) -> list[Check]:
    """Which teacher fits; and whether the one that llama.cpp shall load does."""
    if free is None:
        return []
    sizes = ", ".join(f"{billions:.1f} billion in {bits}" for bits, billions in largest(free).items())
    checks = [Check("memory", "ok", f"{free / 1e9:.1f} GB free; the most parameters of a teacher that fit: {sizes}")]
    if config is None or config.backend is None or config.backend.name != "llama_cpp":
        return checks
    try:
        weights = weights_of(catalogue.find(config.backend.model))
    except DistillError:
        return checks  # told by _check_needs
    detail = f"the weights of {config.backend.model} take {weights / 1e9:.1f} GB"
    if weights + min(BESIDE, weights) <= free:
        return [*checks, Check("memory of the teacher", "ok", f"{detail}: they fit")]
    remedy = "Take the same model in fewer bits, or a smaller one, or free memory."
    return [*checks, Check("memory of the teacher", "warn", f"{detail}, with the context more than is free", remedy)]


def _check_pace(run: Path) -> Check:
    """How many sentences an hour the teacher labelled when it last did; nothing is started to find out."""
    pace = pace_of(run / "annotate")
    now = "annotate CONFIG --probe 8 times it as things are now"
    if pace is None:
        return Check("sentences an hour", "ok", f"not measured yet; {now}")
    detail = f"{pace.per_hour:,.0f} when {run} was made ({pace.asked} asked, loading included); {now}"
    return Check("sentences an hour", "ok", detail)


def _check_pretraining(encoder: str) -> list[Check]:
    """Whether the encoder can guess hidden words; nothing if it is not here, which is told of elsewhere."""
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    remedy = "Take another encoder (BERT, RoBERTa, DeBERTa and their kin), or leave pretrain out."
    try:
        model = catalogue.locate(encoder)
        kind = type(AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False))
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except DistillError:
        return []
    except Exception as error:  # nearly any type: what the folder holds decides which
        return [Check("pretrain", "fail", f"{encoder} does not load ({type(error).__name__})", remedy)]
    if tokenizer.mask_token_id is None:
        return [Check("pretrain", "fail", f"the tokenizer of {encoder} has no mask token", remedy)]
    if kind not in MODEL_FOR_MASKED_LM_MAPPING:
        return [Check("pretrain", "fail", f"{encoder} is of a kind that cannot guess hidden words", remedy)]
    return [Check("pretrain", "ok", f"{encoder} can guess hidden words")]


def _check_layers(encoder: str) -> list[Check]:
    """Whether all layers of its weights are used; nothing if it is not here, which is told of elsewhere."""
    try:
        ignored = ignored_layers(catalogue.locate(encoder))
    except DistillError:
        return []
    if ignored is None:
        return []
    detail = f"{encoder}: config.json has {ignored[0]} layers and the weights {ignored[1]}: the others are not used"
    remedy = "If it was not cut on purpose, config.json is another model's, or was changed: copy the model again."
    return [Check("layers of the encoder", "warn", detail, remedy)]


def _check_capitals(encoder: str, *, wanted: bool) -> list[Check]:
    """What is to be said of an encoder that lowercases; nothing if it does not, or is not here."""
    tokenizer = tokenizer_of(encoder)
    if tokenizer is None or reads_capitals(tokenizer):
        return []
    try:
        require_capitals(tokenizer, encoder)
    except DistillError as error:
        return [Check("train.capitals", "fail", f"{encoder} cannot be given capitals", str(error))] if wanted else []
    detail = "students see capitals all the same" if wanted else "train.capitals: true lets students see capitals"
    return [Check("train.capitals", "ok", f"{encoder} lowercases all text; {detail}")]


def _check_adapting(base: str, settings: AdaptSettings) -> list[Check]:
    """Whether there is memory to adapt the teacher."""
    import torch

    try:
        model = catalogue.locate(base)
    except DistillError as error:
        return [Check("adapt", "fail", f"{base} cannot be used", str(error))]
    on_gpu = torch.cuda.is_available()
    found = need(model, settings, on_gpu=on_gpu)
    if found is None:
        remedy = "Name the folder of the same model as safetensors in adapt.base, or install the package gguf."
        return [Check("adapt", "fail", f"{base} has no weights that an adapter can be trained on", remedy)]
    free = memory_for_a_teacher()
    detail = f"{found.in_words()}; {'an unknown number of' if free is None else f'{free / 1e9:.1f}'} GB are free"
    if free is None or found.total <= free:
        return [Check("adapt", "ok", detail)]
    remedy = "Set adapt.gradient_checkpointing, lower adapt.batch_tokens, or on a GPU set adapt.quantization: 4bit."
    return [Check("adapt", "warn", detail, remedy)]


def _check_disks(places: Mapping[str, Path]) -> list[Check]:
    checks = []
    for name, folder in places.items():
        existing = next(path for path in [folder.resolve(), *folder.resolve().parents] if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
        remedy = "" if free >= 5 else "Make room: a run needs about 1 GB, a large teacher 15 GB and more."
        checks.append(
            Check(
                f"disk, {name}", "ok" if free >= 5 else "warn" if free >= 1 else "fail", f"{free:.1f} GB free", remedy
            )
        )
        if name == "working folder":
            checks.append(_check_file_system(filesystem_of(existing) or "unknown"))
    return checks


def _check_file_system(kind: str) -> Check:
    if kind in NETWORK:
        remedy = "Prefer a local disk: here stores do without a write-ahead log, which would be unsafe, and are slower."
        return Check("file system", "warn", f"{kind}, over the network", remedy)
    return Check("file system", "ok", kind)


def _check_environment(environment: Mapping[str, str]) -> Check:
    unset = [name for name, value in offline.ENVIRONMENT.items() if environment.get(name) != value]
    if not unset and offline.is_enforced():
        return Check("offline", "ok", "environment set; connections beyond the allow-list are stopped")
    detail = f"not set: {', '.join(unset)}" if unset else "environment set, but connections are not stopped"
    return Check(
        "offline", "warn", detail, "Every distill-offline command sets this itself; from Python call offline.enforce()."
    )


def _check_namespaces(fault: str) -> Check:
    if not fault:
        return Check("network namespaces", "ok", "--isolate can run a command with no network but loopback")
    remedy = "Permit unprivileged user namespaces to prove the air gap here; nothing else needs them."
    return Check("network namespaces", "warn", fault, remedy)


def _check_clock(now: datetime) -> Check:
    if now.year < 2024:
        remedy = "Set the clock: manifests and signatures carry the time."
        return Check("clock", "fail", f"it is said to be {now.year}", remedy)
    return Check("clock", "ok", now.date().isoformat())


def _umask() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("Umask:")[2].split()[0], 8)
    except (OSError, ValueError, IndexError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def _check_umask(mask: int) -> Check:
    if mask & 0o022 != 0o022:
        return Check("umask", "warn", f"{mask:04o}: others may write into new folders", "Run: umask 077")
    return Check("umask", "ok", f"{mask:04o}")
