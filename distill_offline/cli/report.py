"""report: the verb that writes the page of a run."""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option

__all__ = ["report"]


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.runs)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write [report.html in this folder].")
@click.option("--redact", is_flag=True, help="Leave out all text of the corpus: sentences, mentions and answers.")
@json_option
def report(run: Path, output: Path | None, redact: bool, as_json: bool) -> None:
    """Write the page of a run: what it shows, what it cost, and its sentences.

    RUN is the folder of a run that was evaluated. The page is one file that loads nothing from anywhere. `run` writes
    the same page into the run itself, with text; with --redact one can be given to people who may not read the corpus.

    Example: distill-offline report runs/quickstart --redact -o quickstart.html
    """
    from distill_offline.pipeline.report_page import page_of_run
    from distill_offline.storage.files import write_text

    console, target = Console(as_json), output or Path("report.html")
    page = page_of_run(run, redact=redact)
    write_text(target, page)
    if as_json:
        console.json({"file": str(target), "bytes": len(page.encode()), "has_text": not redact})
    else:
        console.result(f"{target}: the page of {run}{', without any text of its corpus' if redact else ''}.")
