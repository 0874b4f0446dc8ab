"""study: a grid of arms, sizes and seeds, resumed by running it again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console, duration
from distill_offline.cli.options import NumberRange, command_line, json_option, stopping
from distill_offline.errors import InputError, Interrupted, MissingModel

if TYPE_CHECKING:
    from distill_offline.study import Examined, Results, Row, Study

__all__ = ["MADE_OF", "default_rows_file", "rows_of_study", "study"]

MADE_OF = "study.json"  # in the study's folder: configuration, changes and rows, as they were named, for `report`


@click.command()
@click.argument("config", type=click.Path(path_type=Path), shell_complete=completing.configs)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file of rows [CONFIG without .yaml, .results.jsonl]."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where cells run and tables go [runs/NAME].")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting: section.key=value.")
@click.option("--dry-run", is_flag=True, help="List the cells that would run, in order; train nothing.")
@click.option("--status", is_flag=True, help="Show how many cells are done, and how long the rest will take.")
@click.option("--table", is_flag=True, help="Only make tables and plots of the rows that are there.")
@click.option("--renew", is_flag=True, help="Run cells again whose rows were made by another method than the present.")
@click.option("--limit-hours", type=NumberRange(min=0, min_open=True), help="Stop before a cell that would end later.")
@json_option
def study(
    config: Path,
    output: Path | None,
    folder: Path | None,
    changes: tuple[str, ...],
    dry_run: bool,
    status: bool,
    table: bool,
    renew: bool,
    limit_hours: float | None,
    as_json: bool,
) -> None:
    """Train and score every arm for several sizes and seeds.

    CONFIG's section `study` says which variants, sizes and seeds.

    A finished cell is one line of the rows file. It does not run again unless what went into it has changed. Ctrl-C and
    a kill lose no finished cell. Exit code 130 if cells are left, also after --limit-hours.

    Example: distill-offline study configs/paper/phase2.yaml --limit-hours 8
    """
    if dry_run + status + table > 1:
        raise click.UsageError("give one of --dry-run, --status and --table.")
    from distill_offline import study as studies
    from distill_offline.corpus import resolve_path
    from distill_offline.storage.files import write_text

    console, path = Console(as_json), resolve_path(str(config))
    loaded = studies.Study.load(path, changes)
    results = studies.Results(output or default_rows_file(config, path, only_read=dry_run or status or table))
    study_folder = folder or Path("runs") / loaded.settings.name
    if dry_run or status:
        _show_progress(console, loaded, results, list_cells=dry_run, renew=renew)
        return
    left: Interrupted | None = None
    if not table:
        with stopping(console) as stop:
            runner = studies.Runner(
                loaded,
                study_folder,
                results,
                say=console.say,
                watch=console.watch,
                stop=stop,
                command=command_line(),
                renew=renew,
            )
            try:
                studies.run(runner, limit_hours)
            except Interrupted as error:
                if stop():
                    raise
                left = error  # the hours are over: there is time for tables
    _show_tables(console, loaded, results, study_folder)
    made_of = {"configuration": str(config), "changes": changes, "rows": str(results.path)}
    write_text(study_folder / MADE_OF, json.dumps(made_of, indent=1) + "\n")
    if left is not None:
        console.say(f"to go on: {shlex.join(command_line())}")
        raise left


def default_rows_file(config: Path, path: Path, *, only_read: bool) -> Path:
    """Beside the configuration; of one that is installed with the package, in the folder where the command runs.

    What is only read may come from the rows that are installed beside it.
    """
    beside = Path(f"{path.with_suffix('')}.results.jsonl")
    here = Path(beside.name)
    is_installed = str(config).startswith("package:")
    return here if is_installed and (here.exists() or not only_read or not beside.exists()) else beside


def _show_progress(console: Console, loaded: Study, results: Results, *, list_cells: bool, renew: bool) -> None:
    from distill_offline import study as studies

    state = studies.progress(loaded, results, renew=renew)
    if state["seconds"] is not None:
        state["seconds"] = round(state["seconds"] / studies.cells_at_once(loaded))
    if console.as_json:
        console.json(state if list_cells else {**state, "missing": len(state["missing"])})
        return
    if list_cells:
        for line in state["missing"]:
            console.result(line)
    rest = "" if state["seconds"] is None else f"; the rest will take about {duration(state['seconds'])}"
    other = f"; {state['other']} rows are of other settings or data" if state["other"] else ""
    old = f"; {state['old']} of them by another method (--renew runs them again)" if state["old"] else ""
    console.result(f"{state['done']} of {state['cells']} cells are done{old}{rest}{other}.")


def rows_of_study(console: Console, loaded: Study, results: Results) -> tuple[list[Row], list[Examined]]:
    """The study's rows and what was seen in cells, those of other settings or data left out and told."""
    from distill_offline import study as studies

    rows = [row for row in results.read() if row.study == loaded.settings.name]
    seen = [
        examination
        for examination in studies.Examinations.beside(results.path).read()
        if examination.study == loaded.settings.name
    ]
    try:
        rows, seen = studies.rows_by_method(loaded, rows), studies.examined_by_method(loaded, seen)
        keys = {loaded.key(cell) for cell in loaded.cells}
        looks = {loaded.examination_key(cell) for cell in loaded.cells}
    except (InputError, MissingModel) as error:
        console.say(f"study: the rows are shown unchecked against the corpora ({error})")
        return rows, seen
    if other := sum(row.key not in keys for row in rows):
        console.say(f"study: {other} rows are of other settings or data; they are left out.")
    return (
        [row for row in rows if row.key in keys],
        [examination for examination in seen if examination.key in looks],
    )


def _show_tables(console: Console, loaded: Study, results: Results, study_folder: Path) -> None:
    from distill_offline import study as studies

    rows, seen = rows_of_study(console, loaded, results)
    summary, explanation = studies.summarise(loaded, rows), studies.summarise_examined(loaded, seen)
    paths = studies.publish(summary, study_folder, explanation, rows)
    if console.as_json:
        console.json(studies.as_json(summary, explanation))
        return
    tables = (studies.arm_table(summary), studies.comparison_table(summary), studies.type_table(summary))
    for made in (*tables, *studies.examined_tables(explanation)):
        console.table(made.title, made.columns, made.rows)
    for note in (*summary.notes, *explanation.notes):
        console.result(note)
    console.result(f"Tables and plots are in {study_folder}: {', '.join(path.name for path in paths)}.")
    console.result(f"Open {study_folder / 'index.html'}: what it shows, what it cost, and what to do next.")
