"""Numbers are numbers, truth is true or false, and YAML holds no more than it shows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from distill_offline import config
from distill_offline.config.plain_yaml import UniqueKeys
from distill_offline.errors import ConfigError

WHOLE = """
name: run
seed: 3
task: {name: ner, types: {PER: a human}}
corpus: {unlabelled: text.jsonl}
backend: {name: scripted}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(WHOLE)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=true", "seed: a whole number is expected (it is True)"),
        ("seed='3'", "seed: a whole number is expected (it is '3')"),
        ("seed=3.0", "seed: a whole number is expected (it is 3.0)"),
        ("seed=1e3", "seed: a whole number is expected (it is 1000.0)"),
        ("seed=-1", "seed: input should be greater than or equal to 0"),
        ("seed=1:30", "seed: input should be a valid integer"),
        ("seed=.nan", "seed: input should be a finite number"),
        ("train.learning_rate=true", "train.learning_rate: a number is expected (it is True)"),
        ("train.learning_rate='1e-3'", "train.learning_rate: a number is expected (it is '1e-3')"),
        ("train.learning_rate=.inf", "train.learning_rate: a finite number is expected (it is inf)"),
        ("train.learning_rate=.nan", "train.learning_rate: "),
        ("train.learning_rate=-1", "train.learning_rate: input should be greater than 0"),
        ("train.processes=true", "train.processes: a whole number is expected (it is True)"),
        ("train.restart=1", "train.restart: true or false is expected (it is 1)"),
        ("train.restart='yes'", "train.restart: true or false is expected (it is 'yes')"),
        ("annotate.sampling.seed=true", "annotate.sampling.seed: a whole number is expected"),
        ("annotate.sampling.temperature=true", "annotate.sampling.temperature: a number is expected"),
        ("corpus.unlabelled.limit=true", "corpus.unlabelled.limit: a whole number is expected"),
        ("train.arms=[{name: constant, options: {p: true}}]", "train.arms.0.options.p: a number is expected"),
        ("train.arms=[{name: constant, options: {p: .inf}}]", "train.arms.0.options.p: a finite number is expected"),
        ("study={sizes: [100, true]}", "study.sizes.1: a whole number is expected"),
    ],
)
@pytest.mark.attack("bad configurations")
def test_what_is_no_number_is_not_taken_for_one(file: Path, change: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(file, [change])
    assert message in str(caught.value)


def test_numbers_are_read_as_people_write_them(file: Path) -> None:
    changes = ["train.learning_rate=5e-5", "train.updates=1_000", "seed=010", "train.tau=.5", "train.clip=1"]
    settings = config.load(file, changes)
    train = settings.train
    assert (train.learning_rate, train.updates, settings.seed, train.tau, train.clip) == (5e-5, 1000, 10, 0.5, 1)
    assert config.load(file, ["name=run-2", "task.types.DATE=1:30"]).task.types["DATE"] == "1:30"


def test_a_text_that_looks_like_a_number_stays_a_text_through_a_dump(file: Path) -> None:
    texts = ["1e5", "1e-5", "010", "1_0", "0x1f", "0o17", ".5", "12:30", "true", "1.", "-.inf", ".nan"]
    settings = config.load(file, [f"task.types.T{place}='{text}'" for place, text in enumerate(texts)])
    assert list(settings.task.types.values())[1:] == texts
    file.write_text(config.dump(settings))
    assert config.load(file) == settings
    assert list(yaml.safe_load(config.dump(settings))["task"]["types"].values())[1:] == texts


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("&a 3", "anchors, aliases and tags"),
        ("[&a 3, *a]", "anchors, aliases and tags"),
        ("*a", "anchors, aliases and tags"),
        ("!!int '3'", "anchors, aliases and tags"),
        ("!!python/object:os.system x", "anchors, aliases and tags"),
        ("!x 3", "anchors, aliases and tags"),
        ("{<<: {name: x}}", "merges"),
    ],
)
@pytest.mark.attack("bad configurations")
def test_a_change_with_anchors_merges_or_tags_is_refused(file: Path, value: str, problem: str) -> None:
    for key in ("seed", "task.types", "train"):
        with pytest.raises(ConfigError, match=rf"--set {key}: {problem} have no use here"):
            config.load(file, [f"{key}={value}"])


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (laughs(12), "more than 100,000 values, with aliases written out"),
        ("a: &a [*a]", "an alias that holds itself"),
        ("a: &a {b: *a}", "an alias that holds itself"),
        ("a: &a {x: 1}\nb: &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a]}\n"
         + "\n".join(f"b{n}: &b{n} {{<<: [{', '.join(['*b' + (str(n - 1) if n else '')] * 9)}]}}" for n in range(9)),
         "more than 100,000 values"),
        ("seed: 3\nseed: 4", "the key 'seed' occurs here twice"),
        ("task: {name: a, name: b}", "the key 'name' occurs here twice"),
    ],
)  # fmt: skip
@pytest.mark.attack("bad configurations")
def test_aliases_that_grow_and_keys_that_come_twice_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=rf"run\.yaml:\d+: {problem}"):
        config.load(file)
    assert time.monotonic() - began < 5


def test_an_alias_that_saves_writing_is_no_harm() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\n"
    assert yaml.load(text, UniqueKeys) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}
