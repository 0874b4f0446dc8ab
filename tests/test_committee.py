"""Students that label together: what they say on average, and what learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sentences import sentence
from tiny_training import TINY, selected_and_trained, training_settings

from distill_offline import manifest, pipeline
from distill_offline.cli import commands
from distill_offline.config.settings import Source
from distill_offline.errors import InputError, Interrupted, MissingModel
from distill_offline.label_kinds.decoding import Scored
from distill_offline.label_kinds.transitions import allowed_transitions
from distill_offline.pipeline.opened import Run
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Head
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import read_rows
from distill_offline.student.committee import Committee
from distill_offline.student.model import Student
from distill_offline.train.committee import labelled_together
from distill_offline.train.stage import distilled_pool

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")
AGAIN: dict[str, Any] = {"name": "again", "schedule": "distilled_only", "labelled_by": "simple_mix", "labellers": 2}
LABELLERS: dict[str, Any] = {"name": "simple_mix", "updates": 40, "learning_rate": 1e-2}
SENTENCES = [
    sentence(words)
    for words in (
        "Anna of Acme Ltd met Bob in the old mill",
        "which Acme owns , and left at nine",
        "Nobody knows why the shares of Acme fell",
        "Rain",
    )
]


def with_heads(encoder: Path, labels: tuple[str, ...], head: Head, number: int) -> list[Student]:
    """Students of one body, and one more, whose head is the mean of theirs."""
    students = list[Student]()
    for seed in range(number + 1):
        student = Student.create(encoder, labels, head)
        torch.manual_seed(seed)
        torch.nn.init.normal_(student.model.classifier.weight, std=3.0)
        torch.nn.init.normal_(student.model.classifier.bias, std=0.5)
        if students:
            for name, inner in student.model.named_parameters():
                if not name.startswith("classifier"):
                    inner.data = students[0].model.get_parameter(name).data
        students.append(student)
    for name in ("classifier.weight", "classifier.bias"):
        heads = [student.model.get_parameter(name).data for student in students[:-1]]
        students[-1].model.get_parameter(name).data = torch.stack(heads).mean(0)
    return students


@pytest.mark.parametrize(
    ("labels", "head"),
    [
        (TAGS, "token-classification"),
        (("sport", "trade", "water"), "sequence-classification"),
        (("sport", "trade", "water"), "multi-label-classification"),
    ],
)
def test_the_mean_of_students_of_one_body_is_the_student_with_the_mean_of_their_heads(
    encoder: Path, labels: tuple[str, ...], head: Head
) -> None:
    *students, mean = with_heads(encoder, labels, head, 3)
    together = Committee(tuple(students)).scored(SENTENCES)
    assert mean.kind.decide(together, mean.labels) == mean.predict(SENTENCES)
    for shares, expected in zip(mean.kind.shares(together, labels), mean.probabilities(SENTENCES), strict=True):
        np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert len({student.predict(SENTENCES)[0] for student in students}) > 1  # they do not agree without it


def test_transitions_are_averaged_too_and_a_student_without_any_prefers_none(encoder: Path) -> None:
    first, second, mean = with_heads(encoder, TAGS, "token-classification", 2)
    table = np.where(allowed_transitions(TAGS), np.random.default_rng(0).normal(0, 4, (6, 5)), -np.inf)
    first.transitions = table
    mean.transitions = np.where(allowed_transitions(TAGS), table / 2, -np.inf)
    together = Committee((first, second)).scored(SENTENCES)
    assert mean.kind.decide(together, TAGS) == mean.predict(SENTENCES)
    mean.transitions = None
    assert mean.kind.decide(together, TAGS) != mean.predict(SENTENCES)


def test_of_a_token_that_some_tokenizers_do_not_see_the_others_decide() -> None:
    def says(rows: list[list[float]], seen: list[int]) -> Any:
        scored = Scored(np.array(rows, np.float32), np.array(seen, np.intp), 3)
        return SimpleNamespace(labels=("O", "B-X"), scored=lambda sentences: [scored for _ in sentences])

    committee = Committee((says([[-1, -3], [-2, -4]], [0, 2]), says([[-3, -1], [-6, -8], [-4, -2]], [0, 1, 2])))
    (said,) = committee.scored([sentence("a b c")])
    assert said.seen.tolist() == [0, 1, 2]
    assert said.scores.tolist() == [[-2, -2], [-6, -8], [-3, -3]]
    only_first = Committee((says([[-1, -3]], [0]), says([[-3, -1]], [0]))).scored([sentence("a b c")])
    assert only_first[0].seen.tolist() == [0]


def test_students_that_cannot_label_together_are_refused(encoder: Path, tmp_path: Path) -> None:
    for name, labels in (("a", TAGS), ("b", TAGS), ("c", TAGS[:3]), ("d", TAGS)):
        student = Student.create(encoder, labels, "token-classification")
        student.language = "ja" if name == "d" else None
        student.save(tmp_path / name)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert Committee.load([a, b]).labels == TAGS
    with pytest.raises(
        InputError, match=r"c: it cannot label together with .*of O, B-PER, I-PER, language none; there"
    ):
        Committee.load([a, b, c])
    with pytest.raises(InputError, match=r"d: it cannot .*language ja; there .*language none"):
        Committee.load([a, d])
    with pytest.raises(InputError, match="one student is named twice"):
        Committee.load([a, b, tmp_path / "." / "a"])
    with pytest.raises(MissingModel):
        Committee.load([a, tmp_path / "none"])
    for few in ([], [a], str(a)):
        with pytest.raises(InputError, match="give a list of two students' folders or more"):
            Committee.load(few)


def test_labels_in_another_order_are_the_same_labels(encoder: Path, tmp_path: Path) -> None:
    first, second, mean = with_heads(encoder, TAGS, "token-classification", 2)
    table = np.where(allowed_transitions(TAGS), np.random.default_rng(0).normal(0, 4, (6, 5)), -np.inf)
    second.transitions, mean.transitions = table, np.where(allowed_transitions(TAGS), table / 2, -np.inf)
    order = [0, 3, 4, 1, 2]
    other = Student.create(encoder, [TAGS[n] for n in order], "token-classification")
    for name, inner in second.model.named_parameters():
        other.model.get_parameter(name).data = inner.data[order] if name.startswith("classifier") else inner.data
    other.transitions = table[[*order, 5]][:, order]
    for name, student in (("first", first), ("other", other)):
        student.save(tmp_path / name)
    together = Committee.load([tmp_path / "first", tmp_path / "other"])
    assert together.kind.decide(together.scored(SENTENCES), together.labels) == mean.predict(SENTENCES)


def test_predict_takes_several_students(encoder: Path, tmp_path: Path) -> None:
    students = with_heads(encoder, TAGS, "token-classification", 2)
    for name, student in zip(("one", "two", "mean"), students, strict=True):
        student.save(tmp_path / name)
    (tmp_path / "in.txt").write_text("Anna of Acme Ltd met Bob. Rain fell on the old mill.\n")

    def said(name: str, *more: str) -> list[list[tuple[int, int, str]]]:
        out = tmp_path / f"{name}{len(more)}.jsonl"
        words = [word for other in more for word in ("--with", str(tmp_path / other))]
        arguments = ["predict", str(tmp_path / name), str(tmp_path / "in.txt"), "-o", str(out), *words]
        assert CliRunner().invoke(commands, arguments, catch_exceptions=False).exit_code == 0
        return [[(e["start"], e["end"], e["type"]) for e in row["entities"]] for row in read_rows(out)]

    assert said("one", "two") == said("two", "one") == said("mean")
    committee, text = Committee.load([tmp_path / "one", tmp_path / "two"]), "Anna of Acme Ltd met Bob."
    places = [[(e.start, e.end, e.type) for e in of.label(text).entities] for of in (committee, students[-1])]
    assert places[0] == places[1]
    assert [each.text for each in committee.label([text, ""])] == [text, ""]
    assert said("one") != said("two")


def weights(path: Path, student: str) -> str:
    file = path / "train" / student / "student/model.safetensors"
    return file_digests([file])[file]


def test_an_arm_learns_what_several_students_of_another_say_together(encoder: Path, tmp_path: Path) -> None:
    given = training_settings(encoder, **{**TINY, "arms": [AGAIN, LABELLERS], "seeds": 1})
    said = list[str]()
    counts = selected_and_trained(tmp_path / "run", given, say=said.append)
    assert list(counts) == ["again", "simple_mix", "simple_mix-2"]
    assert "train: simple_mix and simple_mix-2 together label 40 distilled sentences" in said
    sealed = manifest.read(tmp_path / "run/train/again")
    assert {"simple_mix/manifest.json", "simple_mix-2/manifest.json"} <= {
        each["name"].removeprefix("train/") for each in sealed["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    pool = distilled_pool(RunFolder(tmp_path / "run", given))
    both = Committee.load([tmp_path / "run/train" / name / "student" for name in ("simple_mix", "simple_mix-2")])
    doubted = [replace(example, weight=0.5, masked=(0,)) for example in pool]
    found, told = labelled_together(RunFolder(tmp_path / "run", given), ("simple_mix", "simple_mix-2"), doubted)
    expected = both.kind.decide(both.scored([example.sentence for example in pool]), both.labels)
    assert [example.labels for example in found] == expected
    assert {(example.weight, example.masked, example.origin) for example in found} == {(1.0, (), "distilled")}
    changed = sum(a.labels != b.labels for a, b in zip(found, pool, strict=True))
    assert told == {"distilled_relabelled": changed, "labellers": 2}
    assert told.items() <= counts["again"].items()
    assert changed > 0
    # Two at a time, and from two seeds: the same students label for both, and what was there stays to the bit.
    assert [line for line in said if "together label" in line] == [
        "train: simple_mix and simple_mix-2 together label 40 distilled sentences"
    ]
    said.clear()
    more = training_settings(encoder, **{**TINY, "arms": [AGAIN, LABELLERS], "seeds": 2})
    selected_and_trained(tmp_path / "run", more, say=said.append)
    up_to_date = [line for line in said if line.endswith("up to date")]
    assert up_to_date[1:] == [f"train {name}: up to date" for name in ("simple_mix", "simple_mix-2", "again")]
    assert weights(tmp_path / "run", "again-2") != weights(tmp_path / "run", "again")


def test_it_is_trained_again_if_one_of_those_that_label_for_it_is(encoder: Path, tmp_path: Path) -> None:
    given = training_settings(encoder, **{**TINY, "arms": [AGAIN, {**LABELLERS, "updates": 3}]})
    selected_and_trained(tmp_path, given)
    before = manifest.fingerprint_of(tmp_path / "train/again")
    said = list[str]()
    three = {**AGAIN, "labellers": 3}
    selected_and_trained(
        tmp_path, training_settings(encoder, **{**TINY, "arms": [three, {**LABELLERS, "updates": 3}]}), say=said.append
    )
    assert [line for line in said if line.endswith("up to date")] == [
        "select: up to date",
        "train simple_mix: up to date",
        "train simple_mix-2: up to date",
    ]
    assert manifest.fingerprint_of(tmp_path / "train/again") != before


def test_all_students_of_an_arm_learn_what_was_labelled_once(encoder: Path, tmp_path: Path) -> None:
    for at_once in (1, 2):
        arms = [AGAIN, {**LABELLERS, "updates": 3}]
        given = training_settings(encoder, **{**TINY, "arms": arms, "seeds": 3, "at_once": at_once})
        said = list[str]()
        selected_and_trained(tmp_path / str(at_once), given, say=said.append)
        assert sum("together label" in line for line in said) == 1
        assert len({weights(tmp_path / str(at_once), name) for name in ("again", "again-2", "again-3")}) == 3
    assert weights(tmp_path / "1", "again-3") == weights(tmp_path / "2", "again-3")


def test_an_arm_alone_says_that_those_that_it_needs_are_missing_or_of_before(encoder: Path, tmp_path: Path) -> None:
    arms = [{**AGAIN, "labellers": 3}, {**LABELLERS, "updates": 3}]
    folder = RunFolder(tmp_path, training_settings(encoder, **{**TINY, "arms": arms}))
    folder.open()
    pipeline.select(folder)
    told = "again is made with simple_mix, simple_mix-2 and simple_mix-3, and train/simple_mix has not been run to its"
    for verb in (lambda: pipeline.train(folder, ["again"]), lambda: pipeline.plan(folder, ["train"], arms=["again"])):
        with pytest.raises(InputError, match=f"{told} end, nor 2 more"):
            verb()
    pipeline.train(folder)
    changed = [arms[0], {**LABELLERS, "updates": 4}]
    said = list[str]()
    later = RunFolder(tmp_path, training_settings(encoder, **{**TINY, "arms": changed}), say=said.append)
    later.open()
    pipeline.train(later, ["simple_mix-2"])
    assert not any("warning" in line for line in said)
    pipeline.train(later, ["again"])
    (warning,) = [line for line in said if "warning" in line]
    assert "simple_mix and simple_mix-3: of other settings" in warning
    assert "again will be made with what is there" in warning
    said.clear()
    scored = replace(later.settings, evaluate=replace(later.settings.evaluate, split="dev"))
    Run(replace(later, settings=scored)).evaluate()
    assert any("evaluate: again, simple_mix, simple_mix-3: not trained, or not known" in line for line in said)


def test_scores_are_made_again_if_only_the_transitions_of_a_student_change(encoder: Path, tmp_path: Path) -> None:
    found = []
    for weight in (0.0, 0.75, 0.75):
        arms = [{"name": "simple_mix", "updates": 3}]
        given = training_settings(encoder, **{**TINY, "arms": arms, "transitions": weight})
        original = replace(given.corpus.original, dev=None, test=Source(path="package:demo/test.jsonl", limit=5))
        said = list[str]()
        folder = RunFolder(tmp_path, replace(given, corpus=replace(given.corpus, original=original)), say=said.append)
        folder.open()
        pipeline.select(folder)
        pipeline.train(folder)
        pipeline.evaluate(folder)
        found.append((weights(tmp_path, "simple_mix"), "evaluate: up to date" in said))
    assert len({digest for digest, _ in found}) == 1  # without dev they decide nothing of the weights
    assert [is_fresh for _, is_fresh in found] == [False, False, True]


def test_labelling_together_is_stopped_between_two_parts_of_the_pool(encoder: Path, tmp_path: Path) -> None:
    given = training_settings(encoder, **{**TINY, "arms": [{"name": "simple_mix", "updates": 2}], "seeds": 2})
    selected_and_trained(tmp_path, given)
    pool = distilled_pool(RunFolder(tmp_path, given)) * 30
    done = list[int]()
    folder = RunFolder(tmp_path, given, watch=lambda each: done.append(each.done), stop=lambda: bool(done))
    with pytest.raises(Interrupted, match="stopped while simple_mix and simple_mix-2 label"):
        labelled_together(folder, ("simple_mix", "simple_mix-2"), pool)
    assert done == [1024]
