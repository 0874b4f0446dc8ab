"""What a GPU site runs in ten minutes with its own model: `annotate` beside `LLM.chat` and `run_batch`. See gpu.md.

python benchmarks/gpu.py --model models/Qwen2.5-7B-Instruct --rows 2000 -o gpu-result.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import contestants
from gpu_readings import Readings, Usage
from measuring import (
    Timing,
    heading,
    in_own_process,
    markdown_table,
    marked,
    parsed_share,
    quiet_engines,
    say,
    write_report,
)
from workload import Workload, config_option, safetensors, workload

from distill_offline import offline
from distill_offline.models import catalogue

_CONTESTANTS: Mapping[str, tuple[str, Callable[[Workload], Timing]]] = {
    "annotate": ("**`annotate`**", contestants.annotate),
    "chat": ("`LLM.chat`, one list", contestants.llm_chat),
    "run_batch": ("`run_batch`", contestants.run_batch),
}
Choice = tuple[tuple[str, int], ...]  # names and values of the settings that differ from vLLM's defaults
_COMPARED = ("tensor_parallel_size", "max_num_seqs")
_COLUMNS = (
    "contestant",
    "settings",
    "prompts/s",
    "of `LLM.chat`",
    "input tokens/s",
    "output tokens/s",
    "prefix cache hits",
    "parsed",
    "GPU memory peak, GiB",
    "mean power, W",
    "energy, J per 1,000 rows",
    "whole command, s",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One contestant under one choice of settings, in one of the rounds; no timing where it failed."""

    contestant: str
    choice: Choice
    turn: int
    timing: Timing | None = None
    usage: Usage = field(default_factory=Usage)
    parsed: float = 0.0


@click.command()
@config_option
@click.option("--model", required=True, help="A folder in Hugging Face layout, a GGUF model (converted), or an id.")
@click.option("--rows", type=click.IntRange(2), default=2000, help="Sentences for each contestant [2000].")
@click.option("--tensor-parallel-size", type=click.IntRange(1), multiple=True, help="Repeat it to compare several.")
@click.option("--max-num-seqs", type=click.IntRange(1), multiple=True, help="Repeat it to compare several.")
@click.option("--dtype", default="auto", help="float32 on a CPU [auto].")
@click.option("--max-model-len", type=click.IntRange(256), default=4096, help="Tokens, prompt and answer [4096].")
@click.option("--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), help="Of each GPU's memory.")
@click.option("--quantization", help="As vLLM names it.")
@click.option("--enforce-eager", is_flag=True, help="No CUDA graphs: starts sooner, runs slower.")
@click.option(
    "--repeats", type=click.IntRange(1), default=1, help="Rounds; the ratio is of one round's neighbours [1]."
)
@click.option("--only", multiple=True, type=click.Choice(list(_CONTESTANTS)), help="This one; may be repeated.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the report here, too.")
def main(
    config: Path,
    changes: tuple[str, ...],
    model: str,
    rows: int,
    tensor_parallel_size: tuple[int, ...],
    max_num_seqs: tuple[int, ...],
    repeats: int,
    only: tuple[str, ...],
    output: Path | None,
    **engine: Any,
) -> None:
    """Measure, and print a Markdown table."""
    offline.enforce()
    quiet_engines()
    source = catalogue.locate(model)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place, Readings() as readings:
        folder = in_own_process(safetensors, source, Path(place) / "model")
        work = workload(config, rows, Path(place), changes)
        try:
            for choice, turn in product(_choices(tensor_parallel_size, max_num_seqs), range(repeats)):
                options = {name: value for name, value in engine.items() if value is not None} | dict(choice)
                for name in only or _CONTESTANTS:
                    served = work.served_by("vllm", folder, options)
                    results.append(_measure(Result(name, choice, turn), served, readings))
        finally:  # an interrupted comparison shows what it has
            title = heading("GPU: `annotate` beside `LLM.chat` and `run_batch`", [f"{source.name}, {work.note()}"])
            write_report(f"{title}\n\n{_table(results)}", output)
    if any(result.timing is None for result in results):
        sys.exit(1)


def _choices(tensor_parallel_size: tuple[int, ...], max_num_seqs: tuple[int, ...]) -> list[Choice]:
    """Every combination of the settings to be compared; vLLM's default stands for one that was not given."""
    return [
        tuple((name, value) for name, value in zip(_COMPARED, values, strict=True) if value is not None)
        for values in product(tensor_parallel_size or (None,), max_num_seqs or (None,))
    ]


def _measure(planned: Result, work: Workload, readings: Readings) -> Result:
    name = planned.contestant
    try:
        timing = in_own_process(_CONTESTANTS[name][1], work)
    except Exception as error:  # engines raise every type; the contestants after it shall still be measured
        say(f"{name} failed: {type(error).__name__}: {error}")
        return planned
    if timing.lost == len(timing.completions):
        say(f"{name} failed: no row has an answer ({timing.completions[0].finish_reason})")
        return planned
    say(f"{name}: {timing.rows_per_s:.3f} prompts/s, {timing.seconds:.1f} s")
    usage = readings.between(timing.began, timing.ended)
    parsed = parsed_share(work.task, work.sentences, timing.completions)
    return replace(planned, timing=timing, usage=usage, parsed=parsed)


def _table(results: list[Result]) -> str:
    bare = {(result.choice, result.turn): result.timing for result in results if result.contestant == "chat"}
    return markdown_table(_COLUMNS, [_row(result, bare.get((result.choice, result.turn))) for result in results])


def _row(result: Result, bare: Timing | None) -> list[str]:
    settings = ", ".join(f"{name} {value}" for name, value in result.choice) or "defaults"
    name, timing, usage = _CONTESTANTS[result.contestant][0], result.timing, result.usage
    if timing is None:
        return [name, settings, "failed", *["-"] * (len(_COLUMNS) - 3)]
    asked = timing.tokens("prompt_tokens")
    energy = usage.energy_j / len(timing.completions) * 1000 if usage.energy_j is not None else None
    return [
        marked(name, [timing]),
        settings,
        f"{timing.rows_per_s:.2f}",
        f"{timing.rows_per_s / bare.rows_per_s:.3f}" if bare else "-",
        f"{timing.tokens_per_s('prompt_tokens'):,.0f}",
        f"{timing.tokens_per_s('completion_tokens'):,.0f}",
        f"{timing.tokens('cached_tokens') / asked:.0%}" if asked else "-",
        f"{result.parsed:.0%}",
        _or_dash(usage.peak_memory_gib, ".1f"),
        _or_dash(usage.mean_power_w, ".0f"),
        _or_dash(energy, ",.0f"),
        _or_dash(timing.whole_s, ".0f"),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
