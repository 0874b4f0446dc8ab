"""predict: the verb that labels text with a student."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import format_option, on_bad_file_option
from distill_offline.config.settings import Source

__all__ = ["predict"]


@click.command()
@click.argument("student", type=click.Path(path_type=Path))
@click.argument("text", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: .conll, .jsonl or .parquet.",
)
@format_option("--input-format", "INPUT")
@format_option("--output-format", "OUTPUT")
@click.option("--token-column", type=int, help="The column of a column file's tokens, from 0 [recognised].")
@on_bad_file_option
def predict(
    student: Path,
    text: Path,
    output: Path,
    input_format: str | None,
    output_format: str | None,
    token_column: int | None,
    on_bad_file: Literal["error", "skip"],
) -> None:
    """Label INPUT (.conll, .jsonl, .parquet, .txt or a folder of .txt) with a trained student.

    A student of classes labels each text as a whole, and writes .jsonl or .parquet.

    Example: distill-offline predict runs/quickstart/train/simple_mix/student package:demo/unlabelled -o labelled.jsonl
    """
    from distill_offline.pipeline.predict import predict as label

    console, counts = Console(), Counter[str]()
    count = label(
        student,
        Source(path=str(text), format=input_format, token_column=token_column, on_bad_file=on_bad_file),
        output,
        output_format=output_format,
        counts=counts,
        watch=console.watch,
    )
    skipped = f"; {counts['bad_file']} bad files skipped" if counts["bad_file"] else ""
    console.result(f"{count} sentences labelled: {output}{skipped}")
