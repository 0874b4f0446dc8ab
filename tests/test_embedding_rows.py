"""Gradients by rows against plain ones, and training by rows against training the whole table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_encoder

from distill_offline.config.settings import TrainSettings
from distill_offline.corpus import read_examples
from distill_offline.errors import Interrupted
from distill_offline.learning.embedding_rows import LearnedRows
from distill_offline.student.model import Student
from distill_offline.train.blending import Blend
from distill_offline.train.loop import Pools, prepare, train

LABELS = ("O", "B-PERSON", "I-PERSON")
IDS = [torch.tensor([[2, 40, 41, 3, 0]]), torch.tensor([[2, 41, 90, 91, 3], [2, 7, 3, 0, 0]])]
TABLE = "bert.embeddings.word_embeddings.weight"


def learned(student: Student) -> LearnedRows:
    # 5 is looked up in another update
    rows = LearnedRows.of(student.model, iter([[2, 40, 41, 3, 0], [90, 91, 7], [5]]))
    assert rows is not None
    return rows


def gradients(student: Student, rows: LearnedRows | None, *, at_once: bool = False) -> dict[str, torch.Tensor]:
    """Of every parameter; the table's with all its rows."""
    student.model.eval()
    student.model.zero_grad()

    def learn() -> None:
        for ids in IDS:
            logits = student.model(input_ids=ids, attention_mask=(ids != 0).long()).logits
            torch.autograd.backward((logits[..., 1] * torch.arange(1.0, ids.shape[1] + 1)).sum())

    if rows is None:
        learn()
        return {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}
    with rows.looked_up([] if at_once else IDS) as places:
        learn()
    assert (None if places is None else places.tolist()) == (None if at_once else [0, 1, 2, 4, 5, 6, 7, 8])
    found = {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}
    assert rows.weight.grad is not None
    found[TABLE] = torch.zeros_like(student.model.get_input_embeddings().weight)
    found[TABLE][[0, 2, 3, 5, 7, 40, 41, 90, 91]] = rows.weight.grad
    return found


@pytest.mark.parametrize("at_once", [False, True])
def test_every_gradient_is_what_plain_lookups_give(encoder: Path, at_once: bool) -> None:
    student = Student.create(encoder, LABELS, "token-classification")
    plain = gradients(student, None)
    by_rows = gradients(student, learned(student), at_once=at_once)
    assert plain.keys() == by_rows.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, by_rows[name], rtol=1e-5, atol=1e-7), name
    assert by_rows[TABLE].abs().sum(1).nonzero().flatten().tolist() == [2, 3, 7, 40, 41, 90, 91]


def test_the_table_is_the_models_own_between_updates_and_afterwards(encoder: Path) -> None:
    student = Student.create(encoder, LABELS, "token-classification")
    embedding = student.model.get_input_embeddings()
    before = embedding.weight.detach().clone()
    rows = learned(student)
    assert rows.instead([embedding.weight, student.model.classifier.bias]) == [
        rows.weight,
        student.model.classifier.bias,
    ]
    with pytest.raises(RuntimeError, match="broken"), rows.looked_up(IDS):
        raise RuntimeError("broken")
    assert "forward" not in vars(embedding)
    assert embedding.weight.requires_grad
    rows.weight.data += 1.0
    assert torch.equal(embedding(torch.tensor([40])), before[[40]])
    rows.write()
    assert torch.equal(embedding(torch.tensor([40, 50])), before[[40, 50]] + torch.tensor([[1.0], [0.0]]))
    embedding.weight.data.copy_(before)
    rows.read()
    assert torch.equal(rows.weight, before[[0, 2, 3, 5, 7, 40, 41, 90, 91]])


def test_a_frozen_shared_or_special_table_is_left_alone(encoder: Path) -> None:
    class Scaled(torch.nn.Embedding):
        """As some encoders have it: more than a lookup."""

    model = Student.create(encoder, LABELS, "token-classification").model
    place, (rows, width) = model.bert.embeddings, model.get_input_embeddings().weight.shape
    plain = torch.nn.Embedding
    for special in (Scaled(rows, width), plain(rows, width, max_norm=1.0), plain(rows, width, sparse=True)):
        place.word_embeddings = special
        assert LearnedRows.of(model, iter([[1]])) is None
    place.word_embeddings = plain(rows, width)
    place.word_embeddings.weight.requires_grad_(False)
    assert LearnedRows.of(model, iter([[1]])) is None
    place.word_embeddings.weight.requires_grad_(True)
    model.decoder = torch.nn.Linear(width, rows)
    model.decoder.weight = place.word_embeddings.weight
    assert LearnedRows.of(model, iter([[1]])) is None
    del model.decoder
    assert LearnedRows.of(model, iter([[1]])) is not None


@pytest.fixture(scope="module")
def pools() -> Pools:
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))[:24]
    return Pools([replace(example, origin="distilled") for example in examples[:12]], examples[12:], ())


def fresh(encoder: Path) -> Student:
    prepare(3)
    types = ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE")
    return Student.create(encoder, ("O", *(f"{p}-{t}" for t in types for p in "BI")), "token-classification")


def trained(student: Student, pools: Pools, stop_after: int | None = None, **given: Any) -> dict[str, torch.Tensor]:
    settings = TrainSettings(**{"updates": 8, "batch_size": 6, "learning_rate": 3e-3, "weight_decay": 0.0} | given)
    blend = Blend(lambda t: 0.5, 12, 12, settings.updates, settings.batch_size, 0)
    seen: list[int] = []
    prepare(4)
    train(
        student,
        pools,
        blend,
        settings,
        name="arm",
        metric="entity_f1",
        watch=lambda progress: seen.append(progress.done),
        stop=lambda: stop_after is not None and len(seen) == stop_after,
    )
    assert all(parameter.requires_grad for parameter in student.model.parameters())
    return dict(student.model.state_dict())


def test_training_is_as_with_the_whole_table(encoder: Path, pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    by_rows = trained(fresh(encoder), pools, layer_decay=0.8)
    monkeypatch.setattr(LearnedRows, "of", lambda model, ids: None)
    whole = trained(fresh(encoder), pools, layer_decay=0.8)
    for name, tensor in whole.items():
        assert torch.allclose(tensor, by_rows[name], rtol=1e-3, atol=2e-5), name


def test_a_student_whose_training_was_stopped_can_be_trained_again(encoder: Path, pools: Pools) -> None:
    student = fresh(encoder)
    with pytest.raises(Interrupted):
        trained(student, pools, stop_after=0)
    again, whole = trained(student, pools), trained(fresh(encoder), pools)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_an_encoder_may_fill_up_windows_itself(tmp_path: Path, pools: Pools) -> None:
    student = fresh(tiny_encoder(tmp_path, kind="longformer", positions=600))
    student.tokenizer.pad_token = student.tokenizer.convert_ids_to_tokens(len(student.tokenizer) - 1)
    student.model.config.pad_token_id = student.padding  # no window has so high a number
    before = student.model.get_input_embeddings().weight.detach().clone()
    table = trained(student, pools, batch_size=1, updates=2)["longformer.embeddings.word_embeddings.weight"]
    assert not torch.equal(table, before)
    assert torch.equal(table[-1], before[-1])


def test_rows_that_nothing_looks_up_stay_as_the_encoder_has_them(encoder: Path, pools: Pools) -> None:
    before = Student.create(encoder, LABELS, "token-classification")
    whole = (*pools.distilled, *pools.original)
    looked_up = {
        number
        for windows in before.encode([replace(each, labels=("O",) * len(each.labels)) for each in whole])
        for window in windows
        for number in window.ids
    }
    table = trained(fresh(encoder), pools, weight_decay=0.5)[TABLE]
    same = (table == before.model.get_input_embeddings().weight).all(1)
    assert not same[sorted(looked_up)].any()
    assert same.sum() == len(table) - len(looked_up)  # the padding's row is zero and stays so
