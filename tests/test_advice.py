"""advise: what learning curves suggest, and when they suggest nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from safetensors.numpy import save_file
from studying import write_config

from distill_offline.cli import commands
from distill_offline.manifest.method import method
from distill_offline.study import Results, Row, Study
from distill_offline.study.advice import advise
from distill_offline.study.counts import pack

SEEDS = range(5)


def row(arm: str, size: int, seed: int, f1: float) -> Row:
    """A student that finds a share of 400 entities so that its F1 is about `f1`; seeds differ by chance."""
    recall = f1 / (2 - f1)
    counts = np.zeros((400, 1, 3), dtype=np.uint16)
    counts[:, 0, 0] = np.random.default_rng([seed, size, len(arm)]).permutation(400) < round(400 * recall)
    counts[:, 0, 2] = 1 - counts[:, 0, 0]
    hits = int(counts[:, 0, 0].sum())
    scores = {"precision": 1.0, "recall": hits / 400, "f1": 2 * hits / (hits + 400), "support": 400}
    distilled = 0 if arm == "original_only" else 9
    return Row(
        key=f"{arm} {size} {seed}", study="made", variant="single", size=size, seed=seed, arm=arm,
        pools={"original": size, "dev": 0, "dev_in_size": 0, "distilled": 40, "dropped": 0},
        training={
            "updates": 3, "batch_size": 4, "learning_rate": 0.01, "distilled_drawn": distilled, "original_drawn": 9,
            "best_update": 3, "best_dev_f1": f1, "threads": 1, "seconds": 1.0,
        },
        on="d1", split="test", metric="entity_f1", overall=scores, per_type={"PERSON": scores}, errors={},
        types=("PERSON",), counts=pack(counts), versions={}, method="m",
    )  # fmt: skip


def curve(arm: str, f1: Callable[[int], float], sizes: tuple[int, ...] = (50, 100, 200, 400)) -> list[Row]:
    noise = np.random.default_rng(3).normal(0, 0.004, (len(sizes), len(SEEDS)))
    return [row(arm, size, seed, f1(size) + noise[i, seed]) for i, size in enumerate(sizes) for seed in SEEDS]


def steep(size: int) -> float:
    return 1.0 - 2.2 * math.pow(size, -0.4)


def flat(size: int) -> float:
    return 0.84


def test_a_steep_curve_says_label_more_and_forecasts_what_the_law_gives() -> None:
    found = advise(curve("original_only", steep), more=150, seconds=60)
    assert any(
        line.startswith("Label 150 more: 150 more labelled sentences (2.5 hours at 60 s each)") for line in found.lines
    )
    (only,) = found.curves
    assert only.forecast is not None
    assert only.forecast.f1 == pytest.approx(steep(550), abs=0.015)
    assert only.forecast.low < only.forecast.gain < only.forecast.high
    assert abs(only.forecast.missed_by) < 0.02


def test_a_flat_curve_says_stop_and_a_noisy_or_short_one_says_that_it_cannot_tell() -> None:
    assert any(line.startswith("Stop labelling") for line in advise(curve("original_only", flat)).lines)
    short = advise(curve("original_only", steep, (100, 200)))
    assert any("Not enough to tell what 150 more" in line for line in short.lines)
    few = [r for r in curve("original_only", steep) if r.seed < 2]
    assert any("Not enough to tell what 150 more" in line for line in advise(few).lines)
    assert any("stand on 2 seeds" in line for line in advise(few).lines)
    bent = advise(curve("original_only", lambda size: 0.5 if size < 400 else 0.8))
    assert any("more than the gain itself" in line for line in bent.lines)
    far = advise(curve("original_only", steep), more=5000)
    assert any("Not enough to tell what 5000 more" in line for line in far.lines)


@pytest.mark.parametrize(
    ("blended", "said"),
    [
        (0.08, "Let the teacher label"),
        (-0.08, "Do not train on this teacher's labels"),
        (0.0, "Not enough to tell whether the teacher"),
    ],
)
def test_the_teachers_worth_is_a_paired_comparison_at_the_largest_size(blended: float, said: str) -> None:
    rows = curve("original_only", steep) + curve("simple_mix", lambda size: steep(size) + blended)
    found = advise(rows)
    assert found.lines[0].startswith(said)
    gain = found.gains[-1]
    assert (gain.size, gain.arm, gain.over, gain.seeds) == (400, "simple_mix", "original_only", 5)
    assert gain.difference == pytest.approx(blended, abs=0.02)


def test_a_size_with_few_seeds_is_no_ground_to_forecast_from() -> None:
    alone = row("original_only", 450, 0, steep(450))
    [only] = advise([*curve("original_only", steep), alone]).curves
    assert only.forecast is not None
    assert (only.forecast.measured, only.forecast.size, only.seeds[450]) == (400, 550, 1)
    lines = advise([*curve("original_only", steep), alone]).lines
    assert any(f"from {100 * only.f1[400]:.1f} with 400;" in line for line in lines)


def test_the_arm_that_labels_are_forecast_for_is_chosen_on_dev() -> None:
    better = [
        replace(each, training={**each.training, "best_dev_f1": 0.1})
        for each in curve("simple_mix", lambda n: steep(n) + 0.1)
    ]
    lines = advise([*curve("original_only", steep), *better]).lines
    assert any("would bring original_only" in line for line in lines)


def test_one_kind_of_arm_alone_and_no_rows_are_told() -> None:
    assert "not measured" in advise(curve("simple_mix", steep)).lines[0]
    assert advise([]).lines == ("Nothing has been measured yet: run the study first.",)
    rows = curve("original_only", steep)
    with pytest.raises(ValueError, match="different gold sets"):
        advise([*rows, replace(rows[0], on="d2")])


def test_the_verb_reads_the_rows_of_its_own_study(tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", "none", seeds=[0, 1, 2], sizes=[8, 16])
    study = Study.load(config)
    results = Results(tmp_path / "rows.jsonl")
    for cell in study.cells:
        made = row(cell.arm.name, cell.size, cell.seed, 0.6)
        results.add(replace(made, study=study.settings.name, variant=cell.variant))
    results.add(row("elsewhere", 8, 0, 0.9))
    result = CliRunner().invoke(commands, ["advise", str(config), "-o", str(results.path), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["rows"] == len(study.cells)
    assert yaml.safe_load(config.read_text("utf-8"))["study"]["sizes"] == [8, 16]
    shown = CliRunner().invoke(commands, ["advise", str(config), "-o", str(results.path)])
    assert "learning curves" in shown.output


def test_rows_of_other_settings_are_no_part_of_the_curves(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    save_file({"weight": np.zeros(2, np.float32)}, encoder / "model.safetensors")
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0, 1, 2], sizes=[8, 16])
    study, results = Study.load(config), Results(tmp_path / "rows.jsonl")
    for number, cell in enumerate(study.cells):
        made = replace(row(cell.arm.name, cell.size, cell.seed, 0.6), study=study.settings.name, variant=cell.variant)
        results.add(replace(made, key=study.key(cell) if number else "of other settings", method=method()))
    result = CliRunner().invoke(commands, ["advise", str(config), "-o", str(results.path), "--json"])
    assert json.loads(result.stdout)["rows"] == len(study.cells) - 1
    assert "1 rows are of other settings or data; they are left out" in result.output
