"""run: the verb that does all stages; it is resumed by running it again."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import config_options, open_run, show_plan

__all__ = ["run"]


@click.command()
@config_options
def run(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Adapt the teacher and pre-train the encoder where asked, annotate, select, train every arm, evaluate, report.

    What is done already is not done again. After a change of a setting, the stages that depend on it run again.

    Example: distill-offline run configs/quickstart.yaml --set annotate.limit=40
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            show_plan(console, pipeline.plan(folder, ("adapt", "annotate", "pretrain", "select", "train")))
            return
        result = pipeline.run(folder)
    if as_json:
        console.json(result)
    else:
        console.scores(result)
        console.result(f"Everything is in {folder.path}; open {folder.path / 'report' / 'index.html'}.")
