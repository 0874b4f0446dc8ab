"""acquire: the verb that says what to annotate next."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import format_option, json_option, on_bad_file_option
from distill_offline.config.settings import Source

__all__ = ["acquire"]


@click.command()
@click.argument("student", type=click.Path(path_type=Path))
@click.argument("text", metavar="TEXT", type=click.Path(path_type=Path))
@click.option("-n", "--number", required=True, type=click.IntRange(min=1), help="How many sentences to choose.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write (.jsonl).")
@click.option(
    "--by",
    type=click.Choice(["uncertainty", "random", "diverse"]),
    default="uncertainty",
    show_default=True,
    help="Take those that the student is least sure of, a random choice, or sentences that differ from each other.",
)
@click.option(
    "--measure",
    type=click.Choice(["mnlp", "least-confidence", "entropy", "max-entropy"]),
    default="mnlp",
    show_default=True,
    help="How uncertainty is measured over a sentence's tokens: the mean negative log-probability, 1 minus the "
    "probability of all labels, the mean entropy, or the highest one.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of a random or diverse choice."
)
@click.option(
    "--known",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file or folder of sentences that are labelled already; they are left out. May be repeated.",
)
@click.option("--token-column", type=int, help="The column of a column file's tokens, from 0 [recognised].")
@format_option("--input-format", what="TEXT")
@on_bad_file_option
@json_option
def acquire(
    student: Path,
    text: Path,
    number: int,
    output: Path,
    by: Literal["uncertainty", "random", "diverse"],
    measure: str,
    seed: int,
    known: tuple[Path, ...],
    token_column: int | None,
    input_format: str | None,
    on_bad_file: Literal["error", "skip"],
    as_json: bool,
) -> None:
    """Choose the sentences of TEXT (.conll, .jsonl, .parquet, .txt or a folder of .txt) to annotate next.

    OUTPUT has the best first, with their ids and tokens, and can be corpus.unlabelled as it is.

    Example: distill-offline acquire runs/quickstart/train/simple_mix/student package:demo/unlabelled -n 9 -o next.jsonl
    """
    from distill_offline.pipeline.acquire import acquire as choose

    console, counts = Console(as_json), Counter[str]()
    chosen = choose(
        student,
        Source(path=str(text), format=input_format, token_column=token_column, on_bad_file=on_bad_file),
        output,
        number,
        by=by,
        measure=measure,
        seed=seed,
        known=known,
        counts=counts,
        watch=console.watch,
    )
    if as_json:
        console.json({"chosen": chosen, "by": by, "output": str(output), **counts})
        return
    left_out = ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items() if counts[key])
    console.result(f"{chosen} of {counts['sentences']} sentences chosen by {by}: {output}")
    if left_out:
        console.result(f"not looked at: {left_out}")


_WORDS = {"known": "known", "duplicate": "duplicates", "bad_file": "bad files", "ignored_file": "other files"}
