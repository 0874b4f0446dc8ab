"""select: the verb that chooses what students may learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distill_offline.cli.console import Console, percent
from distill_offline.cli.options import config_options, open_run, show_plan

__all__ = ["select"]


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

        crosses = folder.settings.select.cross_fit is not None  # its students start from the encoder
        if dry_run:
            show_plan(console, pipeline.plan(folder, ("pretrain", "select") if crosses else ("select",)))
            return
        folder.open()
        if crosses:
            pipeline.pretrain(folder)
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
