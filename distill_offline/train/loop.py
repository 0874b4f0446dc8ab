"""train: one arm, one student; batches come from a blend, the best weights are picked on dev."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distill_offline.config.settings import TrainSettings
from distill_offline.errors import DistillError, Interrupted
from distill_offline.label_kinds import comparable
from distill_offline.label_kinds.losses import LossRule
from distill_offline.label_kinds.transitions import average_transitions, estimated_transitions
from distill_offline.learning.acceleration import accelerator
from distill_offline.learning.checkpoint import (
    Checkpoint,
    Checkpoints,
    optimizer_state,
    random_state,
    random_states_of_others,
    restore_optimizer,
    restore_random_states,
)
from distill_offline.learning.embedding_rows import LearnedRows
from distill_offline.learning.group import ALONE, Group
from distill_offline.learning.optimisation import learning_rate_factor, parameter_groups
from distill_offline.learning.repeatable import prepare
from distill_offline.schema import Example, Progress, Watch
from distill_offline.scoring.metrics import quick_f1
from distill_offline.student.batching import least_work, share
from distill_offline.student.memory import enough_memory
from distill_offline.student.model import Encoded, Student
from distill_offline.train.blending import Batch, Blend

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
    observe: Callable[[int, Student], None] = lambda updates, student: None,
    group: Group = ALONE,
) -> Trained:
    """Train `student` in place for `blend.updates` updates and leave it with its best weights on dev.

    An update's loss is the mean over its labelled positions, whatever micro-batches it is split into. With
    `checkpoints`, training goes on from the last one, bit for bit as if it had never stopped. `observe` is shown the
    student after each update, before a checkpoint of it is kept; it must change nothing. Raises Interrupted when
    `stop()` turns true, after a checkpoint; DistillError where the loss is no number any more; OutOfMemory.

    In a `group` of several processes each calls this with an equal student and all else the same; they share the
    windows of every update, add up their gradients, and end with equal students, of which process 0 has the best
    weights. Process 0 alone writes checkpoints. Raises Lost if another process is gone.
    """
    remedy = (
        f"Set train.micro_batch_tokens ({settings.micro_batch_tokens}) or train.max_length ({settings.max_length}) "
        "lower, or train.mixed_precision to bf16 on a GPU; train.batch_size costs hardly any. Checkpoints are kept: "
        "with the settings as they are, the same command goes on from the last one."
    )
    if settings.transitions and student.kind.per_token:
        student.transitions = estimated_transitions(_learnt(pools, blend), student.labels, settings.transitions)
    with enough_memory(f"train {name}: at the start", remedy):
        training = _Training(student, pools, settings, metric, _phases(settings, blend), group)
    done = training.resume(checkpoints.latest(group)) if checkpoints else 0
    saved = time.monotonic()
    for batch in blend.batches(done):
        if group.any(stop()):
            if checkpoints and batch.update > done:
                training.save(checkpoints, batch.update)
            raise Interrupted(f"train {name}: stopped at update {batch.update}. Run the same command again to go on.")
        with enough_memory(f"train {name}: update {batch.update}", remedy):
            row = training.step(batch, blend.updates)
        now = batch.update + 1
        if not (math.isfinite(row["loss"]) or training.skips_overflow):
            raise DistillError(
                f"train {name}: the loss of update {batch.update} is {row['loss']:g}: training has diverged. "
                f"Lower train.learning_rate ({settings.learning_rate:g})."
            )
        observe(now, student)
        measured = {} if training.best_f1 is None else {"dev_f1": training.best_f1}
        watch(Progress(f"train {name}", now, blend.updates, {"loss": row["loss"], **measured}))
        is_due = time.monotonic() - saved >= settings.checkpoint_every
        if checkpoints and now < blend.updates and group.any(is_due):
            training.save(checkpoints, now)
            saved = time.monotonic()
    return training.finish(blend.updates)


def _phases(settings: TrainSettings, blend: Blend) -> tuple[float, ...]:
    """Where the learning rate starts again: with a step's second half, which a share may have moved; else at tau."""
    if not settings.restart:
        return ()
    step = blend.step()
    return (settings.tau if step is None else step / blend.updates,)


def _learnt(pools: Pools, blend: Blend) -> tuple[Example, ...]:
    """All examples of the pools that the blend draws from at all."""
    has_distilled, has_original = blend.draws()
    return (*(pools.distilled if has_distilled else ()), *(pools.original if has_original else ()))


def dev_f1(student: Student, dev: Sequence[Example], metric: str, group: Group = ALONE) -> float:
    """The F1 by which the best weights are picked; the processes of a group share the sentences."""
    mine = student.predict([example.sentence for example in dev[group.rank :: group.size]])
    shares = group.gather(mine)
    predicted = [shares[i % group.size][i // group.size] for i in range(len(dev))]
    return quick_f1(metric, *comparable(student.head, dev, predicted))


def average(student: Student, others: Sequence[Student]) -> None:
    """Give `student` the mean of the others' weights (selective parameter merging, 2024, without the selection).

    They must have started from the same encoder and head: the mean of unrelated weights is noise. Their transitions are
    averaged, too.
    """
    import torch

    student.transitions = average_transitions([other.transitions for other in others])

    states = [other.model.state_dict() for other in others]
    with torch.no_grad():
        for name, tensor in student.model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[name].double() for state in states]).mean(0))


class _Training:
    """The loop's state: model and optimizer under accelerate, the encoded pools, the history, the best weights."""

    def __init__(
        self,
        student: Student,
        pools: Pools,
        settings: TrainSettings,
        metric: str,
        phases: Sequence[float],
        group: Group,
    ) -> None:
        import torch

        self._phases, self._group = phases, group
        group.seed()
        self._student, self._settings, self._metric, self._dev = student, settings, metric, pools.dev
        self._accelerator = accelerator(settings.mixed_precision)
        distilled = pools.distilled
        if not settings.confidence_weights:
            distilled = [replace(example, weight=1.0) for example in distilled]
        self._distilled, self._original = student.encode(distilled), student.encode(pools.original)
        groups = parameter_groups(student.model, settings.weight_decay, settings.layer_decay)
        # The GPU first, if there is one: an optimizer made over parameters that move afterwards would lose them.
        student.model.to(self._accelerator.device)
        learning = [parameter for parameter in student.model.parameters() if parameter.requires_grad]
        self._rows = LearnedRows.of(student.model, self._looked_up())
        if self._rows is not None:
            for parameter_group in groups:
                parameter_group["params"] = self._rows.instead(parameter_group["params"])
            learning = self._rows.instead(learning)
        self._learning = learning
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
            row["dev_f1"] = f1 = dev_f1(self._student, self._dev, self._metric, self._group)
            if not self.best_f1 or f1 > self.best_f1:  # 0 chooses nothing: of such weights the last ones stay
                self.best_f1, self._best_update = f1, now
                if not self._group.rank:
                    self._best = {k: v.detach().cpu().clone() for k, v in self._student.model.state_dict().items()}
        self._history.append(row)
        return row

    def finish(self, updates: int) -> Trained:
        """Leave the student as it came, with the best weights."""
        if not self._group.have_the_same(self._student.model.state_dict()):
            raise DistillError("train.processes: the processes' students differ at the end. Set it to 1.")
        self._accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)  # its forward was wrapped for autocast
        if self._best:
            self._student.model.load_state_dict(self._best)
        return Trained(tuple(self._history), self.best_f1, self._best_update or updates)

    def save(self, checkpoints: Checkpoints, updates: int) -> None:
        """Write all that `resume` needs; the processes of a group go on when it is written."""
        others = random_states_of_others(self._group)
        if not self._group.rank:
            checkpoints.save(self._checkpoint(updates, others))
        self._group.wait()

    def _checkpoint(self, updates: int, others: Sequence[Any]) -> Checkpoint:
        """What a batch holds is a function of its update, so samplers have no other state."""
        generators, generator_values = random_state()
        tensors = {
            **{f"model.{name}": tensor for name, tensor in self._student.model.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self._best.items()},
            **optimizer_state(self._optimizer.optimizer),
            **{f"generators.{name}": tensor for name, tensor in generators.items()},
        }
        values = {
            "generators": generator_values,
            "others": others,
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
        if self._rows is not None:
            self._rows.read()
        restore_optimizer(self._optimizer.optimizer, checkpoint)
        if self._accelerator.scaler and values["scaler"]:
            self._accelerator.scaler.load_state_dict(values["scaler"])
        self._best = checkpoint.part("best")
        self._history, self.best_f1 = list(values["history"]), values["best_f1"]
        self._best_update = values["best_update"]
        restore_random_states(checkpoint, self._group.rank)
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
        mine = share(windows, self._group.rank, self._group.size)
        cuts = least_work(mine, self._settings.micro_batch_tokens, _OVERHEAD[device.type == "cpu"])
        parts = [{k: v.to(device) for k, v in self._student.batch(part).items()} for part in cuts]
        # A GPU's memory is fast enough for all the rows, and it would have to wait.
        ids = self._ids(windows, parts) if device.type == "cpu" else []
        with self._rows.looked_up(ids) if self._rows is not None else nullcontext() as rows:
            for tensors in parts:
                with self._accelerator.autocast():
                    loss = self._student.loss(tensors, self._model, rule)
                self._accelerator.backward(loss.total / positions)
                total += loss.total.detach()
                masked += loss.masked
        if not parts and self.skips_overflow:
            self._accelerator.scaler.scale(total)  # it sets itself up at its first use
        of_rows = {} if rows is None or self._rows is None else {self._rows.weight: rows}
        total, masked = self._group.add_up(self._learning, (total, masked), of_rows)
        self._accelerator.clip_grad_norm_(self._learning, self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._rows is not None:
            self._rows.write()
        return {"loss": float(total) / positions, **({"masked": int(masked)} if rule.mask_errors else {})}

    def _looked_up(self) -> Iterator[Sequence[int]]:
        """All subwords that training will look up."""
        yield [self._student.padding]
        for windows in (*self._distilled, *self._original):
            yield from (window.ids for window in windows)

    def _ids(self, windows: Sequence[Encoded], parts: Sequence[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
        """All subwords that are looked up in the update, by whichever process.

        The padding is always among them: Longformer and its like fill up windows themselves.
        """
        import torch

        if self._group.size > 1:
            parts = [self._student.batch(windows)]
        return [torch.tensor([self._student.padding]), *(tensors["input_ids"] for tensors in parts)]

    def _rule(self, update: int) -> LossRule:
        settings = self._settings
        return LossRule(
            settings.label_smoothing,
            settings.gce_q if update >= settings.gce_after else 0.0,
            settings.mask_errors if update >= settings.mask_after else 0.0,
            self._student.kind.outside(self._student.labels),
        )
