"""What we add to each row, in microseconds: `annotate` with engines that cost nothing. Part of engines.py."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import contestants
import stamped
from measuring import Timing, in_own_process, markdown_table, marked, say, spread
from workload import Workload, labelled_workload

__all__ = ["report"]

_NO_DEMONSTRATIONS = "annotate.demonstrations.strategy=none"


def report(config: Path, changes: tuple[str, ...], rows: int, repeats: int, tokenizer: Path | None) -> list[str]:
    """Heading, table and explanation. `tokenizer`: a model's folder, for the vLLM backend; None leaves that out."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        folder = Path(place)
        work, answers = labelled_workload(config, rows, folder, changes)
        canned = folder / "answers.jsonl"
        canned.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in answers.items()), "utf-8")
        plain = labelled_workload(config, rows, folder, (*changes, _NO_DEMONSTRATIONS))[0]
        settings = work.settings.annotate.demonstrations
        shown = f"{settings.k} demonstrations by {settings.strategy}" if settings.k else "no demonstrations"
        options = {"answers": str(canned)}
        measured: list[tuple[str, Callable[[Workload], Timing], Workload]] = [
            (f"`annotate`, worker process, {shown}", contestants.annotate, _served(work, "Scripted", canned, options)),
            ("the same without a worker process", contestants.annotate, _served(work, "ScriptedHere", canned, options)),
            (
                "`annotate`, worker process, no demonstrations",
                contestants.annotate,
                _served(plain, "Scripted", canned, options),
            ),
        ]
        if tokenizer is not None:
            served = _served(work, "FreeVllm", tokenizer, options)
            measured += [
                (f"`annotate`, worker process, {shown}, vLLM backend", contestants.annotate, served),
                ("vLLM backend alone, plain loop", _backend_alone, served),
                ("of which chat template and tokenising, as `LLM.chat` does", _tokenising, served),
            ]
        timings: list[list[Timing]] = [[] for _ in measured]
        for _ in range(repeats):
            for (name, contestant, each), runs in zip(measured, timings, strict=True):
                runs.append(in_own_process(contestant, each))
                say(f"{name}: {1e6 / runs[-1].rows_per_s:.0f} µs a row")
    columns = ("engine that costs nothing", "µs a row", "rows/s")
    rows_of = [
        [marked(name, runs), spread([1e6 / run.rows_per_s for run in runs], ".0f"), f"{_median_speed(runs):.0f}"]
        for (name, *_), runs in zip(measured, timings, strict=True)
    ]
    return ["## Time that we add to a row", markdown_table(columns, rows_of), _reading(rows)]


def _served(work: Workload, kind: str, model: Path, options: dict[str, str]) -> Workload:
    return work.served_by(f"stamped:{kind}", model, options)


def _backend_alone(work: Workload) -> Timing:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        stamp = str(Path(place) / "stamp")
        backend = work.backend
        return contestants.bare(work.served_by(backend.name, backend.model, {**backend.options, "stamp": stamp}))


def _tokenising(work: Workload) -> Timing:
    from transformers import AutoTokenizer

    from distill_offline.backends.chat import Chat

    chat = Chat(AutoTokenizer.from_pretrained(work.backend.model, local_files_only=True, trust_remote_code=False))
    began = time.time()
    for prompt in work.prompts:
        chat.token_ids(prompt.messages)
    return Timing(began, time.time(), (stamped.NOTHING,) * len(work.prompts))


def _median_speed(runs: list[Timing]) -> float:
    return statistics.median(run.rows_per_s for run in runs)


def _reading(rows: int) -> str:
    return (
        f"{rows} labelled sentences with their perfect answers, given at once. From the engine's first prompt to the "
        "finished annotations.jsonl. Most of it passes while a real engine generates, in another process: it slows an "
        "engine down only where it is fast enough to finish a row sooner."
    )
