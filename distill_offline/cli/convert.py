"""convert: the verb that turns a corpus of one format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import format_option, json_option, language_option, on_bad_file_option
from distill_offline.config.settings import OFFSETS, OffsetUnit, Source
from distill_offline.config.values import TagScheme

__all__ = ["convert"]


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUTPUT", type=click.Path(path_type=Path))
@format_option("--from", "--input-format", "input_format", what="INPUT")
@format_option("--to", "--output-format", "output_format", what="OUTPUT")
@click.option("--text-field", help="The field or column of INPUT that holds the text [recognised].")
@click.option("--token-column", type=int, help="The column of a column file's tokens, from 0 [recognised].")
@click.option("--tag-column", type=int, help="The column of a column file's tags, from 0 [the last one].")
@click.option("--scheme", type=click.Choice(get_args(TagScheme)), default="auto", help="The tag scheme of INPUT.")
@click.option(
    "--offsets",
    type=click.Choice(OFFSETS),
    metavar="UNIT",
    default="characters",
    help=f"What start and end count in INPUT: {', '.join(OFFSETS)}.",
)
@language_option
@on_bad_file_option
@click.option("--force", is_flag=True, help="Overwrite OUTPUT.")
@json_option
def convert(
    source: Path,
    output: Path,
    input_format: str | None,
    output_format: str | None,
    text_field: str | None,
    token_column: int | None,
    tag_column: int | None,
    scheme: TagScheme,
    offsets: OffsetUnit,
    language: str | None,
    on_bad_file: Literal["error", "skip"],
    force: bool,
    as_json: bool,
) -> None:
    """Write the corpus INPUT as OUTPUT, in another format.

    The formats are those of their suffixes, or the ones that are named. What INPUT says and this program does not read,
    and what OUTPUT cannot hold, is counted, with the ids of its rows. docs/formats.md has a row for each format.

    Example: distill-offline convert package:demo/test.jsonl test.json --to label_studio
    """
    from distill_offline.pipeline.convert import convert as convert_corpus

    console = Console(as_json)
    given = Source(
        path=str(source),
        format=input_format,
        text_field=text_field,
        token_column=token_column,
        tag_column=tag_column,
        scheme=scheme,
        offsets=offsets,
        language=language,
        on_bad_file=on_bad_file,
    )
    done = convert_corpus(given, output, output_format=output_format, force=force)
    if as_json:
        console.json(done.as_dict())
        return
    what = ", ".join(f"{count} {name}" for name, count in sorted(done.types.items())) or "no labels"
    console.result(f"{done.sentences} sentences, {done.labelled} of them labelled: {output}")
    console.result(f"{done.types.total()} labels: {what}")
    for line in done.unread.lines():
        console.warn(f"not read: {line}")
    for line in done.unwritten.lines():
        console.warn(f"not written: {line}")
