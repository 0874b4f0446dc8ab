"""The encoder with a head that guesses hidden words, over those subwords alone that the text has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distill_offline.errors import InputError, MissingModel, native_os_error
from distill_offline.learning.embedding_rows import LearnedRows
from distill_offline.pretrain.masking import SPECIAL, Windows
from distill_offline.student.loading import load_model
from distill_offline.student.memory import enough_memory
from distill_offline.student.windows import window_length

if TYPE_CHECKING:
    import torch

__all__ = ["Guesser", "Loaded"]

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class Loaded:
    """An encoder as transformers' model for masked-language modelling, with its tokenizer.

    `has_head`: the head's weights came with it; else they are new, from torch's current seed. `window` is how many
    subwords it reads at once.
    """

    folder: Path
    model: Any
    tokenizer: Any
    has_head: bool
    window: int

    @classmethod
    def read(cls, folder: Path, max_length: int) -> Loaded:
        """Raises MissingModel if the folder's files are none, InputError for an encoder that cannot guess words."""
        from transformers import AutoModelForMaskedLM

        # As a student, first: what is wrong with the folder is told there.
        encoder, tokenizer = load_model(folder, ("O",), "token-classification", new_head=True)
        if tokenizer.mask_token_id is None:
            raise InputError(
                f"train.encoder: the tokenizer of {folder.name} has no mask token, so that hidden words cannot be "
                "guessed. Take another encoder, or leave pretrain out."
            )
        window = window_length(encoder, tokenizer, max_length)
        prefix, highest = f"{encoder.base_model_prefix}.", len(encoder.get_input_embeddings().weight)
        del encoder
        if tokenizer.mask_token_id >= highest:
            raise MissingModel(
                f"{folder}: there is no embedding for its tokenizer's mask token. Is tokenizer.json its own?"
            )
        try:
            with enough_memory(f"{folder}: loading it"):
                model, report = AutoModelForMaskedLM.from_pretrained(
                    folder, dtype="float32", use_safetensors=True, output_loading_info=True, **_LOCAL
                )
        except ValueError as error:
            raise InputError(
                f"train.encoder: {folder.name} is of a kind that has no model to guess hidden words with "
                "(AutoModelForMaskedLM). Take another encoder, or leave pretrain out."
            ) from error
        has_head = not any(not name.startswith(prefix) for name in report["missing_keys"])
        return cls(folder, model, tokenizer, has_head, window)


class Guesser:
    """What is trained: the encoder, the rows of its embeddings that the text looks up, and a head over these alone.

    A head over the whole vocabulary would push all words that the text lacks away from every context, and AdamW would
    do so at full step size: those rows stay as the encoder has them, to the bit, for the texts that do have them.
    `output` (rows × width) is the embeddings' rows themselves where the head is tied to them; `bias` begins as the
    logarithm of how often the text has each subword, unless the encoder brought a head.
    """

    def __init__(self, loaded: Loaded, learnt: Windows, head: Literal["tied", "fresh"], device: Any = "cpu") -> None:
        import torch

        self.model, self._folder, self._device = loaded.model, loaded.folder, device
        self._padding = loaded.tokenizer.pad_token_id or 0
        self._decoder = _decoder_of(loaded)
        table, decoder = self.model.get_input_embeddings().weight, self._decoder
        special = [loaded.tokenizer.mask_token_id, self._padding]
        self.known = np.union1d(learnt.ids, special).astype(np.int64)
        words = learnt.ids[learnt.words != SPECIAL]
        self.others = np.setdiff1d(words, loaded.tokenizer.all_special_ids).astype(np.int32)
        counts = np.bincount(words, minlength=len(table))  # none of those around sentences: they are never guessed
        bias = np.log((counts[self.known] + 1) / (counts.sum() + len(self.known)))
        bias = torch.tensor(bias, dtype=torch.float32)
        if loaded.has_head and decoder.bias is not None:
            bias = decoder.bias.detach()[self.known].clone()
        output = torch.randn(len(self.known), decoder.in_features) * 0.02 if head == "fresh" else None
        self.model.to(device)
        self.rows = LearnedRows(self.model.get_input_embeddings(), torch.tensor(self.known, device=device))
        self.bias = torch.nn.Parameter(bias.to(device))
        self.output = self.rows.weight if output is None else torch.nn.Parameter(output.to(device))
        self._places = torch.full((len(table),), -1, device=device)
        self._places[self.rows_known] = torch.arange(len(self.known), device=device)
        for parameter in (decoder.weight, decoder.bias):
            if parameter is not None and parameter is not self.model.get_input_embeddings().weight:
                parameter.requires_grad_(False)  # ours are used instead

    @property
    def rows_known(self) -> torch.Tensor:
        import torch

        return torch.tensor(self.known, device=self._device)

    @property
    def head(self) -> dict[str, torch.nn.Parameter]:
        """The head's parameters that are not the model's."""
        return {"bias": self.bias, **({} if self.output is self.rows.weight else {"output": self.output})}

    def is_known(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the head can guess each of these subwords."""
        return np.isin(ids, self.known)

    def tensors(
        self, windows: Windows, seen: NDArray[np.int32], wanted: NDArray[np.bool_], numbers: NDArray[np.int64]
    ) -> dict[str, torch.Tensor]:
        """Padded `input_ids`, `attention_mask`, `wanted` (windows × length), and `targets`, the ids that are wanted."""
        import torch

        longest = int(windows.lengths[numbers].max())
        ids = np.full((len(numbers), longest), self._padding, np.int64)
        mask, asked = np.zeros((len(numbers), longest), np.int64), np.zeros((len(numbers), longest), np.bool_)
        targets = []
        for row, number in enumerate(numbers):
            window = slice(windows.starts[number], windows.starts[number + 1])
            length = window.stop - window.start
            ids[row, :length], mask[row, :length] = seen[window], 1
            asked[row, :length] = wanted[window]
            targets.append(windows.ids[window][wanted[window]])
        named = {"input_ids": ids, "attention_mask": mask, "wanted": asked, "targets": np.concatenate(targets)}
        return {name: torch.from_numpy(array).to(self._device) for name, array in named.items()}

    def loss(self, tensors: Mapping[str, torch.Tensor], forward: Any) -> torch.Tensor:
        """The summed cross-entropy, in nats, of the wanted subwords among all that the text has."""
        from torch.nn.functional import cross_entropy

        with self._guessing(tensors["wanted"]):
            logits = forward(input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"]).logits
        return cross_entropy(logits.float(), self._places[tensors["targets"].long()], reduction="sum")

    @contextmanager
    def _guessing(self, wanted: torch.Tensor) -> Iterator[None]:
        """Within the block the model's last layer gives logits of `wanted` places alone: places × known subwords."""
        from torch.nn.functional import linear

        self._decoder.forward = lambda hidden: linear(hidden[wanted], self.output, self.bias)
        try:
            yield
        finally:
            del self._decoder.forward

    def save(self, folder: Path) -> None:
        """Write the encoder and its tokenizer; the head goes. Raises OSError if the disk does not take them."""
        from transformers import AutoModel, AutoTokenizer

        encoder, report = AutoModel.from_pretrained(
            self._folder, dtype="float32", use_safetensors=True, output_loading_info=True, **_LOCAL
        )
        weights = {name: tensor.detach().cpu() for name, tensor in self.model.base_model.state_dict().items()}
        if report["missing_keys"] or weights.keys() - encoder.state_dict().keys():
            encoder = self.model.base_model  # its pooler, if it has one, would be random
        else:
            encoder.load_state_dict(weights, strict=False)
        try:
            encoder.save_pretrained(folder)
            AutoTokenizer.from_pretrained(self._folder, **_LOCAL).save_pretrained(folder)
        except Exception as error:  # of types of their own, or none: Rust writes both
            if (refused := native_os_error(error)) is None or refused is error:
                raise
            raise OSError(refused.errno, refused.strerror, str(folder)) from error


def _decoder_of(loaded: Loaded) -> Any:
    """The layer that makes logits of the vocabulary. Raises InputError if it, or the table, is no plain one."""
    import torch

    embedding, decoder = loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings()
    is_plain = type(embedding) is torch.nn.Embedding and embedding.max_norm is None and not embedding.sparse
    if not is_plain or type(decoder) is not torch.nn.Linear or decoder.in_features != embedding.embedding_dim:
        raise InputError(
            f"train.encoder: the head of {loaded.folder.name} is built otherwise than pretrain can train it. "
            "Take another encoder, or leave pretrain out."
        )
    return decoder
