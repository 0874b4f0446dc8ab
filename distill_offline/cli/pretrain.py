"""pretrain: the verb that lets the encoder learn the site's own text."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import config_options, open_run, show_plan

__all__ = ["pretrain"]


@click.command()
@config_options
def pretrain(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Let the encoder guess hidden words of the site's own text; students start from it.

    Needs the section `pretrain`. Text that is in dev or test, too, is left out. `run`, `train` and `study` do this
    themselves where it has not been done.

    Example: distill-offline pretrain configs/quickstart.yaml --set pretrain.passes=2
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        folder.require("pretrain", folder.settings.pretrain)
        if dry_run:
            show_plan(console, pipeline.plan(folder, ("pretrain",)))
            return
        folder.open()
        counts = pipeline.pretrain(folder)
        folder.seal()
    if as_json:
        console.json(counts)
    else:
        console.table("pretrain", ["what", "count"], sorted(counts.items()))
