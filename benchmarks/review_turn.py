"""A whole turn of review on real data: annotate, review 100 chosen sentences, train again. Gold plays the person.

    python benchmarks/review_turn.py configs/studies/adapted-teacher.yaml --variant demonstrations \\
        --gold data/conll2003/train.txt --work review-turn -o rows.jsonl

For each seed of the study a student is trained on its gold and the teacher's labels (`none`). Then sentences of these
labels are chosen as `review` chooses them: the most valuable (`value`, with that student beside the teacher) or drawn
at random (`random`). They get the labels that --gold has, become corpus.original.reviewed, and the same arm is trained
again. -o gains a line of counts for each seed and choice, without text; what is there is not made again. `--table`
makes means, 95% intervals and paired tests of the lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring import paired_difference

from distill_offline import offline, pipeline
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import read_examples, write_examples
from distill_offline.review.queue import Item, Order, choose
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.schema import Example, content_digest
from distill_offline.scoring.metrics import score
from distill_offline.scoring.sentence_counts import sentence_counts
from distill_offline.scoring.statistics import t_interval
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.files import ANNOTATIONS, read_rows
from distill_offline.student.model import Student
from distill_offline.study import Study
from distill_offline.study.counts import pack, unpack
from distill_offline.study.grid import Cell

CHOICES = ("none", "random", "value")


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--variant", required=True, help="The study's variant, whose distilled labels are reviewed.")
@click.option("--gold", required=True, help="The corpus with the labels of people.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where students and files are kept.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The rows.")
@click.option("--count", default=100, show_default=True, help="How many sentences are reviewed.")
@click.option("--set", "changes", multiple=True, help="As the study's own --set.")
@click.option("--table", is_flag=True, help="Make tables of the rows; train nothing.")
def main(
    config: Path, variant: str, gold: str, work: Path, output: Path, count: int,
    changes: tuple[str, ...], table: bool,
) -> None:  # fmt: skip
    rows = list(read_rows(output)) if output.exists() else []
    if table:
        print_table(rows)
        return
    offline.enforce()
    done = {(row["seed"], row["choice"]) for row in rows}
    true = {
        content_digest(ex.sentence): ex for ex in read_examples(Source(path=gold, scheme="auto"), origin="original")
    }
    study = Study.load(config, changes)
    for cell in study.cells:
        if cell.variant == variant and cell.arm.name != study.plan.baseline:
            for choice in CHOICES:
                if (cell.seed, choice) not in done:
                    row = turn(cell, choice, true, work, count)
                    with output.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row, sort_keys=True) + "\n")


def turn(cell: Cell, choice: str, true: Mapping[str, Example], work: Path, count: int) -> dict[str, Any]:
    settings, told = cell.settings, {}
    if choice != "none":
        head = make_task(settings).head
        before = work / f"none-{cell.seed}"
        student = Student.load(before / "train" / cell.arm.name / "student")
        order: Order = "value" if choice == "value" else "random"
        label = student.predict if choice == "value" else None
        items = choose(before / "select" / ANNOTATIONS, head, count, order=order, seed=cell.seed, label=label)
        reviewed = [true[content_digest(item.sentence)] for item in items]
        file = work / f"reviewed-{choice}-{cell.seed}.jsonl"
        write_examples(file, reviewed)
        told = corrections(items, reviewed)
        original = replace(settings.corpus.original, reviewed=Source(path=str(file)))
        settings = replace(settings, corpus=replace(settings.corpus, original=original))
    return {"seed": cell.seed, "choice": choice, "arm": cell.arm.name, **told, **trained(cell, settings, work, choice)}


def trained(cell: Cell, settings: Settings, work: Path, choice: str) -> dict[str, Any]:
    """Train the cell's arm in a folder of its own, and score it on the test set."""
    run = RunFolder(work / f"{choice}-{cell.seed}", settings, say=lambda line: print(line, flush=True))
    run.open()
    pipeline.select(run)
    pipeline.train(run, [cell.arm.name])
    head, types = make_task(settings).head, sorted(settings.task.types)
    test = read_gold(settings).split("test")
    labels = Student.load(run.folder(f"train/{cell.arm.name}") / "student").predict([ex.sentence for ex in test])
    gold = [example.labels for example in test]
    overall = score("entity_f1", gold, labels, on="test").overall
    print(f"seed {cell.seed}, {choice}: F1 {100 * overall.f1:.1f}", flush=True)
    scores = {"precision": overall.precision, "recall": overall.recall, "f1": overall.f1}
    return {**scores, "types": types, "counts": pack(sentence_counts(head, gold, labels, types))}


def corrections(items: Sequence[Item], reviewed: Sequence[Example]) -> dict[str, int]:
    """What a person would have had to do: sentences to accept by one key, spans to take away and spans to mark."""
    suggested = [set(item.suggested) for item in items]
    true = [set(example_spans(example)) for example in reviewed]
    pairs = list(zip(suggested, true, strict=True))
    return {
        "reviewed": len(pairs),
        "accepted": sum(a == b for a, b in pairs),
        "removed": sum(len(a - b) for a, b in pairs),
        "marked": sum(len(b - a) for a, b in pairs),
    }


def example_spans(example: Example) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.type) for span in decode_bio(example.labels)]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    by_choice = {choice: {row["seed"]: row for row in rows if row["choice"] == choice} for choice in CHOICES}
    for choice, of_seeds in by_choice.items():
        scores = [100 * row["f1"] for row in of_seeds.values()]
        if not scores:
            continue
        print(f"{choice}: F1 {np.mean(scores):.1f} of seeds {', '.join(f'{score:.1f}' for score in scores)}")
        if len(scores) > 1:
            interval = t_interval(scores)
            print(f"  95% interval {interval.low:.1f} to {interval.high:.1f}")
        if choice != "none":
            for name in ("accepted", "removed", "marked"):
                print(f"  {name}: {np.mean([row[name] for row in of_seeds.values()]):.1f}")
    for one, other in (("random", "none"), ("value", "none"), ("value", "random")):
        if seeds := sorted(by_choice[one].keys() & by_choice[other].keys()):
            print(f"{one} over {other}: {_difference(by_choice[one], by_choice[other], seeds)}")


def _difference(one: Mapping[int, Any], other: Mapping[int, Any], seeds: Sequence[int]) -> str:
    pair = [[of_seeds[seed] for seed in seeds] for of_seeds in (one, other)]
    return paired_difference(
        [[row["f1"] for row in rows] for rows in pair],
        [[unpack(row["counts"], len(row["types"])) for row in rows] for rows in pair],
    )


if __name__ == "__main__":
    main()
