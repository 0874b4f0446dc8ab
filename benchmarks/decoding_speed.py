"""What looking for the likeliest valid tags costs `predict`, against taking each token's likeliest one.

    python benchmarks/decoding_speed.py STUDENT TEXT -o decoding_speed.md

Parts of the text are labelled in turn by both, the first of a pair changing places, in one process with one thread. The
seconds are the processor's own (CPU time): what else runs on the machine counts little; a ratio is paired by part.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from measuring import heading, markdown_table, write_report

from distill_offline.corpus import read_sentences
from distill_offline.label_kinds.decoding import token_by_token
from distill_offline.offline.connections import enforce
from distill_offline.schema import Sentence
from distill_offline.student.model import Student

PART = 128


def seconds(student: Student, part: list[Sentence], *, valid: bool) -> float:
    began = time.process_time()
    if valid:
        student.predict(part)
    else:
        token_by_token(student.scored(part), student.labels)
    return time.process_time() - began


@click.command(help=__doc__)
@click.argument("folder", metavar="STUDENT", type=click.Path(exists=True, path_type=Path))
@click.argument("text", type=click.Path(exists=True, path_type=Path))
@click.option("--sentences", default=1024, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(folder: Path, text: Path, sentences: int, output: Path | None) -> None:
    enforce()
    torch.set_num_threads(1)
    student, every = Student.load(folder), list(read_sentences(text))[:sentences]
    parts = [every[start : start + PART] for start in range(0, len(every), PART)]
    seconds(student, parts[0][:16], valid=True)
    pairs = []
    for number, part in enumerate(parts):
        order = (True, False) if number % 2 else (False, True)
        pairs.append({valid: seconds(student, part, valid=valid) for valid in order})
    valid, free = (np.array([pair[each] for pair in pairs]) for each in (True, False))
    drawn = np.random.default_rng(0).integers(len(parts), size=(2000, len(parts)))
    ratios = valid[drawn].sum(1) / free[drawn].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    scored = student.scored(parts[0])
    began = time.process_time()
    for _ in range(10):
        student.kind.decide(scored, student.labels)
    alone = (time.process_time() - began) / 10 / len(parts[0])
    began = time.process_time()
    for _ in range(10):
        token_by_token(scored, student.labels)
    plain = (time.process_time() - began) / 10 / len(parts[0])
    rows = [
        ("each token's likeliest", f"{len(every) / free.sum():.1f}", f"{1e6 * plain:.0f}", ""),
        (
            "likeliest valid (`predict`)",
            f"{len(every) / valid.sum():.1f}",
            f"{1e6 * alone:.0f}",
            f"{valid.sum() / free.sum():.3f} ({low:.3f} to {high:.3f})",
        ),
    ]
    columns = ("", "sentences per CPU second", "microseconds a sentence in the decoder alone", "time against the first")
    note = f"{len(every)} sentences in {len(parts)} parts; one thread. In brackets: 95% of resampled parts."
    write_report("\n\n".join([heading("What decoding costs", [note]), markdown_table(columns, rows)]), output)


if __name__ == "__main__":
    main()
