"""What a configuration and the catalogue name: models, packages of backends, memory, and what encoders can do."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from distill_offline.config.settings import AdaptSettings, Settings
from distill_offline.doctor.check import Check
from distill_offline.errors import DistillError
from distill_offline.manifest.pace import pace_of
from distill_offline.models import catalogue
from distill_offline.models.adapting import need
from distill_offline.models.casing import reads_capitals, require_capitals
from distill_offline.models.encoder_tokenizer import tokenizer_of
from distill_offline.models.fitting import BESIDE, largest, memory_for_a_teacher, weights_of
from distill_offline.models.layers import ignored_layers

__all__ = ["check_memory", "check_models", "check_needs", "check_pace"]

_BACKEND_PACKAGES = {
    "llama_cpp": ("xllamacpp", "llama-cpp"),
    "vllm": ("vllm", "vllm"),
    "transformers": ("transformers", ""),
}


def check_models() -> list[Check]:
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


def check_needs(config: Settings) -> list[Check]:
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


def check_memory(config: Settings | None, free: int | None) -> list[Check]:
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


def check_pace(run: Path) -> Check:
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
