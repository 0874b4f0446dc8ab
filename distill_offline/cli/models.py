"""models: verbs over the teachers and students on the disk."""

from __future__ import annotations

from typing import Any

import click

from distill_offline.cli import completing
from distill_offline.cli.console import Console
from distill_offline.cli.options import json_option, stopping
from distill_offline.errors import EnvironmentFault
from distill_offline.schema import Progress

__all__ = ["models"]


@click.group()
def models() -> None:
    """List, fetch, pin and verify models."""


def megabytes(size: int | None) -> str:
    return "-" if size is None else str(round(size / 1e6))


@models.command("list", short_help="List the models of the catalogue, and which are here.")
@json_option
def list_models(as_json: bool) -> None:
    """List the models of the catalogue, and say which are here.

    Example: distill-offline models list
    """
    from distill_offline.models.catalogue import Catalogue

    console = Console(as_json)
    rows: list[dict[str, Any]] = [
        {
            "id": entry.id,
            "role": entry.role,
            "here": entry.folder.is_dir(),
            "status": entry.status,
            "size": entry.size,
            "licence": entry.licence.spdx,
            "outputs": entry.licence.outputs,
            "source": str(entry.source),
            "note": entry.note,
        }
        for entry in Catalogue.load().entries
    ]
    if as_json:
        console.json(rows)
        return
    console.table(
        "models",
        ["id", "role", "here", "status", "MB", "licence", "source"],
        [
            [
                r["id"],
                r["role"],
                "yes" if r["here"] else "no",
                r["status"],
                megabytes(r["size"]),
                r["licence"],
                r["source"],
            ]
            for r in rows
        ],
    )


@models.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.model_ids)
def fetch(ids: tuple[str, ...]) -> None:
    """Download pinned models into models/. This is the one command that uses a network; only digests are trusted.

    Example: distill-offline models fetch SmolLM2-135M-Instruct-GGUF all-MiniLM-L6-v2
    """
    from distill_offline.models import catalogue

    console = Console()
    with stopping(console):
        for model in ids:

            def watch(done: int, total: int, model: str = model) -> None:
                megabytes = {"megabytes": done / 1e6}
                console.watch(Progress(f"fetch {model}", done, total, megabytes))

            folder = catalogue.fetch(model, progress=watch)
            console.result(f"{model}: intact in {folder}")


@models.command()
@click.argument("model", metavar="ID|FOLDER", shell_complete=completing.model_ids)
def pin(model: str) -> None:
    """Write the digests of a model that you brought in into the catalogue.

    Example: distill-offline models pin models/all-MiniLM-L6-v2
    """
    from distill_offline.models import catalogue

    entry = catalogue.pin(model)
    Console().result(f"{entry.id}: {len(entry.files)} files pinned, {round((entry.size or 0) / 1e6)} MB")


@models.command()
@click.argument("ids", metavar="[ID...]", nargs=-1, shell_complete=completing.model_ids)
@json_option
def verify(ids: tuple[str, ...], as_json: bool) -> None:
    """Compare every byte of the models that are here with the catalogue.

    Exit code 4 if anything differs.

    Example: distill-offline models verify all-MiniLM-L6-v2
    """
    from distill_offline.models import catalogue

    console = Console(as_json)
    findings = [finding for model in ids or (None,) for finding in catalogue.verify(model)]
    if as_json:
        console.json([{"model": f.model, "file": f.file, "problem": f.problem} for f in findings])
    for finding in findings if not as_json else ():
        console.result(f"{finding.model}: {finding.file} {finding.problem}")
    if findings:
        raise EnvironmentFault(f"models verify: {len(findings)} problems.")
    if not as_json:
        console.result("All models that are here are intact.")
