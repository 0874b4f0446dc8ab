"""predict: the verb that labels text with a student."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import NumberRange, format_option, on_bad_file_option
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
    help="The file to write: .conll, .jsonl, .parquet, or a file of another tool.",
)
@click.option(
    "--with",
    "together_with",
    metavar="STUDENT",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another student of the same labels: what they say on average counts. May be given several times.",
)
@format_option("--input-format", what="INPUT")
@format_option("--output-format", "--format", what="OUTPUT")
@click.option("--token-column", type=int, help="The column of a column file's tokens, from 0 [recognised].")
@click.option(
    "--min-confidence",
    type=NumberRange(0, 1),
    default=0.0,
    help="Leave out, and count, entities and classes that the student is less sure of (0 to 1).",
)
@click.option(
    "--calibrate",
    metavar="GOLD",
    type=click.Path(path_type=Path),
    help="Human-labelled text that neither trained nor picked the student: confidences become the share that is right.",
)
@on_bad_file_option
def predict(
    student: Path,
    text: Path,
    output: Path,
    together_with: tuple[Path, ...],
    input_format: str | None,
    output_format: str | None,
    token_column: int | None,
    min_confidence: float,
    calibrate: Path | None,
    on_bad_file: Literal["error", "skip"],
) -> None:
    """Label INPUT (.conll, .jsonl, .parquet, .txt or a folder of .txt) with a trained student.

    A student of classes labels each text as a whole, and writes no .conll. Rows say what entities there are,
    where they stand in the text (in characters), and how sure the student is: its own probability, or with --calibrate
    the share of such that is right.

    Example: distill-offline predict runs/quickstart/train/simple_mix/student package:demo/unlabelled -o labelled.jsonl
    """
    from distill_offline.corpus.lost import Losses
    from distill_offline.pipeline.predict import predict as label

    console, counts, lost = Console(), Counter[str](), Losses()
    count = label(
        student,
        Source(path=str(text), format=input_format, token_column=token_column, on_bad_file=on_bad_file),
        output,
        together_with=together_with,
        output_format=output_format,
        min_confidence=min_confidence,
        calibrate=None if calibrate is None else Source(path=str(calibrate)),
        counts=counts,
        lost=lost,
        watch=console.watch,
    )
    skipped = f"; {counts['bad_file']} bad files skipped" if counts["bad_file"] else ""
    doubtful = f"; {counts['below_confidence']} below {min_confidence:g} left out" if min_confidence else ""
    console.result(f"{count} sentences labelled: {output}{skipped}{doubtful}")
    for line in lost.lines():
        console.warn(f"not written: {line}")
