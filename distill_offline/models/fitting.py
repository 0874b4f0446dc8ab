"""Which teacher fits this machine's memory: by how many bits a parameter takes."""

from __future__ import annotations

from pathlib import Path

from distill_offline.models.folder import WEIGHTS

__all__ = ["BESIDE", "free_memory", "largest", "memory_for_a_teacher", "weights_of"]

# Bits of a parameter with its scales: GGUF's Q4_K_M and Q8_0, and half precision.
BITS = {"4 bits": 4.85, "8 bits": 8.5, "16 bits": 16.0}
BESIDE = 1.5e9  # bytes for the context of a few slots and for the program
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """Bytes of main memory that this process may still take; None if the system does not say.

    A container's limit counts where it is lower than what the machine has.
    """
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    try:
        limit = int((cgroup / "memory.max").read_text("ascii")) - int((cgroup / "memory.current").read_text("ascii"))
    except (OSError, ValueError):  # none, or "max"
        return free
    return max(0, min(free, limit))


def memory_for_a_teacher() -> int | None:
    """Bytes that are free on the first GPU, or in main memory if there is none."""
    try:
        import torch
    except ImportError:
        return free_memory()
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else free_memory()


def largest(free: int) -> dict[str, float]:
    """How many billion parameters of a teacher fit into so many bytes, by the bits of one."""
    return {name: max(0.0, free - BESIDE) * 8 / bits / 1e9 for name, bits in BITS.items()}


def weights_of(model: Path) -> int:
    """Bytes of the weights of a file or folder."""
    files = [model] if model.is_file() else model.rglob("*")
    return sum(file.stat().st_size for file in files if file.suffix.lower() in WEIGHTS and file.is_file())
