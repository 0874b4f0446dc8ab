"""Encoders small enough to be made in a test: real architectures and tokenizers, random weights."""

from __future__ import annotations

from pathlib import Path

from distill_offline.corpus import read_examples


def tiny_encoder(folder: Path, *, kind: str = "bert", positions: int = 128, seed: int = 0) -> Path:
    """A two-layer encoder with a WordPiece vocabulary of the demo corpus's words, saved as safetensors."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words = {t.lower() for e in read_examples("package:demo/train.jsonl", origin="original") for t in e.sentence.tokens}
    characters = {c for word in words for c in word}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(characters), *sorted(f"##{c}" for c in characters)]
    pieces += sorted(words - characters)
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=positions,
    )
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions + (2 if kind == "roberta" else 0),
        pad_token_id=0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
