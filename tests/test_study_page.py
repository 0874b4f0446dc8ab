"""The page of a study: what it opens with, what it is made of, and the verb that writes it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from studying import made_row, on_another_gold_set, write_config

from distill_offline.cli import commands
from distill_offline.study import Results, Row, Study, page, summarise
from distill_offline.study.summary import Summary
from distill_offline.study.verdict import verdict_of

ROOT = Path(__file__).parent.parent
DRAWS = "study.draws=200"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "c.yaml"
    return write_config(path, "none", sizes=[20, 40], seeds=[0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def study(config: Path) -> Study:
    return Study.load(config)


def rows_of(study: Study, *, alone: float = 0.5, union: float = 0.8) -> list[Row]:
    """Rows of which those of original_only drew nothing distilled."""
    rows = [
        made_row(study, n, found=alone if c.arm.name == "original_only" else union) for n, c in enumerate(study.cells)
    ]
    return [
        replace(row, training={**row.training, "distilled_drawn": 0}) if row.arm == "original_only" else row
        for row in rows
    ]


def of_seeds(rows: list[Row], *seeds: int, size: int | None = None) -> list[Row]:
    return [row for row in rows if row.seed in seeds or (size is not None and row.size != size)]


def headline(study: Study, rows: list[Row]) -> str:
    return verdict_of(summarise(study, rows)).headline


def test_the_headline_says_what_the_teachers_labels_bring_with_its_interval(study: Study) -> None:
    summary = summarise(study, rows_of(study))
    gain = summary.tested[-1].result
    told = f"+{100 * gain.difference:.1f} F1 ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
    assert verdict_of(summary).headline == f"The teacher's labels bring {told} over 40 labelled sentences alone."


def test_a_loss_and_a_draw_are_said_as_such(study: Study) -> None:
    lost = headline(study, rows_of(study, alone=0.8, union=0.5))
    assert re.match(
        r"The teacher's labels lose \d+\.\d F1 \(\d+\.\d to \d+\.\d\) against 40 .*: do not train on them", lost
    )
    assert headline(study, rows_of(study, alone=0.5, union=0.5)).startswith(
        "Whether the teacher's labels help cannot be"
    )


def test_a_baseline_that_learns_the_teachers_labels_is_named(study: Study) -> None:
    rows = [made_row(study, n, found=0.8 if c.arm.name == "union" else 0.5) for n, c in enumerate(study.cells)]
    assert re.match(r"union brings \+.* over original_only, with 40 labelled sentences\.", headline(study, rows))


def test_the_largest_size_with_three_seeds_is_told_and_the_others_beside_it(study: Study) -> None:
    rows = of_seeds(rows_of(study), 0, size=40)
    verdict = verdict_of(summarise(study, rows))
    assert verdict.headline.endswith("over 20 labelled sentences alone.")
    assert "the largest size with 3 seeds. At the others: with 40, union +" in verdict.details[-1]
    assert verdict.details[-1].endswith("1 seed).")
    few = verdict_of(summarise(study, of_seeds(rows_of(study), 0)))
    assert few.headline.endswith("over 40 labelled sentences alone.")
    assert "One seed was trained" in few.details[0]


def tuned(tmp_path: Path) -> Summary:
    slow = {"train.learning_rate": 1.0e-4, "train.arms": [{"name": "original_only"}]}
    path = write_config(tmp_path / "c.yaml", "none", variants={"base": {}, "slow": slow}, seeds=[0, 1, 2])
    study = Study.load(path)
    found = {"slow": 0.6, "base": 0.5}
    return summarise(
        study,
        [
            made_row(study, n, found=0.8 if c.arm.name == "union" else found[c.variant], dev_f1=found[c.variant])
            for n, c in enumerate(study.cells)
        ],
    )


def test_it_says_how_both_sides_were_chosen(study: Study, tmp_path: Path) -> None:
    details = " ".join(verdict_of(tuned(tmp_path)).details)
    assert "the best of 2 settings of original_only, so that the baseline is tuned as well" in details
    assert "that of slow/original_only" in details
    assert "original_only in its one setting" in " ".join(verdict_of(summarise(study, rows_of(study))).details)


def test_dev_chooses_the_best_arm_and_not_the_scores(tmp_path: Path) -> None:
    variants = {"base": {}, "lucky": {"train.arms": [{"name": "union"}]}}
    study = Study.load(write_config(tmp_path / "c.yaml", "none", variants=variants, seeds=[0, 1, 2]))
    rows = [
        made_row(
            study,
            n,
            found=0.5 if c.arm.name == "original_only" else 0.9 if c.variant == "lucky" else 0.8,
            dev_f1=0.7 if c.variant == "base" else 0.6,
        )
        for n, c in enumerate(study.cells)
    ]
    (gain,) = verdict_of(summarise(study, rows)).gains
    assert (gain.group.variant, gain.group.arm) == ("base", "union")


def test_nothing_compared_and_nothing_done_are_said(study: Study) -> None:
    only = verdict_of(summarise(study, [row for row in rows_of(study) if row.arm == "union"]))
    assert re.match(r"union has F1 \d+\.\d \(.*\) with 40 labelled sentences\.", only.headline)
    assert "Nothing is compared" in only.details[0]
    assert headline(study, []) == "No cell is done yet."
    assert "No cell is done yet." in page(summarise(study, []), [])


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_loads_nothing_runs_nothing_and_shows_no_json(study: Study) -> None:
    rows = [replace(row, errors={"missed": 3, "wrong_type": 1}) for row in rows_of(study)]
    made = page(summarise(study, rows), rows)
    tags = _Tags()
    tags.feed(made)
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in tags.seen}
    assert not any(name.startswith("on") or name in ("src", "href") for _, names in tags.seen for name in names)
    policy = next(names["content"] for tag, names in tags.seen if names.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not re.search(r'[{\[]"|": ', re.sub(r"(?s)<style>.*?</style>", "", made))
    assert (
        made.index("verdict")
        < made.index("What it cost")
        < made.index("What to do next")
        < made.index("<svg", made.index("paired"))
    )
    for said in (
        "students trained and scored</th><td>20 of 20",
        "Let the teacher label",
        "mistakes by kind",
        "<td>3.0</td>",
    ):
        assert said in made


def test_rows_of_an_older_method_are_warned_of(study: Study) -> None:
    rows = rows_of(study)
    assert 'class="warning"' not in page(summarise(study, rows), rows)
    older = [replace(row, method="old") for row in rows]
    assert "20 of 20 rows were made by another method" in page(summarise(study, older), older)


def test_test_sets_that_differ_by_seed_give_a_verdict_but_no_forecast(study: Study) -> None:
    rows = [on_another_gold_set(row) if row.seed == 1 else row for row in rows_of(study)]
    made = page(summarise(study, rows), rows)
    assert "What to do next cannot be told: the rows were scored on different gold sets." in made
    assert "labels bring +" in made


def test_names_are_only_text_on_the_page(study: Study) -> None:
    rows = rows_of(study)
    summary = replace(summarise(study, rows), name="<script>x</script>", notes=("<b>bold</b>",))
    made = page(summary, rows)
    assert "<script>" not in made
    assert "<b>bold" not in made


def report(*arguments: Any) -> Any:
    return CliRunner(catch_exceptions=False).invoke(commands, ["report", *map(str, arguments)])


def test_report_takes_a_configuration_or_the_studys_folder(config: Path, study: Study, tmp_path: Path) -> None:
    results = Results(tmp_path / "rows.jsonl")
    for row in rows_of(study):
        results.add(replace(row, study="small-study"))
    command = [
        "study",
        str(config),
        "--table",
        "-o",
        str(results.path),
        "--folder",
        str(tmp_path / "out"),
        "--set",
        DRAWS,
    ]
    assert CliRunner(catch_exceptions=False).invoke(commands, command).exit_code == 0
    done = report(config, "--rows", results.path, "-o", tmp_path / "a.html", "--json")
    assert json.loads(done.stdout)["has_text"] is False
    assert report(tmp_path / "out", "-o", tmp_path / "b.html").exit_code == 0
    of_folder = (tmp_path / "b.html").read_text("utf-8")
    assert of_folder == (tmp_path / "out/index.html").read_text("utf-8")  # with the same --set
    assert "The teacher&#39;s labels bring" in of_folder
    assert "The teacher&#39;s labels bring" in (tmp_path / "a.html").read_text("utf-8")


def test_report_refuses_what_is_neither(config: Path, tmp_path: Path) -> None:
    def failed(*arguments: Any) -> str:
        return str(CliRunner().invoke(commands, ["report", *map(str, arguments)]).exception)

    assert "config.yaml is missing" in failed(tmp_path)
    assert "--rows is for a study" in failed(tmp_path, "--rows", tmp_path / "r.jsonl")
    assert "Run the study first" in failed(config)
    (tmp_path / "study.json").write_text("[]")
    assert "not as `study` wrote it" in failed(tmp_path)


def test_the_committed_rows_give_the_figures_of_results() -> None:
    loaded = Study.load(ROOT / "configs/paper/phase2.yaml", [DRAWS])
    rows = [row for row in Results(ROOT / "docs/results/rows.jsonl").read() if row.study == loaded.settings.name]
    told = headline(loaded, rows)
    assert re.match(
        r"The teacher's labels bring \+7\.2 F1 \(\d\.\d to \d+\.\d\) over 250 labelled sentences alone\.", told
    )
