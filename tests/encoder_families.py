"""Tiny encoders of other families: random weights, and tokenizers of each family's kind, trained on the demo corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.corpus import read_examples

__all__ = ["FAMILIES", "Family", "tiny_family"]

_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass(frozen=True)
class Family:
    """A kind of configuration, a kind of tokenizer, and what the published tokenizer_config.json of the family says."""

    kind: str
    subwords: str
    specials: tuple[str, ...]  # padding, unknown, beginning, end and mask by BERT's order; RoBERTa's is another
    tokenizer: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The special subwords by what they are for."""
        if self.specials == _ROBERTA:
            begin, pad, end, unknown, mask = self.specials
        else:
            pad, unknown, begin, end, mask = self.specials
        return {"pad_token": pad, "unk_token": unknown, "cls_token": begin, "sep_token": end, "mask_token": mask}


FAMILIES: dict[str, Family] = {
    "bert-cased": Family("bert", "wordpiece", _BERT, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "roberta": Family("roberta", "bytes", _ROBERTA, {"tokenizer_class": "RobertaTokenizer"}),
    "deberta-v3": Family(
        "deberta-v2",
        "unigram",
        _BERT,
        {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "split_by_punct": False},
        {
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "type_vocab_size": 0,
        },
    ),
    "xlm-roberta": Family("xlm-roberta", "unigram", _ROBERTA, {"tokenizer_class": "XLMRobertaTokenizer"}),
    "modernbert": Family(
        "modernbert",
        "bytes",
        _BERT,
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"local_attention": 16, "global_attn_every_n_layers": 2},
    ),
}


def tiny_family(folder: Path, name: str) -> Path:
    """An encoder of that family in `folder`, as a hub would have it: config.json, safetensors, tokenizer.json."""
    import torch
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    family = FAMILIES[name]
    core = _trained(family)
    numbers = {role: core.token_to_id(subword) for role, subword in family.named.items()}
    PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **family.named).save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, **family.tokenizer}), "utf-8")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"pad_token_id": numbers["pad_token"], "cls_token_id": numbers["cls_token"]}
    ids |= {"bos_token_id": numbers["cls_token"], "eos_token_id": numbers["sep_token"]}
    config = AutoConfig.for_model(
        family.kind,
        vocab_size=core.get_vocab_size(),
        max_position_embeddings=66,
        **shape,
        **ids,
        sep_token_id=numbers["sep_token"],
        **family.config,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def _trained(family: Family) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    texts = [example.sentence.text for example in read_examples("package:demo/train.jsonl", origin="original")]
    specials, unknown = list(family.specials), family.named["unk_token"]
    trainer: Any
    if family.subwords == "wordpiece":
        core = Tokenizer(models.WordPiece(unk_token=unknown))
        core.normalizer = normalizers.BertNormalizer(lowercase=False)
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    elif family.subwords == "bytes":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        )
    else:
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.NFKC()
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=specials, unk_token=unknown, show_progress=False
        )
    core.train_from_iterator(texts, trainer)
    begin, end = family.named["cls_token"], family.named["sep_token"]
    around = [(begin, core.token_to_id(begin)), (end, core.token_to_id(end))]
    core.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=around)
    return core
