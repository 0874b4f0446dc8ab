"""What a study says of its rows: means, comparisons, caveats, and the files that show them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from studying import made_row, on_another_gold_set, write_config

from distill_offline.cli import commands
from distill_offline.config.settings import ConfiguredArm
from distill_offline.errors import ConfigError
from distill_offline.study import Results, Row, Study, arm_table, comparison_table, publish, summarise, type_table
from distill_offline.study.caveats import _labelled
from distill_offline.study.counts import pack
from distill_offline.study.plots import Curve, Difference, differences, learning_curves
from distill_offline.study.tables import as_markdown

GOOD = {"original_only": 0.5, "union": 0.8}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "c.yaml"
    return write_config(path, "none", sizes=[20, 40], seeds=[0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def study(config: Path) -> Study:
    return Study.load(config)


def rows_of(study: Study, **found: float) -> list[Row]:
    return [made_row(study, n, found=found.get(c.arm.name, 0.5)) for n, c in enumerate(study.cells)]


def test_an_arm_is_summed_up_over_its_seeds(study: Study) -> None:
    summary = summarise(study, rows_of(study, **GOOD))
    assert [(arm.group.size, arm.group.arm) for arm in summary.arms] == [
        (20, "original_only"), (20, "union"), (40, "original_only"), (40, "union"),
    ]  # fmt: skip
    union = summary.arms[1]
    assert union.seeds == (0, 1, 2, 3, 4)
    assert union.low < union.f1.mean < union.high
    assert union.distilled_share == 0.5
    assert (summary.done, summary.cells, summary.sentences) == (20, 20, 200)


def test_a_better_arm_is_told_from_gold_alone_at_each_size(study: Study) -> None:
    summary = summarise(study, rows_of(study, **GOOD))
    found = [(each.group.arm, each.against.arm, each.group.size) for each in summary.tested]
    assert found == [("union", "original_only", 20), ("union", "original_only", 40)]
    for each in summary.tested:
        assert each.result.seeds == 5
        assert each.result.difference > 0.1
        assert each.result.p == pytest.approx(2 / 201)
        assert each.p_holm == pytest.approx(2 * each.result.p)


def two_types(row: Row, found: float) -> Row:
    """The row with a second type, of which the share `found` of as many entities is found."""
    first = row.sentence_counts()
    second = np.zeros_like(first)
    second[:, 0, 0] = np.arange(len(first)) < found * len(first)
    second[:, 0, 2] = 1 - second[:, 0, 0]
    f1 = {"f1": 2 * found / (1 + found)}
    per_type = {**row.per_type, "PLACE": {**row.per_type["PERSON"], **f1}}
    return replace(row, types=("PERSON", "PLACE"), per_type=per_type, counts=pack(np.concatenate([first, second], 1)))


def test_a_gain_is_told_by_type(study: Study) -> None:
    better = {"original_only": 0.5, "union": 0.8}
    summary = summarise(study, [two_types(row, better[row.arm]) for row in rows_of(study)])
    found = [(each.group.arm, each.group.size, each.type) for each in summary.by_type]
    assert found == [("union", 20, "PERSON"), ("union", 20, "PLACE"), ("union", 40, "PERSON"), ("union", 40, "PLACE")]
    person, place = summary.by_type[:2]
    assert (person.result.difference, person.result.p) == (0.0, 1.0)
    assert place.result.difference == pytest.approx(1.6 / 1.8 - 1.0 / 1.5)
    assert place.result.low < place.result.difference < place.result.high
    assert [place.result.p, place.p_holm] == pytest.approx([2 / 201, 4 * 2 / 201])
    assert type_table(summary).rows[0] == ("union", "original_only", "20", "+0.0 (1.000)", "+22.2 (0.040)")


def test_a_type_that_one_variant_alone_asks_for_is_not_compared(study: Study) -> None:
    rows = [two_types(row, 0.5) for row in rows_of(study)]
    rows = [replace(row, types=("PERSON", "CITY")) if row.arm == "union" else row for row in rows]
    assert {each.type for each in summarise(study, rows).by_type} == {"PERSON"}


def test_a_single_type_is_the_whole(study: Study) -> None:
    summary = summarise(study, rows_of(study, **GOOD))
    assert [each.result for each in summary.by_type] == [each.result for each in summary.tested]


def test_equal_arms_are_not_told_apart(study: Study) -> None:
    assert {each.result.p for each in summarise(study, rows_of(study)).tested} == {1.0}


def test_only_seeds_that_both_have_are_compared(study: Study) -> None:
    rows = [row for row in rows_of(study, **GOOD) if (row.arm, row.seed) not in {("union", 1), ("original_only", 3)}]
    assert {each.result.seeds for each in summarise(study, rows).tested} == {3}


def test_different_gold_sets_are_never_compared_with_each_other(study: Study) -> None:
    rows = [on_another_gold_set(row) if row.arm == "union" else row for row in rows_of(study, **GOOD)]
    assert summarise(study, rows).tested == ()


def test_the_last_row_of_a_cell_counts_and_rows_of_no_cell_do_not(study: Study) -> None:
    rows = rows_of(study, **GOOD)
    again = [replace(made_row(study, n, found=0.3), key="newer") for n, c in enumerate(study.cells) if c.size == 20]
    strange = replace(rows[0], variant="gone")
    summary = summarise(study, [*rows, strange, *again])
    assert summary.done == 20
    assert summary.arms[1].f1.mean < summary.arms[3].f1.mean


def test_the_baseline_is_the_variant_with_the_best_dev_f1(tmp_path: Path) -> None:
    slow = {"train.learning_rate": 1.0e-4, "train.arms": [{"name": "original_only"}]}
    study = Study.load(write_config(tmp_path / "c.yaml", "none", variants={"base": {}, "slow": slow}))
    rows = [
        made_row(study, n, found=0.6 if c.variant == "slow" else 0.5, dev_f1=0.7 if c.variant == "slow" else 0.6)
        for n, c in enumerate(study.cells)
    ]
    summary = summarise(study, rows)
    assert summary.baselines == {20: "slow"}
    assert [(each.group.variant, each.against.variant) for each in summary.tested] == [("base", "slow")]
    assert comparison_table(summary).rows[0][:2] == ("base/union", "slow/original_only")


def test_an_arm_that_a_variant_does_not_train_is_the_first_variants(tmp_path: Path) -> None:
    variants = {"base": {}, "more": {"train.arms": [{"name": "linear"}], "train.updates": 9}}
    path = write_config(tmp_path / "c.yaml", "none", variants=variants, against=["union"])
    study = Study.load(path)
    found = summarise(study, rows_of(study)).tested
    assert [(each.group.arm, each.against.variant, each.against.arm) for each in found] == [("linear", "base", "union")]


def test_all_variants_are_compared_with_one_that_is_named(tmp_path: Path) -> None:
    variants = {"base": {}, "weighed": {"select.weigh": True}}
    path = write_config(tmp_path / "c.yaml", "none", variants=variants, against=["base/union"])
    study = Study.load(path)
    found = summarise(study, rows_of(study)).tested
    assert [(each.group.variant, each.group.arm) for each in found] == [("weighed", "union")]
    assert {(each.against.variant, each.against.arm) for each in found} == {("base", "union")}
    with pytest.raises(ConfigError, match=r"no variant trains the arm 'other/union'\. Known: .*weighed/union"):
        Study.load(write_config(tmp_path / "other.yaml", "none", variants=variants, against=["other/union"]))


def test_an_arm_that_is_named_twice_is_one_comparison_and_two_variants_of_it_are_two_plots(tmp_path: Path) -> None:
    variants = {"base": {}, "weighed": {"select.weigh": True}, "other": {"train.arms": [{"name": "linear"}]}}
    path = write_config(tmp_path / "c.yaml", "none", variants=variants, against=["union", "base/union"])
    study = Study.load(path)
    tested = [(each.group.arm, each.against.variant) for each in summarise(study, rows_of(study)).tested]
    assert tested == [("linear", "base"), ("union", "base")]
    study = Study.load(path, ["study.against=[base/union,weighed/union]"])
    publish(summarise(study, rows_of(study)), tmp_path / "out")
    assert "F1 over base/union" in (tmp_path / "out" / "against_base_union.svg").read_text("utf-8")
    assert (tmp_path / "out" / "against_weighed_union.svg").read_text("utf-8").count("linear") == 1


def test_caveats_say_which_gold_was_used_and_what_a_p_is_of(study: Study) -> None:
    notes = " ".join(summarise(study, rows_of(study)[:4]).notes)
    assert "20% of it is dev" in notes
    assert "paired by seed and sentence" in notes
    assert "cannot go below 0.0625" in notes
    assert "4 of 20 cells" in notes
    assert "4 rows have one seed" in notes
    two = " ".join(summarise(study, [row for row in rows_of(study) if row.seed in study.plan.seeds[:2]]).notes)
    assert "rows have two seeds: with two, p falls below 0.05 in up to 15%" in two
    assert "have one seed" not in two
    assert "have two seeds" not in " ".join(summarise(study, rows_of(study)).notes)


def test_arms_that_learn_another_students_labels_are_named(config: Path) -> None:
    arms = json.dumps([{"name": "original_only"}, {"name": "union", "labelled_by": "original_only"}])
    labelled = Study.load(config, (f"train.arms={arms}",))
    notes = " ".join(summarise(labelled, rows_of(labelled)).notes)
    assert "another arm's student, not the teacher's: union (original_only's)." in notes
    assert _labelled(ConfiguredArm(name="b", labelled_by="a", labellers=3)) == "b (a's, 3 together)"
    assert _labelled(ConfiguredArm(name="b", labelled_by="a", soft_labels=True)) == "b (a's, soft labels)"


def test_dev_beyond_the_budget_is_said_in_notes_and_table(study: Study) -> None:
    rows = [replace(row, pools={**row.pools, "dev_in_size": 0, "dev": 250}) for row in rows_of(study)]
    summary = summarise(study, rows)
    assert any("Beyond the size, 250 gold dev sentences" in note for note in summary.notes)
    assert {row[3] for row in arm_table(summary).rows} == {"+250"}


def test_nothing_done_is_no_error(study: Study, tmp_path: Path) -> None:
    summary = summarise(study, [])
    assert (summary.arms, summary.notes) == ((), ("No cell is done yet.",))
    assert "learning_curves.svg" not in {path.name for path in publish(summary, tmp_path / "out")}


def test_every_file_is_written_and_they_agree(study: Study, tmp_path: Path) -> None:
    summary = summarise(study, rows_of(study, **GOOD))
    names = {path.name for path in publish(summary, tmp_path)}
    assert names == {
        "arms.csv", "comparisons.csv", "types.csv", "summary.json", "tables.md", "index.html", "learning_curves.svg",
        "against_original_only.svg",
    }  # fmt: skip
    arms = list(csv.DictReader(io.StringIO((tmp_path / "arms.csv").read_text("utf-8"))))
    value = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert float(arms[1]["f1.mean"]) == value["arms"][1]["f1"]["mean"] == summary.arms[1].f1.mean
    compared = list(csv.DictReader(io.StringIO((tmp_path / "comparisons.csv").read_text("utf-8"))))
    assert [float(row["p_holm"]) for row in compared] == [each.p_holm for each in summary.tested]
    page, text = (tmp_path / "index.html").read_text("utf-8"), (tmp_path / "tables.md").read_text("utf-8")
    for cell in arm_table(summary).rows[1]:
        assert cell in text
        assert cell in page
    assert "http-equiv" in page
    assert not [each for each in ("<script", "src=", "href=", "url(") if each in page]


def test_markdown_has_a_column_for_every_cell(study: Study) -> None:
    lines = as_markdown(arm_table(summarise(study, rows_of(study)))).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 4


def test_plots_escape_names_and_stand_alone() -> None:
    plot = str(learning_curves("a < b", [Curve("<arm>", [(100, 0.5, 0.4, 0.6), (1000, 0.7, 0.6, 0.8)])]))
    assert plot.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "&lt;arm&gt;" in plot
    assert "<arm>" not in plot
    assert learning_curves("none", []) == differences("none", []) == ""


def test_a_learning_curve_rises_where_f1_does() -> None:
    plot = str(learning_curves("f1", [Curve("arm", [(1000, 0.7, 0.6, 0.8), (100, 0.5, 0.4, 0.6)])]))
    points = plot.split('points="')[1].split('"')[0].split()
    (x1, y1), (x2, y2) = ([float(each) for each in point.split(",")] for point in points)
    assert x1 < x2
    assert y1 > y2  # down is up in SVG


def test_a_clear_difference_is_a_filled_dot() -> None:
    rows = [Difference("clear", 0.05, 0.02, 0.08, True), Difference("unclear", -0.01, -0.03, 0.01, False)]
    plot = str(differences("over gold", rows))
    assert plot.count("<circle") == 2
    assert plot.count('fill="#fff"') == 1


def run(*arguments: Any) -> Any:
    return CliRunner(catch_exceptions=False).invoke(commands, [str(each) for each in arguments])


def test_table_needs_neither_encoder_nor_training(config: Path, study: Study, tmp_path: Path) -> None:
    results = Results(tmp_path / "rows.jsonl")
    for row in rows_of(study, **GOOD)[:8]:
        results.add(replace(row, study="small-study"))
    done = run("study", config, "--table", "-o", results.path, "--folder", tmp_path / "out")
    assert done.exit_code == 0
    assert "8 of 20 cells" in done.stdout
    assert "unchecked" in done.stderr
    assert (tmp_path / "out/learning_curves.svg").exists()


def test_the_command_runs_resumes_and_speaks_json(tmp_path: Path, encoder: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", encoder, seeds=[0])
    before = run("study", config, "--dry-run", "--json", "--folder", tmp_path / "out")
    assert json.loads(before.stdout)["missing"] == [
        "base, 20 sentences, seed 0, original_only", "base, 20 sentences, seed 0, union",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()
    done = run("study", config, "--folder", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["done"] == 2
    assert len(Results(tmp_path / "tiny.results.jsonl").read()) == 2  # beside the configuration
    status = run("study", config, "--status")
    assert "2 of 2 cells are done" in status.stdout
    stale = run("study", config, "--table", "--folder", tmp_path / "out", "--set", "train.updates=9")
    assert "2 rows are of other settings" in stale.stderr


def test_one_thing_at_a_time(tmp_path: Path) -> None:
    done = run("study", tmp_path / "c.yaml", "--status", "--table")
    assert done.exit_code == 2
    assert "give one of" in done.stderr
