"""What acquire chooses for a study: for each seed, 500 sentences by each choice, with the labels a teacher gave them.

    python benchmarks/acquisition.py configs/studies/acquisition.yaml --labels labels/chatgpt.jsonl --work acquired

For each of the study's seeds a student is trained on the baseline's gold sentences and asked which sentences of
corpus.unlabelled to label next. The lines of --labels (stand-off labels of that corpus) that belong to them become
WORK/<choice>-<seed>.jsonl, which the study's variants name. What is there is not made again.
"""

from __future__ import annotations

from pathlib import Path

import click

from distill_offline import offline, pipeline
from distill_offline.config.settings import Source
from distill_offline.corpus import read_sentences, write_sentences
from distill_offline.corpus.standoff import StandoffLabels, content_prefix, read_header, read_standoff, write_standoff
from distill_offline.pipeline.acquire import acquire
from distill_offline.pipeline.uncertainty import By
from distill_offline.run.folder import RunFolder
from distill_offline.study import Study
from distill_offline.study.grid import Cell

CHOICES: tuple[By, ...] = ("random", "uncertainty", "diverse")


@click.command()
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--labels", required=True, type=click.Path(path_type=Path, exists=True), help="Stand-off labels.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where students and files are kept.")
@click.option("-n", "--number", default=500, help="How many sentences are chosen.")
@click.option("--set", "changes", multiple=True, help="As the study's own --set, for example study.seeds=[0].")
def main(config: Path, labels: Path, work: Path, number: int, changes: tuple[str, ...]) -> None:
    offline.enforce()
    study = Study.load(config, changes)
    for cell in study.cells:
        if cell.arm.name == study.plan.baseline:
            choose(cell, labels, work, number)


def choose(cell: Cell, labels: Path, work: Path, number: int) -> None:
    if all((work / f"{choice}-{cell.seed}.jsonl").exists() for choice in CHOICES):
        return
    run = RunFolder(work / f"student-{cell.seed}", cell.settings, say=lambda line: print(line, flush=True))
    run.open()
    pipeline.select(run)
    pipeline.train(run, [cell.arm.name])
    source = cell.settings.corpus.unlabelled
    assert isinstance(source, Source)
    pool = work / f"pool-{cell.seed}.jsonl"
    write_sentences(pool, read_sentences(source))
    header, rows = read_header(labels, str(labels)), list(read_standoff(labels, str(labels)))
    for choice in CHOICES:
        chosen = work / f"chosen-{choice}-{cell.seed}.jsonl"
        student = run.folder(f"train/{cell.arm.name}") / "student"
        acquire(student, pool, chosen, number, by=choice, seed=cell.seed)
        wanted = {content_prefix(sentence) for sentence in read_sentences(Source(path=str(chosen)))}
        kept: dict[str, StandoffLabels] = {}  # a sentence may stand in the corpus twice
        for row in rows:
            if row.content in wanted:
                kept.setdefault(row.content, row)
        written = write_standoff(work / f"{choice}-{cell.seed}.jsonl", header.task, kept.values(), header.corpus)
        print(f"seed {cell.seed}: {written.sentences} sentences by {choice}", flush=True)


if __name__ == "__main__":
    main()
