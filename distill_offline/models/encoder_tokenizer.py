"""The tokenizer of an encoder that may be here, for those who look at it before it is needed."""

from __future__ import annotations

from typing import Any

from distill_offline.models import catalogue

__all__ = ["tokenizer_of"]


def tokenizer_of(encoder: str) -> Any | None:
    """The fast tokenizer of a model by its catalogue id or folder; None if it is not here or does not load.

    What is wrong with it then is told when the model is loaded.
    """
    from transformers import AutoTokenizer

    try:
        folder = catalogue.locate(encoder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # nearly any type: what the folder holds decides which
        return None
    return tokenizer if tokenizer.is_fast else None
