"""The part of an embedding table that training can move, so that it costs what the data looks up and not the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

__all__ = ["LearnedRows"]


class LearnedRows:
    """The rows of `embedding` that the training data looks up, as a small table that is trained in place of the whole.

    A vocabulary's table is half of a small encoder and two thirds of a multilingual one, and most of its rows never
    get a gradient. `weight` (rows × width) is what an optimizer takes instead: gradients, their norm, and the
    optimizer's moments have that size. Rows that nothing looks up stay as the encoder has them, to the bit: weight
    decay does not reach them, either. The table itself stays the model's, as it was: `write` brings it up to date.
    """

    def __init__(self, embedding: torch.nn.Embedding, known: torch.Tensor) -> None:
        """`known` are the rows' numbers, each once, in ascending order."""
        import torch

        self._embedding, self._known = embedding, known
        self._table = embedding.weight
        self.weight = torch.nn.Parameter(self._table.detach()[known])
        self._places = torch.full((len(self._table),), -1, device=known.device)
        self._places[known] = torch.arange(len(known), device=known.device)

    @classmethod
    def of(cls, model: Any, ids: Iterator[Sequence[int]]) -> Self | None:
        """The rows of the model's input embeddings that `ids` name: all that training will look up.

        None if the table has to be trained as it stands: anything but a plain torch Embedding that learns, or one
        that another part of the model shares.
        """
        import torch

        embedding = model.get_input_embeddings()
        if type(embedding) is not torch.nn.Embedding or embedding.max_norm is not None or embedding.sparse:
            return None
        if not embedding.weight.requires_grad or embedding.scale_grad_by_freq:
            return None
        if sum(p is embedding.weight for _, p in model.named_parameters(remove_duplicate=False)) > 1:
            return None
        known = torch.tensor(sorted({number for numbers in ids for number in numbers}), device=embedding.weight.device)
        return cls(embedding, known)

    def instead(self, parameters: Sequence[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
        """The parameters, with the rows in the whole table's place."""
        return [self.weight if parameter is self._table else parameter for parameter in parameters]

    @contextmanager
    def looked_up(self, ids: Sequence[torch.Tensor] = ()) -> Iterator[torch.Tensor | None]:
        """Within the block the embedding looks up in `weight`, and gradients go there.

        With `ids`, what the block looks up, a gradient is gathered for those rows alone and put into the whole one at
        the end, so that the micro-batches of an update do not each fill, read and add one of the full size. The block
        is then given the places of these rows in `weight`: nowhere else has the gradient anything.
        """
        import torch
        from torch.nn.functional import embedding

        learned = torch.unique(self._places[torch.cat([numbers.reshape(-1) for numbers in ids])]) if ids else None
        rows = self.weight if learned is None else self.weight.detach()[learned].requires_grad_()
        padding = self._embedding.padding_idx

        def look_up(wanted: torch.Tensor) -> torch.Tensor:
            places = self._places[wanted]
            return embedding(places if learned is None else torch.searchsorted(learned, places), rows)

        self._embedding.forward = look_up  # type: ignore[method-assign,assignment]
        try:
            yield learned
        finally:
            del self._embedding.forward
        if learned is not None and rows.grad is not None:
            gradient = torch.zeros_like(self.weight)
            gradient[learned] = rows.grad
            self.weight.grad = gradient if self.weight.grad is None else self.weight.grad + gradient
        if padding is not None and self._places[padding] >= 0 and self.weight.grad is not None:
            self.weight.grad[self._places[padding]] = 0.0

    def write(self) -> None:
        """Put the rows, as they stand, into the whole table."""
        self._table.data[self._known] = self.weight.data

    def read(self) -> None:
        """Take the rows from the whole table, which has been given other weights."""
        self.weight.data.copy_(self._table.data[self._known])
