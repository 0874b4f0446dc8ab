"""export-labels: a verb over the labels that lie in a run or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import format_option, json_option, language_option, on_bad_file_option
from distill_offline.config.values import TagScheme

__all__ = ["export_labels"]


@click.command("export-labels")
@click.argument("labels", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--corpus", required=True, type=click.Path(path_type=Path), help="The corpus whose sentences they label.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write (.jsonl).")
@click.option("--tag-column", type=int, help="The column of INPUT's tags, from 0 [the last one].")
@click.option("--scheme", type=click.Choice(get_args(TagScheme)), default="auto", help="The tag scheme of INPUT.")
@format_option("--input-format", what="INPUT, if it is a file")
@format_option("--corpus-format", what="the corpus")
@on_bad_file_option
@language_option
@json_option
def export_labels(
    labels: Path,
    corpus: Path,
    output: Path,
    tag_column: int | None,
    scheme: TagScheme,
    on_bad_file: Literal["error", "skip"],
    language: str | None,
    input_format: str | None,
    corpus_format: str | None,
    as_json: bool,
) -> None:
    """Write labels without their text: positions, types and confidences.

    They are joined with the same corpus again later.

    INPUT is an annotate or select folder, or a labelled file (.conll, .jsonl, .parquet). A configuration takes the
    result as corpus.distilled: {path: CORPUS, labels: OUTPUT}.

    Example: distill-offline export-labels runs/quickstart/annotate --corpus package:demo/unlabelled -o labels.jsonl
    """
    from distill_offline.pipeline.export_labels import export_labels as export

    console = Console(as_json)
    how: dict[str, Any] = {"tag_column": tag_column, "scheme": scheme, "on_bad_file": on_bad_file, "language": language}
    how |= {"input_format": input_format, "corpus_format": corpus_format}
    counts = export(labels, corpus, output, **how)
    if as_json:
        console.json(counts)
        return
    console.result(
        f"{counts['sentences']} of {counts['in_corpus']} sentences, {counts['spans']} spans: {output}. "
        f"{counts['not_in_corpus']} rows are not in this corpus and were left out."
    )
