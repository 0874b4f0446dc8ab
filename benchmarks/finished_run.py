"""What does `annotate` cost where nothing is left to be asked? Seconds and peak memory of the command, a million rows.

    python benchmarks/finished_run.py --work FOLDER -o finished_run.md        # a million rows: an hour
    python benchmarks/finished_run.py --work FOLDER --rows 20000              # a minute

Made-up labelled sentences of about ten tokens; the teacher is `scripted`, which answers with their labels. Each row of
the table is one process of the command line. FOLDER is kept: a second call measures again what is there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import yaml
from store import example

COMMAND = [sys.executable, "-m", "distill_offline", "annotate", "config.yaml", "-o", "run"]
SEALS = ("run/manifest.json", "run/annotate/manifest.json")


def rows(count: int) -> Iterator[str]:
    for number in range(count):
        made = example(number)
        sentence = made.sentence
        row = {"id": sentence.id, "document": sentence.document, "index": sentence.index, "text": sentence.text}
        yield json.dumps({**row, "tokens": sentence.tokens, "labels": made.labels}) + "\n"


def write_inputs(folder: Path, count: int) -> None:
    """Corpus, and two configurations: answers out of the corpus's own labels, and out of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(rows(count))
    value = {
        "name": "million",
        "task": {"types": {"PERSON": "a human being", "ORGANISATION": "a company or a unit"}},
        "corpus": {"unlabelled": "corpus.jsonl"},
        "backend": {"name": "scripted"},
        "annotate": {"demonstrations": {"strategy": "none"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(value), "utf-8")


def measured(folder: Path) -> tuple[float, float, float]:
    """(seconds, those spent on a core, peak memory in MB) of one `annotate`."""
    began = time.perf_counter()
    with (folder / "annotate.log").open("ab") as log:
        actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        before = Path.cwd()
        os.chdir(folder)
        child = os.posix_spawn(sys.executable, COMMAND, os.environ, file_actions=actions)
        os.chdir(before)
    _, status, used = os.wait4(child, 0)
    if status:
        raise click.ClickException(f"annotate failed: see {folder / 'annotate.log'}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@click.command()
@click.option("--rows", "count", default=1_000_000, show_default=True)
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where it is made.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table here, too.")
def main(count: int, work: Path, output: Path | None) -> None:
    """Annotate once, then again with nothing to do, then again without the seals."""
    lines = ["| `annotate` | seconds | of them on a core | peak memory, MB |", "|---|--:|--:|--:|"]

    def measure(what: str) -> None:
        seconds, busy, memory = measured(work)
        lines.append(f"| {what} | {seconds:,.1f} | {busy:,.1f} | {memory:,.0f} |")
        print(lines[-1], flush=True)

    if not (work / "run" / "annotate" / "manifest.json").exists():
        write_inputs(work, count)
        measure("the first: every row is asked")
    measure("again: nothing has changed")
    for seal in SEALS:
        (work / seal).unlink(missing_ok=True)
    measure("again without the seals, as after a kill at the end: every answer is looked up and read again")
    with (work / "corpus.jsonl").open("rb") as lines_of_corpus:
        there = sum(1 for _ in lines_of_corpus)
    lines.append(f"\n{there:,} rows.")
    print("\n".join(lines))
    if output:
        output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
