"""train.seeds: an arm's students of several seeds, what trains them, and what is compared of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_training import training_settings

from distill_offline import manifest, pipeline
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError, InputError, Interrupted
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Progress
from distill_offline.storage.digests import file_digests
from distill_offline.train.arms import check_arms
from distill_offline.train.stage import decides

MIX: dict[str, Any] = {"name": "simple_mix"}
MEAN: dict[str, Any] = {"name": "mean", "average": ["simple_mix", "reverse"]}
AGAIN: dict[str, Any] = {"name": "again", "schedule": "union", "labelled_by": "mean"}


def settings(encoder: Path, arms: list[dict[str, Any]], seeds: int, **train: Any) -> Settings:
    return training_settings(encoder, **{"updates": 2, "batch_size": 4, "arms": arms, "seeds": seeds, **train})


def trained(path: Path, given: Settings, arms: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    folder = RunFolder(path, given, **more)
    folder.open()
    pipeline.select(folder)
    return pipeline.train(folder, arms)


def seals(path: Path) -> dict[str, str | None]:
    return {stage.name: manifest.fingerprint_of(stage) for stage in sorted((path / "train").iterdir())}


def weights(path: Path, student: str) -> str:
    file = path / "train" / student / "student/model.safetensors"
    return file_digests([file])[file]


@pytest.fixture(scope="module")
def whole(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arm from two seeds, trained in one go."""
    place = tmp_path_factory.mktemp("whole")
    trained(place, settings(encoder, [MIX], 2))
    return place


def test_students_of_an_arm_are_numbered_and_go_with_those_of_their_number() -> None:
    train = settings(Path("none"), [AGAIN, MEAN, MIX, {"name": "reverse"}], 2).train
    assert [student.name for student in train.students] == [
        "again", "again-2", "mean", "mean-2", "simple_mix", "simple_mix-2", "reverse", "reverse-2"
    ]  # fmt: skip
    assert [student.name for student in train.ordered_students] == [
        "simple_mix", "reverse", "mean", "again", "simple_mix-2", "reverse-2", "mean-2", "again-2"
    ]  # fmt: skip
    by_name = {student.name: student for student in train.students}
    assert by_name["mean-2"].average == ("simple_mix-2", "reverse-2")
    assert (by_name["again-2"].labelled_by, by_name["again-2"].schedule) == ("mean-2", "union")
    assert (by_name["simple_mix"].schedule, by_name["simple_mix-2"].schedule) == ("", "simple_mix")
    assert [student.seed(7) for student in train.students[:2]] == [7, 8]
    assert [s.name for s in train.students_before(by_name["again-2"])] == ["simple_mix-2", "reverse-2", "mean-2"]


def test_students_that_label_together_are_as_many_as_are_asked_for_whatever_the_seeds() -> None:
    committee = {**AGAIN, "labelled_by": "mean", "labellers": 3}
    last = {"name": "last", "schedule": "simple_mix", "labelled_by": "again"}
    train = settings(Path("none"), [last, committee, MEAN, MIX, {"name": "reverse"}], 2).train
    numbers = {name: train.students_of(name) for name in ("last", "again", "mean", "simple_mix", "reverse")}
    assert numbers == {"last": 2, "again": 2, "mean": 3, "simple_mix": 3, "reverse": 3}
    by_name = {student.name: student for student in train.students}
    assert by_name["again-2"].needs == by_name["again"].needs == ("mean", "mean-2", "mean-3")
    assert by_name["last-2"].needs == ("again-2",)
    assert [student.name for student in train.ordered_students] == [
        "simple_mix", "reverse", "mean", "simple_mix-2", "reverse-2", "mean-2", "simple_mix-3", "reverse-3", "mean-3",
        "again", "last", "again-2", "last-2",
    ]  # fmt: skip
    assert [student.name for student in train.students_before(by_name["again"])][-1] == "mean-3"


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ({"name": "a", "schedule": "union", "labellers": 3}, "labellers are students of another arm"),
        ({**AGAIN, "labellers": 1}, "labellers"),
        ({"name": "a", "schedule": "union", "soft_labels": True}, "soft_labels are those of another arm's student"),
        ({**AGAIN, "soft_labels": True, "gce_q": 0.7}, "again learns soft_labels"),
        ({**AGAIN, "soft_labels": True, "labellers": 2, "mask_errors": 0.5}, "set both to 0 for it"),
        (
            {"name": "both", "average": ["simple_mix", "reverse"], "labelled_by": "simple_mix", "labellers": 2},
            "take its",
        ),
        ({**AGAIN, "labelled_by": "again", "labellers": 2}, "again needs itself"),
        ({**AGAIN, "labelled_by": "agian", "labellers": 2}, "is to be labelled by 'agian', which is not an arm"),
    ],
)
def test_labellers_that_make_no_sense_are_refused(arm: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        check_arms(settings(Path("none"), [MEAN, MIX, {"name": "reverse"}, arm], 1).train)


def test_how_many_seeds_there_are_decides_nothing_of_one_student() -> None:
    one, three = (settings(Path("none"), [MIX], seeds).train for seeds in (1, 3))
    assert decides(one.of(one.students[0])) == decides(three.of(three.students[0]))
    assert as_plain(three)["seeds"] == 3


@pytest.mark.parametrize(
    ("name", "seeds", "is_refused"),
    [("simple_mix-2", 2, True), ("simple_mix-3", 2, False), ("simple_mix-02", 2, False), ("simple_mix-2", 1, False)],
)
def test_an_arm_that_is_called_like_another_ones_student_is_refused(name: str, seeds: int, is_refused: bool) -> None:
    arms = [MIX, {"name": name, "schedule": "linear"}]
    if is_refused:
        with pytest.raises(ConfigError, match="arms: student 2 of simple_mix is called simple_mix-2, and so is an ar"):
            settings(Path("none"), arms, seeds)
    else:
        names = [student.name for student in settings(Path("none"), arms, seeds).train.students]
        assert len(set(names)) == len(names) == 2 * seeds


def test_a_students_name_must_be_good_for_a_folder_and_seeds_begin_at_one() -> None:
    long = [{"name": "a" * 99, "schedule": "linear"}]
    settings(Path("none"), long, 1)
    with pytest.raises(ConfigError, match="at most 100"):
        settings(Path("none"), long, 2)
    for seeds in (0, 101):  # a slip of the finger must not fill memory
        with pytest.raises(ConfigError, match=r"train\.seeds"):
            settings(Path("none"), [MIX], seeds)


def test_more_seeds_train_only_the_new_students_as_runs_of_their_seed_would(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, [MIX], 1)
    trained(tmp_path / "run", given)
    before = seals(tmp_path / "run"), weights(tmp_path / "run", "simple_mix")
    said = list[str]()
    counts = trained(tmp_path / "run", settings(encoder, [MIX], 3), say=said.append)
    assert [line for line in said if line.startswith("train")] == ["train simple_mix: up to date"]
    assert list(counts) == ["simple_mix", "simple_mix-2", "simple_mix-3"]
    assert (seals(tmp_path / "run")["simple_mix"], weights(tmp_path / "run", "simple_mix")) == (
        before[0]["simple_mix"],
        before[1],
    )
    trained(tmp_path / "alone", replace(given, seed=given.seed + 1))  # seed 2, where the run has 1
    assert weights(tmp_path / "run", "simple_mix-2") == weights(tmp_path / "alone", "simple_mix")
    assert len({weights(tmp_path / "run", name) for name in counts}) == 3
    seeds = [manifest.show(tmp_path / "run/train" / name)["seeds"] for name in counts]
    assert seeds == [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    # Fewer again: what is left over is told, and stays.
    said.clear()
    assert list(trained(tmp_path / "run", given, say=said.append)) == ["simple_mix"]
    assert any(line.startswith("train: simple_mix-2, simple_mix-3: of an earlier configuration") for line in said)
    assert sorted(seals(tmp_path / "run")) == ["simple_mix", "simple_mix-2", "simple_mix-3"]
    said.clear()
    trained(tmp_path / "run", given, ("simple_mix",), say=said.append)
    assert not any("earlier configuration" in line for line in said)


class Killed(BaseException):
    """Nothing in the program catches it, as nothing catches kill -9."""


@pytest.mark.parametrize("how", [Interrupted, Killed])
def test_a_run_that_ended_early_goes_on_with_the_student_it_was_at(
    how: type[BaseException], whole: Path, encoder: Path, tmp_path: Path
) -> None:
    done = list[str]()

    def watch(progress: Progress) -> None:
        done.append(progress.stage)
        if how is Killed and progress.stage == "train simple_mix-2":
            raise Killed

    more: dict[str, Any] = {"watch": watch, "stop": lambda: "train simple_mix-2" in done}
    with pytest.raises(how):
        trained(tmp_path, settings(encoder, [MIX], 2, checkpoint_every=0), **more)
    first = manifest.read(tmp_path / "train/simple_mix")
    assert not manifest.is_whole(tmp_path / "train/simple_mix-2")
    said = list[str]()
    trained(tmp_path, settings(encoder, [MIX], 2), say=said.append)
    assert "train simple_mix: up to date" in said
    assert first["subject"] == manifest.read(tmp_path / "train/simple_mix")["subject"]
    assert weights(tmp_path, "simple_mix-2") == weights(whole, "simple_mix-2")


def test_averages_and_labels_are_of_the_students_of_the_same_number(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    given = settings(encoder, [MIX, {"name": "reverse"}, MEAN, AGAIN], 2, updates=1)
    trained(tmp_path, given, ("simple_mix-2", "reverse-2", "mean-2", "again-2"))
    mean, first, second = (
        load_file(tmp_path / "train" / student / "student/model.safetensors")
        for student in ("mean-2", "simple_mix-2", "reverse-2")
    )
    for name, tensor in mean.items():
        assert ((first[name] + second[name]) / 2 - tensor).abs().max() < 1e-6
    parents = {
        row["name"]
        for row in manifest.read(tmp_path / "train/again-2")["predicate"]["buildDefinition"]["resolvedDependencies"]
        if row["annotations"]["kind"] == "manifest"
    }
    assert parents == {"select/manifest.json", "mean-2/manifest.json"}
    folder = RunFolder(tmp_path, given)
    assert [step["fresh"] for step in pipeline.plan(folder, ["train"], arms=["again-2"])] == [True]
    with pytest.raises(InputError, match="again is made with mean, and train/mean has not been run to its end"):
        pipeline.plan(folder, ["train"], arms=["again"])


def test_an_arm_is_named_for_all_its_students_and_a_student_for_itself(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, [MIX, {"name": "linear"}], 2)
    assert list(trained(tmp_path, given, ("simple_mix-2",))) == ["simple_mix-2"]
    assert sorted(seals(tmp_path)) == ["simple_mix-2"]
    planned = pipeline.plan(RunFolder(tmp_path, given), ["train"])
    assert {step["stage"]: step["fresh"] for step in planned} == {
        "train simple_mix": False, "train simple_mix-2": True, "train linear": False, "train linear-2": False
    }  # fmt: skip
    assert list(trained(tmp_path, given, ("simple_mix",))) == ["simple_mix", "simple_mix-2"]
    with pytest.raises(ConfigError, match="there is no arm 'simple_mix-3'"):
        trained(tmp_path, given, ("simple_mix-3",))


def test_students_start_from_the_encoder_of_their_arm(encoder: Path, tmp_path: Path) -> None:
    given = settings(encoder, [MIX, {"name": "linear"}], 2)
    pretrained = replace(given, pretrain=_pretraining(("simple_mix",)))
    trained(tmp_path, given, ("linear",))
    with pytest.raises(InputError, match="pretrain has not been run"):
        trained(tmp_path, pretrained, ("simple_mix-2",))
    assert list(trained(tmp_path, pretrained, ("linear-2",))) == ["linear-2"]
    with pytest.raises(ConfigError, match="there is no arm 'simple_mix-2'"):
        trained(tmp_path, replace(given, pretrain=_pretraining(("simple_mix-2",))))


def _pretraining(arms: tuple[str, ...]) -> Any:
    from distill_offline.config.settings import PretrainSettings

    return PretrainSettings(arms=arms)


def test_a_study_has_seeds_of_its_own(tmp_path: Path) -> None:
    from distill_offline.study.grid import Study

    file = tmp_path / "study.yaml"
    given = as_plain(settings(Path("none"), [MIX], 2, updates=3))
    given["corpus"]["original"]["test"] = "package:demo/test.jsonl"
    file.write_text(json.dumps({**given, "study": {"sizes": [10], "seeds": [0], "against": ["simple_mix"]}}))
    with pytest.raises(ConfigError, match=r"train\.seeds: a study trains every arm from each of study\.seeds"):
        _ = Study.load(file).cells
