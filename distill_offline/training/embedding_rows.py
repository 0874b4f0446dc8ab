"""One update's part of an embedding table, so that its gradient costs what the update looks up and not the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["only_rows"]


@contextmanager
def only_rows(embedding: Any, ids: Sequence[torch.Tensor]) -> Iterator[torch.Tensor | None]:
    """Within the block the embedding looks up, and gathers the gradient of, the rows of `ids` alone; at its end the
    whole weight gets that gradient, equal to what plain lookups of the same micro-batches would have added up.

    A vocabulary's table is half of a small encoder: without this, every micro-batch fills, reads and adds a gradient of
    that size to learn about some hundred rows. Anything but a plain torch Embedding that learns is left as it is.

    The block is given those rows, in ascending order: nowhere else has the gradient anything. None where all is left
    as it is.
    """
    import torch

    if type(embedding) is not torch.nn.Embedding or embedding.max_norm is not None or embedding.sparse:
        yield None
        return
    weight = embedding.weight
    if not weight.requires_grad or embedding.scale_grad_by_freq:
        yield None
        return
    known = torch.unique(torch.cat([each.reshape(-1) for each in ids]))  # sorted
    rows = weight.detach()[known].requires_grad_()

    def look_up(wanted: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.embedding(torch.searchsorted(known, wanted), rows)

    weight.requires_grad_(False)
    embedding.forward = look_up  # type: ignore[method-assign,assignment]
    try:
        yield known
    finally:
        del embedding.forward
        weight.requires_grad_(True)
    if rows.grad is not None:
        gradient = torch.zeros_like(weight)
        gradient[known] = rows.grad
        if embedding.padding_idx is not None:
            gradient[embedding.padding_idx] = 0.0
        weight.grad = gradient if weight.grad is None else weight.grad + gradient
