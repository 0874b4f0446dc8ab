"""init: the verb that writes a first configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from distill_offline.cli.console import Console
from distill_offline.cli.options import format_option
from distill_offline.errors import InputError

__all__ = ["init"]


@click.command()
@click.argument("file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--gold", required=True, type=click.Path(path_type=Path), help="Your labelled file.")
@click.option("--test", type=click.Path(path_type=Path), help="A labelled file to score on [a part of --gold].")
@click.option("--text", type=click.Path(path_type=Path), help="The text that the teacher labels, a file or a folder.")
@format_option("--format", "file_format", what="--gold")
@click.option("--type", "types", multiple=True, metavar="NAME=MEANING", help="What counts as a type, in a few words.")
@click.option("--backend", default="llama_cpp", help="The teacher's engine.")
@click.option("--model", default="SmolLM2-135M-Instruct-GGUF", help="The teacher: a catalogue id or a path.")
@click.option("--encoder", default="all-MiniLM-L6-v2", help="The encoder: a catalogue id or a folder.")
@click.option("--language", help="As corpus.language: how raw text is cut [by rules for every script].")
def init(
    file: Path,
    gold: Path,
    test: Path | None,
    text: Path | None,
    file_format: str | None,
    types: tuple[str, ...],
    backend: str,
    model: str,
    encoder: str,
    language: str | None,
) -> None:
    """Write a first configuration from a look at your files.

    It counts sentences, documents and types, divides --gold into train, test and, from 300 sentences on, dev, so that
    train and test share no document, and asks what each type means if a person is there to answer. Nothing is
    overwritten.

    Example: distill-offline init mine/my.yaml --gold mine/labelled.jsonl --text mine/text
    """
    from distill_offline.pipeline.first_config import first_config, look_at, missing_definitions, write_config

    console = Console(False)
    if file.exists():
        raise InputError(f"{file}: it exists. Name another one, or remove it.")
    definitions = dict(_named(value) for value in types)
    look = look_at(gold, file_format, test)
    if sys.stdin.isatty():
        for name in missing_definitions(look, definitions):
            known = ", ".join(look.mentions.get(name, ()))
            asked = f"What counts as {name}" + (f" (such as {known})" if known else "")
            definitions[name] = click.prompt(asked, default=name.lower().replace("_", " "))
    content = first_config(
        look, file, gold, text=text, test=test, file_format=file_format, definitions=definitions, backend=backend,
        model=model, encoder=encoder, language=language,
    )  # fmt: skip
    write_config(file, content)
    counts = ", ".join(f"{name} {count}" for name, count in look.types.most_common())
    console.result(f"{gold}: {look.sentences} sentences in {look.documents} documents; {counts}.")
    for name in sorted({*definitions, *look.tested} - set(look.types)):
        console.warn(f"{name} is in none of your labels: nothing can be learnt of it there, nor measured.")
    if len(look.types) == 1 and look.head == "sequence-classification":
        console.warn("there is one class alone: a student can learn nothing from that.")
    console.result(f"{file} is written. Read it, say what each type means, then: distill-offline run {file} --dry-run")


def _named(value: str) -> tuple[str, str]:
    name, _, meaning = value.partition("=")
    if not name.strip() or not meaning.strip():
        raise InputError(f"--type {value}: write NAME=MEANING.")
    return name.strip(), meaning.strip()
