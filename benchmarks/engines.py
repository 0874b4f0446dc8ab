"""Prompts a second of `annotate` beside the bare engine and the ways people annotate now; same model, same sentences.

python benchmarks/engines.py --backend llama_cpp --model models/SmolLM2-135M-Instruct-GGUF --rows 24 -o engines.md
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import added_time
import click
import contestants
import yaml
from measuring import (
    Timing,
    heading,
    in_own_process,
    markdown_table,
    marked,
    parsed_share,
    quiet_engines,
    say,
    spread,
    write_report,
)
from workload import Workload, config_option, safetensors, workload

from distill_offline import offline
from distill_offline.models import catalogue

Contestant = Callable[[Workload], Timing]
_COLUMNS = (
    "contestant",
    "prompts/s",
    "of the bare engine",
    "input tokens/s",
    "output tokens/s",
    "output tokens a row",
    "parsed",
    "whole command, s",
)
_PADDED = 8  # prompts in a padded batch
_BARE = {"llama_cpp": "bare engine, plain loop", "vllm": "bare engine, `LLM.chat`"}
_PARTS = ("annotate", "bare", "one", "padded", "run_batch", "added")


@click.command()
@config_option
@click.option("--backend", type=click.Choice(["llama_cpp", "vllm"]), default="llama_cpp")
@click.option("--model", default="SmolLM2-135M-Instruct-GGUF", help="A catalogue id or a path.")
@click.option("--options", default="{}", help="The backend's options as YAML: '{max_model_len: 2048}'.")
@click.option("--rows", type=click.IntRange(2), default=24, help="Sentences for each contestant [24].")
@click.option("--repeats", type=click.IntRange(1), default=3, help="Rounds of annotate against the bare engine [3].")
@click.option("--free-rows", type=click.IntRange(2), default=4000, help="Sentences past an engine without cost [4000].")
@click.option("--only", multiple=True, type=click.Choice(_PARTS), help="Measure this part; may be repeated.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the report here, too.")
def main(
    config: Path,
    changes: tuple[str, ...],
    backend: str,
    model: str,
    options: str,
    rows: int,
    repeats: int,
    free_rows: int,
    only: tuple[str, ...],
    output: Path | None,
) -> None:
    """Measure, and print a Markdown table."""
    offline.enforce()
    quiet_engines()
    parts = only or _PARTS
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        folder = Path(place)
        source = catalogue.locate(model)
        safe = in_own_process(safetensors, source, folder / "model") if _needs_safetensors(backend, parts) else source
        work = workload(config, rows, folder, changes)
        work = work.served_by(backend, safe if backend == "vllm" else source, _options(backend, options))
        text = [heading("Engines: `annotate` beside the others", [f"{source.name}, {work.note()}"])]
        chosen = {part: each for part, each in _contestants(backend, safe).items() if part in parts}
        if chosen:
            timings = _race(work, chosen, repeats)
            text += [_table(work, timings), *_differences(timings), _reading(backend)]
        if "added" in parts:
            tokenizer = safe if backend == "vllm" else None
            text += added_time.report(config, changes, free_rows, repeats, tokenizer)
    write_report("\n\n".join(text), output)


def _needs_safetensors(backend: str, parts: tuple[str, ...]) -> bool:
    return backend == "vllm" or "padded" in parts


def _options(backend: str, text: str) -> dict[str, Any]:
    given = yaml.safe_load(text)
    if not isinstance(given, dict):
        raise click.BadParameter("write a mapping: '{max_model_len: 2048}'", param_hint="--options")
    # Every contestant is told the same precision and length: run_batch has other defaults than our backend.
    return {**({"dtype": "float32", "max_model_len": 2048} if backend == "vllm" else {}), **given}


def _contestants(backend: str, safe: Path) -> dict[str, tuple[str, Contestant]]:
    """Name and function of each, in the order of the table."""
    own: dict[str, tuple[str, Contestant]] = {"annotate": ("**`annotate`**", contestants.annotate)}
    padded = (f"transformers `generate`, padded batches of {_PADDED}, not constrained", _Padded(safe))
    if backend == "llama_cpp":
        bare, one = contestants.bare, _one_slot
    else:
        bare, one = contestants.llm_chat, contestants.one_at_a_time
    own["bare"] = (_BARE[backend], bare)
    own["one"] = ("one prompt at a time, same engine", one)
    own["padded"] = padded
    if backend == "vllm":
        own["run_batch"] = ("`vllm.entrypoints.openai.run_batch`", contestants.run_batch)
    return own


def _one_slot(work: Workload) -> Timing:
    backend = work.backend
    return contestants.one_at_a_time(work.served_by(backend.name, backend.model, {**backend.options, "slots": 1}))


class _Padded:
    """transformers' generate over batches in the corpus's order, as most scripts do it."""

    def __init__(self, model: Path) -> None:
        self._model = model

    def __call__(self, work: Workload) -> Timing:
        sampling = replace(work.settings.annotate.sampling, structured=False)
        plain = replace(
            work, settings=replace(work.settings, annotate=replace(work.settings.annotate, sampling=sampling))
        )
        options = {"batch_size": _PADDED, "window": _PADDED}
        return contestants.bare(plain.served_by("transformers", self._model, options))


def _race(
    work: Workload, chosen: dict[str, tuple[str, Contestant]], repeats: int
) -> dict[str, tuple[str, list[Timing]]]:
    """Timings by part: `annotate` and the bare engine in turns, the slower ways once."""
    turns: list[str] = []
    pair = [part for part in ("annotate", "bare") if part in chosen]
    for number in range(repeats):
        turns += pair if number % 2 else pair[::-1]
    turns += [part for part in chosen if part not in pair]
    timings: dict[str, tuple[str, list[Timing]]] = {part: (name, []) for part, (name, _) in chosen.items()}
    for part in turns:
        name, contestant = chosen[part]
        timing = in_own_process(contestant, work)
        timings[part][1].append(timing)
        say(f"{name}: {timing.rows_per_s:.3f} prompts/s, {timing.seconds:.1f} s")
    return timings


def _table(work: Workload, timings: dict[str, tuple[str, list[Timing]]]) -> str:
    bare = [timing.rows_per_s for timing in timings["bare"][1]] if "bare" in timings else []
    rows = []
    for part, (name, runs) in timings.items():
        speeds = [run.rows_per_s for run in runs]
        against = bare if part in ("annotate", "bare") else [statistics.median(bare)] if bare else []
        ratios = [own / other for own, other in zip(speeds, against, strict=False)]
        whole = [run.whole_s for run in runs if run.whole_s is not None]
        rows.append(
            [
                marked(name, runs),
                spread(speeds, ".3f"),
                ("1" if part == "bare" else spread(ratios, ".3f")) if ratios else "-",
                *(
                    spread([run.tokens_per_s(kind) for run in runs], ".0f")
                    for kind in ("prompt_tokens", "completion_tokens")
                ),
                spread([run.tokens("completion_tokens") / len(work.prompts) for run in runs], ".1f"),
                f"{statistics.median(parsed_share(work.task, work.sentences, run.completions) for run in runs):.0%}",
                f"{statistics.median(whole):.1f}" if whole else "-",
            ]
        )
    return markdown_table(_COLUMNS, rows)


def _differences(timings: dict[str, tuple[str, list[Timing]]]) -> list[str]:
    """A warning where contestants did not get the same work, which would make the table worthless."""
    asked = {name: {run.tokens("prompt_tokens") for run in runs} for name, runs in timings.values()}
    if len(set.union(*asked.values())) == 1:
        return []
    each = "; ".join(f"{name}: {', '.join(map(str, sorted(counts)))}" for name, counts in asked.items())
    return [f"**The prompts differ in tokens, so compare with care.** {each}."]


def _reading(backend: str) -> str:
    """How the table came about."""
    alike = "the same backend class, in one process" if backend == "llama_cpp" else "vLLM's own class, one call"
    return (
        "Each contestant runs in a process of its own, its engine started beforehand. `annotate`: from the engine's "
        "first prompt to the finished annotations.jsonl, so with the worker process, store, parsing and files. "
        f"Bare: {alike}, with prepared prompts, nothing stored. Medians (lowest to highest); the ratio is of each "
        "round's neighbours. The slower ways run once, against the bare engine's median. *Whole command* counts the "
        "engine's start as well."
    )


if __name__ == "__main__":
    main()
