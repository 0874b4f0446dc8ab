"""Gradients by rows against plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill_offline.student import Student
from distill_offline.training.embedding_rows import only_rows

LABELS = ("O", "B-PERSON", "I-PERSON")
IDS = [torch.tensor([[2, 40, 41, 3, 0]]), torch.tensor([[2, 41, 90, 91, 3], [2, 7, 3, 0, 0]])]


def gradients(student: Student, *, by_rows: bool) -> dict[str, torch.Tensor]:
    student.model.eval()
    student.model.zero_grad()
    embedding = student.model.get_input_embeddings()

    def learn() -> None:
        for ids in IDS:
            logits = student.model(input_ids=ids, attention_mask=(ids != 0).long()).logits
            torch.autograd.backward((logits[..., 1] * torch.arange(1.0, ids.shape[1] + 1)).sum())

    if by_rows:
        with only_rows(embedding, IDS):
            learn()
    else:
        learn()
    return {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}


def test_every_gradient_is_what_plain_lookups_give(encoder: Path) -> None:
    student = Student.create(encoder, LABELS, "token-classification")
    plain, by_rows = gradients(student, by_rows=False), gradients(student, by_rows=True)
    assert plain.keys() == by_rows.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, by_rows[name], rtol=1e-5, atol=1e-7), name
    table = by_rows["bert.embeddings.word_embeddings.weight"]
    assert table.abs().sum(1).nonzero().flatten().tolist() == [2, 3, 7, 40, 41, 90, 91]


def test_the_embedding_is_as_before_even_after_an_error(encoder: Path) -> None:
    embedding = Student.create(encoder, LABELS, "token-classification").model.get_input_embeddings()
    with pytest.raises(RuntimeError, match="broken"), only_rows(embedding, IDS):
        raise RuntimeError("broken")
    assert "forward" not in vars(embedding)
    assert embedding.weight.requires_grad
    assert embedding.weight.grad is None


def test_a_frozen_or_special_embedding_is_left_alone() -> None:
    class Scaled(torch.nn.Embedding):
        """As some encoders have it: more than a lookup."""

    frozen = torch.nn.Embedding(10, 2)
    frozen.weight.requires_grad_(False)
    for embedding in (frozen, Scaled(10, 2), torch.nn.Embedding(10, 2, max_norm=1.0)):
        with only_rows(embedding, [torch.tensor([1])]):
            assert "forward" not in vars(embedding)
