"""evaluate: the verb that scores labels, without a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import click

from distill_offline.cli.console import Console, percent
from distill_offline.cli.options import NumberRange, format_option, json_option, language_option, on_bad_file_option
from distill_offline.config.settings import OFFSETS, OffsetUnit, Source
from distill_offline.config.values import TagScheme
from distill_offline.errors import GateMissed

__all__ = ["evaluate"]

_TOLD = ("masked", "unheld", "by_characters", "unanswered", "not_in_gold")  # counts that are shown where not 0
_SCHEMES = click.Choice(get_args(TagScheme))


@click.command()
@click.argument("labels", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--gold", required=True, type=click.Path(path_type=Path), help="The human-labelled file to score on.")
@click.option("--tag-column", type=int, help="The column of INPUT's tags, from 0 [the last one].")
@click.option("--gold-column", type=int, help="The column of the gold tags, from 0 [the last one].")
@click.option("--token-column", type=int, help="The column of INPUT's tokens, from 0 [recognised].")
@click.option("--gold-token-column", type=int, help="The column of the gold file's tokens, from 0 [recognised].")
@click.option("--scheme", type=_SCHEMES, default="auto", help="The tag scheme of the gold file.")
@click.option("--input-scheme", type=_SCHEMES, default="auto", help="The tag scheme of INPUT, if it is a tagged file.")
@on_bad_file_option
@language_option
@click.option(
    "--offsets",
    type=click.Choice(OFFSETS),
    metavar="UNIT",
    default="characters",
    help=f"What start and end of a span in the gold file count: {', '.join(OFFSETS)}.",
)
@click.option(
    "--input-offsets",
    type=click.Choice(OFFSETS),
    metavar="UNIT",
    default="characters",
    help="The same for INPUT, if it is a file.",
)
@format_option("--format", what="the gold file")
@format_option("--input-format", what="INPUT, if it is a file")
@click.option("--min-f1", type=NumberRange(0, 1), help="Exit with code 5 if F1 is below this (0 to 1).")
@json_option
def evaluate(
    labels: Path,
    gold: Path,
    tag_column: int | None,
    gold_column: int | None,
    token_column: int | None,
    gold_token_column: int | None,
    scheme: TagScheme,
    input_scheme: TagScheme,
    on_bad_file: Literal["error", "skip"],
    language: str | None,
    offsets: OffsetUnit,
    input_offsets: OffsetUnit,
    format: str | None,  # noqa: A002  the option's name
    input_format: str | None,
    min_f1: float | None,
    as_json: bool,
) -> None:
    """Score INPUT on a gold file.

    Entities are scored by exact match (seqeval, strict, IOB2), classes by macro-F1 and accuracy.

    INPUT is a student's folder, an annotate or select folder, or a labelled file (.conll, .jsonl, .parquet). Gold
    classes may be a folder with one folder of .txt files for each class. For an annotate or select folder of entities,
    the kinds of error (nervaluate) are shown by type, by how they were found, and by confidence.

    Example: distill-offline evaluate runs/quickstart/train/simple_mix/student --gold package:demo/test.jsonl
    """
    from distill_offline.evaluate.compare import compare_with_gold
    from distill_offline.scoring.metrics import accuracy

    held = compare_with_gold(
        Source(
            path=str(labels),
            format=input_format,
            token_column=token_column,
            tag_column=tag_column,
            scheme=input_scheme,
            language=language,
            offsets=input_offsets,
        ),
        Source(
            path=str(gold),
            format=format,
            token_column=gold_token_column,
            tag_column=gold_column,
            scheme=scheme,
            on_bad_file=on_bad_file,
            language=language,
            offsets=offsets,
        ),
    )
    report = held.report
    console, share = Console(as_json), accuracy(report.counts)
    if as_json:
        keys = ("on", "by", "overall", "averages", "per_type", "errors", "counts", "quality")
        right = {} if share is None else {"accuracy": share}
        console.json({key: value for key, value in held.as_dict().items() if key in keys} | right)
    else:
        averages = [(f"{name} average", scores) for name, scores in report.averages.items()]
        rows = [("overall", report.overall), *averages, *report.per_type.items()]
        console.table(
            f"{report.counts.get('sentences', 0)} sentences, {_what(held.by)} in percent",
            ["type", "precision", "recall", "F1", "support"],
            [[name, percent(s.precision), percent(s.recall), percent(s.f1), s.support] for name, s in rows],
        )
        told = {key: report.counts[key] for key in _TOLD if report.counts.get(key)}
        counted = {**report.errors, **told} if share is None else {"accuracy": percent(share), **report.counts}
        console.result(" · ".join(f"{kind.replace('_', ' ')}: {count}" for kind, count in counted.items()))
        if held.quality is not None:
            console.quality(held.quality.as_dict())
    for line in held.warnings:
        console.warn(line)
    if min_f1 is not None and report.overall.f1 < min_f1:
        raise GateMissed(f"evaluate: F1 {report.overall.f1:.4f} is below --min-f1 {min_f1}.")


def _what(by: str) -> str:
    if by == "texts":
        return "macro averages over the classes"
    return "exact-match scores" if by == "tokens" else "exact-match scores by characters"
