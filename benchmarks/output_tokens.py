"""What the form of an answer costs: compact JSON pairs without whitespace, verbose JSON objects, and free decoding.

python benchmarks/output_tokens.py --model models/SmolLM2-135M-Instruct-GGUF --rows 40 -o output_tokens.md
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import contestants
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
from workload import Workload, config_option, workload

from distill_offline import offline
from distill_offline.backends.gguf_file import find_gguf
from distill_offline.backends.llama_cpp import LlamaCpp
from distill_offline.models import catalogue
from distill_offline.run.gold import read_gold
from distill_offline.schema import Message, Prompt

_DEVELOPMENT = "corpus.unlabelled=package:demo/dev.jsonl"
_COLUMNS = (
    "answer",
    "decoding",
    "perfect answer, tokens",
    "output tokens a sentence",
    "of compact pairs",
    "seconds a sentence",
    "parsed",
    "cut off",
)


class FreeWhitespace(LlamaCpp):
    """Our backend with llama.cpp's own grammar for a schema, in which whitespace is free."""

    def _grammar(self, schema: Mapping[str, Any]) -> str:
        return str(self._engine.json_schema_to_grammar(json.dumps(schema)))


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to ask and to decode."""

    answer: str
    decoding: str
    objects: bool = False
    structured: bool = True
    backend: str = "llama_cpp"


_FREE_WHITESPACE = "output_tokens:FreeWhitespace"
_ARMS = (
    Arm("compact pairs", "schema, no whitespace (ours)"),
    Arm("compact pairs", "schema, free whitespace", backend=_FREE_WHITESPACE),
    Arm("compact pairs", "free", structured=False),
    Arm("verbose objects", "schema, free whitespace", objects=True, backend=_FREE_WHITESPACE),
    Arm("verbose objects", "free", objects=True, structured=False),
)


@click.command()
@config_option
@click.option("--model", default="SmolLM2-135M-Instruct-GGUF", help="A catalogue id or the path of a GGUF model.")
@click.option("--rows", type=click.IntRange(2), default=40, help="Sentences of the demo's dev split [40].")
@click.option("--repeats", type=click.IntRange(1), default=1, help="Rounds over all ways [1].")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the report here, too.")
def main(config: Path, changes: tuple[str, ...], model: str, rows: int, repeats: int, output: Path | None) -> None:
    """Measure, and print a Markdown table."""
    offline.enforce()
    quiet_engines()
    source = catalogue.locate(model)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        work = workload(config, rows, Path(place), (_DEVELOPMENT, *changes)).served_by("llama_cpp", source, {})
        timings: list[list[Timing]] = [[] for _ in _ARMS]
        for _ in range(repeats):
            for arm, runs in zip(_ARMS, timings, strict=True):
                runs.append(in_own_process(contestants.bare, _asked(work, arm)))
                say(f"{arm.answer}, {arm.decoding}: {runs[-1].seconds:.1f} s")
        perfect = in_own_process(_perfect_tokens, work)
    first = timings[0][0].tokens("completion_tokens")
    rows_of = [_row(work, arm, runs, first, perfect) for arm, runs in zip(_ARMS, timings, strict=True)]
    title = heading("Output tokens: the form of the answer", [f"{source.name}, {work.note()}"])
    write_report("\n\n".join([title, markdown_table(_COLUMNS, rows_of), _READING]), output)


_READING = (
    'Compact pairs: `[["Ada Lovelace","PERSON"]]`. Verbose objects: a list of `{"entity": ..., "type": ...}`, '
    "pretty-printed in the demonstrations. Both are asked for with the same type definitions and the same "
    "demonstrations. Free: no schema is enforced, whatever the prompt says. *Perfect answer*: tokens that the human "
    "labels of a sentence need in this form; the model's own answers differ in what they name, too. *Parsed*: the task "
    "reads the whole answer. *Cut off*: at the limit of answer tokens, which such an answer has used up in vain."
)


def _asked(work: Workload, arm: Arm) -> Workload:
    sampling = replace(work.settings.annotate.sampling, structured=arm.structured)
    settings = replace(work.settings, annotate=replace(work.settings.annotate, sampling=sampling))
    prompts = tuple(map(_in_objects, work.prompts)) if arm.objects else work.prompts
    changed = replace(work, settings=settings, prompts=prompts)
    return changed.served_by(arm.backend, work.backend.model, work.backend.options)


def _in_objects(prompt: Prompt) -> Prompt:
    """The same prompt, asking for verbose objects and showing them."""
    schema = dict(prompt.schema or {})
    mention, type_ = schema["items"]["prefixItems"]
    item = {
        "type": "object",
        "properties": {"entity": mention, "type": type_},
        "required": ["entity", "type"],
        "additionalProperties": False,
    }
    messages = tuple(map(_reworded, prompt.messages))
    return replace(prompt, messages=messages, schema={"type": "array", "items": item})


def _reworded(message: Message) -> Message:
    if message.role == "assistant":
        return replace(message, content=_verbose(message.content))
    if message.role == "system":
        reworded = message.content.replace(
            "a JSON list of [entity, type] pairs", 'a JSON list of objects with the keys "entity" and "type"'
        )
        if reworded == message.content:
            raise click.UsageError("task.prompt must be `standard`: its wording is changed to ask for objects.")
        return replace(message, content=reworded)
    return message


def _verbose(pairs: str) -> str:
    """The same answer as pretty-printed objects."""
    objects = [{"entity": mention, "type": type_} for mention, type_ in json.loads(pairs)]
    return json.dumps(objects, ensure_ascii=False, indent=2)


def _perfect_tokens(work: Workload) -> dict[bool, float]:
    """Mean tokens of what a perfect teacher would say, in pairs (False) and in objects (True).

    Empty if the sentences are not those of corpus.original.dev, or where `gguf` is not installed.
    """
    task = work.task
    answers = {example.sentence.id: task.answer(example) for example in read_gold(work.settings).dev}
    if find_spec("gguf") is None or not all(sentence.id in answers for sentence in work.sentences):
        return {}
    from transformers import AutoTokenizer

    file = find_gguf(Path(work.backend.model))
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    pairs = [answers[sentence.id] for sentence in work.sentences]
    return {
        objects: statistics.fmean(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        for objects, texts in ((False, pairs), (True, list(map(_verbose, pairs))))
    }


def _row(work: Workload, arm: Arm, runs: list[Timing], first: int, perfect: Mapping[bool, float]) -> list[str]:
    tokens, rows = runs[0].tokens("completion_tokens"), len(runs[0].completions)
    cut = sum(completion.finish_reason == "length" for completion in runs[0].completions)
    return [
        arm.answer,
        marked(arm.decoding, runs),
        f"{perfect[arm.objects]:.1f}" if perfect else "-",
        f"{tokens / rows:.1f}",
        f"{tokens / first:.2f}",
        spread([run.seconds / rows for run in runs]),
        f"{parsed_share(work.task, work.sentences, runs[0].completions):.0%}",
        f"{cut / rows:.0%}",
    ]


if __name__ == "__main__":
    main()
