"""accelerate's part of the loop: the device, autocast, the scaling of fp16's loss, clipping."""

from __future__ import annotations

from typing import Any

from distill_offline.errors import ConfigError

__all__ = ["accelerator"]


def accelerator(mixed_precision: str) -> Any:
    """The Accelerator of one process on its current GPU, or on the CPU if there is none.

    Raises ConfigError if `mixed_precision` is not possible here.
    """
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
