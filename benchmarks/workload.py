"""The rows that contestants compete over: the same sentences, prompts and settings for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import click

from distill_offline import config
from distill_offline.annotate.pool import demonstrations
from distill_offline.config.settings import BackendSettings, Settings
from distill_offline.corpus import write_sentences
from distill_offline.run.gold import make_task, read_gold, read_labelled, unlabelled
from distill_offline.schema import Example, Prompt, Sentence, canonical_json
from distill_offline.tasks.base import Task

__all__ = ["QUICKSTART", "Workload", "config_option", "labelled_workload", "safetensors", "workload"]

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"

# No row may stop a run or be asked twice: a second try of what was cut off would be work that no other contestant does.
_CHANGES = (
    "annotate.limit=null",
    "annotate.gold=[]",
    "annotate.max_quarantined=1.0",
    "annotate.max_failure_rate=1.0",
    "annotate.sampling.retry_tokens=0",
)


@dataclass(frozen=True, slots=True)
class Workload:
    """Settings whose corpus.unlabelled is exactly `sentences`, and the prompts that `annotate` makes of them.

    No two prompts are equal. `repeated` of the sentences are repetitions of others with a number at the end.
    """

    settings: Settings
    sentences: tuple[Sentence, ...]
    prompts: tuple[Prompt, ...]
    repeated: int

    @property
    def task(self) -> Task:
        return make_task(self.settings)

    @property
    def backend(self) -> BackendSettings:
        assert self.settings.backend is not None
        return self.settings.backend

    def served_by(self, name: str, model: Path | str, options: Mapping[str, Any]) -> Workload:
        """The same rows for another engine."""
        backend = BackendSettings(name=name, model=str(model), options=dict(options))
        return replace(self, settings=replace(self.settings, backend=backend))

    def note(self) -> str:
        """What a reader must know of the rows."""
        text = f"{len(self.sentences)} sentences, at most {self.settings.annotate.sampling.max_tokens} answer tokens."
        if self.repeated:
            text += f" {self.repeated} of them are repetitions with a number at the end: the corpus holds no more."
        return text


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config and --set: the package's own demo corpus unless told otherwise."""
    changed = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
    chosen = click.option(
        "--config", type=click.Path(path_type=Path), default=QUICKSTART, help="A configuration [quickstart.yaml]."
    )
    return chosen(changed(function))


def workload(path: Path, rows: int, folder: Path, changes: Iterable[str] = ()) -> Workload:
    """The first `rows` sentences of the configuration's corpus.unlabelled, written into `folder`."""
    settings = config.load(path, (*_CHANGES, *changes))
    examples = (Example(sentence, ("O",) * len(sentence.tokens), "distilled") for sentence in unlabelled(settings))
    return _workload(settings, list(examples), rows, folder)[0]


def labelled_workload(
    path: Path, rows: int, folder: Path, changes: Iterable[str] = ()
) -> tuple[Workload, dict[str, str]]:
    """`rows` sentences of corpus.original.train, and the perfect answer for each sentence id."""
    settings = config.load(path, (*_CHANGES, *changes))
    source = settings.corpus.original.train
    if source is None:
        raise click.UsageError(f"{path.name}: corpus.original.train is missing; perfect answers come from it.")
    made, examples = _workload(settings, list(read_labelled(settings, source, origin="original")), rows, folder)
    return made, {example.sentence.id: made.task.answer(example) for example in examples}


def _workload(settings: Settings, found: list[Example], rows: int, folder: Path) -> tuple[Workload, list[Example]]:
    distinct = list({example.sentence.text: example for example in found}.values())
    if not distinct:
        raise click.UsageError("the corpus holds no sentence.")
    chosen = list(islice(_numbered(distinct), rows))
    sentences = [example.sentence for example in chosen]
    corpus = folder / "sentences.jsonl"
    write_sentences(corpus, sentences)
    picker = demonstrations(settings, read_gold(settings))
    settings = replace(settings, corpus=replace(settings.corpus, unlabelled=str(corpus)))
    task = make_task(settings)
    prompts = tuple(task.prompt(sentence, chosen) for sentence, chosen in picker.pick(sentences))
    if len({canonical_json([[m.role, m.content] for m in prompt.messages]) for prompt in prompts}) < len(prompts):
        raise click.UsageError("two sentences give the same prompt, which annotate asks only once.")
    return Workload(settings, tuple(sentences), prompts, max(0, rows - len(distinct))), chosen


def _numbered(examples: list[Example]) -> Iterator[Example]:
    """The examples, and then for ever the same again with a number at the end."""
    yield from examples
    for turn in count(2):
        for example in examples:
            sentence, number = example.sentence, str(turn)
            end = len(sentence.text) + 1
            longer = Sentence(
                id=f"{sentence.id}#{number}",
                document=f"{sentence.document}#{number}",
                index=sentence.index,
                text=f"{sentence.text} {number}",
                tokens=(*sentence.tokens, number),
                offsets=(*sentence.offsets, (end, end + len(number))),
            )
            yield replace(example, sentence=longer, labels=(*example.labels, "O"))


def safetensors(model: Path, folder: Path) -> Path:
    """`model` itself, or the float32 folder in Hugging Face layout that its GGUF file was converted to."""
    if (model / "config.json").exists():
        return model
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from distill_offline.backends.gguf_file import find_gguf

    logging.disable_progress_bar()
    file = find_gguf(model)
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    plain = loaded.config
    del plain.quantization_config
    # A model that came out of a GGUF file refuses to be saved; a fresh one with its weights doesn't.
    fresh = AutoModelForCausalLM.from_config(plain, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder
