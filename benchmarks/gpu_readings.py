"""What nvidia-smi says once a second: power and memory of the GPUs in use, and what that comes to over a time."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["Readings", "Usage"]

_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all GPUs together; None where nvidia-smi does not say."""

    peak_memory_gib: float | None = None
    mean_power_w: float | None = None
    energy_j: float | None = None


class Readings:
    """A thread that samples while the context is open; if there is no nvidia-smi it gives nothing."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float | None, float | None]] = []  # time.time(), watts, MiB
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def between(self, began: float, ended: float) -> Usage:
        """What was used from `began` to `ended` (time.time())."""
        inside = [sample for sample in list(self._samples) if began <= sample[0] <= ended]
        watts = [power for _, power, _ in inside if power is not None]
        memory = [used for _, _, used in inside if used is not None]
        mean = statistics.fmean(watts) if watts else None
        return Usage(
            max(memory) / 1024 if memory else None,
            mean,
            mean * (ended - began) if mean is not None else None,
        )

    def _sample(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            try:
                self._samples.append((time.time(), *_ask()))
            except OSError:  # there is no nvidia-smi
                return
            except (ValueError, subprocess.SubprocessError):
                pass  # it did not answer this once
            due += _INTERVAL_S
            self._over.wait(max(0.0, due - time.monotonic()))


def _ask() -> tuple[float | None, float | None]:
    """(watts, MiB) now. Raises OSError, SubprocessError or ValueError."""
    command = ["nvidia-smi", "--query-gpu=power.draw,memory.used", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        command.append(f"--id={visible}")
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    watts, memory = zip(*(line.split(",") for line in answer.stdout.strip().splitlines()), strict=True)
    return _total(watts), _total(memory)


def _total(values: tuple[str, ...]) -> float | None:
    """The sum; None if one is no number, such as `[N/A]`."""
    if not all(re.fullmatch(r"\s*\d+(\.\d+)?\s*", value) for value in values):
        return None
    return sum(float(value) for value in values)
