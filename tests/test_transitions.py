"""Transitions of a student: estimated from what it learns, kept with it, and used wherever its tags are decoded."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import sentence
from test_decoding import LABELS, every_valid, is_valid, random_rows, scored
from tiny_training import training_settings

from distill_offline import manifest, pipeline
from distill_offline.bundle import label as script
from distill_offline.config.settings import Settings
from distill_offline.corpus import read_examples
from distill_offline.errors import InputError, Interrupted
from distill_offline.label_kinds.decoding import Scored, decode, distributions
from distill_offline.label_kinds.transitions import (
    allowed_transitions,
    as_lists,
    average_transitions,
    estimated_transitions,
    from_lists,
)
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example, Progress, Span
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.digests import file_digests
from distill_offline.student.model import Student

START = len(LABELS)


def random_table(seed: int, labels: tuple[str, ...] = LABELS) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0.0, 3.0, (len(labels) + 1, len(labels)))
    return np.where(allowed_transitions(labels), values, -np.inf)


def moved(tags: tuple[str, ...], table: np.ndarray) -> float:
    numbers = [START, *(LABELS.index(tag) for tag in tags)]
    return float(sum(table[pair] for pair in itertools.pairwise(numbers)))


batches = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 4)), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(batches, st.integers(0, 2**32 - 1))
def test_decoded_and_probable_are_what_all_sequences_written_out_say(drawn: list[tuple[int, int]], seed: int) -> None:
    table, rows = random_table(seed), [random_rows(*each) for each in drawn]
    given = [replace(scored(each), transitions=table) for each in rows]
    for each, tags, found in zip(rows, decode(given, LABELS), distributions(given, LABELS), strict=True):
        weights = {said: weight + moved(said, table) for said, weight in every_valid(each).items()}
        assert weights[tags] == pytest.approx(max(weights.values()))
        highest = max(weights.values())
        shares = {said: math.exp(weight - highest) for said, weight in weights.items()}
        total = sum(shares.values())
        spans: dict[Span, float] = {}
        marginals = np.zeros((len(each), len(LABELS)))
        for said, share in shares.items():
            for span in decode_bio(said):
                spans[span] = spans.get(span, 0.0) + share / total
            for token, tag in enumerate(said):
                marginals[token, LABELS.index(tag)] += share / total
        assert found.of_tokens() == pytest.approx(marginals, abs=1e-6)
        for span, probability in spans.items():
            assert found.of(span) == pytest.approx(probability, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(batches)
def test_a_table_of_zeros_changes_nothing(drawn: list[tuple[int, int]]) -> None:
    zeros = np.where(allowed_transitions(LABELS), 0.0, -np.inf)
    plain = [scored(random_rows(seed, 5 * length)) for seed, length in drawn]
    given = [replace(each, transitions=zeros) for each in plain]
    assert decode(given, LABELS) == decode(plain, LABELS)
    for each, other in zip(distributions(given, LABELS), distributions(plain, LABELS), strict=True):
        assert each.of_tokens() == pytest.approx(other.of_tokens(), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_the_script_of_a_release_decodes_alike(seed: int, length: int) -> None:
    rows, table = random_rows(seed, length), random_table(seed)
    given = replace(scored(rows), transitions=table)
    said = script.likeliest(rows.astype(np.float64).tolist(), LABELS, as_lists(table))
    assert tuple(said) == decode([given], LABELS)[0]


def test_scores_without_meaning_give_valid_tags_all_the_same() -> None:
    rows = np.array([[-math.inf] * 5, [math.nan] * 5, [0.0, -1e9, -1e9, -1e9, -1e9]], np.float32)
    given = [replace(scored(rows), transitions=random_table(1)), Scored(rows[:0], np.arange(0), 2, None)]
    given[1] = replace(given[1], transitions=given[0].transitions)
    for tags, found in zip(decode(given, LABELS), distributions(given, LABELS), strict=True):
        assert is_valid(tags)
        assert found.of_tokens().sum(1) == pytest.approx(1)


def test_a_long_sure_text_loses_no_precision() -> None:
    rows = np.full((1500, 5), -60.0)
    rows[:, LABELS.index("O")] = 0.0
    rows[::7] = -60.0
    rows[::7, LABELS.index("B-X")] = 0.0
    given = replace(scored(rows), transitions=random_table(3))
    (found,), (tags,) = distributions([given], LABELS), decode([given], LABELS)
    assert [found.of(span) for span in decode_bio(tags)] == pytest.approx([1.0] * 215)


def test_estimated_are_the_smoothed_shares_of_what_follows() -> None:
    labels = ("O", "B-X", "I-X")
    examples = [
        Example(sentence("a b c d"), ("B-X", "I-X", "O", "O"), "original"),
        Example(sentence("a b c"), ("O", "B-X", "B-X"), "distilled"),
    ]
    table = np.exp(estimated_transitions(examples, labels, 1.0))
    assert table[0] == pytest.approx([1.1 / 2.2, 1.1 / 2.2, 0], abs=1e-5)  # O: once O, once B-X
    assert table[1] == pytest.approx([0.1 / 2.3, 1.1 / 2.3, 1.1 / 2.3], abs=1e-5)
    assert table[3] == pytest.approx([1.1 / 2.2, 1.1 / 2.2, 0], abs=1e-5)  # the beginning
    assert estimated_transitions(examples, labels, 0.5)[1, 0] == pytest.approx(0.5 * math.log(0.1 / 2.3), abs=1e-5)


def test_what_is_masked_counts_for_nothing_nor_does_what_follows_it() -> None:
    labels = ("O", "B-X", "I-X")
    doubted = Example(sentence("a b c d"), ("O", "B-X", "O", "O"), "distilled", masked=(1,))
    plain = Example(sentence("a"), ("O",), "distilled")
    table = np.exp(estimated_transitions([doubted, plain], labels, 1.0))
    assert table[0] == pytest.approx([1.1 / 1.2, 0.1 / 1.2, 0], abs=1e-5)
    assert table[3] == pytest.approx([2.1 / 2.2, 0.1 / 2.2, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no", "must be a list of 4 rows"),
        ([[0, 0, None]] * 3, "must be a list of 4 rows"),
        ([[0, 0]] * 4, "3 numbers in each row"),
        ([[0, 0, "x"]] * 4, "numbers and null alone"),
        ([[0, True, 0]] * 4, "numbers and null alone"),
        ([[0, math.nan, 0]] * 4, "numbers and null alone"),
        ([[0, None, None]] * 4, "a number for each tag that may follow"),
    ],
)
def test_a_damaged_table_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_lists(value, ("O", "B-X", "I-X"))


def test_an_average_has_the_mean_and_students_without_a_table_count_as_zeros() -> None:
    one, two = random_table(1), random_table(2)
    mean = average_transitions([one, None, two])
    assert mean is not None
    allowed = allowed_transitions(LABELS)
    assert mean[allowed] == pytest.approx((one + two)[allowed] / 3, abs=1e-5)
    assert np.isneginf(mean[~allowed]).all()
    assert average_transitions([None, None]) is None
    assert (from_lists(json.loads(json.dumps(as_lists(mean))), LABELS) == mean).all()


def tiny(encoder: Path, arms: list[dict[str, Any]], **train: Any) -> Settings:
    return training_settings(
        encoder, **{"updates": 4, "batch_size": 4, "learning_rate": 1e-2, "transitions": 0.75, "arms": arms, **train}
    )


def trained(path: Path, given: Settings, **more: Any) -> Mapping[str, Any]:
    folder = RunFolder(path, given, **more)
    folder.open()
    pipeline.select(folder)
    return pipeline.train(folder, ())


def student_of(run: Path, arm: str) -> Student:
    return Student.load(run / "train" / arm / "student")


def bytes_of(run: Path, arm: str) -> list[str]:
    files = sorted((run / "train" / arm / "student").iterdir())
    return [*file_digests(files).values()]


@pytest.mark.slow
def test_arms_have_those_of_the_pools_that_they_draw_from_and_an_arm_may_go_without(
    encoder: Path, tmp_path: Path
) -> None:
    arms: list[dict[str, Any]] = [
        {"name": "original_only"},
        {"name": "simple_mix", "transitions": 1.0},
        {"name": "plain", "schedule": "simple_mix", "transitions": 0},
        {"name": "mean", "average": ["simple_mix", "plain"]},
    ]
    trained(tmp_path, tiny(encoder, arms))
    gold = list(read_examples("package:demo/train.jsonl", origin="original"))[:70]
    alone, mix = student_of(tmp_path, "original_only"), student_of(tmp_path, "simple_mix")
    assert alone.transitions is not None
    assert mix.transitions is not None
    assert (alone.transitions == estimated_transitions(gold[:30], alone.labels, 0.75)).all()
    assert (mix.transitions == estimated_transitions(gold, mix.labels, 1.0)).all()
    assert student_of(tmp_path, "plain").transitions is None
    mean = student_of(tmp_path, "mean").transitions
    assert mean is not None
    allowed = allowed_transitions(mix.labels)
    assert mean[allowed] == pytest.approx(mix.transitions[allowed] / 2, abs=1e-5)
    assert "student/config.json" in json.dumps(manifest.read(tmp_path / "train/simple_mix"))  # sealed


def test_wherever_a_student_labels_its_table_counts(encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    labels = ("O", "B-PERSON", "I-PERSON")
    Student.create(encoder, labels, "token-classification").save(tmp_path / "plain")
    plain = Student.load(tmp_path / "plain")
    assert plain.transitions is None
    text = sentence("Marta closed V-17 at 06:00 with Jonas Weber .")
    said = plain.predict([text])[0]
    table = np.where(allowed_transitions(labels), 0.0, -np.inf)
    table[:, 0] = -50.0  # whatever the head says, everything is an entity
    table[1, 2], table[2, 2] = 30.0, 30.0
    plain.transitions = table
    plain.save(tmp_path / "moved")
    student = Student.load(tmp_path / "moved")
    every = ("B-PERSON", *("I-PERSON",) * (len(text.tokens) - 1))
    assert said != every
    assert student.predict([text]) == [every]
    assert student.probabilities([text])[0].argmax(1).tolist() == [1, *[2] * (len(text.tokens) - 1)]
    (labelled,) = student.label([text.text])
    assert [(entity.start, entity.end) for entity in labelled.entities] == [(0, len(text.text))]
    assert labelled.entities[0].confidence == pytest.approx(1.0)
    assert tuple(script.label(text.tokens, *script.load(tmp_path / "moved"))) == every
    (judged,) = student.kind.judged(student.scored([text]), labels, [(every, decode_bio(every))])
    assert judged.spans[0] == pytest.approx(1.0)
    # As the encoder of a new student it leaves nothing behind.
    again = Student.create(tmp_path / "moved", ("O", "B-X", "I-X"), "token-classification")
    again.save(tmp_path / "again")
    assert Student.load(tmp_path / "again").transitions is None


def test_a_changed_file_is_named(encoder: Path, tmp_path: Path) -> None:
    Student.create(encoder, ("O", "B-X", "I-X"), "token-classification").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "distill_transitions": [[0.0]]}))
    with pytest.raises(InputError, match=r"config.json: distill_transitions must be a list of 4 rows. Was the file"):
        Student.load(tmp_path)


def test_stopped_and_resumed_ends_in_the_same_bytes(encoder: Path, tmp_path: Path) -> None:
    given = tiny(encoder, [{"name": "simple_mix"}], checkpoint_every=0)
    trained(tmp_path / "whole", given)
    updates: list[int] = []

    def watch(progress: Progress) -> None:
        if progress.stage.startswith("train"):
            updates.append(progress.done)

    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", given, watch=watch, stop=lambda: len(updates) >= 2)
    trained(tmp_path / "parts", given)
    assert bytes_of(tmp_path / "parts", "simple_mix") == bytes_of(tmp_path / "whole", "simple_mix")


def test_another_weight_is_another_student_and_labels_for_others_anew(encoder: Path, tmp_path: Path) -> None:
    arms: list[dict[str, Any]] = [
        {"name": "simple_mix"},
        {"name": "again", "schedule": "distilled_only", "labelled_by": "simple_mix", "transitions": 0},
    ]
    trained(tmp_path, tiny(encoder, arms))
    said = list[str]()
    trained(tmp_path, tiny(encoder, arms), say=said.append)
    assert "train again: up to date" in said
    said.clear()
    trained(tmp_path, tiny(encoder, [{**arms[0], "transitions": 2.0}, arms[1]]), say=said.append)
    assert "train: simple_mix labels 40 distilled sentences" in said
