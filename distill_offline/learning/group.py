"""The processes that train one student together, as one of them sees the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["ALONE", "Group", "Lost", "joined"]

_BUCKET = 2**25  # gradients added up at once, in numbers: large enough to be fast, small beside a model


class Lost(Exception):
    """The others do not answer any more: they have ended, or take longer than was agreed."""


class Group:
    """Process `rank` of `size`; a group of one asks nobody and gives everything back as it is.

    All processes are to call its methods alike, in the same order; each of them then gets the same answer, bit for bit.
    Raises Lost if another process is gone.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self._device = rank, size, device

    def seed(self) -> None:
        """Give each process random numbers of its own: else all would draw the same dropout."""
        if self.size == 1:
            return
        import torch

        # Hashed, so that no process of another seed draws the same.
        digest = hashlib.sha256(f"{torch.initial_seed()} {self.rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7]))

    def any(self, flag: bool) -> bool:
        """Whether it is true for any of them."""
        if self.size == 1:
            return flag
        import torch

        flags = torch.tensor(int(flag), device=self._device)
        _asked(lambda: torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX))
        return bool(flags)

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def gather(self, value: Any) -> list[Any]:
        """What each of them gave, by rank."""
        if self.size == 1:
            return [value]
        import torch

        gathered: list[Any] = [None] * self.size
        _asked(lambda: torch.distributed.all_gather_object(gathered, value))
        return gathered

    def have_the_same(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Whether all of them have these tensors, bit for bit."""
        if self.size == 1:
            return True
        digest = hashlib.sha256()
        for tensor in tensors.values():
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return len(set(self.gather(digest.hexdigest()))) == 1

    def add_up(
        self,
        parameters: Iterable[torch.nn.Parameter],
        totals: Sequence[torch.Tensor],
        rows: Mapping[torch.nn.Parameter, torch.Tensor],
    ) -> Sequence[torch.Tensor]:
        """Give each parameter the sum of all processes' gradients, and get the sums of `totals` (scalars).

        A parameter that has a gradient nowhere keeps having none. `rows` names, of a parameter, the rows that any
        gradient of it has something in: the same on all processes.
        """
        if self.size == 1:
            return totals
        import torch

        learning = [parameter for parameter in parameters if parameter.requires_grad]
        numbers = [*(float(total) for total in totals), *(float(p.grad is not None) for p in learning)]
        sums = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        _asked(lambda: torch.distributed.all_reduce(sums))
        has_gradient = sums[len(totals) :].tolist()
        for bucket in _buckets([p for p, count in zip(learning, has_gradient, strict=True) if count]):
            self._add_up(bucket, rows)
        return list(sums[: len(totals)])

    def _add_up(
        self, parameters: Sequence[torch.nn.Parameter], rows: Mapping[torch.nn.Parameter, torch.Tensor]
    ) -> None:
        import torch

        for parameter in parameters:
            if parameter.grad is None:  # this process had no part in the update
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        parts = [g[rows[p]] if p in rows else g for p, g in zip(parameters, gradients, strict=True)]
        flat = torch.cat([part.reshape(-1) for part in parts])
        _asked(lambda: torch.distributed.all_reduce(flat))
        summed = torch.split(flat, [part.numel() for part in parts])
        for parameter, gradient, part, values in zip(parameters, gradients, parts, summed, strict=True):
            if parameter in rows:
                gradient[rows[parameter]] = values.view_as(part)
            else:
                gradient.copy_(values.view_as(gradient))


ALONE = Group()


@contextmanager
def joined(rank: int, size: int, store: Path, patience: float) -> Iterator[Group]:
    """The group whose processes meet in the file `store`, each on the GPU of its rank, without GPUs on the CPU.

    No answer takes longer than `patience` seconds. Raises Lost if the others do not come.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(rank)
    meeting = torch.distributed.FileStore(str(store), size)  # type: ignore[attr-defined]
    _asked(
        lambda: torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=meeting,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=patience),
        )
    )
    yield Group(rank, size, torch.device("cuda", rank) if on_gpu else torch.device("cpu"))
    # Not after an error: where another process is gone, leaving in good order may take forever.
    torch.distributed.destroy_process_group()


def _asked(collective: Callable[[], object]) -> None:
    try:
        collective()
    except RuntimeError as error:
        raise Lost(str(error).splitlines()[0]) from error


def _buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Parts that are the same in every process and every run, since the order of a sum decides its last bits."""
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        if bucket and (
            sum(gradient.numel() for gradient in bucket) + parameter.numel() > _BUCKET
            or bucket[0].dtype != parameter.dtype
        ):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
