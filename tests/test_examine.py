"""A study that looks into its arms: what is seen, that nothing changes by it, and how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from studying import runner, write_config

from distill_offline.cli import commands
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import ConfigError, Interrupted
from distill_offline.schema import Progress
from distill_offline.storage import files as artifacts
from distill_offline.study import Examinations, Examined, Results, Study, progress
from distill_offline.study.examine.teacher_errors import FATES

UPDATES = ("train.updates=6", "train.eval_every=2", "train.checkpoint_every=0")
EXAMINE = {"distilled": 12, "held_out": 8}


@pytest.fixture(scope="module")
def place(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of two arms and one seed, examined, students kept; to look at."""
    place = tmp_path_factory.mktemp("examined")
    config = write_config(place / "c.yaml", encoder, seeds=[0], keep_students=True)
    train = list(read_examples(place / "train.conll", origin="original"))
    write_examples(place / "gold.conll", train[::-1])
    distilled = [example if number % 3 else _without_labels(example) for number, example in enumerate(train)]
    write_examples(place / "distilled.conll", distilled)
    assert runner(config, changes(place)).run() == 2
    return place


def _without_labels(example: Any) -> Any:
    return type(example)(example.sentence, ("O",) * len(example.labels), "distilled")


def changes(place: Path, **more: Any) -> tuple[str, ...]:
    examine = json.dumps({**EXAMINE, "reference": str(place / "gold.conll"), **more})
    return (f"corpus.distilled.path={place / 'distilled.conll'}", f"study.examine={examine}", *UPDATES)


def unexamined(place: Path) -> tuple[str, ...]:
    return tuple(change for change in changes(place) if not change.startswith("study.examine"))


def seen(place: Path) -> dict[str, Examined]:
    return {each.arm: each for each in Examinations(place / "rows.examined.jsonl").read()}


def stated(rows: Path) -> list[dict[str, Any]]:
    """The rows but for the seconds, which no two runs have in common."""
    values = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    return [{**value, "training": {**value["training"], "seconds": 0}} for value in values]


def copied(place: Path, to: Path) -> Path:
    """The study without its folder and its examinations; its configuration still reads the corpora of `place`."""
    shutil.copy(place / "c.yaml", to)
    shutil.copy(place / "rows.jsonl", to)
    return to / "c.yaml"


@pytest.mark.slow
def test_training_is_the_same_whether_it_is_looked_at_or_not(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "c.yaml", tmp_path)
    made = runner(tmp_path / "c.yaml", unexamined(place))
    assert made.run() == 2
    assert stated(tmp_path / "rows.jsonl") == stated(place / "rows.jsonl")
    for arm in ("original_only", "union"):
        weights = Path("study/base/20/0/train") / arm / "student/model.safetensors"
        assert (tmp_path / weights).read_bytes() == (place / weights).read_bytes()
        history = weights.parents[1] / "history.jsonl"
        assert (tmp_path / history).read_bytes() == (place / history).read_bytes()


@pytest.mark.slow
def test_what_is_looked_at_is_no_part_of_a_cells_key(place: Path) -> None:
    with_it, without = (Study.load(place / "c.yaml", c) for c in (changes(place), unexamined(place)))
    assert [with_it.key(cell) for cell in with_it.cells] == [without.key(cell) for cell in without.cells]
    assert {without.examination_key(cell) for cell in without.cells} == {None}
    more = Study.load(place / "c.yaml", changes(place, held_out=9))
    assert not {more.examination_key(c) for c in more.cells} & {with_it.examination_key(c) for c in with_it.cells}


def test_a_curve_has_a_point_at_every_evaluation_and_the_schedule(place: Path) -> None:
    for arm, p in (("original_only", 0.0), ("union", 40 / 56)):
        found = seen(place)[arm]
        assert [point.update for point in found.curve] == [2, 4, 6]
        assert [point.p for point in found.curve] == [round(p, 4)] * 3
        assert found.schedule == ((0, round(p, 4)),)
        assert all(
            0 <= score <= 1
            for point in found.curve
            for score in (point.agreement, point.gold, point.held_out)
            if score is not None
        )
        assert found.sentences == {"pool": 40, "unmatched": 0, "ambiguous": 0, "distilled": 12, "held_out": 8}
    assert not (place / "study/base/20/0/examine").exists() or not list((place / "study/base/20/0/examine").iterdir())


def test_each_error_of_the_teacher_has_its_fate(place: Path) -> None:
    pool = list(read_examples(place / "study/base/20/0/select/annotations.jsonl", origin="distilled"))
    gold = {e.sentence.tokens: e.labels for e in read_examples(place / "gold.conll", origin="original")}
    missed = sum(
        label.startswith("B-") for e in pool if e.labels != gold[e.sentence.tokens] for label in gold[e.sentence.tokens]
    )
    right = sum(label.startswith("B-") for e in pool for label in e.labels)
    assert missed > 5
    for found in seen(place).values():
        assert found.errors is not None
        assert sum(found.errors.kinds["missed"][fate] for fate in FATES) == missed
        assert found.errors.kept + found.errors.lost == right
        assert {kind for kind, fates in found.errors.kinds.items() if any(fates.values())} == {"missed"}


def test_calibration_is_of_all_entities_that_the_student_finds(place: Path) -> None:
    rows = {row.arm: row for row in Results(place / "rows.jsonl").read()}
    for arm, found in seen(place).items():
        true, wrong, _ = rows[arm].sentence_counts().sum(axis=(0, 1)).tolist()
        assert found.calibration.answers == true + wrong
        assert sum(right for _, right, _ in found.calibration.bins) == true


@pytest.mark.slow
def test_a_row_without_an_examination_is_trained_for_it_and_stays(place: Path, tmp_path: Path) -> None:
    config = copied(place, tmp_path)
    before, watched = (tmp_path / "rows.jsonl").read_bytes(), list[Progress]()
    made = runner(config, changes(place), watch=watched.append)
    assert progress(made.study, made.results)["missing"] == [
        "base, 20 sentences, seed 0, original_only (to be examined)",
        "base, 20 sentences, seed 0, union (to be examined)",
    ]
    assert made.run() == 2
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    again = seen(tmp_path)
    assert {each.is_the_rows for each in again.values()} == {True}
    assert {each.is_the_rows for each in seen(place).values()} == {None}
    for arm, found in seen(place).items():
        assert (again[arm].curve, again[arm].errors, again[arm].calibration) == (
            found.curve,
            found.errors,
            found.calibration,
        )
    watched.clear()
    assert runner(config, changes(place), watch=watched.append).run() == 0
    assert watched == []


@pytest.mark.slow
def test_a_student_that_is_kept_is_trained_anew_where_its_curve_was_not_seen(place: Path, tmp_path: Path) -> None:
    config = copied(place, tmp_path)
    shutil.copytree(place / "study", tmp_path / "study")
    watched = list[Progress]()
    assert runner(config, changes(place, held_out=5), watch=watched.append).run() == 2
    assert sum("train" in each.stage for each in watched) == 12
    assert [point.update for point in seen(tmp_path)["union"].curve] == [2, 4, 6]


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.slow
def test_points_before_a_stop_are_kept_and_not_made_again(is_lost: bool, place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "c.yaml", tmp_path)
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at update 4"):
        runner(tmp_path / "c.yaml", changes(place), stop=lambda: next(calls) > 4).run()
    curve = tmp_path / "study/base/20/0/examine/original_only.jsonl"
    lines = [json.loads(line) for line in curve.read_text("utf-8").splitlines()]
    assert [line["point"]["update"] for line in lines] == [2, 4]
    lines[0]["point"]["held_out"] = 0.125  # by which a point that is made again would be told
    curve.write_text("".join(artifacts.json_line(line) for line in lines) + '{"key": "cut o', "utf-8")
    if is_lost:  # a kill leaves an older checkpoint, or none: the updates are made again, the points are not
        shutil.rmtree(tmp_path / "study/base/20/0/train/original_only/checkpoint")
    assert runner(tmp_path / "c.yaml", changes(place)).run() == 2
    found = seen(tmp_path)["original_only"].curve
    assert found[0].held_out == 0.125
    assert found[1:] == seen(place)["original_only"].curve[1:]
    assert stated(tmp_path / "rows.jsonl") == stated(place / "rows.jsonl")
    assert not curve.exists()


@pytest.mark.slow
def test_an_arm_begun_without_being_looked_at_begins_again(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "c.yaml", tmp_path)
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="stopped at update 4"):
        runner(tmp_path / "c.yaml", unexamined(place), stop=lambda: next(calls) > 4).run()
    assert runner(tmp_path / "c.yaml", changes(place)).run() == 2
    assert seen(tmp_path)["original_only"].curve == seen(place)["original_only"].curve


def test_only_the_cells_that_are_named_are_looked_at(place: Path) -> None:
    more = ("study.seeds=[0, 1]", "study.sizes=[10, 20]", "study.variants={a: {}, b: {train.warmup: 0.5}}")
    study = Study.load(place / "c.yaml", (*changes(place, seeds=[1, 9], sizes=[10], variants=["b"]), *more))
    named = [cell.name[:3] for cell in study.cells if study.is_examined(cell)]
    assert named == [("b", 10, 1)] * 2
    # One process's share of the seeds: none of it is looked at.
    share = Study.load(place / "c.yaml", (*changes(place, seeds=[7]), "study.seeds=[3]"))
    assert not any(share.is_examined(cell) for cell in share.cells)


@pytest.mark.parametrize(
    ("examine", "message"),
    [
        ({"variants": ["single"]}, "examine.variants names single, and the study has: base"),
        ({"variants": ["base", "sinlge"]}, "examine.variants names sinlge"),
        ({"sizes": []}, "examine.sizes names none"),
        ({"distilled": 0}, "study.examine.distilled"),
        ({"refrence": "x"}, "Did you mean study.examine.reference"),
        ({"reference": {"path": "x", "tag_colum": 1}}, "tag_colum"),
    ],
)
def test_a_mistake_in_what_is_asked_for_is_told_first(place: Path, examine: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Study.load(place / "c.yaml", (f"study.examine={json.dumps(examine)}",))


def test_a_reference_of_other_sentences_is_refused_before_anything_is_trained(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "c.yaml", tmp_path)
    watched = list[Progress]()
    with pytest.raises(ConfigError, match="gold for none of the 40 distilled sentences"):
        runner(tmp_path / "c.yaml", changes(place, reference=str(place / "test.conll")), watch=watched.append).run()
    assert watched == []


@pytest.mark.slow
def test_an_average_has_errors_and_calibration_and_no_curve(place: Path, tmp_path: Path) -> None:
    config = copied(place, tmp_path)
    arms = [{"name": "original_only"}, {"name": "union"}, {"name": "both", "average": ["original_only", "union"]}]
    study = (*changes(place), f"train.arms={json.dumps(arms)}", "study.keep_students=false")
    assert runner(config, study).run() == 3
    found = seen(tmp_path)["both"]
    assert (found.curve, found.schedule, found.updates) == ((), (), 0)
    assert found.errors is not None
    assert [each.key for each in seen(tmp_path).values()][:2] == [each.key for each in seen(place).values()]


@pytest.mark.slow
def test_a_curve_comes_from_the_first_of_several_processes(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "c.yaml", tmp_path)
    one_arm = 'train.arms=[{"name": "original_only"}]'
    assert runner(tmp_path / "c.yaml", (*changes(place), "train.processes=2", one_arm, "study.against=[]")).run() == 1
    found = seen(tmp_path)["original_only"]
    assert [point.update for point in found.curve] == [2, 4, 6]
    assert found.seconds > 0


def test_what_is_kept_tells_no_text_and_no_path(place: Path, encoder: Path) -> None:
    path = place / "rows.examined.jsonl"
    text = path.read_text("utf-8")
    words = {t for e in read_examples(place / "train.conll", origin="original") for t in e.sentence.tokens}
    assert not {word for word in words if len(word) > 6 and word[0].isupper() and word in text}
    assert str(place) not in text
    assert str(encoder) not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert max(map(len, text.splitlines())) < 3000


def test_table_shows_what_was_seen(place: Path, tmp_path: Path) -> None:
    command = ["study", str(place / "c.yaml"), "--table", "-o", str(place / "rows.jsonl"), "--folder", str(tmp_path)]
    given = [each for change in changes(place) for each in ("--set", change)]
    done = CliRunner(catch_exceptions=False).invoke(commands, [*command, *given])
    assert done.exit_code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "forgetting_20.svg",
        "teacher_errors_20.svg",
        "forgetting.csv",
        "teacher_errors.csv",
        "calibration.csv",
    } <= names
    text = (tmp_path / "tables.md").read_text("utf-8")
    for title in ("forgetting (F1)", "the teacher's errors", "calibration", "probability among all valid tags"):
        assert title in text
        assert title in done.stdout.replace("\n", " ")
    assert "examined" in json.loads((tmp_path / "summary.json").read_text("utf-8"))
    without = CliRunner(catch_exceptions=False).invoke(commands, [*command, *given, "--set", "study.examine=null"])
    assert "forgetting" not in without.stdout
