"""windows: as long as the encoder reads, no longer, whatever its kind."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from sentences import sentence

from distill_offline.errors import InputError
from distill_offline.schema import Example
from distill_offline.student.model import Student

LABELS = ("O", "B-X", "I-X")
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *(f"w{number}" for number in range(50))]
POSITIONS = 66

# Encoder: what its configuration needs besides, the longest window, whether one more subword is too many.
ENCODERS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "bert": ({}, 66, True),
    "roberta": ({}, 64, True),
    "xlm-roberta": ({}, 64, True),
    "camembert": ({}, 64, True),
    "mpnet": ({}, 64, True),
    "ibert": ({}, 64, True),
    "longformer": ({"attention_window": [16]}, 64, True),
    "distilbert": ({}, 66, True),
    "electra": ({}, 66, True),
    "albert": ({"embedding_size": 16}, 66, True),
    "deberta": ({}, 66, True),
    "deberta-v2": ({"relative_attention": True, "position_biased_input": False}, 66, False),
    "modernbert": ({}, 66, False),
    "xlnet": ({"max_position_embeddings": None, "d_head": 16}, 90, False),
}


def tokenizer(longest: float | None = None) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    given = {} if longest is None else {"model_max_length": longest}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", **given
    )


def student(kind: str, longest: float | None = None, max_length: int = 512, **changed: Any) -> Student:
    from transformers import AutoConfig, AutoModelForTokenClassification

    torch.manual_seed(0)
    values = {"vocab_size": len(PIECES), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    values |= {"intermediate_size": 64, "max_position_embeddings": POSITIONS, "pad_token_id": 1, "num_labels": 3}
    values |= {"bos_token_id": 0, "eos_token_id": 2, **ENCODERS[kind][0], **changed}
    config = AutoConfig.for_model(kind, **{name: value for name, value in values.items() if value is not None})
    model = AutoModelForTokenClassification.from_config(config)
    return Student(model, tokenizer(longest), LABELS, "token-classification", max_length)


@cache
def long_sentence() -> Any:
    return sentence(" ".join(f"w{number % 50}" for number in range(300)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by transformers, of DeBERTa
@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_reads_long_sentences_in_windows_that_it_holds(kind: str) -> None:
    _, longest, is_limit = ENCODERS[kind]
    made = student(kind, max_length=90)
    tokens = long_sentence().tokens
    [windows] = made.encode([Example(long_sentence(), tuple(LABELS[i % 2] for i in range(300)), "original")])
    assert max(len(window.ids) for window in windows) == longest
    assert sorted(word for window in windows for word in window.words if word is not None) == list(range(300))
    labelled = {w.words[i]: label for w in windows for i, label in enumerate(w.labels) if label >= 0}
    assert labelled == {number: number % 2 for number in range(300)}
    assert len(made.predict([long_sentence()])[0]) == len(tokens)
    if is_limit:
        one_more = {"input_ids": torch.full((1, longest + 1), 7), "attention_mask": torch.ones(1, longest + 1).long()}
        with pytest.raises((IndexError, RuntimeError)), torch.inference_mode():
            made.model(**one_more)


@pytest.mark.parametrize("said", [None, int(1e30), float("inf"), 0, -1, 1000])
def test_what_a_tokenizer_says_that_cannot_be_meant_limits_nothing(said: float | None) -> None:
    [windows] = student("roberta", said).encode([Example(long_sentence(), ("O",) * 300, "original")])
    assert max(len(window.ids) for window in windows) == 64


def test_the_smallest_of_all_limits_holds() -> None:
    example = Example(long_sentence(), ("O",) * 300, "original")
    for made in (student("bert", 32), student("bert", 32.0), student("bert", max_length=32)):
        [windows] = made.encode([example])
        assert max(len(window.ids) for window in windows) == 32


def test_an_encoder_without_a_length_is_read_up_to_max_length() -> None:
    made = student("modernbert", max_length=128)
    made.model.config.max_position_embeddings = -1
    made = Student(made.model, made.tokenizer, LABELS, "token-classification", 128)
    [windows] = made.encode([Example(long_sentence(), ("O",) * 300, "original")])
    assert max(len(window.ids) for window in windows) == 128


def test_an_encoder_that_reads_too_little_is_refused_with_the_place_to_look() -> None:
    with pytest.raises(InputError, match=r"reads 6 subwords at once.*max_position_embeddings"):
        student("roberta", max_position_embeddings=8)
