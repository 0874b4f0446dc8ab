"""What is compared of arms with several seeds, and what a run, its page and the command line say of them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from annotated_runs import TYPES
from click.testing import CliRunner
from sentences import example

from distill_offline import pipeline
from distill_offline.cli import commands
from distill_offline.config.loading import dump, parse_settings
from distill_offline.errors import GateMissed
from distill_offline.evaluate.predictions import StudentLabels
from distill_offline.evaluate.stage import _with_committee
from distill_offline.evaluate.verdict import Learner, verdict
from distill_offline.label_kinds import kind_of
from distill_offline.label_kinds.decoding import Scored
from distill_offline.pipeline.opened import open_run
from distill_offline.pipeline.report_page import _confusion
from distill_offline.provenance import walk
from distill_offline.report.verdict import headline, next_steps, scores_plot, what_is_right
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.schema import Example, Sentence

RIGHT, NOTHING, FALSE = ("B-PERSON", "O"), ("O", "O"), ("B-PERSON", "B-PERSON")


def examples(number: int = 100) -> list[Example]:
    sentences = [Sentence(f"d:{n}", "d", n, "Ann left", ("Ann", "left"), ((0, 3), (4, 8))) for n in range(number)]
    return [Example(sentence, RIGHT, "original") for sentence in sentences]


def found_of(right: int, of: int = 100) -> list[tuple[str, ...]]:
    """Labels with so many entities found, and nothing else."""
    return [RIGHT if n < right else NOTHING for n in range(of)]


def seeded(arm: str, right: list[int], dev: list[float | None], drawn: tuple[int, int]) -> dict[str, Learner]:
    return {
        arm if number == 1 else f"{arm}-{number}": Learner(*drawn, on_dev, found_of(n), arm, number)
        for number, (n, on_dev) in enumerate(zip(right, dev, strict=True), start=1)
    }


def f1_of(right: int) -> float:
    return 2 * right / (right + 100)


def test_figures_are_means_over_the_students_of_an_arm() -> None:
    mix = seeded("simple_mix", [80, 90, 70], [0.5, 0.4, 0.6], (5, 5))
    alone = seeded("original_only", [60, 50, 70], [0.3, 0.3, 0.3], (0, 5))
    found = verdict("token-classification", examples(), {**alone, **mix})
    assert found is not None
    assert (found["best"], found["baseline"], found["seeds"]) == ("simple_mix", "original_only", 3)
    mean, other = (np.mean([f1_of(n) for n in right]) for right in ([80, 90, 70], [60, 50, 70]))
    assert found["f1"] == pytest.approx(mean) == pytest.approx(found["scores"]["simple_mix"][0])
    assert found["baseline_f1"] == pytest.approx(other)
    assert found["difference"] == pytest.approx(mean - other)
    assert (found["precision"], found["recall"]) == (1.0, pytest.approx(0.8))
    assert found["f1_by_seed"]["simple_mix"] == pytest.approx([f1_of(n) for n in (80, 90, 70)])
    assert found["student"] == "simple_mix-3"  # the best on dev, though the worst here
    assert found["baseline_student"] == "original_only"
    low, high = found["difference_interval"]
    assert low < found["difference"] < high
    assert set(found["scores"]) == {"simple_mix", "original_only"}


def test_the_best_arm_has_the_best_mean_on_dev_and_not_the_luckiest_student() -> None:
    lucky = seeded("union", [10, 10], [0.9, 0.1], (5, 5))
    steady = seeded("simple_mix", [90, 90], [0.6, 0.6], (5, 5))
    found = verdict("token-classification", examples(), {**lucky, **steady})
    assert found is not None
    assert found["best"] == "simple_mix"


def test_intervals_over_seeds_are_wider_than_those_over_sentences_alone() -> None:
    """The seeds differ much; the mean of the same students as if they were one seed says nothing of that."""
    apart = verdict("token-classification", examples(), seeded("a", [95, 50, 5], [None] * 3, (5, 5)))
    alike = verdict("token-classification", examples(), seeded("a", [50, 50, 50], [None] * 3, (5, 5)))
    assert apart is not None
    assert alike is not None
    wide, narrow = (found["interval"][1] - found["interval"][0] for found in (apart, alike))
    assert wide > 3 * narrow
    one = verdict("token-classification", examples(), {"a": Learner(5, 5, None, found_of(50))})
    assert one is not None
    assert one["interval"] == pytest.approx(alike["interval"])


def test_without_dev_the_first_student_is_the_one_to_use() -> None:
    found = verdict("token-classification", examples(), seeded("simple_mix", [10, 90], [None, None], (5, 5)))
    assert found is not None
    assert found["student"] == "simple_mix"


def test_arms_are_compared_on_the_seeds_that_both_have() -> None:
    mix = seeded("simple_mix", [80, 90, 70], [0.5] * 3, (5, 5))
    alone = seeded("original_only", [60, 50, 70], [0.3] * 3, (0, 5))
    found = verdict("token-classification", examples(), {**mix, "original_only-3": alone["original_only-3"]})
    assert found is not None
    assert found["difference"] == pytest.approx(0.0)
    del mix["simple_mix-3"]
    unpaired = verdict("token-classification", examples(), {**mix, "original_only-3": alone["original_only-3"]})
    assert unpaired is not None
    assert "difference" not in unpaired


def test_what_is_said_of_a_difference_is_over_the_seeds_that_both_arms_have() -> None:
    mix = seeded("simple_mix", [80, 90, 70], [0.5] * 3, (5, 5))
    alone = seeded("original_only", [60, 50, 70], [0.3] * 3, (0, 5))
    whole = verdict("token-classification", examples(), {**mix, **alone})
    assert whole is not None
    assert whole["pairs"] == 3
    assert not any("seeds each" in step for step in next_steps(whole, 100, None))
    for some in ({"original_only-2": alone["original_only-2"]}, {"original_only": alone["original_only"]}):
        found = verdict("token-classification", examples(), {**mix, **some})
        assert found is not None
        assert (found["seeds"], found["pairs"]) == (3, 1)
        assert "mean of" not in headline(found, 49)
        steps = next_steps(found, 100, None)
        assert (
            "Train simple_mix and original_only from 3 seeds each (train.seeds): they are compared on 1 seed,"
            in steps[0]
        )
        assert not any("One seed was trained" in step for step in steps)
    two = verdict("token-classification", examples(), {"simple_mix-2": mix["simple_mix-2"], **alone})
    assert two is not None
    assert (two["seeds"], two["pairs"]) == (1, 1)
    assert "from 3 seeds each (train.seeds): they are compared on 1 seed" in next_steps(two, 100, None)[0]


def test_one_seed_is_told_as_ever() -> None:
    learners = {"simple_mix": Learner(5, 5, 0.5, found_of(80)), "original_only": Learner(0, 5, 0.4, found_of(60))}
    found = verdict("token-classification", examples(), learners)
    assert found is not None
    assert list(found) == [
        "best", "learnt_distilled", "f1", "interval", "precision", "recall", "scores", "baseline", "baseline_f1",
        "difference", "difference_interval", "p",
    ]  # fmt: skip
    assert (found["precision"], found["recall"], found["f1"]) == (1.0, 0.8, f1_of(80))


def three_seeds(mix: list[int], alone: list[int]) -> dict[str, Any]:
    learners = seeded("simple_mix", mix, [0.5, 0.6, 0.4], (5, 5)) | seeded("original_only", alone, [0.3] * 3, (0, 5))
    found = verdict("token-classification", examples(), learners)
    assert found is not None
    return found


def test_the_sentences_say_over_how_many_seeds() -> None:
    found = three_seeds([80, 82, 84], [40, 41, 42])
    assert re.search(
        r"brings \+\d+\.\d F1 \(\d+\.\d to \d+\.\d; mean of 3 seeds\) over your 49 lab", headline(found, 49)
    )
    assert what_is_right(found, are_entities=True) == (
        "Of 100 entities that a student of simple_mix gives, 100 are right; of 100 that are there, it finds 82, in the "
        "mean."
    )
    steps = " ".join(next_steps(found, 100, None))
    assert "Use the student simple_mix-2 (train/simple_mix-2/student; of the students of simple_mix" in steps
    assert "One seed" not in steps
    lost = three_seeds([40, 41, 42], [80, 82, 84])
    assert "Use the student original_only (train/original_only/student;" in next_steps(lost, 100, None)[0]
    even = three_seeds([50, 60, 40], [60, 40, 50])
    assert "100 scored sentences and 3 seeds cannot tell" in next_steps(even, 100, None)[0]
    assert "If you use a student of simple_mix, use simple_mix-2 (train/" in next_steps(even, 100, None)[0]
    alone = verdict("token-classification", examples(), seeded("simple_mix", [10, 90], [None, None], (5, 5)))
    assert alone is not None
    assert re.search(r"The arm simple_mix has F1 \d+\.\d \(.*; mean of 2 seeds\)", headline(alone, None))


def test_each_seed_is_a_dot_beside_the_bar_of_the_mean() -> None:
    drawn = str(scores_plot("F1", {"teacher": [0.5], "mix": [0.5, 0.4, 0.6]}, {"mix": [0.25, 0.75]}))
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert [(float(x) - 170) / 410 for x, _ in dots] == pytest.approx([0.25, 0.75], abs=1e-3)
    assert len({y for _, y in dots}) == 1
    assert "<circle" not in str(scores_plot("F1", {"mix": [0.5, 0.4, 0.6]}))


@pytest.fixture(scope="module")
def run(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two arms from two seeds, of labels that are there already."""
    settings = {
        "name": "seeds",
        "task": {"types": TYPES},
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 20},
                "dev": {"path": "package:demo/dev.jsonl", "limit": 6},
                "test": {"path": "package:demo/test.jsonl", "limit": 8},
            },
            "distilled": {"path": "package:demo/train.jsonl", "skip": 30, "limit": 20},
        },
        "train": {
            "encoder": str(encoder),
            "updates": 2,
            "batch_size": 4,
            "eval_every": 1,
            "seeds": 2,
            "arms": [{"name": "original_only"}, {"name": "simple_mix"}],
        },
    }
    folder = RunFolder(tmp_path_factory.mktemp("seeds") / "run", parse_settings(settings, "test"))
    pipeline.run(folder)
    return folder


STUDENTS = ["original_only", "original_only-2", "simple_mix", "simple_mix-2"]


def test_what_students_score_together_is_of_the_mean_of_what_they_say(run: RunFolder) -> None:
    """The first is right of Ann and a little wrong of Bob, the second the other way round: together they are right."""
    task, names = make_task(run.settings), ("O", "B-PERSON", "I-PERSON")
    given = [example("Ann/B-PERSON met Bob/B-PERSON")]

    def says(ann: float, bob: float) -> StudentLabels:
        shares = np.array([[1 - ann, ann, 1e-9], [0.99, 0.01, 1e-9], [1 - bob, bob, 1e-9]])
        scored = [Scored(np.log(shares).astype(np.float32), np.arange(3), 3)]
        return StudentLabels(names, scored, kind_of(task.head).decide(scored, names))

    said_by = {"a": says(0.9, 0.4), "a-2": says(0.4, 0.9), "b": says(0.1, 0.1)}
    arm = {"name": "a", "students": ["a", "a-2"], "f1": 2 / 3, "deviation": 0.0}
    assert _with_committee(task, given, arm, said_by) == {
        **arm, "together": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2}
    }  # fmt: skip
    alone = {"name": "b", "students": ["b"], "f1": 0.0, "deviation": None}
    assert _with_committee(task, given, alone, said_by) == alone
    other = {**said_by, "a-2": replace(said_by["a-2"], names=("O", "B-DATE", "I-DATE"))}  # its run had other types
    assert _with_committee(task, given, arm, other) == arm


def test_a_run_scores_each_student_and_the_means_of_its_arms(run: RunFolder) -> None:
    result = json.loads((run.path / "evaluate/report.json").read_text())
    assert [row["name"] for row in result["rows"]] == STUDENTS
    scores = {row["name"]: row["overall"]["f1"] for row in result["rows"]}
    for arm in result["arms"]:
        own = [scores[name] for name in (arm["name"], f"{arm['name']}-2")]
        assert (arm["students"], arm["f1"]) == ([arm["name"], f"{arm['name']}-2"], pytest.approx(np.mean(own)))
        assert arm["deviation"] == pytest.approx(np.std(own, ddof=1))
        assert result["verdict"]["f1_by_seed"][arm["name"]] == pytest.approx(own)
        assert arm["together"]["support"] == 9
    assert result["verdict"]["seeds"] == 2
    said = list[str]()
    pipeline.run(replace(run, say=said.append))
    assert [line.split(": ", 1)[1] for line in said] == ["up to date"] * (len(STUDENTS) + 3)


def test_an_arm_whose_students_label_together_has_a_mean_beside_arms_of_one_student(
    run: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    taught = {"name": "taught", "schedule": "union", "labelled_by": "simple_mix", "labellers": 2}
    arms = [{"name": "original_only"}, {"name": "simple_mix"}, taught]
    plain = yaml.safe_load(dump(run.settings))
    plain["train"] |= {"seeds": 1, "arms": arms}
    said = list[str]()
    folder = RunFolder(tmp_path / "run", parse_settings(plain, "test"), say=said.append)
    pipeline.run(folder)
    assert [line for line in said if line.startswith("train") and line.endswith("up to date")] == [
        f"train {name}: up to date" for name in ("original_only", "simple_mix", "simple_mix-2")
    ]
    result = json.loads((folder.path / "evaluate/report.json").read_text())
    assert [(arm["name"], len(arm["students"]), "together" in arm) for arm in result["arms"]] == [
        ("original_only", 1, False), ("simple_mix", 2, True), ("taught", 1, False)
    ]  # fmt: skip
    assert {name: len(scores) for name, scores in result["verdict"]["f1_by_seed"].items()} == {
        "original_only": 1, "simple_mix": 2, "taught": 1
    }  # fmt: skip
    assert [problem for problem in walk(folder.path).all_problems() if problem.state == "broken"] == []


def test_the_page_of_a_run_shows_its_seeds(run: RunFolder) -> None:
    page = (run.path / "report/index.html").read_text("utf-8")
    assert "mean of 2 seeds" in page
    assert page.count("if they label together (<code>predict --with</code>)") == 2
    assert "a 95% interval over seeds and sentences." in page
    assert "One seed was trained" not in page
    assert page.count("<circle") == 4  # two arms, two seeds
    assert "F1 of the arms: mean ± standard deviation over their seeds" in page
    for name in STUDENTS:
        assert f"<summary>train/{name}</summary>" in page


def test_confusions_stand_in_the_order_of_the_students() -> None:
    same, other = [[0, 3, "PERSON", 1.0]], [[0, 3, "DATE", 1.0]]

    def row(first: list[Any], second: list[Any]) -> dict[str, Any]:
        return {"gold": same, "teacher": same, "students": {"a": first, "a-2": second}}

    assert list(_confusion([row(same, other), row(other, same)])) == ["a", "a-2"]


def test_the_chain_of_a_run_with_several_seeds_is_whole(run: RunFolder) -> None:
    problems = [problem for problem in walk(run.path).all_problems() if problem.state == "broken"]
    assert problems == []


def test_evaluate_alone_warns_of_students_that_are_missing_or_of_other_settings(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "seeds.yaml").write_text(dump(run.settings))
    shutil.rmtree(tmp_path / "run/train/simple_mix-2")
    for changes, unfit in (([], ["simple_mix-2"]), (["train.updates=3"], STUDENTS)):
        said = list[str]()
        opened = open_run(tmp_path / "seeds.yaml", tmp_path / "run", changes=changes, say=said.append)
        result = opened.evaluate()
        assert f"warning: evaluate: {', '.join(unfit)}: not trained, or not known" in "\n".join(said)
        assert [row["name"] for row in result["rows"]] == STUDENTS[:3]
        assert result["verdict"]["pairs"] == 1


def test_the_gate_is_for_the_mean_and_not_for_a_lucky_student(run: RunFolder) -> None:
    result = json.loads((run.path / "evaluate/report.json").read_text())
    best = max(arm["f1"] for arm in result["arms"])
    gated = replace(run.settings, evaluate=replace(run.settings.evaluate, min_f1=min(1.0, best + 1e-6)))
    with pytest.raises(GateMissed, match=r"the best arm's F1 is 0\.\d+ in the mean of its seeds"):
        pipeline.run(replace(run, settings=gated))


def test_the_command_shows_the_means_and_so_does_its_json(run: RunFolder, tmp_path: Path) -> None:
    config = tmp_path / "seeds.yaml"
    config.write_text(dump(run.settings))
    arguments = ["run", str(config), "-o", str(run.path)]
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert re.search(
        r"^simple_mix: F1 \d+\.\d ± \d+\.\d \(standard deviation\), the mean of 2 seeds; \d+\.\d together \(predict",
        done.output,
        re.M,
    )
    said = json.loads(CliRunner().invoke(commands, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert [arm["name"] for arm in said["arms"]] == ["original_only", "simple_mix"]
