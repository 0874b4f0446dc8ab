"""combine: the verb that joins the labels of several teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import command_line, json_option
from distill_offline.errors import InputError

__all__ = ["combine"]


@click.command()
@click.argument("teachers", nargs=-1, required=True, metavar="NAME=LABELS...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new folder.")
@click.option(
    "--method",
    type=click.Choice(["dawid_skene", "majority"]),
    default="dawid_skene",
    help="Weigh each teacher by the mistakes it makes, or let the majority win.",
)
@click.option("--gold", type=click.Path(path_type=Path), help="Human labels of some of the sentences: what is right.")
@json_option
def combine(
    teachers: tuple[str, ...],
    output: Path,
    method: Literal["dawid_skene", "majority"],
    gold: Path | None,
    as_json: bool,
) -> None:
    """Join the labels that several teachers gave the same sentences.

    LABELS is an annotate or select folder, or a labelled file; teachers may be models, prompts or samples. Without
    --gold teachers count as reliable if they agree with each other, so that several that share their mistakes outvote a
    better one. A configuration takes the result as corpus.distilled: FOLDER/annotations.jsonl.

    Example: distill-offline combine small=runs/a/annotate large=runs/b/annotate --gold gold.jsonl -o combined
    """
    from distill_offline.corpus.lost import REASONS
    from distill_offline.pipeline.combine import combine as join

    named = [value.partition("=") for value in teachers]
    if wrong := next(
        (value for value, (name, _, path) in zip(teachers, named, strict=True) if not (name and path)), None
    ):
        raise InputError(f"combine: {wrong}: write NAME=LABELS.")
    if len({name for name, _, _ in named}) < len(named):
        raise InputError("combine: each teacher needs a name of its own.")
    paths = {name: Path(path) for name, _, path in named}
    found = join(paths, output, method=method, gold=gold, command=command_line())
    console = Console(as_json)
    if as_json:
        console.json({"folder": str(output), "sentences": len(found.lines), "teachers": found.teachers})
        return
    words = {**REASONS, "unheld": "entities that no tags can hold", "spans_unlike_labels": "spans unlike their tags"}
    columns = ["teacher", "sentences", "% exactly as combined", *(["of gold"] if gold is not None else [])]
    rows = [
        [
            name,
            told["sentences"],
            "–" if told["agrees"] is None else f"{100 * told['agrees']:.1f}",
            *([told["on_gold"]] if gold is not None else []),
        ]
        for name, told in found.teachers.items()
    ]
    console.table("combine", columns, rows)
    if found.strange:
        console.warn(
            f"combine: no teacher gives {', '.join(found.strange)}, as gold does; such places are passed over."
        )
    for doubt in found.doubts:
        console.warn(f"combine: {doubt}.")
    for name, told in found.teachers.items():
        if told.get("on_gold") == 0:
            console.warn(f"combine: {name} labelled no sentence of gold: how often it is right is a guess.")
        if lost := [f"{count} {words.get(what, what)}" for what, count in told.get("lost", {}).items()]:
            console.warn(f"combine: {name}: not kept: {', '.join(lost)}.")
    several = ", ".join(f"{count:,} by {number}" for number, count in found.by_teachers.items())
    console.result(f"{len(found.lines):,} sentences ({several}): {output}")
