"""Torch made repeatable, so that the same inputs give the same weights."""

from __future__ import annotations

__all__ = ["prepare"]


def prepare(seed: int, threads: int | None = None) -> int:
    """Make torch repeatable before a student is created; gives the number of threads that results depend on.

    Same seed, data, versions, CPU model and thread count: same weights, bit for bit.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Nothing reads memory that nothing was written to; filling it takes 5% of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.get_num_threads()
