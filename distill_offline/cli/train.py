"""train: the verb that selects and then trains each arm."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import config_options, open_run, show_plan

__all__ = ["train"]


@click.command()
@config_options
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME",
    help="Train only this arm, or one of its students (NAME-2); may be repeated.",
)
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
            show_plan(console, pipeline.plan(folder, ("pretrain", "select", "train"), arms=arms))
            return
        pipeline.check_training(folder.settings, arms)
        folder.open()
        pipeline.pretrain(folder)
        pipeline.select(folder)
        counts = pipeline.train(folder, arms)
        folder.seal()
    if as_json:
        console.json(counts)
    else:
        keys = ("distilled_drawn", "original_drawn", "best_update", "best_dev_f1")
        console.table("train", ["arm", *keys], [[arm, *(row[key] for key in keys)] for arm, row in counts.items()])
