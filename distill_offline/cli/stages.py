"""run, select and train: verbs over a configuration, each resumed by running it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distill_offline.cli.options import config_options, open_run, show_plan
from distill_offline.console import Console, percent

__all__ = ["run", "select", "train"]


@click.command()
@config_options
def run(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Annotate, select, train every arm, evaluate, and write a report.

    What is done already is not done again. After a change of a setting, the stages that depend on it run again.

    Example: distill-offline run configs/quickstart.yaml --set annotate.limit=40
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            show_plan(console, pipeline.plan(folder, ("annotate", "select", "train")))
            return
        result = pipeline.run(folder)
    if as_json:
        console.json(result)
    else:
        console.scores(result)
        console.result(f"Everything is in {folder.path}; open {folder.path / 'report' / 'index.html'}.")


@click.command()
@config_options
def select(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Choose which annotations students may learn from.

    Shows what was kept and dropped, by reason. If there is gold to compare with (annotate.gold: [train], or
    select.truth), it also shows how good the labels are before and after.

    Example: distill-offline select configs/quickstart.yaml --set select.drop_rejected=true
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            show_plan(console, pipeline.plan(folder, ("select",)))
            return
        folder.open()
        pipeline.select(folder)
        folder.seal()
        report = pipeline.selection_report(folder)
    if as_json:
        console.json({**report["counts"], "effect": report["effect"]})
        return
    console.table("select", ["what", "count"], sorted(report["counts"].items()))
    if report["effect"]:
        console.table(
            "labels before and after, in percent, on the sentences that are there",
            ["gold", "sentences", "precision", "recall", "F1", "support"],
            [_scores(effect, moment) for effect in report["effect"] for moment in ("before", "after")],
        )


def _scores(effect: dict[str, Any], moment: str) -> list[Any]:
    row, how = effect[moment], effect["confidences"] if moment == "after" else ""
    name = f"{effect['on']} {moment}" + (f" (confidences {how})" if how else "")
    return [name, row["sentences"], *(percent(row[key]) for key in ("precision", "recall", "f1")), row["support"]]


@click.command()
@config_options
@click.option("--arm", "arms", multiple=True, metavar="NAME", help="Train only this arm; may be repeated.")
def train(
    config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool, arms: tuple[str, ...]
) -> None:
    """Select, then train a student for each arm.

    Example: distill-offline train configs/quickstart.yaml --arm simple_mix
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            show_plan(console, pipeline.plan(folder, ("select", "train"), arms=arms))
            return
        folder.open()
        pipeline.select(folder)
        counts = pipeline.train(folder, arms)
        folder.seal()
    if as_json:
        console.json(counts)
    else:
        keys = ("distilled_drawn", "original_drawn", "best_update", "best_dev_f1")
        console.table("train", ["arm", *keys], [[arm, *(row[key] for key in keys)] for arm, row in counts.items()])
