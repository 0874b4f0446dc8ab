"""train: one arm, one student; batches come from a blend, the best weights are picked on dev."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distill_offline.blending import Batch, Blend
from distill_offline.errors import ConfigError, DistillError, Interrupted
from distill_offline.schema import Example, Progress, Watch
from distill_offline.scoring import quick_f1
from distill_offline.settings import TrainSettings
from distill_offline.student import Student
from distill_offline.training.batching import least_work
from distill_offline.training.checkpoint import Checkpoint, Checkpoints, random_state, restore_random_state
from distill_offline.training.embedding_rows import only_rows
from distill_offline.training.losses import LossRule
from distill_offline.training.optimisation import learning_rate_factor, parameter_groups

if TYPE_CHECKING:
    import torch

__all__ = ["Pools", "Trained", "average", "dev_f1", "prepare", "train"]

# What one more micro-batch costs, in subwords: on a CPU it is adding up gradients, on a GPU the launching of kernels.
_OVERHEAD = {True: 24, False: 4096}


@dataclass(frozen=True, slots=True)
class Pools:
    """What a student learns from (distilled, original) and what its best weights are picked on (dev)."""

    distilled: Sequence[Example]
    original: Sequence[Example]
    dev: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Trained:
    """How it went: one history row an update, the best dev F1 (None without dev) and the update it was seen after."""

    history: tuple[dict[str, Any], ...]
    best_f1: float | None
    best_update: int


def prepare(seed: int, threads: int | None = None) -> int:
    """Make torch repeatable before a student is created; gives the number of threads that results depend on.

    Same seed, data, versions, CPU model and thread count: same weights, bit for bit.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    return torch.get_num_threads()


def train(
    student: Student,
    pools: Pools,
    blend: Blend,
    settings: TrainSettings,
    *,
    name: str,
    metric: str,
    watch: Watch,
    stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train `student` in place for `blend.updates` updates and leave it with its best weights on dev.

    An update's loss is the mean over its labelled positions, whatever micro-batches it is split into. With
    `checkpoints`, training goes on from the last one, bit for bit as if it had never stopped. Raises Interrupted when
    `stop()` turns true, after a checkpoint; DistillError where the loss is no number any more.
    """
    training = _Training(student, pools, settings, metric, _phases(settings, blend))
    done = training.resume(checkpoints.latest()) if checkpoints else 0
    saved = time.monotonic()
    for batch in blend.batches(done):
        if stop():
            if checkpoints and batch.update > done:
                checkpoints.save(training.checkpoint(batch.update))
            raise Interrupted(f"train {name}: stopped at update {batch.update}. Run the same command again to go on.")
        row = training.step(batch, blend.updates)
        now = batch.update + 1
        if not (math.isfinite(row["loss"]) or training.skips_overflow):
            raise DistillError(
                f"train {name}: the loss of update {batch.update} is {row['loss']:g}: training has diverged. "
                f"Lower train.learning_rate ({settings.learning_rate:g})."
            )
        watch(Progress(f"train {name}", now, blend.updates, {"loss": row["loss"], "dev_f1": training.best_f1 or 0.0}))
        if checkpoints and now < blend.updates and time.monotonic() - saved >= settings.checkpoint_every:
            checkpoints.save(training.checkpoint(now))
            saved = time.monotonic()
    return training.finish(blend.updates)


def _phases(settings: TrainSettings, blend: Blend) -> tuple[float, ...]:
    """Where the learning rate starts again: with a step's second half, which a share may have moved; else at tau."""
    if not settings.restart:
        return ()
    step = blend.step()
    return (settings.tau if step is None else step / blend.updates,)


def dev_f1(student: Student, dev: Sequence[Example], metric: str) -> float:
    """The F1 by which the best weights are picked."""
    predicted = student.predict([example.sentence for example in dev])
    return quick_f1(metric, [example.labels for example in dev], predicted)


def average(student: Student, others: Sequence[Student]) -> None:
    """Give `student` the mean of the others' weights (selective parameter merging, 2024, without the selection).

    They must have started from the same encoder and head: the mean of unrelated weights is noise.
    """
    import torch

    states = [other.model.state_dict() for other in others]
    with torch.no_grad():
        for name, tensor in student.model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[name].double() for state in states]).mean(0))


class _Training:
    """The loop's state: model and optimizer under accelerate, the encoded pools, the history, the best weights."""

    def __init__(
        self, student: Student, pools: Pools, settings: TrainSettings, metric: str, phases: Sequence[float]
    ) -> None:
        import torch

        self._phases = phases
        self._student, self._settings, self._metric, self._dev = student, settings, metric, pools.dev
        self._accelerator = _accelerator(settings.mixed_precision)
        distilled = pools.distilled
        if not settings.confidence_weights:
            distilled = [replace(example, weight=1.0) for example in distilled]
        self._distilled, self._original = student.encode(distilled), student.encode(pools.original)
        groups = parameter_groups(student.model, settings.weight_decay, settings.layer_decay)
        # The GPU first, if there is one: an optimizer made over parameters that move afterwards would lose them.
        student.model.to(self._accelerator.device)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self._model, self._optimizer = self._accelerator.prepare(student.model, optimizer)
        self._model.train()
        self._history: list[dict[str, Any]] = []
        self._best: dict[str, torch.Tensor] = {}
        self._best_update: int | None = None
        self.best_f1: float | None = None

    @property
    def skips_overflow(self) -> bool:
        """Whether an update whose gradients overflow is left out and the loss scaled anew: with fp16."""
        return self._accelerator.scaler is not None

    def step(self, batch: Batch, updates: int) -> dict[str, Any]:
        """One update, and an evaluation where one is due; its row of the history."""
        settings, now = self._settings, batch.update + 1
        factor = learning_rate_factor(
            batch.update, updates, settings.warmup, self._phases, settings.learning_rate_decay
        )
        row = {
            "update": batch.update,
            "p": batch.p,
            "distilled": len(batch.distilled),
            "original": len(batch.original),
            "learning_rate": settings.learning_rate * factor,
        }
        row |= self._update(batch, row["learning_rate"])
        if self._dev and (now % settings.eval_every == 0 or now == updates):
            row["dev_f1"] = f1 = dev_f1(self._student, self._dev, self._metric)
            if not self.best_f1 or f1 > self.best_f1:  # 0 chooses nothing: of such weights the last ones stay
                self.best_f1, self._best_update = f1, now
                self._best = {k: v.detach().cpu().clone() for k, v in self._student.model.state_dict().items()}
        self._history.append(row)
        return row

    def finish(self, updates: int) -> Trained:
        """Leave the student as it came, with the best weights."""
        self._accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)  # its forward was wrapped for autocast
        if self._best:
            self._student.model.load_state_dict(self._best)
        return Trained(tuple(self._history), self.best_f1, self._best_update or updates)

    def checkpoint(self, updates: int) -> Checkpoint:
        """All that `resume` needs. What a batch holds is a function of its update, so samplers have no other state."""
        generators, generator_values = random_state()
        optimizer = self._optimizer.optimizer.state_dict()["state"]
        tensors = {
            **{f"model.{name}": tensor for name, tensor in self._student.model.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self._best.items()},
            **{f"optimizer.{i}.{key}": tensor for i, state in optimizer.items() for key, tensor in state.items()},
            **{f"generators.{name}": tensor for name, tensor in generators.items()},
        }
        values = {
            "generators": generator_values,
            "history": self._history,
            "best_f1": self.best_f1,
            "best_update": self._best_update,
            "scaler": self._accelerator.scaler.state_dict() if self._accelerator.scaler else None,
        }
        return Checkpoint(updates, tensors, values)

    def resume(self, checkpoint: Checkpoint | None) -> int:
        """Take up a checkpoint's state; gives how many updates are done."""
        if checkpoint is None:
            return 0
        values = checkpoint.values
        self._student.model.load_state_dict(checkpoint.part("model"))
        optimizer = self._optimizer.optimizer
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in checkpoint.part("optimizer").items():
            index, _, what = key.partition(".")
            state.setdefault(int(index), {})[what] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if self._accelerator.scaler and values["scaler"]:
            self._accelerator.scaler.load_state_dict(values["scaler"])
        self._best = checkpoint.part("best")
        self._history, self.best_f1 = list(values["history"]), values["best_f1"]
        self._best_update = values["best_update"]
        restore_random_state(checkpoint.part("generators"), values["generators"])
        return checkpoint.updates

    def _update(self, batch: Batch, rate: float) -> dict[str, Any]:
        import torch

        windows = [w for i in batch.distilled for w in self._distilled[i]]
        windows += [w for i in batch.original for w in self._original[i]]
        positions = sum(label >= 0 for window in windows for label in window.labels) or 1
        rule, device = self._rule(batch.update), self._accelerator.device
        total, masked = torch.zeros((), device=device), torch.zeros((), dtype=torch.long, device=device)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        cuts = least_work(windows, self._settings.micro_batch_tokens, _OVERHEAD[device.type == "cpu"])
        parts = [{k: v.to(device) for k, v in self._student.batch(part).items()} for part in cuts]
        with self._lookups(parts):
            for tensors in parts:
                with self._accelerator.autocast():
                    loss = self._student.loss(tensors, self._model, rule)
                self._accelerator.backward(loss.total / positions)
                total += loss.total.detach()
                masked += loss.masked
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {"loss": float(total) / positions, **({"masked": int(masked)} if rule.mask_errors else {})}

    def _lookups(self, parts: Sequence[dict[str, torch.Tensor]]) -> AbstractContextManager[None]:
        if self._accelerator.device.type != "cpu":  # a GPU's memory is fast enough, and it would have to wait
            return nullcontext()
        return only_rows(self._student.model.get_input_embeddings(), [tensors["input_ids"] for tensors in parts])

    def _rule(self, update: int) -> LossRule:
        settings, labels = self._settings, self._student.labels
        tokens = self._student.head == "token-classification"
        return LossRule(
            settings.label_smoothing,
            settings.gce_q,
            settings.mask_errors if update >= settings.mask_after else 0.0,
            labels.index("O") if tokens and "O" in labels else None,
        )


def _accelerator(mixed_precision: str) -> Any:
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    on_gpu = torch.cuda.is_available()
    if mixed_precision == "fp16" and not on_gpu:
        raise ConfigError("train.mixed_precision: fp16 needs a GPU, and there is none here. Use bf16 or no.")
    AcceleratorState._reset_state()  # it outlives its Accelerator, and would bind this arm to the last one's precision
    try:
        return Accelerator(mixed_precision=mixed_precision, cpu=not on_gpu, step_scheduler_with_optimizer=False)
    except ValueError as error:
        raise ConfigError(f"train.mixed_precision: {mixed_precision} is not possible here ({error}).") from error
