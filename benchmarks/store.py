"""Is annotate itself a bottleneck? Rows a second of its parts with a teacher that costs nothing, and its memory.

    python benchmarks/store.py -o store.md                        # about two minutes
    python benchmarks/store.py --rows 1000000 --strategy static   # memory stays flat; about ten minutes

Made-up sentences of about ten tokens; every row has a prompt of its own. One process, one run, parts timed apart.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import click

from distill_offline.annotate.answers import parse
from distill_offline.annotate.asking import AskSettings, ask, prompts
from distill_offline.annotate.demonstrations import Demonstrations
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.config.settings import DemonstrationSettings, TaskSettings
from distill_offline.corpus.record import join_tokens
from distill_offline.schema import Completion, Example, Prompt, Sampling, Sentence
from distill_offline.tasks.ner import NER

_NAMES = ("Ada", "Bo", "Chen", "Dara", "Ezra", "Fumi", "Gil", "Hana", "Ines", "Jomo")
_FIRMS = ("Acme", "Borealis", "Cobalt", "Delta", "Everest", "Fjord", "Gamma", "Harbour")
_VERBS = ("checked", "repaired", "ordered", "closed", "opened", "painted", "moved")
TASK = NER(TaskSettings(types={"PERSON": "a human being", "ORGANISATION": "a company or a unit"}))


class Instant:
    """A teacher that knows the made-up sentences: it names the capitalised words."""

    needs_model: ClassVar[bool] = False
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: Path, sampling: Sampling, options: Mapping[str, Any]) -> None:
        pass

    def identity(self) -> Mapping[str, Any]:
        return {"backend": "instant"}

    def complete(self, asked: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        for position, prompt in enumerate(asked):
            words = prompt.messages[-1].content.rsplit(": ", 1)[-1].split()
            pairs = [[words[0], "PERSON"], [" ".join(words[2:4]), "ORGANISATION"]]
            yield position, Completion(json.dumps(pairs), "stop", prompt_tokens=300, completion_tokens=20)

    def close(self) -> None:
        pass


def example(number: int) -> Example:
    name, verb, firm = (part[number % len(part)] for part in (_NAMES, _VERBS, _FIRMS))
    tokens = (name, verb, firm, f"Unit-{number % 977}", "in", "hall", str(number), "before", "noon", ".")
    text, offsets = join_tokens(tokens)
    labels = ("B-PERSON", "O", "B-ORGANISATION", "I-ORGANISATION", "O", "O", "O", "O", "O", "O")
    return Example(
        Sentence(f"d{number // 50}:{number % 50}", f"d{number // 50}", number % 50, text, tokens, offsets),
        labels,
        "original",
    )


def sentences(rows: int) -> Iterator[Sentence]:
    return (example(number).sentence for number in range(rows))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(rows: int, strategy: str, folder: Path) -> list[tuple[str, float]]:
    """(part, seconds) for one strategy."""
    pool = [example(10**7 + 13 * number) for number in range(1000)]
    picker = Demonstrations(DemonstrationSettings(strategy=strategy, k=4), pool, seed=0)  # type: ignore[arg-type]
    with CompletionStore(folder / strategy / "completions.sqlite") as store:
        recipe = store.add_recipe({"model": "instant"})
        asking = AskSettings(TASK, picker, store, recipe, prompt_digest, lambda: Instant(Path(), Sampling(), {}))
        began = time.perf_counter()
        for _ in sentences(rows):
            pass
        made = time.perf_counter()
        for _ in prompts(sentences(rows), asking):
            pass
        rendered = time.perf_counter()
        counts = ask("unlabelled", sentences(rows), asking, total=rows)
        asked = time.perf_counter()
        parse(
            sentences(rows),
            "unlabelled",
            TASK,
            store,
            counts,
            folder / strategy / "a.jsonl",
            folder / strategy / "q.jsonl",
        )
        parsed = time.perf_counter()
        again = ask("unlabelled", sentences(rows), asking, total=rows)
        resumed = time.perf_counter()
    assert (counts.annotated, counts.asked, again.asked) == (rows, rows, 0), counts
    make, render = made - began, rendered - made - (made - began)
    return [
        ("retrieval and rendering", render),
        ("store and check an answer", max(asked - rendered - render - make, 1e-9)),
        ("parse, align and write", parsed - asked - make),
        ("store + parse + align", (asked - rendered - render - make) + (parsed - asked - make)),
        ("a second run, all cached", resumed - parsed),
    ]


@click.command()
@click.option("--rows", default=20_000, show_default=True)
@click.option("--strategy", "strategies", multiple=True, default=("static", "knn"), show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table here, too.")
def main(rows: int, strategies: tuple[str, ...], output: Path | None) -> None:
    """Time annotate's own parts."""
    lines = ["| strategy | part | rows/s | microseconds a row |", "|---|---|--:|--:|"]
    with tempfile.TemporaryDirectory() as name:
        for strategy in strategies:
            for part, seconds in timed(rows, strategy, Path(name)):
                lines.append(f"| {strategy} | {part} | {rows / seconds:,.0f} | {1e6 * seconds / rows:.0f} |")
    lines.append(f"\n{rows:,} rows; peak memory {peak_mb():.0f} MB.")
    print("\n".join(lines))
    if output:
        output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
