"""advise: the verb that says what a study's learning curves suggest to do next."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import NumberRange, json_option
from distill_offline.errors import InputError

__all__ = ["advise"]


@click.command()
@click.argument("config", type=click.Path(path_type=Path), shell_complete=completing.configs)
@click.option("-o", "--output", "rows_file", type=click.Path(path_type=Path), help="The study's file of rows.")
@click.option("--more", type=click.IntRange(min=1), default=150, help="How many further sentences people could label.")
@click.option("--seconds", type=NumberRange(min=0.1), default=30.0, help="A person's time for one sentence.")
@json_option
def advise(config: Path, rows_file: Path | None, more: int, seconds: float, as_json: bool) -> None:
    """Say what to do next: label more, let the teacher label, or stop.

    CONFIG is that of a study with several sizes and seeds that was run: its rows are the learning curves on your own
    gold. Forecasts have a 95% interval; where they cannot be trusted, it says so.

    Example: distill-offline advise configs/paper/phase2.yaml --more 250
    """
    from distill_offline.cli.study import default_rows_file, rows_of_study
    from distill_offline.corpus import resolve_path
    from distill_offline.study import Results, Study
    from distill_offline.study.advice import advise as advice_on

    console, path = Console(as_json), resolve_path(str(config))
    loaded = Study.load(path, ())
    results = Results(rows_file or default_rows_file(config, path, only_read=True))
    names = {cell.name for cell in loaded.cells}
    rows = [row for row in rows_of_study(console, loaded, results)[0] if row.cell in names]
    try:
        found = advice_on(rows, more=more, seconds=seconds)
    except ValueError as error:
        raise InputError(
            f"advise: {results.path}: {error}. Run the study again, so that all rows are of one."
        ) from error
    if as_json:
        console.json({"rows": len(rows), **found.as_dict()})
        return
    table = [
        [curve.variant, curve.arm, size, f"{100 * f1:.1f}", curve.seeds[size]]
        for curve in found.curves
        for size, f1 in curve.f1.items()
    ]
    console.table("learning curves", ["variant", "arm", "sentences", "F1", "seeds"], table)
    for line in found.lines:
        console.result(line)
