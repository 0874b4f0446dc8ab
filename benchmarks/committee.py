"""Do students label better together than one of them alone? Kept students of a study, scored alone and as a committee.

    distill-offline study configs/studies/taught.yaml -o benchmarks/results/taught.jsonl
    python benchmarks/committee.py configs/studies/taught.yaml --of simple_mix -o benchmarks/results/committee.jsonl

Of each cell's folder the students of the arm are taken (train/ARM/, train/ARM-2/ and so on): alone, and as committees
of the first two, three and so on (distill_offline.student.committee, what `predict --with` does), on the study's test
sentences. -o gains a line for each cell. The committee is compared with its members' mean F1, paired by cell and
sentence. Nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring import say

from distill_offline.config.seeds import student_name
from distill_offline.offline.connections import enforce
from distill_offline.run.gold import make_task, read_labelled
from distill_offline.scoring.sentence_counts import sentence_counts
from distill_offline.scoring.statistics import compare, f1, resampled_f1
from distill_offline.storage.files import read_rows
from distill_offline.student.committee import mean_scores
from distill_offline.student.model import Student
from distill_offline.study import Study
from distill_offline.study.counts import pack, unpack
from distill_offline.study.grid import Cell

DRAWS = 10_000


@click.command(help=__doc__)
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--of", "arm", required=True, help="The arm whose students label together.")
@click.option("--folder", type=click.Path(path_type=Path), help="The study's folder [runs/NAME].")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="As the study had it.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The rows.")
def main(config: Path, arm: str, folder: Path | None, changes: tuple[str, ...], output: Path) -> None:
    enforce()
    study = Study.load(config, changes)
    place = folder or Path("runs") / study.settings.name
    made = list(read_rows(output)) if output.exists() else []
    done = {(row["study"], row["arm"], row["size"], row["seed"]) for row in made}
    for cell in study.cells:
        folders = students_of(place / cell.folder, arm)
        key = (study.settings.name, arm, cell.size, cell.seed)
        if cell.arm.name == arm and len(folders) > 1 and key not in done:
            row = {
                "study": study.settings.name,
                "arm": arm,
                "size": cell.size,
                "seed": cell.seed,
                **scored(cell, folders),
            }
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")
            made.append(row)
    for group in dict.fromkeys((row["study"], row["arm"], row["size"]) for row in made):
        rows = [row for row in made if (row["study"], row["arm"], row["size"]) == group]
        for number in sorted({int(n) for row in rows for n in row["together"]}):
            told([row for row in rows if str(number) in row["together"]], number)


def students_of(run: Path, arm: str) -> list[Path]:
    """The folders of the arm's students, by their numbers, as far as they were kept."""
    folders = (run / "train" / student_name(arm, number) / "student" for number in range(1, 101))
    return [folder for folder in folders if (folder / "model.safetensors").exists()]


def scored(cell: Cell, folders: Sequence[Path]) -> dict[str, Any]:
    """The counts of each student alone, and of the first two, three and so on together."""
    settings, types = cell.settings, sorted(cell.settings.task.types)
    source = getattr(settings.corpus.original, settings.evaluate.split)
    test, head = list(read_labelled(settings, source, origin="original")), make_task(settings).head
    gold, students = [example.labels for example in test], [Student.load(folder) for folder in folders]
    said = [student.scored([example.sentence for example in test]) for student in students]
    kind, labels = students[0].kind, students[0].labels
    alone = [sentence_counts(head, gold, kind.decide(each, labels), types) for each in said]
    together = {
        str(n): sentence_counts(head, gold, kind.decide(mean_scores(said[:n]), labels), types)
        for n in range(2, len(said) + 1)
    }
    say(f"seed {cell.seed}: " + ", ".join(f"{100 * overall(counts):.1f}" for counts in [*alone, *together.values()]))
    return {
        "types": types,
        "alone": [pack(counts) for counts in alone],
        "together": {n: pack(counts) for n, counts in together.items()},
    }


def told(rows: Sequence[Mapping[str, Any]], number: int) -> None:
    """The committee of so many students against the mean F1 of its members, over all seeds."""

    def counts(packed: Sequence[str]) -> Any:
        return np.stack([unpack(each, len(rows[0]["types"])) for each in packed])

    both = counts([row["together"][str(number)] for row in rows])
    members = [counts([row["alone"][n] for row in rows]) for n in range(number)]
    scores = [overall(each) for each in both]
    means = [float(np.mean([overall(member[seed]) for member in members])) for seed in range(len(rows))]
    drawn = np.mean([resampled_f1(member, draws=DRAWS) for member in members], axis=0)
    found = compare(scores, means, resampled_f1(both, draws=DRAWS), drawn)
    say(
        f"{rows[0]['arm']}, {rows[0]['size']} gold sentences, {number} together, seeds "
        f"{', '.join(str(row['seed']) for row in rows)}: "
        f"{100 * np.mean(scores):.1f} ({', '.join(f'{100 * score:.1f}' for score in scores)}), each alone "
        f"{100 * np.mean(means):.1f}: {100 * found.difference:+.1f} ({100 * found.low:.1f} to {100 * found.high:.1f}), "
        f"p {found.p:.2g}" + ("" if found.p_t is None else f", t-test {found.p_t:.2g}")
    )


def overall(counts: Any) -> float:
    """F1 of (sentences, types, 3)."""
    return float(f1(counts.sum(axis=0), "micro"))


if __name__ == "__main__":
    main()
