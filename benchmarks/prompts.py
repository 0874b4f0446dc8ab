"""Which prompt and which demonstrations make a local model's labels good, and what they cost: a map of a dozen cells.

    python benchmarks/prompts.py --model models/Qwen2.5-Coder-0.5B-Instruct-GGUF -o benchmarks/results/prompts.jsonl

Each cell changes one thing against `knn250`: 100 sentences of CoNLL-2003's valid.txt (even documents, which choose), or
of WikiGold. A cell is a run of its own in runs/prompts/, resumed by running the command again; a finished one adds a
line of counts a sentence to -o (no text), from which `--table` makes F1 with 95% intervals (bootstrap over sentences)
and paired tests against `knn250` (sign-flip over sentences, 10,000 draws), corrected after Holm.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from distill_offline import offline, pipeline
from distill_offline.annotations import read_lines
from distill_offline.completions import CompletionStore
from distill_offline.config.loading import parse_settings
from distill_offline.corpus import read_examples
from distill_offline.errors import Interrupted
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Progress
from distill_offline.scoring.statistics import holm
from distill_offline.spans.bio import decode_bio
from distill_offline.storage.files import ANNOTATIONS, QUARANTINE, STORE, read_rows

BASE = "knn250"
TYPES = {
    "PER": "named persons",
    "ORG": "named organisations, companies, teams and institutions",
    "LOC": "named places, countries, cities and regions",
    "MISC": "other names, such as nationalities, events and works",
}
# What each cell changes: strategy, k, order, pool (sentences of train.txt), prompt, samples, structured, data.
CELLS: dict[str, dict[str, Any]] = {
    "knn250": {},
    "static": {"strategy": "static"},
    "random": {"strategy": "random"},
    "knn50": {"pool": 50},
    "knn1000": {"pool": 1000},
    "k2": {"k": 2},
    "shared": {"order": "shared"},
    "zero": {"strategy": "none"},
    "samples5": {"samples": 5, "temperature": 0.7},
    "free": {"structured": False},
    "context": {"context": 1},
    "guidelines": {"guidelines": "configs/guidelines/conll2003.md"},
    "cot": {"prompt": "cot", "max_tokens": 512},
    "wikigold-knn250": {"data": "wikigold"},
    "wikigold-static": {"data": "wikigold", "strategy": "static"},
}


def settings_of(cell: str, model: str, rows: int) -> Any:
    chosen = {"strategy": "knn", "k": 4, "pool": 250, "prompt": "standard", "guidelines": "", "structured": True}
    chosen |= {"data": "conll", "max_tokens": 256, "order": "nearest_last", "samples": 1}
    chosen |= {"temperature": 0.0, "context": 0, **CELLS[cell]}
    if chosen["data"] == "conll":
        pool = {"path": "data/conll2003/train.txt", "shuffle": 0, "limit": chosen["pool"]}
        dev = {"path": "data/conll2003/valid.txt", "documents": "even", "shuffle": 7, "limit": rows}
    else:
        whole = {"path": "data/wikigold/wikigold.conll.txt", "shuffle": 7}
        pool, dev = {**whole, "skip": rows, "limit": chosen["pool"]}, {**whole, "limit": rows}
    return parse_settings(
        {
            "name": cell,
            "task": {
                "types": TYPES,
                "prompt": chosen["prompt"],
                "guidelines": chosen["guidelines"],
                "context": chosen["context"],
            },
            "corpus": {"on_overlap": "drop", "original": {"train": pool, "dev": dev}, "unlabelled": dev},
            "backend": {"name": "llama_cpp", "model": model, "options": {"slots": 2}},
            "annotate": {
                "demonstrations": {"strategy": chosen["strategy"], "k": chosen["k"], "order": chosen["order"]},
                "sampling": {
                    "structured": chosen["structured"],
                    "logprobs": True,
                    "max_tokens": chosen["max_tokens"],
                    "temperature": chosen["temperature"],
                },
                "samples": chosen["samples"],
                "max_quarantined": 1.0,
                "max_failure_rate": 1.0,
                "chunk": 4,
            },
        },
        cell,
    )


def measure(cell: str, model: str, rows: int, stop: Any) -> dict[str, Any]:
    """Annotate a cell's sentences (what is stored already is not asked) and count each sentence's spans."""
    settings = settings_of(cell, model, rows)
    place = Path("runs/prompts") / Path(model).name / cell
    clock = place / "seconds.json"
    began, spent = time.monotonic(), json.loads(clock.read_text()) if clock.exists() else 0.0

    def watch(progress: Progress) -> None:
        clock.write_text(json.dumps(spent + time.monotonic() - began))

    folder = RunFolder(place, settings, watch=watch, stop=stop, say=lambda line: print(line, flush=True))
    folder.open()
    counts = pipeline.annotate(folder)["unlabelled"]
    lines = read_lines(folder.folder("annotate") / ANNOTATIONS, "token-classification")
    given = {line.sentence.id: line.labels for line in lines}
    refused = sum(1 for _ in read_rows(folder.folder("annotate") / QUARANTINE))
    gold = read_examples(settings.corpus.unlabelled, origin="original")
    triples = []
    for example in gold:
        wanted = {(s.start, s.end, s.type) for s in decode_bio(example.labels)}
        found = {(s.start, s.end, s.type) for s in decode_bio(given.get(example.sentence.id, ()))}
        triples.append([len(wanted & found), len(found - wanted), len(wanted - found)])
    return {
        "cell": cell,
        "model": Path(model).name,
        "seconds": round(json.loads(clock.read_text()) if clock.exists() else 0.0, 1),
        **tokens(folder.folder("annotate") / STORE),
        "quarantined": refused,
        "rejected": counts["rejected"],
        "aligned": counts["aligned"],
        "sentences": triples,
    }


def tokens(store: Path) -> dict[str, int]:
    """Of all answers of a cell, in however many runs they were asked; one that was asked again counts once."""
    with CompletionStore(store, read_only=True) as opened:
        answers = [completion for _, _, completion in opened.answers()]
    names = ("prompt_tokens", "completion_tokens", "cached_tokens")
    return {name: sum(getattr(each, name) or 0 for each in answers) for name in names}


def f1(triples: np.ndarray) -> np.ndarray:
    """Micro F1 of (..., sentences, 3) counts of true positives, false positives and false negatives."""
    tp, fp, fn = np.moveaxis(triples.sum(axis=-2), -1, 0)
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def interval(triples: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(0, len(triples), (draws, len(triples)))
    low, high = np.percentile(f1(triples[drawn]), [2.5, 97.5])
    return float(low), float(high)


def paired(a: np.ndarray, b: np.ndarray, draws: int = 10_000) -> float:
    """Two-sided p of the difference in F1 where each sentence's two counts are exchanged by a coin."""
    observed = abs(f1(a) - f1(b))
    flips = np.random.default_rng(1).random((draws, len(a), 1)) < 0.5
    differences = np.abs(f1(np.where(flips, b, a)) - f1(np.where(flips, a, b)))
    return float((1 + (differences >= observed - 1e-12).sum()) / (1 + draws))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    by_cell = {row["cell"]: row for row in rows}
    counts = {cell: np.array(row["sentences"]) for cell, row in by_cell.items()}
    base = counts.get(BASE)
    compared = [c for c in by_cell if c != BASE and base is not None and not c.startswith("wikigold")]
    tests = dict(zip(compared, holm([paired(counts[c], base) for c in compared]), strict=True)) if compared else {}
    lines = [
        "| cell | F1 | 95% interval | p to knn250 (Holm) | tokens in | cached | tokens out | s/sentence | unusable |"
    ]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for cell, row in by_cell.items():
        n = len(row["sentences"])
        low, high = interval(counts[cell])
        p = f"{tests[cell]:.3f}" if cell in tests else "-"
        lines.append(
            f"| {cell} | {100 * float(f1(counts[cell])):.1f} | {100 * low:.1f} to {100 * high:.1f} | {p} "
            f"| {row['prompt_tokens'] / n:.0f} | {row['cached_tokens'] / n:.0f} | {row['completion_tokens'] / n:.0f} "
            f"| {row['seconds'] / n:.1f} | {row['quarantined']} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--model", required=True)
@click.option("--rows", default=100, show_default=True)
@click.option("--cell", "cells", multiple=True, type=click.Choice(list(CELLS)), help="Only these; default all.")
@click.option("--table", "only_table", is_flag=True, help="Print the table of what is measured; measure nothing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(model: str, rows: int, cells: tuple[str, ...], only_table: bool, output: Path) -> None:
    """Measure the cells that -o does not hold yet."""
    offline.enforce()
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(1))
    done = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    for cell in () if only_table else cells or CELLS:
        if any(row["cell"] == cell for row in done):
            continue
        try:
            row = measure(cell, model, rows, lambda: bool(stopped))
        except Interrupted:
            break
        done.append(row)
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    print(table(done))


if __name__ == "__main__":
    main()
