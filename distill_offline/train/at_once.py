"""Students that are trained at the same time, each in processes of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distill_offline.errors import Interrupted
from distill_offline.models.fitting import free_memory
from distill_offline.schema import Watch
from distill_offline.train.processes import Crew, hear

__all__ = ["Started", "Task", "gpus_of", "how_many", "run_at_once"]

# Weights, gradients, AdamW's two moments, the best weights and what an update keeps, in sizes of the weights; and
# torch itself, in bytes.
_SIZES, _PROGRAM = 8, 1e9


@dataclass(frozen=True, slots=True)
class Started:
    """Processes that train a student, and what becomes of their result: its counts."""

    crew: Crew
    finish: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """One student: `start(slot)` starts its processes, or gives its counts at once if there is nothing to train.

    It starts when all of `needs` that are tasks, too, have been done.
    """

    name: str
    needs: frozenset[str]
    start: Callable[[int], Started | dict[str, Any]]


def how_many(wanted: int | str, students: int, processes: int, weights: int) -> int:
    """How many of so many students train at once, each in `processes` from an encoder of so many bytes.

    `auto`: one for each GPU; without any, one for each thread that torch has, as far as free memory goes.
    """
    import torch

    if wanted != "auto":
        return min(int(wanted), students)
    if gpus := torch.cuda.device_count():
        return max(1, min(gpus // processes, students))
    fitting, free = torch.get_num_threads() // processes, free_memory()
    if free is not None:
        fitting = min(fitting, int(free / (_SIZES * weights + _PROGRAM) / processes))
    return max(1, min(fitting, students))


def gpus_of(slot: int, processes: int) -> str | None:
    """The GPUs of the student in this slot, as CUDA_VISIBLE_DEVICES has them; None without any.

    More students than GPUs share them in turn.
    """
    import torch

    there = torch.cuda.device_count()
    if not there:
        return None
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(names) < there:
        names = [str(number) for number in range(there)]
    return ",".join(names[(slot * processes + rank) % there].strip() for rank in range(min(processes, there)))


def run_at_once(
    tasks: Sequence[Task], at_once: int, *, say: Callable[[str], None], watch: Watch, stop: Callable[[], bool]
) -> dict[str, dict[str, Any]]:
    """Do the tasks, at most `at_once` at a time, in their order as far as their needs allow; gives counts by name.

    If one fails, no other starts, those that run stop at their next safe point, and its error is raised. Raises
    Interrupted when `stop()` turns true, after all have stopped.
    """
    run = _Run(list(tasks), list(range(at_once)))
    try:
        while run.waiting or run.running:
            run.start()
            if run.running:
                hear([started.crew for _, started in run.running.values()], say, watch)
            run.collect()
            if run.error is None and stop():
                run.halt(Interrupted("train: stopped. Run the same command again to go on."))
    finally:
        for _, started in run.running.values():
            started.crew.end()
    if run.error is not None:
        raise run.error
    return run.done


class _Run:
    """The tasks that wait, run and are done."""

    def __init__(self, waiting: list[Task], free: list[int]) -> None:
        self.waiting, self._free = waiting, free
        self.running: dict[str, tuple[int, Started]] = {}
        self.done: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None

    def start(self) -> None:
        """Start what can start."""
        while self._free and (task := self._next()) is not None:
            self.waiting.remove(task)
            try:
                started = task.start(self._free[0])
            except Exception as error:
                self.halt(error)
                return
            if isinstance(started, Started):
                self.running[task.name] = (self._free.pop(0), started)
            else:
                self.done[task.name] = started

    def collect(self) -> None:
        """Take what has ended out of `running`; what went wrong first stops the rest."""
        for name, (slot, started) in [*self.running.items()]:
            if not started.crew.has_ended():
                continue
            del self.running[name]
            self._free.append(slot)
            started.crew.end()
            try:
                self.done[name] = started.finish(started.crew.result())
            except Exception as error:
                self.halt(error)

    def halt(self, error: Exception) -> None:
        """Have nothing more begin and the rest stop; the first error is the one that is told."""
        if isinstance(self.error, Interrupted) or self.error is None:
            self.error = error
        self.waiting.clear()
        for _, started in self.running.values():
            started.crew.stop()

    def _next(self) -> Task | None:
        open_names = {task.name for task in self.waiting} | self.running.keys()
        return next((task for task in self.waiting if not task.needs & open_names), None)
