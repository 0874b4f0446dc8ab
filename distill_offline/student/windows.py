"""Windows: how long an encoder lets them be, and which of them answers for a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill_offline.errors import InputError

__all__ = ["owned_words", "window_length"]

_SHORTEST = 8


def window_length(model: Any, tokenizer: Any, max_length: int) -> int:
    """How many subwords a window may have, special ones included: `max_length`, or what the encoder lets it be.

    RoBERTa and its kin (XLM-R, CamemBERT, MPNet, Longformer) count positions from behind the padding's, so that of
    their table `padding_idx + 1` rows are never a token's. Encoders of relative positions say -1, nothing, or what they
    were trained with. Raises InputError if too little is left.
    """
    limits = [max_length, *_positive(getattr(model.config, "max_position_embeddings", None))]
    limits += _positive(getattr(tokenizer, "model_max_length", None))
    for name, module in model.named_modules():
        table = getattr(module, "weight", None)
        if name.rpartition(".")[2] == "position_embeddings" and table is not None and table.dim() == 2:
            padding = getattr(module, "padding_idx", None)
            limits.append(len(table) - (0 if padding is None else padding + 1))
    length = min(limits)
    if length < _SHORTEST:
        raise InputError(
            f"train.encoder: this encoder reads {length} subwords at once; windows need {_SHORTEST} or more. "
            "Look at max_position_embeddings in its config.json and model_max_length in tokenizer_config.json."
        )
    return length


def _positive(limit: Any) -> list[int]:
    """The limit, if it is one: -1, 0, None and infinity are not."""
    return [int(limit)] if isinstance(limit, (int, float)) and 0 < limit < 1 << 31 else []


def owned_words(windows: Sequence[Sequence[int | None]]) -> list[tuple[int | None, ...]]:
    """For each window the words that it answers for, at their first subwords.

    A word that begins in several windows belongs to the one in which it lies farthest from a cut.
    """
    firsts: list[dict[int, int]] = []
    for words in windows:
        seen: dict[int, int] = {}
        for position, word in enumerate(words):
            if word is not None:
                seen.setdefault(word, position)
        firsts.append(seen)
    owner: dict[int, tuple[int, int]] = {}
    for number, (words, seen) in enumerate(zip(windows, firsts, strict=True)):
        for word, position in seen.items():
            left = position if number else len(words)  # the first window has no cut on its left, the last none right
            right = len(words) - position if number < len(windows) - 1 else len(words)
            room = min(left, right)
            if word not in owner or room > owner[word][0]:
                owner[word] = (room, number)
    owned = []
    for number, (words, seen) in enumerate(zip(windows, firsts, strict=True)):
        owned.append(
            tuple(
                word if word is not None and seen[word] == position and owner[word][1] == number else None
                for position, word in enumerate(words)
            )
        )
    return owned
