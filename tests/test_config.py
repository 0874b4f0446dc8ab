"""Configuration files: strict, and helpful about mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from distill_offline.config.loading import as_plain, dump, load, parse_settings
from distill_offline.config.settings import ConfiguredArm, Settings, Source
from distill_offline.errors import ConfigError

BASE = """
name: tiny
task: {types: {PER: a human}}
corpus: {original: {train: train.conll}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def settings_of(file: Path, text: str = BASE, *changes: str) -> Settings:
    file.write_text(text, "utf-8")
    return load(file, changes)


def faults(file: Path, text: str = BASE, *changes: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings_of(file, text, *changes)
    return str(caught.value).replace(str(file), "c.yaml").splitlines()


def test_defaults_fill_what_a_file_leaves_out(file: Path) -> None:
    settings = settings_of(file)
    assert settings.corpus.original.train == "train.conll"
    assert settings.train.tau == 0.5
    assert [arm.name for arm in settings.train.arms] == ["original_only", "distilled_only", "simple_mix"]
    assert settings.annotate.max_quarantined == 0.05
    assert not settings.asks_a_teacher


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {update: 3}", "c.yaml: train.update is unknown. Did you mean train.updates?"),
        ("trian: {}", "c.yaml: trian is unknown. Did you mean train?"),
        ("zzz: 1", "c.yaml: zzz is unknown."),
        (
            "train: {arms: [{name: a, schedul: linear}]}",
            "c.yaml: train.arms.0.schedul is unknown. Did you mean train.arms.0.schedule?",
        ),
        (
            "train: {arms: [{name: a}, {name: b, learning_rat: 1}]}",
            "c.yaml: train.arms.1.learning_rat is unknown. Did you mean train.arms.1.learning_rate?",
        ),
        (
            "annotate: {demonstrations: {strategi: knn}}",
            "c.yaml: annotate.demonstrations.strategi is unknown. Did you mean annotate.demonstrations.strategy?",
        ),
        (
            "annotate: {sampling: {temprature: 1}}",
            "c.yaml: annotate.sampling.temprature is unknown. Did you mean annotate.sampling.temperature?",
        ),
        (
            "annotate: {demonstrations: {pool: {path: p, limits: 3}}}",
            "c.yaml: annotate.demonstrations.pool.limits is unknown. Did you mean annotate.demonstrations.pool.limit?",
        ),
        (
            "backend: {name: scripted, modle: x}",
            "c.yaml: backend.modle is unknown. Did you mean backend.model?",
        ),
    ],
)
def test_unknown_key_is_named_whole_with_the_nearest_one(file: Path, text: str, expected: str) -> None:
    assert faults(file, f"{BASE}{text}\n") == [expected]


def test_unknown_key_of_a_source_is_named_without_the_branch_that_pydantic_tried(file: Path) -> None:
    text = BASE.replace("train: train.conll", "train: {path: a, limitt: 1}, dev: {pth: b}")
    assert sorted(faults(file, text)) == [
        "c.yaml: corpus.original.dev.path is missing.",
        "c.yaml: corpus.original.dev.pth is unknown. Did you mean corpus.original.dev.path?",
        "c.yaml: corpus.original.train.limitt is unknown. Did you mean corpus.original.train.limit?",
    ]


def test_an_entity_type_may_be_called_like_a_branch(file: Path) -> None:
    assert faults(file, BASE.replace("PER: a human", "Source: [x], str: y")) == [
        "c.yaml: task.types.Source: input should be a valid string (it is ['x'])."
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {updates: many}", "train.updates: input should be a valid integer"),
        ("train: {arms: 3}", "train.arms: input should be a valid tuple"),
        ("train: 3", "train: input should be a dictionary"),
        ("evaluate: {split: train}", "evaluate.split: input should be 'dev' or 'test' (it is 'train')."),
        ("backend: {}", "backend.name is missing."),
        ("annotate: {demonstrations: {pool: 5}}", "annotate.demonstrations.pool: a path is expected, or a section"),
        ("1: 2", "1: keys should be strings"),
        (
            "annotate: {verify: {words: [Ja, No]}}",
            "annotate.verify.words.1: input should be a valid string (it is False). Put",
        ),
        ("select: {doubtful: relabel}", "select: doubtful: relabel takes the labels of students; it needs cross_fit"),
        ("select: {confidence_from: both}", "select.confidence_from: both wants what annotate.verify asks for."),
    ],
)
def test_a_wrong_value_is_shown_with_its_key(file: Path, text: str, expected: str) -> None:
    (fault,) = faults(file, f"{BASE}{text}\n")
    assert fault.startswith(f"c.yaml: {expected}")


def test_what_is_missing_is_named_all_at_once(file: Path) -> None:
    assert faults(file, "seed: 1") == [
        "c.yaml: name is missing.",
        "c.yaml: task is missing.",
        "c.yaml: corpus is missing.",
    ]


def test_yaml_that_turns_a_type_into_a_truth_value_is_explained(file: Path) -> None:
    assert faults(file, BASE.replace("PER:", "NO:")) == [
        "c.yaml: task.types: the key False is not text. Put it in quotes."
    ]


def test_a_huge_wrong_value_is_cut_short(file: Path) -> None:
    (fault,) = faults(file, f"{BASE}seed: {list(range(1000))}\n")
    assert len(fault) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{BASE}name: again\n", "c.yaml:5: the key 'name' occurs here twice."),
        (f"{BASE}train:\n  updates: 1\n  tau: 0.5\n  updates: 2\n", "c.yaml:8: the key 'updates' occurs here twice."),
        (f"{BASE}train: {{arms: [{{name: a, name: b}}]}}\n", "c.yaml:5: the key 'name' occurs here twice."),
        ("a: [1\nb: 2\n", "c.yaml:2: expected ',' or ']', but got ':'."),
        ("a:\n\tb: 1\n", "c.yaml:2: found character '\\t' that cannot start any token."),
        ("? [a]\n: 1\n", "c.yaml:1: a key must be plain text, not a list or a mapping."),
        ("a: &a [*a]\n", "c.yaml:1: an alias that holds itself."),
        ("a: *b\n", "c.yaml:1: found undefined alias 'b'."),
        ("a: !!python/object/apply:os.getcwd []\n", "c.yaml:1: could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: but found another document."),
        ("a: 2024-13-01\n", "c.yaml: is not YAML (month must be in 1..12)."),
        ("a: \x07\n", "c.yaml: is not YAML (unacceptable character #x0007"),
        ("- 1\n", "c.yaml: a configuration is a mapping"),
        ("", "c.yaml: a configuration is a mapping"),
    ],
)
def test_bad_yaml_is_one_line_that_says_where(file: Path, text: str, expected: str) -> None:
    (fault,) = faults(file, text)
    assert fault.startswith(expected)


def test_absurdly_nested_yaml_is_refused(file: Path) -> None:
    (fault,) = faults(file, f"a: {'[' * 500}{']' * 500}\n")
    assert fault.startswith("c.yaml: is not YAML")


def test_a_merged_key_may_be_overridden(file: Path) -> None:
    arms = "train: {arms: [&a {name: a, updates: 5}, {<<: *a, name: b}]}"
    assert settings_of(file, f"{BASE}{arms}\n").train.arms == (
        ConfiguredArm(name="a", updates=5),
        ConfiguredArm(name="b", updates=5),
    )


def test_a_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    assert settings_of(file, f"\ufeff{BASE}").name == "tiny"


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such configuration file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", [b"name: \xff\n", b"\xff\xfe\x00"])
def test_file_that_is_no_utf8_is_a_config_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml:1: cannot be read as UTF-8"):
        load(file)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_set_changes_a_value_with_yaml_types(file: Path) -> None:
    settings = settings_of(
        file,
        BASE,
        "train.updates=7",
        "train.learning_rate=3e-4",
        "annotate.limit=null",
        "annotate.gold=[dev, test]",
        "train.encoder=a=b",
        "task.guidelines='x: y'",
    )
    assert (settings.train.updates, settings.train.learning_rate) == (7, 3e-4)
    assert settings.annotate.limit is None
    assert settings.annotate.gold == ("dev", "test")
    assert settings.train.encoder == "a=b"
    assert settings.task.guidelines == "x: y"


def test_set_makes_the_sections_that_the_file_lacks(file: Path) -> None:
    settings = settings_of(file, BASE, "backend.name=scripted", "backend.options.noise=0.5")
    assert settings.backend is not None
    assert settings.backend.options == {"noise": 0.5}


def test_set_reaches_into_a_list(file: Path) -> None:
    arms = f"{BASE}train: {{arms: [{{name: a}}, {{name: b}}]}}\nannotate: {{gold: [dev]}}\n"
    settings = settings_of(file, arms, "train.arms.1.schedule=linear", "train.arms.0={name: c}", "annotate.gold.0=test")
    assert settings.train.arms == (ConfiguredArm(name="c"), ConfiguredArm(name="b", schedule="linear"))
    assert settings.annotate.gold == ("test",)


@pytest.mark.parametrize("key", ["corpus.original.train", "corpus.unlabelled", "annotate.demonstrations.pool"])
def test_set_inside_a_plain_path_keeps_the_path(file: Path, key: str) -> None:
    settings = settings_of(file, BASE, f"{key}=text.conll", f"{key}.limit=5", f"{key}.skip=2")
    expected = Source(path="text.conll", limit=5, skip=2)
    assert expected in (
        settings.corpus.original.train,
        settings.corpus.unlabelled,
        settings.annotate.demonstrations.pool,
    )


def test_later_changes_win(file: Path) -> None:
    assert settings_of(file, BASE, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("train.updates", "--set train.updates: write section.key=value"),
        ("=3", "--set =3: write section.key=value"),
        ("train..updates=3", "--set train..updates=3: write section.key=value"),
        ("train.updates=[1", "--set train.updates: '[1' is not a YAML value."),
        ("task.types={A: x, A: y}", "--set task.types: '{A: x, A: y}' is not a YAML value."),
        ("name.first=x", "--set name.first: name is not a section; it is 'tiny'."),
        ("task.types.PER.x=1", "--set task.types.PER.x: task.types.PER is not a section; it is 'a human'."),
        ("train.arms.5.name=x", "--set train.arms.5.name: '5' is none of the list's positions, 0 to 0."),
        ("train.arms.first.name=x", "--set train.arms.first.name: 'first' is none of the list's positions, 0 to 0."),
        ("train.epochs=3", "c.yaml: train.epochs is unknown."),
        ("train.update=3", "c.yaml: train.update is unknown. Did you mean train.updates?"),
        ("corpus.original.train.limitt=5", "c.yaml: corpus.original.train.limitt is unknown. Did you mean "),
    ],
)
def test_a_bad_change_says_what_to_write(file: Path, change: str, expected: str) -> None:
    (fault,) = faults(file, f"{BASE}train: {{arms: [{{name: a}}]}}\n", change)
    assert fault.startswith(expected)


def test_dumped_settings_load_to_the_same(file: Path) -> None:
    settings = settings_of(
        file,
        BASE,
        "corpus.original.train.documents=even",
        "train.learning_rate=5e-5",
        'backend={name: scripted, options: {noise: 0.1, answers: {a: \'[]\', "ä\\u2028": "x\\n"}}}',
        "task.types={'NO': 'a: b', 'yes': '1', 'Größe': '# no comment'}",
        "train.arms=[{name: '1e3', schedule: power, options: {a: 2}}]",
    )
    file.write_text(dump(settings), "utf-8")
    assert load(file) == settings
    assert dump(load(file)) == dump(settings)


def test_plain_settings_are_json_that_parses_to_the_same(file: Path) -> None:
    settings = settings_of(file)
    assert parse_settings(as_plain(settings), "x") == settings


# A bundle is configured by a file of another kind.
CONFIGS = sorted(p for p in (Path(__file__).parents[1] / "configs").rglob("*.yaml") if not p.name.startswith("bundle-"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_of_ours_is_valid_and_commented(path: Path) -> None:
    settings = load(path)
    assert parse_settings(yaml.safe_load(dump(settings)), "x") == settings
    assert path.read_text("utf-8").startswith("#")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("train.updates=-5", "train.updates"),
        ("train.batch_size=0", "train.batch_size"),
        ("train.tau=7", "train.tau"),
        ("train.learning_rate=0", "train.learning_rate"),
        ("annotate.max_quarantined=1.5", "annotate.max_quarantined"),
        ("annotate.limit=0", "annotate.limit"),
        ("annotate.sampling.temperature=-1", "annotate.sampling.temperature"),
        ("annotate.sampling.temperature=.nan", "annotate.sampling.temperature"),
        ("annotate.sampling.max_tokens=0", "annotate.sampling.max_tokens"),
        ("seed=-1", "seed"),
        ("evaluate.min_f1=50", "evaluate.min_f1"),
    ],
)
def test_a_number_out_of_its_range_is_refused(change: str, key: str) -> None:
    from distill_offline.corpus import resolve_path

    with pytest.raises(ConfigError, match=rf"quickstart\.yaml: {re.escape(key)}: input should be"):
        load(resolve_path("package:configs/quickstart.yaml"), [change])


@pytest.mark.parametrize("change", ["name=../up", "name=a b", "name=''", "train.arms=[{name: a/b}]"])
def test_a_name_that_is_no_folder_name_is_refused(change: str) -> None:
    from distill_offline.corpus import resolve_path

    with pytest.raises(ConfigError, match="becomes a folder"):
        load(resolve_path("package:configs/quickstart.yaml"), [change])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_that_comes_with_us_is_valid(path: Path) -> None:
    assert load(path).name in (path.stem, f"{path.parent.name}-{path.stem}")
