"""pretrain: the encoder learns to guess hidden words, update by update; resumed bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill_offline.config.settings import PretrainSettings
from distill_offline.errors import ConfigError, DistillError, Interrupted
from distill_offline.learning.acceleration import accelerator
from distill_offline.learning.checkpoint import (
    Checkpoint,
    Checkpoints,
    optimizer_state,
    random_state,
    restore_optimizer,
    restore_random_state,
)
from distill_offline.learning.optimisation import learning_rate_factor, parameter_groups
from distill_offline.pretrain.masking import Hidden, Order, Windows, hide
from distill_offline.pretrain.model import Guesser, Loaded
from distill_offline.pretrain.text import Text
from distill_offline.schema import Progress, Watch
from distill_offline.student.batching import least_work
from distill_offline.student.memory import enough_memory

if TYPE_CHECKING:
    import torch

__all__ = ["Pretrained", "pretrain"]

_OVERHEAD = {True: 24, False: 4096}  # what one more micro-batch costs, in subwords: on a CPU, on a GPU
_HELD_OUT = 2**31  # instead of an update's number: what is hidden in the held-out part is always the same


@dataclass(frozen=True, slots=True)
class Pretrained:
    """How it went: one history row an update, and the loss on the held-out part, None without one.

    Losses are means over hidden subwords, in nats. `unknown` counts hidden subwords of the held-out part that the text
    learnt from lacks: no loss is taken there.
    """

    history: tuple[dict[str, Any], ...]
    before: float | None
    after: float | None
    unknown: int


def pretrain(
    loaded: Loaded,
    text: Text,
    settings: PretrainSettings,
    *,
    watch: Watch = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> tuple[Pretrained, Guesser]:
    """Train the encoder in place; gives how it went, and what writes the encoder.

    With `checkpoints`, training goes on from the last one, bit for bit as if it had never stopped. Raises Interrupted
    when `stop()` turns true, after a checkpoint; DistillError where the loss is no number any more; OutOfMemory.
    """
    remedy = (
        f"Set pretrain.micro_batch_tokens ({settings.micro_batch_tokens}) or pretrain.max_length "
        f"({settings.max_length}) lower; pretrain.update_tokens costs hardly any. Checkpoints are kept: with the "
        "settings as they are, the same command goes on from the last one."
    )
    order = Order(text.learnt.lengths, settings.update_tokens, settings.passes, settings.updates, settings.seed)
    with enough_memory("pretrain: at the start", remedy):
        training = _Training(loaded, text, settings, len(order))
        done = training.resume(checkpoints.latest()) if checkpoints else 0
        if not done:
            training.measure(0)
    saved = time.monotonic()
    for update, numbers in enumerate(order.parts(done), done):
        if stop():
            if checkpoints and update > done:
                checkpoints.save(training.checkpoint(update))
            raise Interrupted(f"pretrain: stopped at update {update}. Run the same command again to go on.")
        with enough_memory(f"pretrain: update {update}", remedy):
            row = training.step(update, numbers)
        if not (math.isfinite(row["loss"]) or training.skips_overflow):
            raise DistillError(
                f"pretrain: the loss of update {update} is {row['loss']:g}: training has diverged. "
                f"Lower pretrain.learning_rate ({settings.learning_rate:g})."
            )
        shown = {"loss": row["loss"], **({"held_out": training.held_out} if training.held_out is not None else {})}
        watch(Progress("pretrain", update + 1, len(order), shown))
        is_due = time.monotonic() - saved >= settings.checkpoint_every
        if checkpoints and update + 1 < len(order) and is_due:
            checkpoints.save(training.checkpoint(update + 1))
            saved = time.monotonic()
    return training.finish(), training.guesser


@dataclass(frozen=True, slots=True)
class _Window:
    """A window's number and, for what cuts micro-batches, its length."""

    number: int
    ids: range


class _Training:
    """The loop's state: model and optimizer under accelerate, the history, the losses on the held-out part."""

    def __init__(self, loaded: Loaded, text: Text, settings: PretrainSettings, updates: int) -> None:
        import torch

        self._text, self._settings, self._updates = text, settings, updates
        self._mask = loaded.tokenizer.mask_token_id
        self._accelerator = _accelerator(settings.mixed_precision)
        device = self._accelerator.device
        self.guesser = Guesser(loaded, text.learnt, settings.head, device)
        groups = parameter_groups(self.guesser.model, settings.weight_decay)
        rows, head = self.guesser.rows, self.guesser.head
        for group in groups:
            group["params"] = rows.instead(group["params"])
        for parameter in head.values():
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.append({"params": [parameter], "weight_decay": decay, "scale": 1.0})
        self._learning = [parameter for group in groups for parameter in group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self._model, self._optimizer = self._accelerator.prepare(self.guesser.model, optimizer)
        self._model.train()
        hidden = self._hide(text.held_out, _HELD_OUT) if len(text.held_out) else None
        self._measured = hidden
        self._known = np.zeros(0, np.bool_) if hidden is None else self.guesser.is_known(text.held_out.ids)
        self.before: float | None = None
        self.held_out: float | None = None
        self._history = list[dict[str, Any]]()

    @property
    def skips_overflow(self) -> bool:
        """Whether an update whose gradients overflow is left out and the loss scaled anew: with fp16."""
        return self._accelerator.scaler is not None

    def step(self, update: int, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """One update, and a measurement where one is due; its row of the history."""
        settings, now = self._settings, update + 1
        rate = settings.learning_rate * learning_rate_factor(update, self._updates, settings.warmup)
        row: dict[str, Any] = {"update": update, "windows": len(numbers), "learning_rate": rate}
        row |= self._update(self._text.learnt.only(numbers), update, rate)
        if now % settings.eval_every == 0 or now == self._updates:
            self.measure(now)
            if self.held_out is not None:
                row["held_out"] = self.held_out
        self._history.append(row)
        return row

    def _update(self, windows: Windows, update: int, rate: float) -> dict[str, Any]:
        import torch

        hidden = self._hide(windows, update)
        count = int(hidden.wanted.sum())
        total = torch.zeros((), device=self._accelerator.device)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        with self.guesser.rows.looked_up():
            for numbers in self._cut(windows):
                tensors = self.guesser.tensors(windows, hidden.ids, hidden.wanted, numbers)
                if not len(tensors["targets"]):
                    continue
                with self._accelerator.autocast():
                    loss = self.guesser.loss(tensors, self._model)
                self._accelerator.backward(loss / count)
                total += loss.detach()
        if count:  # text of nothing but special subwords teaches nothing
            self._accelerator.clip_grad_norm_(self._learning, self._settings.clip)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self.guesser.rows.write()
        return {"hidden": count, "loss": float(total) / max(count, 1)}

    def measure(self, now: int) -> None:
        """The loss on the held-out part, with dropout off; the first one is kept as that before training."""
        import torch

        if self._measured is None:
            return
        windows, hidden = self._text.held_out, self._measured
        wanted = hidden.wanted & self._known
        total = 0.0
        self._model.eval()
        with torch.inference_mode():
            for numbers in self._cut(windows):
                tensors = self.guesser.tensors(windows, hidden.ids, wanted, numbers)
                if len(tensors["targets"]):
                    with self._accelerator.autocast():
                        total += float(self.guesser.loss(tensors, self._model))
        self._model.train()
        self.held_out = total / int(wanted.sum()) if wanted.any() else None
        if not now:
            self.before = self.held_out

    def finish(self) -> Pretrained:
        """Leave the model as it came, with its weights as they are now."""
        self._accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)
        unknown = 0 if self._measured is None else int((self._measured.wanted & ~self._known).sum())
        return Pretrained(tuple(self._history), self.before, self.held_out, unknown)

    def checkpoint(self, updates: int) -> Checkpoint:
        """What is hidden is a function of the update, so the text has no other state."""
        generators, generator_values = random_state()
        tensors: dict[str, torch.Tensor] = {
            **{f"model.{name}": tensor for name, tensor in self.guesser.model.state_dict().items()},
            **{f"head.{name}": parameter.data for name, parameter in self.guesser.head.items()},
            **optimizer_state(self._optimizer.optimizer),
            **{f"generators.{name}": tensor for name, tensor in generators.items()},
        }
        values = {
            "generators": generator_values,
            "history": self._history,
            "before": self.before,
            "held_out": self.held_out,
            "scaler": self._accelerator.scaler.state_dict() if self._accelerator.scaler else None,
        }
        return Checkpoint(updates, tensors, values)

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Take up a checkpoint's state; gives how many updates are done."""
        if checkpoint is None:
            return 0
        values = checkpoint.values
        self.guesser.model.load_state_dict(checkpoint.part("model"))
        self.guesser.rows.read()
        for name, tensor in checkpoint.part("head").items():
            self.guesser.head[name].data.copy_(tensor)
        restore_optimizer(self._optimizer.optimizer, checkpoint)
        if self._accelerator.scaler and values["scaler"]:
            self._accelerator.scaler.load_state_dict(values["scaler"])
        self._history, self.before, self.held_out = list(values["history"]), values["before"], values["held_out"]
        restore_random_state(checkpoint.part("generators"), values["generators"])
        return checkpoint.updates

    def _hide(self, windows: Windows, update: int) -> Hidden:
        settings = self._settings
        return hide(windows, settings.masked, self._mask, self.guesser.others, settings.seed, update)

    def _cut(self, windows: Windows) -> list[NDArray[np.int64]]:
        """Micro-batches of windows of like length, by their numbers."""
        sized = [_Window(number, range(length)) for number, length in enumerate(windows.lengths.tolist())]
        overhead = _OVERHEAD[self._accelerator.device.type == "cpu"]
        cuts = least_work(sized, self._settings.micro_batch_tokens, overhead)
        return [np.array([window.number for window in cut], np.int64) for cut in cuts]


def _accelerator(mixed_precision: str) -> Any:
    try:
        return accelerator(mixed_precision)
    except ConfigError as error:  # it is told of as train's
        raise ConfigError(f"pretrain.{str(error).removeprefix('train.')}") from error
