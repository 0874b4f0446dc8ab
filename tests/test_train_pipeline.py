"""The train verb: what an arm may override, averages of arms, checkpoints that go with the seal, and kill -9."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny_training import TINY, selected_and_trained, training_settings

from distill_offline import manifest, pipeline
from distill_offline.config.loading import dump
from distill_offline.config.settings import ArmSettings, Settings, Source, TrainSettings
from distill_offline.corpus import write_examples
from distill_offline.errors import ConfigError, InputError, IntegrityError, Interrupted
from distill_offline.label_kinds.decoding import distributions
from distill_offline.run.folder import RunFolder
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.digests import file_digests
from distill_offline.student.model import Student
from distill_offline.train.arms import check_arms
from distill_offline.train.self_training import labelled_again
from distill_offline.train.stage import distilled_pool

ARMS: list[dict[str, Any]] = [{"name": "simple_mix"}, {"name": "reverse"}]


def settings(encoder: Path, arms: list[dict[str, Any]] | None = None, **train: Any) -> Settings:
    return training_settings(
        encoder, **{"updates": 4, "batch_size": 4, "learning_rate": 1e-2, "arms": arms or ARMS, **train}
    )


def train(path: Path, given: Settings, arms: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    folder = RunFolder(path, given, **more)
    folder.open()
    pipeline.select(folder)
    return pipeline.train(folder, arms)


def weights(path: Path, arm: str) -> str:
    file = path / "train" / arm / "student/model.safetensors"
    return file_digests([file])[file]


def test_an_arm_overrides_whatever_it_names_and_nothing_else() -> None:
    own = {"updates": 7, "layer_decay": 0.9, "confidence_weights": False, "mask_errors": 0.0, "share": 0.5}
    base = TrainSettings(mask_errors=0.85, clip=2.0)
    assert base.of(ArmSettings(name="a", **own)) == replace(base, **own)  # type: ignore[arg-type]
    assert base.of(ArmSettings(name="a")) == base


def test_what_an_arm_can_override_means_the_same_in_train() -> None:
    known = {each.name for each in fields(TrainSettings)}
    own = {each.name for each in fields(ArmSettings)} - {
        "name",
        "schedule",
        "options",
        "average",
        "labelled_by",
        "min_label_confidence",
    }
    assert own <= known
    of_all_arms = {"micro_batch_tokens", "max_length", "mixed_precision", "checkpoint_every", "processes"}
    assert known - own == {"encoder", "capitals", "arms", *of_all_arms}


def test_overrides_reach_training_and_a_share_moves_the_step(encoder: Path, tmp_path: Path) -> None:
    arms = [{"name": "simple_mix", "share": 0.25, "updates": 8, "learning_rate_decay": "constant", "warmup": 0.0}]
    train(tmp_path, settings(encoder, arms))
    rows = [json.loads(line) for line in (tmp_path / "train/simple_mix/history.jsonl").read_text().splitlines()]
    assert [row["distilled"] for row in rows] == [4, 4, 0, 0, 0, 0, 0, 0]
    assert {row["learning_rate"] for row in rows} == {1e-2}


def test_dev_sentences_that_are_in_test_are_told(encoder: Path, tmp_path: Path) -> None:
    settings = training_settings(encoder, **TINY, arms=[{"name": "original_only"}])
    original = settings.corpus.original
    said = list[str]()
    test = Source(path="package:demo/dev.jsonl", skip=9, limit=5)
    both = replace(settings, corpus=replace(settings.corpus, original=replace(original, test=test)))
    selected_and_trained(tmp_path / "both", both, say=said.append)
    assert sum("2 of 11 sentences of dev are in test, too (first" in line for line in said) == 1
    assert not any("in test, too" in line for line in alone(settings, tmp_path))


def test_a_student_that_was_changed_after_training_is_not_scored(encoder: Path, tmp_path: Path) -> None:
    settings = training_settings(encoder, **TINY, arms=[{"name": "original_only"}])
    original = replace(settings.corpus.original, test=Source(path="package:demo/test.jsonl", limit=5))
    folder = RunFolder(tmp_path / "run", replace(settings, corpus=replace(settings.corpus, original=original)))
    folder.open()
    pipeline.select(folder)
    pipeline.train(folder)
    pipeline.evaluate(folder)
    weights = folder.folder("train/original_only") / "student/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        IntegrityError, match=r"model\.safetensors: was changed after it was trained.*Remove the folder"
    ):
        pipeline.evaluate(folder)


def alone(settings: Settings, place: Path) -> list[str]:
    said = list[str]()
    selected_and_trained(place / "alone", settings, say=said.append)
    return said


def test_an_average_is_the_mean_of_its_arms_whatever_their_order(encoder: Path, tmp_path: Path) -> None:
    arms = [{"name": "mean", "average": ["simple_mix", "reverse"]}, *ARMS]
    counts = train(tmp_path, settings(encoder, arms))
    assert list(counts) == ["mean", "simple_mix", "reverse"]
    assert counts["mean"]["best_dev_f1"] is not None
    mean, first, second = (
        load_file(tmp_path / "train" / arm / "student/model.safetensors") for arm in ("mean", "simple_mix", "reverse")
    )
    for name, tensor in mean.items():
        assert ((first[name] + second[name]) / 2 - tensor).abs().max() < 1e-6
    said: list[str] = []
    train(tmp_path, settings(encoder, arms), say=said.append)
    assert sorted(line for line in said if line.startswith("train")) == sorted(
        f"train {arm}: up to date" for arm in counts
    )


def test_an_average_asks_for_its_arms_to_be_trained_first(encoder: Path, tmp_path: Path) -> None:
    arms = [{"name": "mean", "average": ["simple_mix", "reverse"]}, *ARMS]
    with pytest.raises(InputError, match="train/simple_mix has not been run to its end"):
        train(tmp_path, settings(encoder, arms), ("mean",))
    with pytest.raises(ConfigError, match="'cosine', which is not an arm that is trained"):
        train(tmp_path, settings(encoder, [{"name": "mean", "average": ["simple_mix", "cosine"]}, *ARMS]))


def test_arms_that_need_each_other_are_refused(encoder: Path, tmp_path: Path) -> None:
    union: dict[str, Any] = {"name": "union", "labelled_by": "mean"}
    arms = [union, {"name": "mean", "average": ["union", "reverse"]}, *ARMS]
    with pytest.raises(ConfigError, match="union needs itself: union needs mean needs union"):
        train(tmp_path, settings(encoder, arms))


@pytest.mark.slow
def test_an_arm_learns_the_labels_of_another_arms_student(encoder: Path, tmp_path: Path) -> None:
    again: dict[str, Any] = {"name": "again", "schedule": "distilled_only", "labelled_by": "mean"}
    labellers: list[dict[str, Any]] = [{**arm, "updates": 160, "batch_size": 8, "learning_rate": 3e-3} for arm in ARMS]
    arms = [again, {"name": "mean", "average": ["simple_mix", "reverse"]}, *labellers]
    counts = train(tmp_path / "both", settings(encoder, arms))
    assert list(counts) == ["again", "mean", "simple_mix", "reverse"]
    assert 0 < counts["again"]["distilled_relabelled"] <= counts["again"]["distilled_pool"] == 40
    sealed = json.dumps(manifest.read(tmp_path / "both/train/again"))
    assert '"mean/manifest.json"' in sealed
    assert '"select/manifest.json"' in sealed
    # By the way that is there without it: predict, and a corpus of what was predicted.
    student = Student.load(tmp_path / "both/train/mean/student")
    pool = distilled_pool(RunFolder(tmp_path / "both", settings(encoder, arms)))
    labels = student.predict([example.sentence for example in pool])
    assert len({label for each in labels for label in each}) > 2
    spoken = [replace(example, labels=tuple(said)) for example, said in zip(pool, labels, strict=True)]
    write_examples(tmp_path / "said.jsonl", spoken)
    alone = settings(encoder, [{"name": "again", "schedule": "distilled_only"}])
    alone = replace(alone, corpus=replace(alone.corpus, distilled=str(tmp_path / "said.jsonl")))
    train(tmp_path / "alone", alone)
    assert weights(tmp_path / "both", "again") == weights(tmp_path / "alone", "again")


def test_an_arm_is_trained_again_when_the_one_that_labels_for_it_is(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "union", "labelled_by": "simple_mix"}
    train(tmp_path, settings(encoder, [*ARMS, again]))
    said = list[str]()
    train(tmp_path, settings(encoder, [*ARMS, again]), say=said.append)
    assert [line for line in said if line.startswith("train")] == [
        f"train {arm}: up to date" for arm in ("simple_mix", "reverse", "again")
    ]
    said.clear()
    train(tmp_path, settings(encoder, [{"name": "simple_mix", "updates": 6}, ARMS[1], again]), say=said.append)
    assert [line for line in said if line.startswith("train")] == [
        "train reverse: up to date",
        "train: simple_mix labels 40 distilled sentences",
    ]


def test_a_dry_run_tells_of_the_chosen_arms_alone(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "union", "labelled_by": "simple_mix"}
    train(tmp_path, settings(encoder, [*ARMS, again]))
    folder = RunFolder(tmp_path, settings(encoder, [{"name": "simple_mix", "updates": 6}, ARMS[1], again]))

    def planned(*arms: str) -> dict[str, bool]:
        return {step["stage"]: step["fresh"] for step in pipeline.plan(folder, ["train"], arms=arms)}

    assert planned() == {"train simple_mix": False, "train reverse": True, "train again": False}
    assert planned("again") == {"train again": True}  # the student that labelled for it stays
    with pytest.raises(ConfigError, match="there is no arm 'agian'"):
        planned("agian")


def test_what_was_doubtful_of_the_teachers_labels_is_not_of_the_students(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "distilled_only", "labelled_by": "simple_mix"}
    given = settings(encoder, [*ARMS, again])
    train(tmp_path, given)
    pool = distilled_pool(RunFolder(tmp_path, given))
    doubted = [replace(example, weight=0.25, masked=(0,)) for example in pool]
    found, counts = labelled_again(RunFolder(tmp_path, given), "simple_mix", doubted)
    assert {(example.weight, example.masked, example.origin) for example in found} == {(1.0, (), "distilled")}
    assert counts == {"distilled_relabelled": sum(a.labels != b.labels for a, b in zip(found, pool, strict=True))}


@pytest.mark.slow
def test_of_what_the_labelling_student_is_unsure_nothing_is_learnt(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "distilled_only", "labelled_by": "simple_mix", "min_label_confidence": 0.6}
    longer: dict[str, Any] = {"name": "simple_mix", "updates": 90, "batch_size": 8, "learning_rate": 3e-3}
    given = settings(encoder, [longer, again])
    counts = train(tmp_path, given)["again"]
    pool = distilled_pool(RunFolder(tmp_path, given))
    student = Student.load(tmp_path / "train/simple_mix/student")
    scored = student.scored([example.sentence for example in pool])
    found, _ = labelled_again(RunFolder(tmp_path, given), "simple_mix", pool, min_confidence=0.6)
    unsure_spans = 0
    for example, distribution in zip(found, distributions(scored, student.labels), strict=True):
        sure_of_none = distribution.of_tokens()[:, student.labels.index("O")]
        expected = {n for n, tag in enumerate(example.labels) if tag == "O" and sure_of_none[n] < 0.6}
        for span in decode_bio(example.labels):
            if distribution.of(span) < 0.6:
                unsure_spans += 1
                expected |= set(range(span.start, span.end))
        assert set(example.masked) == expected
    assert counts["distilled_spans_unsure"] == unsure_spans > 0
    assert counts["distilled_tokens_unsure"] == sum(len(example.masked) for example in found) > unsure_spans
    sealed = weights(tmp_path, "again")
    train(tmp_path, settings(encoder, [longer, {**again, "min_label_confidence": None}]))
    assert weights(tmp_path, "again") != sealed
    with pytest.raises(ConfigError, match="min_label_confidence is about the labels of another arm's student"):
        settings(encoder, [{"name": "simple_mix", "min_label_confidence": 0.5}])


def test_transitions_that_no_student_could_be_read_with_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="transitions: simple_mix has 1e\\+06, a weight beside which"):
        check_arms(TrainSettings(arms=(ArmSettings(name="simple_mix"),), transitions=1e6))


def test_an_arm_that_would_learn_nothing_of_unsure_labels_is_refused(encoder: Path, tmp_path: Path) -> None:
    again = {"name": "again", "schedule": "distilled_only", "labelled_by": "simple_mix", "min_label_confidence": 1.0}
    with pytest.raises(InputError, match="simple_mix is less sure than 1 of all tokens"):
        train(tmp_path, settings(encoder, [{"name": "simple_mix"}, again]))


def test_labelling_again_is_stopped_between_two_parts_of_the_pool(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder)
    train(tmp_path, given)
    pool = distilled_pool(RunFolder(tmp_path, given)) * 30
    done = list[int]()
    folder = RunFolder(tmp_path, given, watch=lambda each: done.append(each.done), stop=lambda: len(done) == 1)
    with pytest.raises(Interrupted, match="stopped while simple_mix labels"):
        labelled_again(folder, "simple_mix", pool)
    assert done == [1024]


@pytest.mark.parametrize(
    "arm", [{"average": ["simple_mix"]}, {"average": ["simple_mix", "reverse"], "schedule": "linear"}]
)
def test_an_average_of_one_or_with_a_schedule_is_refused(encoder: Path, arm: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match="average names two arms or more"):
        settings(encoder, [{"name": "mean", **arm}, *ARMS])


@pytest.mark.parametrize(
    ("arm", "problem"),
    [
        ({"name": "mean", "average": ["simple_mix", "reverse"], "restart": False}, "mean averages.*take its restart"),
        ({"name": "linear", "options": {"s": 3}}, "does not take 's'"),
        ({"name": "power", "options": {"a": -1}}, "which is not a probability"),
        ({"name": "simple_mix"}, "occurs there twice"),
        ({"name": "union", "labelled_by": "linear"}, "union is to be labelled by 'linear', which is not an arm"),
        ({"name": "union", "labelled_by": "union"}, "union needs itself: union needs union"),
        ({"name": "original_only", "labelled_by": "simple_mix"}, "learns no label of simple_mix's"),
        ({"name": "mean", "average": ["simple_mix", "reverse"], "labelled_by": "reverse"}, "take its labelled_by away"),
    ],
)
def test_an_arm_that_cannot_be_is_refused_before_any_is_trained(
    encoder: Path, tmp_path: Path, arm: Mapping[str, Any], problem: str
) -> None:
    given = settings(encoder, [*ARMS, dict(arm)])
    with pytest.raises(ConfigError, match=problem):
        pipeline.plan(RunFolder(tmp_path / "run", given), ("select", "train"))
    with pytest.raises(ConfigError, match=problem):
        pipeline.run(RunFolder(tmp_path / "run", given))
    assert not (tmp_path / "run").exists()  # no teacher was asked, either
    with pytest.raises(ConfigError, match=problem):
        train(tmp_path, given)
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize("with_dev", [True, False])
def test_a_figure_on_dev_is_shown_once_it_was_measured(encoder: Path, tmp_path: Path, with_dev: bool) -> None:
    given, shown = settings(encoder, ARMS[:1], eval_every=3), list[list[str]]()
    if not with_dev:
        original = replace(given.corpus.original, dev=None)
        given = replace(given, corpus=replace(given.corpus, original=original))
    train(tmp_path, given, watch=lambda progress: shown.append([*progress.counts]))
    measured = ["loss", "dev_f1"] if with_dev else ["loss"]
    assert shown == [["loss"], ["loss"], measured, measured]


def test_a_stopped_arm_goes_on_and_leaves_no_checkpoint_behind(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, ARMS[:1])
    train(tmp_path / "whole", given)
    done = 0

    def count(progress: Any) -> None:
        nonlocal done
        done = progress.done

    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", given, watch=count, stop=lambda: done == 3)
    assert [path.name for path in (tmp_path / "stopped/train/simple_mix").iterdir()] == ["checkpoint"]
    # how often checkpoints are written decides nothing
    train(tmp_path / "stopped", replace(given, train=replace(given.train, checkpoint_every=0.0)))
    for name in ("student/model.safetensors", "history.jsonl"):
        both = [tmp_path / run / "train/simple_mix" / name for run in ("whole", "stopped")]
        assert both[0].read_bytes() == both[1].read_bytes()
    assert not (tmp_path / "stopped/train/simple_mix/checkpoint").exists()


_CHILD = """
import os, sys
from pathlib import Path
from distill_offline.offline.connections import ENVIRONMENT
os.environ.update(ENVIRONMENT)
from distill_offline import config, pipeline
from distill_offline.label_kinds.decoding import distributions
from distill_offline.run.folder import RunFolder
from distill_offline.spans.bio import decode_bio
folder = RunFolder(
    Path(sys.argv[2]), config.load(Path(sys.argv[1])), watch=lambda progress: print(progress.done, flush=True)
)
folder.open()
pipeline.select(folder)
pipeline.train(folder)
"""


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_byte(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, ARMS[:1], updates=400, eval_every=40, batch_size=8, checkpoint_every=0.05)
    began = time.monotonic()
    train(tmp_path / "whole", given)
    whole = time.monotonic() - began
    config = tmp_path / "config.yaml"
    config.write_text(dump(given))
    killed, reached, chance = 0, [0], random.Random(11)
    while True:
        arguments = [sys.executable, "-c", _CHILD, str(config), str(tmp_path / "killed")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            reached.append(int(child.stdout.readline() or given.train.updates))
            if killed < 10:
                # Ten such waits last about a third of the training, so that all ten kills fall into it.
                time.sleep(chance.uniform(0, whole / 15))
                child.send_signal(signal.SIGKILL)
            child.stdout.read()
        if child.returncode != -signal.SIGKILL:
            break
        killed += 1
    assert child.returncode == 0
    assert killed == 10
    assert reached[-1] > 1, "no checkpoint was ever used"
    assert weights(tmp_path / "killed", "simple_mix") == weights(tmp_path / "whole", "simple_mix")
    histories = [tmp_path / run / "train/simple_mix/history.jsonl" for run in ("whole", "killed")]
    assert histories[0].read_bytes() == histories[1].read_bytes()
