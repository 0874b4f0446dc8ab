"""The loop by which an adapter learns: updates, epochs, dev, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distill_offline.adapt.lessons import Lesson
from distill_offline.adapt.model import Base
from distill_offline.config.settings import AdaptSettings
from distill_offline.errors import DistillError, Interrupted
from distill_offline.learning.acceleration import accelerator
from distill_offline.learning.checkpoint import (
    Checkpoint,
    Checkpoints,
    optimizer_state,
    random_state,
    restore_optimizer,
    restore_random_state,
)
from distill_offline.learning.optimisation import learning_rate_factor
from distill_offline.schema import Progress, Watch
from distill_offline.student.memory import enough_memory

if TYPE_CHECKING:
    import torch

__all__ = ["Learnt", "learn", "remedy", "updates_of"]

_OVERHEAD = {True: 64, False: 4096}  # tokens' worth of one more part: on a CPU, and on a GPU


@dataclass(frozen=True, slots=True)
class Learnt:
    """The adapter's matrices of the epoch that is kept, and how it went: one row of `history` an epoch, from 0 on.

    Epoch 0 is the base as it was. `dev_loss` is the mean over the tokens of dev's answers.
    """

    weights: dict[str, torch.Tensor]
    epoch: int
    history: tuple[dict[str, Any], ...]
    seconds: float


def updates_of(lessons: int, settings: AdaptSettings) -> int:
    """How many updates all epochs have."""
    return settings.epochs * math.ceil(lessons / settings.batch_size)


def remedy(settings: AdaptSettings) -> str:
    """What to do where memory does not suffice."""
    return (
        f"Set adapt.gradient_checkpointing: true, or adapt.batch_tokens ({settings.batch_tokens}) or adapt.rank "
        f"({settings.rank}) lower; on a GPU adapt.quantization: 4bit; or take a smaller model. --dry-run says how much "
        "memory is needed. Checkpoints are kept: with the settings as they are, the same command goes on from the last."
    )


def learn(
    base: Base,
    lessons: Sequence[Lesson],
    dev: Sequence[Lesson],
    settings: AdaptSettings,
    *,
    name: str,
    seed: int,
    dev_f1: Callable[[], float] | None = None,
    watch: Watch = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> Learnt:
    """Train the adapter of `base` in place. An update's loss is the mean over the tokens of its answers.

    With `checkpoints` it goes on from the last one, bit for bit as if it had never stopped. `dev_f1` scores generated
    answers after each epoch. Raises Interrupted when `stop()` turns true, after a checkpoint; DistillError where the
    loss is no number any more; OutOfMemory.
    """
    with enough_memory(f"{name}: at the start", remedy(settings)):
        learning = _Learning(base, lessons, dev, settings, name, seed, dev_f1)
        done = learning.resume(checkpoints.latest() if checkpoints else None)
    for update, chosen in learning.batches(done):
        if stop():
            if checkpoints and update > done:
                checkpoints.save(learning.checkpoint(update))
            raise Interrupted(f"{name}: stopped at update {update}. Run the same command again to go on.")
        with enough_memory(f"{name}: update {update}", remedy(settings)):
            loss = learning.step(update, chosen)
        now = update + 1
        watch(Progress(name, now, learning.updates, {"loss": loss}))
        if checkpoints and now < learning.updates and now % settings.checkpoint_every == 0:
            checkpoints.save(learning.checkpoint(now))
    return learning.finish()


@dataclass(slots=True)
class _Sums:
    """Of the epoch under way."""

    loss: float = 0.0
    tokens: int = 0


@dataclass(slots=True)
class _State:
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_epoch: int = 0
    sums: _Sums = field(default_factory=_Sums)
    seconds: float = 0.0


class _Learning:
    def __init__(
        self,
        base: Base,
        lessons: Sequence[Lesson],
        dev: Sequence[Lesson],
        settings: AdaptSettings,
        name: str,
        seed: int,
        dev_f1: Callable[[], float] | None,
    ) -> None:
        import torch

        self._base, self._lessons, self._dev, self._settings = base, lessons, dev, settings
        self._name, self._seed, self._dev_f1 = name, seed, dev_f1
        self._accelerator = accelerator("bf16" if torch.cuda.is_available() else "no")
        self._device = self._accelerator.device
        with self._accelerator.autocast():
            base.pack_if_same([*lessons, *dev], settings.batch_tokens, self._device)
        self._learning = base.learning
        optimizer = torch.optim.AdamW(
            self._learning.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._optimizer = self._accelerator.prepare(optimizer)
        self._state = _State()
        self._started = time.monotonic()
        self.updates = updates_of(len(lessons), settings)
        self._updates_per_epoch = self.updates // settings.epochs  # updates an epoch

    def batches(self, done: int) -> Iterator[tuple[int, list[Lesson]]]:
        """Each update with its lessons: a function of seed and epoch alone."""
        for update in range(done, self.updates):
            epoch, place = divmod(update, self._updates_per_epoch)
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._lessons))
            size = self._settings.batch_size
            yield update, [self._lessons[i] for i in order[place * size : (place + 1) * size]]

    def step(self, update: int, lessons: Sequence[Lesson]) -> float:
        """One update, and what stands at an epoch's end; gives its mean loss a token."""
        settings = self._settings
        factor = learning_rate_factor(update, self.updates, settings.warmup, (), settings.learning_rate_decay)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        self._base.model.train()
        tokens, total = sum(each.answer_tokens for each in lessons), 0.0
        for part in self._base.parts(lessons, settings.batch_tokens, _OVERHEAD[self._device.type == "cpu"]):
            with self._accelerator.autocast():
                loss = self._base.loss(part, self._device)
            self._accelerator.backward(loss / tokens)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise DistillError(
                f"{self._name}: the loss of update {update} is {total:g}: it has diverged. Lower adapt.learning_rate "
                f"({settings.learning_rate:g}), or raise adapt.warmup. The checkpoint before it is kept."
            )
        self._accelerator.clip_grad_norm_(self._learning.values(), settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._state.sums.loss += total
        self._state.sums.tokens += tokens
        if (update + 1) % self._updates_per_epoch == 0:
            self._end_epoch((update + 1) // self._updates_per_epoch)
        return total / tokens

    def _end_epoch(self, epoch: int) -> None:
        state, sums = self._state, self._state.sums
        row: dict[str, Any] = {"epoch": epoch}
        if sums.tokens:
            row["loss"] = sums.loss / sums.tokens
        state.sums = _Sums()
        if self._dev:
            self._base.model.eval()
            row["dev_loss"] = self._dev_loss()
            if self._dev_f1 is not None and epoch:
                row["dev_f1"] = self._dev_f1()
        state.history.append(row)
        if epoch and self._is_better(row):
            state.best_epoch = epoch
            state.best = {name: each.detach().cpu().clone() for name, each in self._learning.items()}

    def _is_better(self, row: dict[str, Any]) -> bool:
        pick, earlier = self._settings.pick, self._state.history[1:-1]
        if pick == "last" or not self._dev or not earlier:
            return True
        if pick == "dev_f1":
            return bool(row["dev_f1"] > max(each["dev_f1"] for each in earlier))
        return bool(row["dev_loss"] < min(each["dev_loss"] for each in earlier))

    def _dev_loss(self) -> float:
        import torch

        with torch.no_grad(), self._accelerator.autocast():
            parts = self._base.parts(self._dev, self._settings.batch_tokens, 0)
            total = sum(float(self._base.loss(part, self._device)) for part in parts)
        return total / sum(each.answer_tokens for each in self._dev)

    def checkpoint(self, updates: int) -> Checkpoint:
        """All that `resume` needs."""
        generators, generator_values = random_state()
        state = self._state
        tensors = {
            **{f"model.{name}": each for name, each in self._learning.items()},
            **{f"best.{name}": each for name, each in state.best.items()},
            **optimizer_state(self._optimizer.optimizer),
            **{f"generators.{name}": each for name, each in generators.items()},
        }
        values = {
            "generators": generator_values,
            "history": state.history,
            "best_epoch": state.best_epoch,
            "sums": [state.sums.loss, state.sums.tokens],
            "seconds": self._seconds,
        }
        return Checkpoint(updates, tensors, values)

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Take up a checkpoint's state, or begin with a look at the base; gives how many updates are done."""
        import torch

        if checkpoint is None:
            self._end_epoch(0)
            return 0
        with torch.no_grad():
            for name, each in checkpoint.part("model").items():
                self._learning[name].copy_(each)
        restore_optimizer(self._optimizer.optimizer, checkpoint)
        values = checkpoint.values
        sums = _Sums(*values["sums"])
        self._state = _State(
            list(values["history"]), checkpoint.part("best"), values["best_epoch"], sums, values["seconds"]
        )
        restore_random_state(checkpoint.part("generators"), values["generators"])
        return checkpoint.updates

    @property
    def _seconds(self) -> float:
        return self._state.seconds + time.monotonic() - self._started

    def finish(self) -> Learnt:
        return Learnt(self._state.best, self._state.best_epoch, tuple(self._state.history), self._seconds)
