"""What examined cells say together: means over seeds, tables, plots, caveats."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from studying import write_config

from distill_offline.confidence.reliability import binned
from distill_offline.errors import InputError
from distill_offline.study import Examinations, Examined, Study, examined_tables, publish, summarise, summarise_examined
from distill_offline.study.examine.looking import _schedule
from distill_offline.study.examine.plots import forgetting_curves, reliability_curves, teacher_errors_plot
from distill_offline.study.examine.rows import Point
from distill_offline.study.examine.teacher_errors import TeacherErrors
from distill_offline.study.grid import Cell

NONE = {"repeated": 0, "replaced": 0, "corrected": 0}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    place = tmp_path_factory.mktemp("study")
    return Study.load(write_config(place / "c.yaml", "none", sizes=[20, 40], examine={"distilled": 9}))


def made(cell: Cell) -> Examined:
    """What is seen of a cell: its numbers depend on the seed, so that a mean is told from a value."""
    seed, several = cell.seed, cell.seed + 1
    return Examined(
        key=f"key {cell}",
        study=cell.settings.name,
        variant=cell.variant,
        size=cell.size,
        seed=seed,
        arm=cell.arm.name,
        updates=6,
        best_update=6,
        sentences={"pool": 40, "unmatched": 2, "ambiguous": 1, "distilled": 9, "held_out": 8},
        schedule=((0, 1.0), (3, 0.0)),
        curve=(Point(3, 0.8, 0.4, 0.3 + seed / 10, 1.0), Point(6, 0.5, 0.6, 0.5, 0.0)),
        errors=TeacherErrors(
            {
                "missed": {"repeated": 2 * several, "replaced": several, "corrected": several},
                "spurious": {"repeated": 0, "replaced": 0, "corrected": 2 - 2 * seed},
                "wrong_type": dict(NONE),
            },
            kept=9,
            lost=1 + 2 * seed,
            invented=3,
        ),
        calibration=binned([(0.95, True)] * 30 + [(0.45, seed == 0)] * 10),
        is_the_rows=None if seed else False,
        seconds=4.0,
    )


def examined(study: Study) -> list[Examined]:
    return [made(cell) for cell in study.cells]


def test_an_arm_is_the_mean_of_its_seeds(study: Study) -> None:
    found = summarise_examined(study, examined(study))
    assert [(arm.group.size, arm.group.arm) for arm in found.arms] == [
        (20, "original_only"), (20, "union"), (40, "original_only"), (40, "union"),
    ]  # fmt: skip
    arm = found.arms[0]
    assert arm.seeds == (0, 1)
    assert [point.held_out for point in arm.curve] == [pytest.approx(0.35), 0.5]
    assert arm.lost == pytest.approx((1 / 10 + 3 / 12) / 2)
    assert (arm.right, arm.invented) == (11, 3)
    assert arm.calibration.ece == pytest.approx((30 * 0.05 + 10 * 0.55 + 30 * 0.05 + 10 * 0.45) / 80)
    assert arm.calibration.pooled.answers == 80


def test_shares_of_errors_are_of_the_seeds_that_have_some(study: Study) -> None:
    errors = summarise_examined(study, examined(study)).arms[0].errors
    assert list(errors) == ["all", "missed", "spurious", "wrong_type"]
    assert (errors["missed"].count, errors["missed"].repeated, errors["missed"].corrected) == (6, 0.5, 0.25)
    assert (errors["spurious"].count, errors["spurious"].corrected) == (1, 1.0)
    assert errors["wrong_type"].count == 0
    assert errors["all"].repeated == pytest.approx((2 / 6 + 4 / 8) / 2)


def test_the_last_line_of_a_cell_counts_and_other_cells_do_not(study: Study) -> None:
    lines = examined(study)
    again = replace(lines[0], curve=(replace(lines[0].curve[0], held_out=0.9), lines[0].curve[1]))
    found = summarise_examined(study, [*lines, again, replace(lines[0], variant="gone")])
    assert found.arms[0].curve[0].held_out == pytest.approx((0.9 + 0.4) / 2)


def test_tables_have_a_line_for_each_arm_and_size(study: Study) -> None:
    forgetting, errors, calibration = examined_tables(summarise_examined(study, examined(study)))
    assert forgetting.rows[1] == ("union", "20", "2", "80.0", "3", "50.0", "60.0", "50.0")
    assert errors.rows[1] == (
        "union", "20", "2", "7", "41.7 / 37.5", "50.0 / 25.0", "0.0 / 100.0", "-", "11", "17.5", "3",
    )  # fmt: skip
    assert calibration.rows[1][:5] == ("union", "20", "2", "40", "87.5")
    for table in (forgetting, errors, calibration):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert len(table.rows) == 4


def test_without_a_reference_there_are_no_errors(study: Study) -> None:
    lines = [
        replace(e, errors=None, curve=tuple(replace(point, gold=None) for point in e.curve)) for e in examined(study)
    ]
    found = summarise_examined(study, lines)
    assert [table.title.split(": ")[1] for table in examined_tables(found)] == ["forgetting (F1)", "calibration"]
    assert teacher_errors_plot("none", [("a", arm) for arm in found.arms]) == ""
    assert "gold of the same sentences" not in forgetting_curves("f", [("a", arm) for arm in found.arms])
    assert not any("teacher's errors" in note for note in found.notes)


def test_notes_say_what_was_seen_and_what_was_not(study: Study) -> None:
    notes = " ".join(summarise_examined(study, examined(study)[:6]).notes)
    for words in (
        "6 cells (seeds 0, 1)", "on 9 sentences", "on 8 of the test split", "up to 37 distilled", "up to 3 have none",
        "6 of 8 cells are examined", "4 of the examined students score otherwise",
    ):  # fmt: skip
        assert words in notes


def test_nothing_seen_leaves_no_trace(study: Study, tmp_path: Path) -> None:
    found = summarise_examined(study, [])
    assert (found.arms, found.notes, examined_tables(found)) == ((), (), ())
    names = {path.name for path in publish(summarise(study, []), tmp_path, found)}
    assert not {name for name in names if "forget" in name or "teacher" in name or "calib" in name}


def test_files_agree_with_the_tables(study: Study, tmp_path: Path) -> None:
    found = summarise_examined(study, examined(study))
    names = {path.name for path in publish(summarise(study, []), tmp_path, found)}
    plots = {f"{kind}_{size}.svg" for kind in ("forgetting", "teacher_errors", "reliability") for size in (20, 40)}
    assert plots | {"forgetting.csv", "teacher_errors.csv", "calibration.csv"} < names
    page, text = (tmp_path / "index.html").read_text("utf-8"), (tmp_path / "tables.md").read_text("utf-8")
    for table in examined_tables(found):
        assert all(cell in page and cell in text for row in table.rows for cell in row)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "teacher_errors.csv").read_text("utf-8"))))
    assert [float(line["repeated"]) for line in lines if line["arm"] == "union" and line["kind"] == "missed"] == [
        0.5
    ] * 2
    points = list(csv.DictReader(io.StringIO((tmp_path / "forgetting.csv").read_text("utf-8"))))
    assert [(line["update"], line["p"]) for line in points][:2] == [("3", "1.0"), ("6", "0.0")]


def test_a_curve_falls_where_the_score_does_and_the_step_is_shaded(study: Study) -> None:
    arm = summarise_examined(study, examined(study)).arms[0]
    plot = str(forgetting_curves("a < b", [("<arm>", arm)]))
    assert plot.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "&lt;arm&gt;" in plot
    assert "<arm>" not in plot
    lines = [part.split('"')[0].split() for part in plot.split('<polyline points="')[1:]]
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    assert heights[0][0] < heights[0][1]  # agreement falls; down is up in SVG
    assert heights[1][0] > heights[1][1]
    shade = [tuple(map(float, p.split(","))) for p in plot.split('<polygon points="')[1].split('"')[0].split()]
    top, bottom = min(y for _, y in shade), max(y for _, y in shade)
    left, right = min(x for x, _ in shade), max(x for x, _ in shade)
    assert [y for x, y in shade if left < x < (left + right) / 2] == []
    assert {y for x, y in shade if x > (left + right) / 2 + 1} == {bottom}
    assert top < bottom


def test_bars_fill_their_width_and_are_as_long_as_their_shares(study: Study) -> None:
    arm = summarise_examined(study, examined(study)).arms[0]
    plot = str(teacher_errors_plot("errors", [("arm", arm)]))
    widths = [float(part.split('"')[0]) for part in plot.split('" width="')[1:]]
    assert widths[3 + 3 : 3 + 6] == [200.0, 100.0, 100.0]  # behind the legend and all kinds together
    assert "50% repeated, 25% corrected" in plot


def test_bins_of_few_answers_are_not_drawn(study: Study) -> None:
    arm = summarise_examined(study, examined(study)).arms[0]
    assert str(reliability_curves("r", [("arm", arm)])).count("<circle") == 2
    few = replace(arm, calibration=replace(arm.calibration, pooled=binned([(0.5, True)] * 9)))
    assert reliability_curves("r", [("arm", few)]) == ""


def test_lines_come_back_as_they_were_written(study: Study, tmp_path: Path) -> None:
    file = Examinations.beside(tmp_path / "rows.jsonl")
    assert file.path.name == "rows.examined.jsonl"
    for each in examined(study)[:2]:
        file.add(each)
    assert file.read() == examined(study)[:2]
    text = file.path.read_text("utf-8")
    file.path.write_text(text.replace('"best_update"', '"best"'), "utf-8")
    with pytest.raises(InputError, match=r"rows\.examined\.jsonl:1: no examined cell of a study"):
        file.read()
    file.path.write_text(text.replace("[0, 0, 0.0], ", "", 1), "utf-8")
    with pytest.raises(InputError, match="no examined cell"):
        file.read()


def test_a_schedule_is_kept_where_it_changes() -> None:
    assert _schedule([1.0, 1.0, 0.0, 0.0]) == ((0, 1.0), (2, 0.0))
    falling = _schedule([1 - update / 1000 for update in range(1000)])
    assert (len(falling), falling[0], falling[50]) == (100, (0, 1.0), (500, 0.5))
    assert _schedule([]) == ()
