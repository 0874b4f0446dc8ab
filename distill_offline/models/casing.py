"""Whether an encoder's tokenizer tells capitals from small letters, and whether it can be made to."""

from __future__ import annotations

import json
from typing import Any

from distill_offline.errors import InputError

__all__ = ["reads_capitals", "require_capitals"]


def reads_capitals(tokenizer: Any) -> bool:
    """Whether one of transformers' fast tokenizers tells capitals from small letters."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is None or bool(normalizer.normalize_str("Ab") != normalizer.normalize_str("ab"))


def require_capitals(tokenizer: Any, name: str) -> None:
    """Raises InputError if it lowercases and is not BERT's (WordPiece, BERT's way to normalise): it stays so.

    `name` is the encoder's.
    """
    if reads_capitals(tokenizer):
        return
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    if (core["model"]["type"], core["normalizer"]["type"]) != ("WordPiece", "BertNormalizer"):
        raise InputError(
            f"train.capitals: {name} lowercases all text, and its tokenizer is not BERT's: it cannot be given "
            "capitals. Take a cased encoder, or leave train.capitals out."
        )
