"""When memory runs out: a clear error instead of a traceback, with what to set lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distill_offline.errors import OutOfMemory

__all__ = ["enough_memory", "is_out_of_memory"]

# Not every allocator has a type of its own for this: the CPU's, cuBLAS, cuDNN and Metal say it in a RuntimeError.
_SAYINGS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "could not create a primitive",  # oneDNN
    "could not create a memory object",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory, the GPU's or the machine's, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(saying in str(error).lower() for saying in _SAYINGS)


@contextmanager
def enough_memory(doing: str, remedy: str = "Free some, or use a smaller model.") -> Iterator[None]:
    """Raises OutOfMemory, with what was being done and the remedy, where the block runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        where = "the GPU's memory" if "cuda" in str(error).lower() or "gpu" in str(error).lower() else "memory"
        raise OutOfMemory(f"{doing}: {where} does not suffice. {remedy}") from error
