"""train: one arm, one student; batches come from a blend, the best weights are picked on dev."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distill_offline.blending import Batch, Blend
from distill_offline.errors import Interrupted
from distill_offline.schema import Example, Progress, Watch
from distill_offline.scoring import score
from distill_offline.settings import TrainSettings
from distill_offline.student import Student, micro_batches

if TYPE_CHECKING:
    import torch

__all__ = ["Pools", "Trained", "learning_rate_factor", "prepare", "train"]


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


def learning_rate_factor(update: int, updates: int, warmup: float, phases: Sequence[float] = ()) -> float:
    """Linear warm-up, then linear decay to zero, as a factor of the peak rate.

    `phases` are the points of progress at which the whole schedule starts again.
    """
    borders = [0, *sorted(round(p * updates) for p in phases), updates]
    start, end = next((a, b) for a, b in itertools.pairwise(borders) if a <= update < b)
    length, step = end - start, update - start
    rise = min(math.ceil(warmup * length), length - 1)
    return (step + 1) / (rise + 1) if step < rise else (length - step) / (length - rise)


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
) -> Trained:
    """Train `student` in place for `blend.updates` updates and leave it with its best weights on dev.

    An update's loss is the mean over its labelled positions, whatever micro-batches it is split into. Raises
    Interrupted when `stop()` turns true.
    """
    return _Training(student, pools, settings, metric).run(blend, name, watch, stop)


class _Training:
    """The loop's state: model and optimizer under accelerate, the encoded pools, the best weights so far."""

    def __init__(self, student: Student, pools: Pools, settings: TrainSettings, metric: str) -> None:
        import torch
        from accelerate import Accelerator

        self._student, self._settings, self._metric, self._dev = student, settings, metric, pools.dev
        self._accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            cpu=not torch.cuda.is_available(),
            step_scheduler_with_optimizer=False,
        )
        self._distilled, self._original = student.encode(pools.distilled), student.encode(pools.original)
        optimizer = torch.optim.AdamW(
            _parameter_groups(student.model, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self._model, self._optimizer = self._accelerator.prepare(student.model, optimizer)
        self._best: dict[str, torch.Tensor] | None = None

    def run(self, blend: Blend, name: str, watch: Watch, stop: Callable[[], bool]) -> Trained:
        settings, history = self._settings, list[dict[str, Any]]()
        best_f1, best_update = None, blend.updates
        phases = (settings.tau,) if settings.restart else ()
        self._model.train()
        for batch in blend.batches():
            if stop():
                raise Interrupted(f"train {name}: stopped at update {batch.update}. Run the same command again.")
            rate = settings.learning_rate * learning_rate_factor(batch.update, blend.updates, settings.warmup, phases)
            row = self._row(batch, rate, self._update(batch, rate))
            done = batch.update + 1
            if self._dev and (done % settings.eval_every == 0 or done == blend.updates):
                row["dev_f1"] = f1 = self._dev_f1()
                if best_f1 is None or f1 > best_f1:
                    best_f1, best_update = f1, done
                    self._best = {k: v.detach().cpu().clone() for k, v in self._student.model.state_dict().items()}
            history.append(row)
            watch(Progress(f"train {name}", done, blend.updates, {"loss": row["loss"], "dev_f1": best_f1 or 0.0}))
        if self._best is not None:
            self._student.model.load_state_dict(self._best)
        return Trained(tuple(history), best_f1, best_update)

    def _update(self, batch: Batch, rate: float) -> float:
        windows = [w for i in batch.distilled for w in self._distilled[i]]
        windows += [w for i in batch.original for w in self._original[i]]
        positions = sum(label >= 0 for window in windows for label in window.labels) or 1
        total = 0.0
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for part in micro_batches(windows, self._settings.micro_batch_tokens):
            tensors = {k: v.to(self._accelerator.device) for k, v in self._student.batch(part).items()}
            with self._accelerator.autocast():
                loss = self._student.loss(tensors, self._model) / positions
            self._accelerator.backward(loss)
            total += float(loss.detach())
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total

    def _dev_f1(self) -> float:
        predicted = self._student.predict([example.sentence for example in self._dev])
        return score(self._metric, [example.labels for example in self._dev], predicted, on="dev").overall.f1

    @staticmethod
    def _row(batch: Batch, rate: float, loss: float) -> dict[str, Any]:
        return {
            "update": batch.update,
            "p": batch.p,
            "distilled": len(batch.distilled),
            "original": len(batch.original),
            "learning_rate": rate,
            "loss": loss,
        }


def _parameter_groups(model: Any, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Weights decay; biases and normalisation scales (vectors) do not."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    yield {"params": decayed, "weight_decay": weight_decay}
    yield {"params": plain, "weight_decay": 0.0}
