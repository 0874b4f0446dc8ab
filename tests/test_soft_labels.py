"""Soft labels: what students hold probable is learnt instead of what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentences import sentence
from studying import write_config
from test_committee import AGAIN, LABELLERS, SENTENCES, TAGS, weights
from tiny_training import TINY, selected_and_trained, training_settings

from distill_offline import pipeline
from distill_offline.errors import ConfigError, InputError, Interrupted
from distill_offline.label_kinds.losses import LossRule
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.schema import Example, Head
from distill_offline.student.committee import Committee
from distill_offline.student.model import Student
from distill_offline.study import Study
from distill_offline.train.committee import labelled_together
from distill_offline.train.soft_labels import SoftExample, SoftStudent
from distill_offline.train.stage import distilled_pool

SOFT: dict[str, Any] = {**AGAIN, "soft_labels": True}
CLASSES = ("sport", "trade", "water")
KINDS: list[tuple[tuple[str, ...], Head]] = [
    (TAGS, "token-classification"),
    (CLASSES, "sequence-classification"),
    (CLASSES, "multi-label-classification"),
]


def some_labels(head: Head, words: int, number: int) -> tuple[str, ...]:
    if head == "token-classification":
        return tuple(("B-PER", "I-PER", "O", "B-ORG", "O")[i % 5] for i in range(words))
    return CLASSES[number % 3 :] if head == "multi-label-classification" else (CLASSES[number % 3],)


def examples_of(head: Head) -> list[Example]:
    return [
        Example(text, some_labels(head, len(text.tokens), number), "distilled", weight=1.0 + number)
        for number, text in enumerate(SENTENCES)
    ]


def certain(head: Head, example: Example, labels: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Shares that leave no doubt about the example's labels."""
    if head == "multi-label-classification":
        return np.eye(2, dtype=np.float32)[[int(label in example.labels) for label in labels]]
    return np.eye(len(labels), dtype=np.float32)[[labels.index(label) for label in example.labels]]


def softened(example: Example, shares: np.ndarray[Any, Any]) -> SoftExample:
    return SoftExample(example.sentence, example.labels, "distilled", example.weight, shares=shares)


def loss_of(student: Student, examples: list[Example], rule: LossRule | None = None) -> float:
    student.model.eval()
    windows = [window for each in student.encode(examples) for window in each]
    return float(student.loss(student.batch(windows), rule=rule or LossRule()).total.detach())


@pytest.mark.parametrize(("labels", "head"), KINDS)
def test_labels_without_doubt_are_learnt_as_labels_are(encoder: Path, labels: tuple[str, ...], head: Head) -> None:
    student, hard = SoftStudent.create(encoder, labels, head), examples_of(head)
    soft = [softened(example, certain(head, example, labels)) for example in hard]
    for rule in (LossRule(), LossRule(label_smoothing=0.2)):
        expected = loss_of(student, hard, rule)
        assert loss_of(student, list(soft), rule) == pytest.approx(expected, rel=1e-5)
        mixed = [soft[0], hard[1], soft[2], hard[3]]
        assert loss_of(student, mixed, rule) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("labels", "head"), KINDS)
def test_the_loss_is_least_for_a_student_that_holds_probable_what_the_labellers_do(
    encoder: Path, labels: tuple[str, ...], head: Head
) -> None:
    student = SoftStudent.create(encoder, labels, head)
    torch.manual_seed(3)
    torch.nn.init.normal_(student.model.classifier.weight, std=2.0)
    scored = student.scored(SENTENCES)
    if head == "token-classification":  # each token by itself: what is learnt is no sequence
        shares = [np.exp(each.scores) for each in scored]
    else:
        shares = student.kind.shares(scored, labels)
    hard = examples_of(head)
    own = [softened(example, rows) for example, rows in zip(hard, shares, strict=True)]
    windows = [window for each in student.encode(own) for window in each]
    student.model.eval()
    torch.autograd.backward(student.loss(student.batch(windows)).total)
    gradient = student.model.classifier.weight.grad
    assert gradient.abs().max() < 1e-3
    # ... while their likeliest labels would pull it on.
    student.model.zero_grad()
    decided = student.kind.decide(scored, labels)
    said = [replace(example, labels=tags) for example, tags in zip(hard, decided, strict=True)]
    told = [window for each in student.encode(said) for window in each]
    torch.autograd.backward(student.loss(student.batch(told)).total)
    assert student.model.classifier.weight.grad.abs().max() > 1e-2


def test_each_piece_of_a_token_has_a_row_of_its_own(encoder: Path, tmp_path: Path) -> None:
    given = training_settings(encoder, **{**TINY, "arms": [LABELLERS], "seeds": 1})
    selected_and_trained(tmp_path / "run", given)
    folder = RunFolder(tmp_path / "run", given)
    text = sentence("the Acme-led group of U.N.-men met")
    pool = [Example(text, ("O", "B-ORG", "O", "O", "O", "O"), "distilled", masked=(1,))]
    (found,), told = labelled_together(folder, ("simple_mix",), pool, soft=True)
    assert isinstance(found, SoftExample)
    assert len(found.sentence.tokens) > len(text.tokens)
    student = Student.load(tmp_path / "run/train/simple_mix/student")
    assert found.shares.shape == (len(found.sentence.tokens), len(student.labels))
    assert np.allclose(found.shares.sum(1), 1.0, atol=1e-5)
    assert found.masked == ()
    assert told["labellers"] == 1
    assert np.array_equal(found.shares, student.probabilities([found.sentence])[0])
    assert found.labels == student.predict([found.sentence])[0]
    # What is learnt at a piece is its own row, wherever it stands in the window.
    learner = SoftStudent.create(encoder, student.labels, "token-classification")
    ((window,),) = learner.encode([found])
    batch = learner.batch([window])
    at = [position for position, word in enumerate(window.words) if word is not None]
    words = [word for word in window.words if word is not None]
    assert np.array_equal(batch["shares"][0, at].numpy(), found.shares[words])
    assert float(batch["shares"].sum()) == pytest.approx(len(words))


HEADS: list[Head] = ["token-classification", "sequence-classification", "multi-label-classification"]


@pytest.mark.parametrize("head", HEADS)
def test_labels_in_another_order_are_taken_by_their_names_and_others_are_refused(
    encoder: Path, tmp_path: Path, head: Head
) -> None:
    """`train --arm` may find labellers of a task whose types stood in another order."""
    names = {"token-classification": "ner", "sequence-classification": "text_classification"}
    task = names.get(head, "multi_label_classification")
    given = training_settings(encoder, **{**TINY, "arms": [LABELLERS]})
    types = dict.fromkeys(("PERSON", "ORGANISATION", "DATE"), "as its name says")

    def folder_of(*order: str) -> RunFolder:
        settings = replace(given.task, name=task, types={name: types.get(name, "new") for name in order})
        return RunFolder(tmp_path, replace(given, task=settings))

    before = folder_of("PERSON", "ORGANISATION", "DATE")
    labels = tuple(make_task(before.settings).labels)
    student = Student.create(encoder, labels, head)
    torch.manual_seed(5)
    torch.nn.init.normal_(student.model.classifier.weight, std=3.0)
    student.save(tmp_path / "train/simple_mix/student")
    pool = [Example(text, student.kind.unanswered(len(text.tokens)), "distilled") for text in SENTENCES]
    after = folder_of("DATE", "PERSON", "ORGANISATION")
    now = tuple(make_task(after.settings).labels)
    assert now != labels
    found, _ = labelled_together(after, ("simple_mix",), pool, soft=True)
    expected = student.probabilities([example.sentence for example in found])
    for example, rows in zip(found, expected, strict=True):
        assert isinstance(example, SoftExample)
        for place, label in enumerate(now):
            theirs = labels.index(label)
            if head == "multi-label-classification":
                assert np.array_equal(example.shares[place], rows[theirs])
            else:
                assert np.array_equal(example.shares[:, place], rows[:, theirs])
    for other in (folder_of("DATE", "PERSON"), folder_of("DATE", "PERSON", "ORGANISATION", "PLACE")):
        with pytest.raises(InputError, match=r"simple_mix learnt the labels .* Train all anew: leave --arm out"):
            labelled_together(other, ("simple_mix",), pool, soft=True)


@pytest.mark.parametrize("loss", [{"gce_q": 0.7}, {"mask_errors": 0.1}])
def test_another_arms_loss_for_doubtful_labels_is_no_fault_of_a_soft_arm(encoder: Path, loss: dict[str, Any]) -> None:
    robust, soft = {"name": "simple_mix", **loss}, {**SOFT, "labelled_by": "simple_mix"}
    train = training_settings(encoder, **TINY, arms=[robust, soft]).train
    assert {name: getattr(train.of(train.arms[0]), name) for name in loss} == loss
    assert [getattr(train.of(train.arms[1]), name) for name in loss] == [0]
    with pytest.raises(ConfigError, match="learns soft_labels"):
        training_settings(encoder, **TINY, **loss, arms=[{"name": "simple_mix"}, soft])


@pytest.mark.parametrize("labellers", [None, 2])
def test_an_arm_learns_how_sure_its_labellers_are(encoder: Path, tmp_path: Path, labellers: int | None) -> None:
    soft = {**SOFT, "labellers": labellers}
    given = training_settings(encoder, **{**TINY, "arms": [soft, LABELLERS], "seeds": 1})
    said = list[str]()
    counts = selected_and_trained(tmp_path / "run", given, say=said.append)
    names = ("simple_mix", "simple_mix-2")[: labellers or 1]
    assert list(counts) == ["again", *names]
    assert counts["again"]["labellers"] == len(names)
    pool = distilled_pool(RunFolder(tmp_path / "run", given))
    found, _ = labelled_together(RunFolder(tmp_path / "run", given), names, pool, soft=True)
    folders = [tmp_path / "run/train" / name / "student" for name in names]
    student = Committee.load(folders) if labellers else Student.load(folders[0])
    expected = student.kind.shares(student.scored([example.sentence for example in found]), student.labels)
    for example, rows in zip(found, expected, strict=True):
        assert isinstance(example, SoftExample)
        assert np.array_equal(example.shares, rows)
    # Labels alone make another student, and other settings.
    plain = training_settings(encoder, **{**TINY, "arms": [{**soft, "soft_labels": False}, LABELLERS], "seeds": 1})
    before = weights(tmp_path / "run", "again")
    said.clear()
    selected_and_trained(tmp_path / "run", plain, say=said.append)
    assert {f"train {name}: up to date" for name in names} <= set(said)
    assert "train again: up to date" not in said
    assert weights(tmp_path / "run", "again") != before


def test_it_goes_on_to_the_same_bytes_after_a_stop_and_in_processes_of_its_own(encoder: Path, tmp_path: Path) -> None:
    arms = [SOFT, {**LABELLERS, "updates": 3}]
    given = training_settings(encoder, **{**TINY, "arms": arms, "checkpoint_every": 0})
    selected_and_trained(tmp_path / "whole", given)
    updates = list[int]()
    folder = RunFolder(tmp_path / "stopped", given)
    folder = replace(folder, stop=lambda: len(updates) >= 2)

    def watch(progress: Any) -> None:
        if progress.stage == "train again":
            updates.append(progress.done)

    folder = replace(folder, watch=watch)
    folder.open()
    pipeline.select(folder)
    with pytest.raises(Interrupted):
        pipeline.train(folder)
    assert updates
    selected_and_trained(tmp_path / "stopped", given)
    assert weights(tmp_path / "stopped", "again") == weights(tmp_path / "whole", "again")
    at_once = training_settings(encoder, **{**TINY, "arms": arms, "checkpoint_every": 0, "at_once": 2})
    selected_and_trained(tmp_path / "at-once", at_once)
    assert weights(tmp_path / "at-once", "again")


def test_the_code_behind_soft_labels_is_part_of_what_such_a_cell_is(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = ["train.arms=[{name: original_only}, {name: union}, {name: soft, schedule: union, labelled_by: union}]"]
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0])

    def keys(*changes: str) -> list[str]:
        study = Study.load(config, [*arms, *changes])
        return [study.key(cell) for cell in study.cells]

    hard, soft = keys(), keys("train.arms.2.soft_labels=true")
    monkeypatch.setattr("distill_offline.study.grid.digest_of_modules", lambda modules: "of other code")
    other = keys("train.arms.2.soft_labels=true")
    assert hard[:2] == soft[:2] == other[:2]
    assert len({hard[2], soft[2], other[2]}) == 3
    assert keys() == hard
