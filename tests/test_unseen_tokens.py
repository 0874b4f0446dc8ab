"""Tokens in which the tokenizer sees nothing, inside entities and beside them: labels, learning and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_windows import LABELS, student

from distill_offline.label_kinds.subwords import labels_of_seen, labels_of_words
from distill_offline.schema import Example, Sentence
from distill_offline.spans.bio import decode_bio, to_iob2
from distill_offline.student.model import Student

UNSEEN = ["\x07", "\u200b", "\u00ad", "\ufeff", "\u200d", "\u00a0", "\u2060", ""]


def of(tokens: Sequence[str]) -> Sentence:
    offsets, at = [], 0
    for token in tokens:
        offsets.append((at, at + len(token)))
        at += len(token) + 1
    return Sentence("s", "d", 0, " ".join(tokens), tuple(tokens), tuple(offsets))


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        (["B-X", None, "I-X"], ["B-X", "I-X", "I-X"]),
        (["I-X", None, None, "I-X", "O"], ["B-X", "I-X", "I-X", "I-X", "O"]),
        (["B-X", None, "O"], ["B-X", "O", "O"]),
        (["B-X", None, "B-X"], ["B-X", "O", "B-X"]),
        (["B-X", None, "I-Y"], ["B-X", "O", "B-Y"]),
        (["O", None, "I-X"], ["O", "O", "B-X"]),
        ([None, "I-X", None], ["O", "B-X", "O"]),
        ([None, None], ["O", "O"]),
        ([], []),
    ],
)
def test_unseen_token_takes_the_entity_on_both_its_sides(tags: list[str | None], labels: list[str]) -> None:
    assert labels_of_words(tags) == tuple(labels)


@pytest.mark.parametrize(
    ("tags", "unseen", "learned"),
    [
        (["B-X", "I-X", "O"], {0}, ["B-X", "B-X", "O"]),
        (["B-X", "I-X", "I-X", "I-X"], {0, 1}, ["B-X", "I-X", "B-X", "I-X"]),
        (["B-X", "I-X", "I-X"], {1}, ["B-X", "I-X", "I-X"]),
        (["B-X", "B-X", "I-X"], {0}, ["B-X", "B-X", "I-X"]),
        (["B-X", "B-Y", "I-Y"], {0, 1}, ["B-X", "B-Y", "B-Y"]),
        (["B-X", "O", "B-X"], {0, 1}, ["B-X", "O", "B-X"]),
        (["B-X", "I-X"], {0, 1}, ["B-X", "I-X"]),
    ],
)
def test_entity_that_begins_unseen_is_learned_from_its_first_seen_token(
    tags: list[str], unseen: set[int], learned: list[str]
) -> None:
    assert labels_of_seen(tags, set(range(len(tags))) - unseen) == tuple(learned)


@given(st.lists(st.tuples(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), st.booleans()), max_size=12))
def test_what_is_learned_and_predicted_is_valid_and_keeps_every_entity_with_a_seen_token(
    drawn: list[tuple[str, bool]],
) -> None:
    gold, seen = labels_of_words([tag for tag, _ in drawn]), {i for i, (_, sees) in enumerate(drawn) if sees}
    learned = labels_of_seen(gold, seen)
    predicted = labels_of_words([tag if i in seen else None for i, tag in enumerate(learned)])
    assert to_iob2(predicted, "iob2") == predicted

    def trimmed(labels: Sequence[str]) -> list[tuple[str, list[int]]]:
        spans = ((s.type, [i for i in range(s.start, s.end) if i in seen]) for s in decode_bio(labels))
        return [span for span in spans if span[1]]

    assert trimmed(predicted) == trimmed(gold)


class _Fixed(torch.nn.Module):
    """In the place of a model: each subword's logits by its number."""

    def __init__(self, inner: Any, of_word: Callable[[int], int]) -> None:
        super().__init__()
        self.inner, self.config, self.device, self.of_word = inner, inner.config, torch.device("cpu"), of_word

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        logits = torch.zeros(*input_ids.shape, len(LABELS))
        for place in np.ndindex(*input_ids.shape):
            logits[(*place, self.of_word(int(input_ids[place])))] = 2.0
        return type("Output", (), {"logits": logits})()


@pytest.fixture(scope="module")
def sure() -> Student:
    """w0 is O, w1 begins an entity, w2 goes on with one."""
    made = student("bert")
    made.model = _Fixed(made.model, lambda number: max(0, number - 5) % 3)
    return made


@pytest.mark.parametrize("unseen", UNSEEN)
def test_token_without_subwords_does_not_break_an_entity(sure: Student, unseen: str) -> None:
    tokens = [unseen, "w1", unseen, "w2", unseen, unseen, "w2", unseen, "w0", unseen, "w1", unseen, "w1"]
    labels = ["O", "B-X", "I-X", "I-X", "I-X", "I-X", "I-X", "O", "O", "O", "B-X", "O", "B-X"]
    assert sure.predict([of(tokens), of([unseen]), of(["w0"])]) == [tuple(labels), ("O",), ("O",)]


def test_probabilities_of_an_unseen_token_are_those_of_going_on(sure: Student) -> None:
    plain, (of_unseen,) = sure.probabilities([of(["w1", "w2"]), of(["\x07"])])[0], sure.probabilities([of(["\x07"])])
    (found,) = sure.probabilities([of(["\x07", "w1", "\x07", "w2", "\x07"])])
    assert found.sum(1) == pytest.approx(1)
    assert found[[1, 3]] == pytest.approx(plain)
    assert found[2, 2] == plain[1, 2]
    assert found[2].argmax() == 2
    assert found[[0, 4]].tolist() == of_unseen.tolist() * 2 == [[1, 0, 0], [1, 0, 0]]


def test_labels_do_not_shift_and_a_begin_moves_to_the_first_seen_token() -> None:
    made = student("bert")
    tokens = ["\x07", "w3", "\u200b", "w4", "w5", "\u00ad"]
    [[window]] = made.encode([Example(of(tokens), ("B-X", "I-X", "I-X", "I-X", "O", "O"), "original")])
    assert window.words == (None, 1, 3, 4, None)
    assert window.labels == (-100, 1, 2, 0, -100)
    [[none]] = made.encode([Example(of(["\x07", "\u200b"]), ("B-X", "I-X"), "original")])
    assert none.labels == (-100, -100)
    assert float(made.loss(made.batch([none])).total.detach()) == 0.0


def test_masked_tokens_stay_masked_beside_unseen_ones() -> None:
    made = student("bert")
    example = Example(of(["\x07", "w3", "w4"]), ("B-X", "I-X", "O"), "distilled", masked=(0, 1))
    [[window]] = made.encode([example])
    assert window.labels == (-100, -100, 0, -100)


@pytest.mark.parametrize("kind", ["byte-level", "unigram", "unigram without unknown"])
def test_tokenizers_of_other_kinds_keep_one_label_a_token(kind: str) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet() if kind == "byte-level" else ["\u2581", *"abcdefghijklmnop"]
    pieces = ["<s>", "<pad>", "</s>", *(["<unk>"] if kind == "unigram" else []), *sorted(letters)]
    if kind == "byte-level":
        core = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    elif kind == "unigram":
        core = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    else:
        core = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    if kind != "byte-level":
        core.normalizer = normalizers.NFKC()
        core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    made = student("bert", vocab_size=300)
    made.tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>")
    tokens = ["ab", "\U0001f9ff", "cd", "\u200b", "\u00a0", "\u00ad", "e"]
    [[window]] = made.encode([Example(of(tokens), ("B-X", "I-X", "I-X", "I-X", "I-X", "I-X", "I-X"), "original")])
    seen = [word for word in window.words if word is not None]
    assert seen == sorted(set(seen))
    assert {0, 2, 6} <= set(seen)
    assert [label for label in window.labels if label >= 0] == [1] + [2] * (len(seen) - 1)
    assert len(made.predict([of(tokens)])[0]) == len(tokens)
