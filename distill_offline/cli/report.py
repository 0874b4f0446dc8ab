"""report: the verb that writes the page of a run or of a study."""

from __future__ import annotations

import json
from pathlib import Path

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option
from distill_offline.errors import InputError

__all__ = ["report"]

_BEGINS = b"<!doctype html>"


@click.command()
@click.argument(
    "source", metavar="RUN|STUDY", type=click.Path(path_type=Path), shell_complete=completing.runs_and_studies
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write [report.html in this folder].")
@click.option("--redact", is_flag=True, help="Leave out all text of the corpus: sentences, mentions and answers.")
@click.option("--rows", type=click.Path(path_type=Path), help="A study's file of rows [beside its configuration].")
@json_option
def report(source: Path, output: Path | None, redact: bool, rows: Path | None, as_json: bool) -> None:
    """Write the page of a run or of a study: what it shows, what it cost, and what to do next.

    RUN is the folder of a run that was evaluated. `run` writes the same page into the run itself, with the text of its
    sentences; with --redact one can be given to people who may not read the corpus.

    STUDY is a study's configuration, or its folder. The page is made of its rows alone, and never holds text.

    A page is one file that loads nothing from anywhere.

    Example: distill-offline report runs/quickstart --redact -o quickstart.html
    """
    from distill_offline.storage.files import write_text

    console, target = Console(as_json), output or Path("report.html")
    _check_output(target, source)
    if source.is_dir() and not _is_study(source):
        if rows is not None:
            raise InputError(f"report: --rows is for a study, and {source} is none.")
        from distill_offline.pipeline.report_page import page_of_run

        page, has_text = page_of_run(source, redact=redact), not redact
    else:
        page, has_text = _page_of_study(console, source, rows), False
    write_text(target, page)
    if as_json:
        console.json({"file": str(target), "bytes": len(page.encode()), "has_text": has_text})
    else:
        console.result(f"{target}: the page of {source}{'' if has_text else ', without any text of its corpus'}.")


def _check_output(target: Path, source: Path) -> None:
    """Raises InputError if a file is there that is no page, or that the run's manifest seals."""
    if not target.is_file():
        return
    with target.open("rb") as file:
        is_page = file.read(len(_BEGINS)).lower() == _BEGINS
    if not is_page:
        raise InputError(f"{target}: is there already, and is no page. Choose another name.")
    if target.resolve() == (source / "report" / "index.html").resolve():
        raise InputError(f"{target}: is the run's own page, which its manifest seals. Choose another name.")


def _is_study(folder: Path) -> bool:
    from distill_offline.cli.study import MADE_OF

    return (folder / MADE_OF).is_file()


def _page_of_study(console: Console, source: Path, rows: Path | None) -> str:
    from distill_offline import study as studies
    from distill_offline.cli.study import default_rows_file, rows_of_study
    from distill_offline.corpus import resolve_path

    config, changes = source, list[str]()
    if source.is_dir():
        config, changes, rows = _made_of(source, rows)
    path = resolve_path(str(config))
    loaded = studies.Study.load(path, changes)
    results = studies.Results(rows or default_rows_file(config, path, only_read=True))
    if not results.path.is_file():
        raise InputError(f"report: {results.path} is not there. Run the study first, or name its rows with --rows.")
    found, seen = rows_of_study(console, loaded, results)
    return studies.page(studies.summarise(loaded, found), found, studies.summarise_examined(loaded, seen))


def _made_of(folder: Path, rows: Path | None) -> tuple[Path, list[str], Path]:
    """Configuration, changes and rows of the study whose folder this is."""
    from distill_offline.cli.study import MADE_OF

    try:
        told = json.loads((folder / MADE_OF).read_text("utf-8"))
        return Path(told["configuration"]), list(told["changes"]), rows or Path(told["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / MADE_OF}: not as `study` wrote it. Give the study's configuration instead."
        ) from error
