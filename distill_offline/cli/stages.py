"""run, annotate, select and train: verbs over a configuration, each resumed by running it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distill_offline.cli.options import config_options, open_run
from distill_offline.console import Console

__all__ = ["annotate", "run", "select", "train"]


@click.command()
@config_options
def run(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Annotate, select, train every arm, evaluate, and write a report.

    What is done already is not done again; a changed setting runs the stages again that it touches.

    Example: distill-offline run configs/quickstart.yaml --set annotate.limit=40
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            _show_plan(console, pipeline.plan(folder, ("annotate", "select", "train")))
            return
        result = pipeline.run(folder)
    if as_json:
        console.json(result)
    else:
        console.scores(result)
        console.result(f"Everything is in {folder.path}; open {folder.path / 'report' / 'index.html'}.")


@click.command()
@config_options
@click.option("--status", is_flag=True, help="Say how far a running or stopped annotation is; disturb nothing.")
def annotate(
    config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool, status: bool
) -> None:
    """Let the teacher label the corpus. Ctrl-C stops cleanly; running it again asks only what is missing.

    Example: distill-offline annotate configs/quickstart.yaml --set annotate.limit=40
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            _show_plan(console, pipeline.plan(folder, ("annotate",)))
            return
        if status:
            _show_status(console, pipeline.status(folder))
            return
        folder.open()
        counts = pipeline.annotate(folder)
        folder.seal()
    if as_json:
        console.json(counts)
    else:
        console.table(
            "annotate",
            ["part", "rows", "cached", "asked", "annotated", "quarantined", "spans", "rejected mentions"],
            [
                [part, *(row[key] for key in ("rows", "cached", "asked", "annotated"))]
                + [sum(row[key].values()) for key in ("quarantined", "aligned", "rejected")]
                for part, row in counts.items()
            ],
        )


@click.command()
@config_options
def select(config: Path, output: Path | None, changes: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Choose which annotations students may learn from.

    Example: distill-offline select configs/quickstart.yaml --set select.drop_rejected=true
    """
    console = Console(as_json)
    with open_run(config, output, changes, console) as folder:
        from distill_offline import pipeline

        if dry_run:
            _show_plan(console, pipeline.plan(folder, ("select",)))
            return
        folder.open()
        counts = pipeline.select(folder)
        folder.seal()
    if as_json:
        console.json(counts)
    else:
        console.table("select", ["what", "sentences"], sorted(counts.items()))


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
            _show_plan(console, pipeline.plan(folder, ("select", "train")))
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


def _show_status(console: Console, status: dict[str, Any]) -> None:
    if console.as_json:
        console.json(status)
        return
    rows = [[part, row["reached"], row["answered"]] for part, row in status["parts"].items()]
    console.table("annotate", ["part", "rows reached", "answered"], rows)
    console.result(
        f"{status['completions']} completions stored; {'finished' if status['finished'] else 'not finished'}."
    )


def _show_plan(console: Console, plan: list[dict[str, Any]]) -> None:
    if console.as_json:
        console.json(plan)
        return
    rows = [[step["stage"], "up to date" if step["fresh"] else "would run", step["detail"]] for step in plan]
    console.table("dry run", ["stage", "state", "what"], rows)
