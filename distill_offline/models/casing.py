"""Whether a tokenizer tells capitals from small letters, and whether it could."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["can_have_capitals", "reads_capitals"]


def reads_capitals(tokenizer: Any) -> bool:
    """Whether one of transformers' fast tokenizers tells capitals from small letters."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is None or bool(normalizer.normalize_str("Ab") != normalizer.normalize_str("ab"))


def can_have_capitals(tokenizer: Any) -> bool:
    """Whether one that lowercases is BERT's: WordPiece over BERT's own way to normalise text."""
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    return (core["model"]["type"], core["normalizer"]["type"]) == ("WordPiece", "BertNormalizer")
