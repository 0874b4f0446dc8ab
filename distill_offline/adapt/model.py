"""The base model with an adapter that learns, and the adapter as files."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_offline.adapt.lessons import Encoder, Lesson
from distill_offline.adapt.packing import is_worth_it, pack, packs, row_to_check, sees_all_before
from distill_offline.backends.adapter import CONFIG, WEIGHTS
from distill_offline.backends.transformers import Transformers
from distill_offline.config.settings import AdaptSettings
from distill_offline.errors import BackendError, ConfigError, native_os_error
from distill_offline.models.adapting import MOST_PACKED
from distill_offline.schema import Sampling
from distill_offline.storage.files import write_text
from distill_offline.student.batching import least_work
from distill_offline.student.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

__all__ = ["Base", "batch", "check_quantization", "write_adapter"]

_CHECKED = 640  # tokens of the row by which a base is checked: two passes over it cost seconds on a CPU
_TOLERANCE = {True: 1e-3, False: 3e-2}  # of logits: on a CPU, in float32; and on a GPU, in bfloat16


class Base:
    """A base model in this process, whose own weights stay as they are, with a fresh adapter.

    `template` is the Jinja file of backend.options.chat_template, `thinking` that option: prompts are rendered as
    `annotate` renders them. Generated answers have at most `max_tokens` tokens and no temperature. Raises ConfigError
    for what cannot be done here or fits no weight matrix, BackendError where the model cannot be loaded.
    """

    def __init__(
        self,
        model: Path,
        settings: AdaptSettings,
        *,
        thinking: bool = False,
        template: str | None = None,
        max_tokens: int = 512,
    ) -> None:
        import torch
        from peft import LoraConfig, get_peft_model

        self._settings = settings
        on_gpu = torch.cuda.is_available()
        check_quantization(settings, on_gpu=on_gpu)
        options = {
            "dtype": "bfloat16" if on_gpu else "float32",
            "device_map": "cuda:0" if on_gpu else None,
            "quantization": settings.quantization,
            "thinking": thinking,
            "chat_template": template,
        }
        logging.getLogger("peft").setLevel(logging.ERROR)
        self.backend = Transformers(
            model, Sampling(max_tokens=max_tokens), {key: value for key, value in options.items() if value}
        )
        chosen = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.targets) or "all-linear",
            task_type="CAUSAL_LM",
        )
        inner = self.backend.model
        if settings.gradient_checkpointing:
            inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            inner.enable_input_require_grads()
        try:
            self.model = get_peft_model(inner, chosen)
        except ValueError as error:
            first_line = str(error).partition("\n")[0]
            raise ConfigError(f"adapt.targets: they fit no weight matrix of {model.name} ({first_line})") from error
        self.backend.model = self.model
        self._keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
        self._inner, self._packs, self._most_packed = inner, False, MOST_PACKED[on_gpu]
        self.encoder = Encoder(self.backend.tokenizer, self.backend.chat, self.backend.end_ids)

    @property
    def learning(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's matrices, by name."""
        return {name: each for name, each in self.model.named_parameters() if each.requires_grad}

    @property
    def packs(self) -> bool:
        """Whether what prompts begin with is computed once, as `pack_if_same` has decided."""
        return self._packs

    def pack_if_same(self, lessons: Sequence[Lesson], batch_tokens: int, device: torch.device) -> None:
        """From now on compute what prompts share once, if answers' logits in a long row stay what they are in rows.

        Decided by base and lessons alone, whatever the adapter has learnt: a run that goes on decides as it did before.
        """
        import torch

        self._packs = False
        if not is_worth_it(lessons) or not sees_all_before(self._inner, max(len(each.ids) for each in lessons)):
            return
        trained, row = self.model.training, row_to_check(lessons, min(batch_tokens, _CHECKED))
        self.model.eval()
        with torch.no_grad(), self.model.disable_adapter():
            expected = [self._logits_in_rows([each], device)[0].cpu() for each in row]
            try:
                logits = self._logits_packed(row, device)[0].cpu()
            except Exception as error:  # of any type: some models refuse such a mask
                if is_out_of_memory(error):
                    raise
                logits = None
        self.model.train(trained)
        if logits is not None:
            parts = torch.split(logits, [each.answer_tokens for each in row])
            most = _TOLERANCE[device.type == "cpu"]
            self._packs = all(_apart(*pair) <= most for pair in zip(parts, expected, strict=True))

    def parts(self, lessons: Sequence[Lesson], batch_tokens: int, overhead: int) -> Iterable[Sequence[Lesson]]:
        """`lessons` in parts of at most `batch_tokens` tokens; a part more is worth `overhead` tokens of padding."""
        if self._packs:
            return packs(lessons, min(batch_tokens, self._most_packed))
        return least_work(lessons, batch_tokens, overhead)

    def loss(self, lessons: Sequence[Lesson], device: torch.device) -> torch.Tensor:
        """The summed cross-entropy of the answers' tokens; nothing is learnt from prompts."""
        import torch

        are_packed = self._packs and len(lessons) > 1
        logits, targets = (self._logits_packed if are_packed else self._logits_in_rows)(lessons, device)
        return torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")

    def _logits_in_rows(self, lessons: Sequence[Lesson], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the last places of all rows, as many as the longest answer has tokens; and their targets."""
        tensors, targets = batch(lessons, self.backend.pad_id)
        last = targets.shape[1]
        kept: dict[str, Any] = {"logits_to_keep": last + 1} if self._keeps else {}
        output = self.model(**{key: value.to(device) for key, value in tensors.items()}, use_cache=False, **kept)
        return output.logits[:, -last - 1 : -1].float().flatten(0, 1), targets.to(device).flatten()

    def _logits_packed(self, lessons: Sequence[Lesson], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the places that predict the answers' tokens, lesson by lesson; and their targets."""
        packed = pack(lessons)
        asked = packed.asked.to(device)
        output = self.model(
            input_ids=packed.ids.to(device),
            attention_mask=_added(packed.mask.to(device)),
            position_ids=packed.positions.to(device),
            use_cache=False,
            **({"logits_to_keep": asked} if self._keeps else {}),
        )
        logits = output.logits[0] if self._keeps else output.logits[0, asked]
        return logits.float(), packed.targets.to(device)


def _added(mask: torch.Tensor) -> torch.Tensor:
    """What attention adds for a mask (1 x 1 x N x N): one tensor for all layers, where each would make its own.

    In the precision that is computed in, and in memory a GPU's kernels take as it lies: rows begin at every 8th number.
    """
    import torch

    number, size = torch.float32 if mask.device.type == "cpu" else torch.bfloat16, mask.shape[-1]
    room = torch.zeros(1, 1, size, math.ceil(size / 8) * 8, dtype=number, device=mask.device)
    return room[..., :size].masked_fill_(~mask, -math.inf)


def _apart(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """How far logits (tokens x vocabulary) are from others, as a share of how much those differ from their mean."""
    spread = (expected - expected.mean(-1, keepdim=True)).norm()
    return float((logits - expected).norm() / spread)


def check_quantization(settings: AdaptSettings, *, on_gpu: bool) -> None:
    """Raises ConfigError if the base cannot be held in 4 bits."""
    if settings.quantization and not on_gpu:
        raise ConfigError(
            f"adapt.quantization: {settings.quantization} needs a GPU, and there is none here. Leave it out: on a CPU "
            "an adapter is trained in float32; where memory is short, set adapt.gradient_checkpointing, or lower "
            "adapt.batch_tokens."
        )


def _length(lesson: Lesson) -> int:
    return len(lesson.ids)


def batch(lessons: Sequence[Lesson], pad: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs padded on the left, as when text is generated; and the targets of the last positions, -100 for none.

    Inputs are lessons x the longest's tokens, targets lessons x the longest answer's.
    """
    import torch

    longest = max(len(each.ids) for each in lessons)
    last = max(each.answer_tokens for each in lessons)
    ids = torch.full((len(lessons), longest), pad)
    mask, targets = torch.zeros_like(ids), torch.full((len(lessons), last), -100)
    for row, each in enumerate(lessons):
        ids[row, longest - len(each.ids) :] = torch.tensor(each.ids)
        mask[row, longest - len(each.ids) :] = 1
        targets[row, last - each.answer_tokens :] = torch.tensor(each.ids[each.start :])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}, targets


def write_adapter(folder: Path, base: Base, weights: Mapping[str, torch.Tensor]) -> None:
    """The adapter as peft and vLLM read it: safetensors, and JSON without any path of this machine."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    config = base.model.peft_config["default"]
    values = config.to_dict()
    values |= {"base_model_name_or_path": "", "inference_mode": True, "target_modules": sorted(config.target_modules)}
    plain = {key: value.value if hasattr(value, "value") else value for key, value in values.items()}
    write_text(folder / CONFIG, json.dumps(plain, indent=2, sort_keys=True, default=sorted) + "\n")
    tensors = {name.replace(".default.", "."): each.detach().cpu().contiguous() for name, each in weights.items()}
    if not tensors:
        raise BackendError("adapt: the adapter has no weights.")
    try:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:  # a disk that is full, say
        raise native_os_error(error) or OSError(str(error)) from error
    (folder / WEIGHTS).chmod(0o600)
