"""adapt: the verb by which the teacher learns from gold."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import config_options, open_run, show_plan

__all__ = ["adapt"]


@click.command()
@config_options
def adapt(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Let the teacher learn from the gold training sentences (LoRA).

    Needs the section `adapt` of the configuration, and the teacher's weights as safetensors. --dry-run says how much
    memory it takes.

    Example: distill-offline adapt configs/mine.yaml --set adapt.epochs=3
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            show_plan(console, pipeline.plan(folder, ("adapt",)))
            return
        folder.open()
        counts = pipeline.adapt(folder)
        folder.seal()
    if as_json:
        console.json(counts)
        return
    keys = ("loss", "dev_loss", "dev_f1")
    rows = [[row["epoch"], *(f"{row[key]:.3f}" if key in row else "" for key in keys)] for row in counts["history"]]
    console.table(f"adapt: epoch {counts['epoch']} is kept", ["epoch", *keys], rows)
