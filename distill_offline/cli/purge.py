"""purge: the verb that deletes a document from runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option
from distill_offline.errors import DistillError, InputError

__all__ = ["purge"]


@click.command()
@click.option("--document", required=True, metavar="ID", help="The document's id, as in annotations.jsonl.")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path), shell_complete=completing.runs)
@json_option
def purge(document: str, runs: tuple[Path, ...], as_json: bool) -> None:
    """Delete a document from runs: answers, demonstrations, annotations.

    It also says which students learned from the document.

    RUN is a run's folder, or one that holds runs (a study's, say): every run at or below it is looked at. By default
    that is every run below runs/, at any depth.

    Example: distill-offline purge --document patient-17
    """
    from distill_offline import pipeline

    console = Console(as_json)
    if not runs and not Path("runs").is_dir():
        raise InputError("purge: there is no folder runs/ here. Name the folder of a run.")
    purged = pipeline.purge_below(document, runs or (Path("runs"),))
    if as_json:
        console.json(purged)
    else:
        _show_purged(console, purged)
    failed = [f"{row['run']}: {row['failed']}" for row in purged["runs"] if row["failed"]]
    failed += [f"{entry[key]}: {entry['why']}" for key, entry in _beside(purged) if "NOT LOOKED AT" in entry["why"]]
    if failed:
        raise DistillError(f"purge: NOT done in {len(failed)} places; what lies there may stay. {failed[0]}")


_PURGED = ("completions", "rows", "demonstrations", "lines")


def _beside(purged: Mapping[str, Any]) -> list[tuple[str, Mapping[str, str]]]:
    return [*(("folder", entry) for entry in purged["skipped"]), *(("file", entry) for entry in purged["left"])]


def _show_purged(console: Console, purged: Mapping[str, Any]) -> None:
    runs = purged["runs"]
    console.table("purge", ["run", *_PURGED], [[row["run"], *(row[key] for key in _PURGED)] for row in runs])
    changed = sum(any(row[key] for key in _PURGED) for row in runs)
    where = (
        f"in {changed} of them, and was deleted there."
        if changed
        else "in none of them: purged before, or its id is another."
    )
    console.result(f"{len(runs)} runs were looked at; the document was {where}")
    for row in runs:
        if row["failed"]:
            console.result(f"{row['run']}: NOT DONE: {row['failed']}")
    for key, entry in _beside(purged):
        console.result(f"{key} {entry[key]}: {'skipped: ' if key == 'folder' else ''}{entry['why']}")
    for row in runs:
        if row["encoder"]:
            console.result(
                f"{row['run']}: the encoder that pretrain made has learnt from it. Take the document out of "
                "the corpus, delete pretrain/ there, and run it again."
            )
        if row["adapter"]:
            console.result(
                f"{row['run']}: the teacher's adapter has learnt from it. Take the document out of the corpus, delete "
                "adapt/ there, and run it again: the teacher is adapted and asked anew."
            )
    students = [f"{row['run']}: {name}" for row in runs for name in row["students"]]
    if students:
        console.result(
            "These students were trained on it, or made with ones that were, and only training them again makes them "
            "forget it:"
        )
        for student in students:
            console.result(f"  {student}")
    for row in runs:
        for line in row["unchecked"]:
            console.result(f"{row['run']}: NOT CHECKED: {line}")
    console.result(
        "The corpus files are yours: a document that stays there is annotated again the next time that annotate has "
        "something to do. Rows whose prompt showed a purged "
        "demonstration are asked again by the next annotate."
    )
