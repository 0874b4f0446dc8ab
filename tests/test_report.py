"""The page about a run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from distill_offline.confidence.calibration import UNCHANGED
from distill_offline.pipeline.report_page import _costs
from distill_offline.report import View, render
from distill_offline.report.plots import Line, line_plot, reliability_plot
from distill_offline.schema import Span
from distill_offline.scoring.quality import quality as score

EVIL = "</pre></title><script src=//x.example>alert(1)</script>&\"'"


def scores(f1: float = 0.5) -> dict[str, Any]:
    return {"precision": 0.25, "recall": 1.0, "f1": f1, "support": 4}


def quality(type_: str) -> dict[str, Any]:
    found = (Span(0, 1, type_, 0.25, "exact"), Span(2, 3, type_, 0.75, "fuzzy"), Span(4, 5, type_, None, type_))
    return score([(Span(0, 1, "X"), found[1])], [found], UNCHANGED).as_dict()


def view(name: str = "tiny", arm: str = "simple_mix", type_: str = "PER", f1: float = 0.5) -> View:
    row = {
        "name": arm,
        "kind": "student",
        "overall": scores(f1),
        "per_type": {type_: scores(f1)},
        "errors": {"wrong_type": 3, "missed": 0},
        "counts": {"unanswered": 2},
    }
    bare = {**row, "name": "teacher", "kind": "teacher", "per_type": {}, "quality": quality(type_)}
    measured = {"bins": [[0.1, 0.3, 2, 0.2, 0.5]], "ece": 0.0625, "brier": 0.34, "auroc": None}
    history = [
        {
            "update": n,
            "p": 1.0 if n < 30 else 0.0,
            "distilled": 4 if n < 30 else 0,
            "original": 0 if n < 30 else 4,
            **({"dev_f1": 0.4} if n % 10 else {}),
        }
        for n in range(60)
    ]
    return View(
        name=name,
        result={
            "split": "test",
            "sentences": 7,
            "on": "abc" * 20,
            "rows": [row, bare],
            "calibration": {"before": measured, "after": measured},
        },
        histories={arm: history},
        counts={
            "annotate": {"unlabelled": {"rows": 12, "quarantined": {type_: 1}}},
            f"train/{arm}": {"best_dev_f1": None},
        },
        settings={"name": name, "task": {"types": {type_: name}}},
    )


class Page(HTMLParser):
    """The tags of a page, and what its attributes point to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_self_contained() -> None:
    html = render(view())
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"} & set(page.tags)
    assert not {"src", "href", "srcset", "xlink:href", "data", "action"} & {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert not re.search(r"https?:|//\w|url\(|@import", html)
    assert "default-src 'none'" in html


def test_text_from_outside_is_escaped_wherever_it_stands() -> None:
    page = Page(render(view(EVIL, EVIL, EVIL)))
    assert "script" not in page.tags
    assert page.tags == Page(render(view())).tags  # no tag more, none less
    assert page.text.count(EVIL) >= 5  # title, heading, table, legend: shown as it is


def test_page_shows_the_figures_in_percent() -> None:
    html = render(view(f1=0.4567))
    assert "<b>45.7</b>" in html
    assert "<td>simple_mix</td><td>25.0</td><td>100.0</td>" in html
    assert "–" in html  # the teacher has no score of that type
    assert "12" in html


def test_page_shows_the_teachers_errors_by_type_alignment_and_confidence() -> None:
    html = render(view())
    assert "<td>PER</td><td>3</td><td>33.3</td><td>1</td><td>1</td><td>0</td><td>1</td><td>0</td>" in html
    assert "<td>fuzzy</td><td>1</td><td>100.0</td><td>1</td><td>0</td><td>0</td><td>0</td><td>–</td>" in html
    assert "<td>0.75 to 0.75</td><td>1</td><td>100.0</td>" in html
    assert "<td>gold training sentences, as given</td><td>0.062</td><td>0.340</td><td>–</td>" in html
    assert "<td>test split, calibrated</td><td>0.250</td><td>0.062</td><td>1.000</td>" in html
    assert html.count("<circle") == 2 + 2 * 2  # one for each bin


def test_page_of_a_teacher_without_confidences_has_no_part_about_them() -> None:
    bare = view()
    del bare.result["calibration"]  # type: ignore[attr-defined]
    bare.result["rows"][1]["quality"] = score([()], [(Span(0, 1, "X"),)]).as_dict()
    html = render(bare)
    assert "<h2>The teacher's entities</h2>" in html
    assert "<h2>Confidence</h2>" not in html
    assert "<th>confidence</th>" not in html


def test_reliability_is_drawn_beside_the_diagonal() -> None:
    svg = str(reliability_plot("R", [Line("a", [(0.5, 0.25)]), Line("none", [])]))
    assert (
        '<line x1="44.0" y1="232.0" x2="490.0" y2="28.0" stroke="#999"' in svg
    )  # where shares are what they should be
    assert '<circle cx="267.0" cy="181.0" r="3"' in svg
    assert ">none<" not in svg
    assert str(reliability_plot("R", [Line("a", [])])) == ""


def test_page_says_whose_labels_an_arm_learnt() -> None:
    arms = [{"name": "first", "labelled_by": ""}, {"name": "again", "labelled_by": "first"}]
    text = Page(render(replace(view(), settings={"train": {"arms": arms}}))).text
    assert text.count("not the teacher's") == 1
    assert "again learnt the labels that\nthe student of first gave" in text
    again = {"name": "again", "labelled_by": "first", "labellers": 3}
    together: list[dict[str, Any]] = [{"name": "first", "labelled_by": ""}, again]
    text = Page(render(replace(view(), settings={"train": {"arms": together}}))).text
    assert "again learnt the labels that\n3 students of first together gave" in text
    assert "how probable" not in text
    soft = [together[0], {**together[1], "soft_labels": True}]
    assert (
        "teacher's; learnt is how probable they are."
        in Page(render(replace(view(), settings={"train": {"arms": soft}}))).text
    )


def test_page_warns_of_what_annotate_warned_of() -> None:
    counts = {"annotate": {"unlabelled": {"rows": 9, "warnings": [f"5 of 9 mentions {EVIL}"]}}}
    html = render(replace(view(), counts=counts))
    assert html.count('class="warning"') == 1
    assert "annotate unlabelled: 5 of 9 mentions" in html
    assert EVIL not in html
    assert 'class="warning"' not in render(view())


def test_page_of_classification_has_no_table_of_errors() -> None:
    bare = view()
    for row in bare.result["rows"]:
        row["errors"] = {}
    assert "<h2>Errors</h2>" not in render(bare)
    assert "<h2>Errors</h2>" in render(view())


def test_page_of_a_run_without_students_still_renders() -> None:
    empty = View("x", {"split": "dev", "sentences": 0, "on": "", "rows": []}, {}, {}, {})
    assert "<svg" not in render(empty)


def test_page_is_the_same_each_time() -> None:
    assert render(view()) == render(view())


def test_the_realised_mix_is_drawn_beside_its_schedule() -> None:
    plot = re.findall(r"<svg.*?</svg>", render(view()), re.DOTALL)[-1]
    realised, scheduled = re.findall(
        r'<polyline points="([^"]*)" .*? stroke="#0b6e99".*? stroke-dasharray="(5 3)?"/>', plot
    )
    assert (len(realised[0].split()), realised[1]) == (3, "")
    points = [tuple(map(float, each.split(","))) for each in scheduled[0].split()]
    assert scheduled[1]
    assert len(points) == 4  # upright at the step: 1, 1, 0, 0
    assert points[0][1] == points[1][1] < points[2][1] == points[3][1]  # down is up in SVG
    assert plot.count("simple_mix") == 1  # one entry in the legend


def test_plot_places_points_from_the_lower_left_and_names_every_line() -> None:
    svg = str(line_plot("F1 <b>", [Line("a & b", [(0.0, 0.0), (10.0, 1.0)]), Line("none", [])]))
    assert 'points="44.0,232.0 490.0,28.0"' in svg
    assert "a &amp; b" in svg
    assert "F1 &lt;b&gt;" in svg
    assert ">none<" not in svg
    assert svg.count("<polyline") == 1


@pytest.mark.parametrize("lines", [[], [Line("a", [])]])
def test_plot_without_points_is_nothing(lines: list[Line]) -> None:
    assert str(line_plot("t", lines)) == ""


def test_plot_of_a_single_point_at_zero_is_drawn() -> None:
    assert 'points="44.0,130.0"' in str(line_plot("t", [Line("a", [(0.0, 0.5)])]))


def test_time_in_which_several_students_trained_counts_once() -> None:
    def stage(started: str, finished: str) -> dict[str, object]:
        return {"counts": {}, "started": f"2026-01-01T00:{started}Z", "finished": f"2026-01-01T00:{finished}Z"}

    stages = {
        "annotate": stage("00:00", "10:00"),
        "train/a": stage("20:00", "30:00"),
        "train/b": stage("20:05", "26:00"),
        "train/c": stage("26:01", "34:00"),
    }
    told = dict(_costs(stages))["time, of each stage's last run"]
    assert told == "24 min (annotate 10 min, train/a 10 min, train/b 6 min, train/c 8 min)"


def test_the_teachers_tokens_are_those_of_its_second_question_too() -> None:
    verified = {"asked": 9, "prompt_tokens": 900, "completion_tokens": 9}
    parts = {
        "unlabelled": {"annotated": 4, "prompt_tokens": 100, "completion_tokens": 20, "verify": verified},
        "test": {"annotated": 2, "prompt_tokens": 50, "completion_tokens": 10},
    }
    costs = dict(_costs({"annotate": {"counts": parts, "started": None}}))
    assert costs == {
        "sentences labelled by the teacher": "6", "tokens that it read": "1,050", "tokens that it wrote": "39"
    }  # fmt: skip
