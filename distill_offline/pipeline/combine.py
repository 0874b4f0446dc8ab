"""combine: the labels of several teachers, prompts or samples as one file of annotations, in a sealed folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.annotations import AnnotationLine, read_lines, write_lines
from distill_offline.config.settings import Source
from distill_offline.corpus import head_of, read_annotations, read_examples, resolve_path
from distill_offline.errors import InputError
from distill_offline.schema import Head
from distill_offline.select.combining import Combined, Method
from distill_offline.select.combining import combine as combined
from distill_offline.storage.files import ANNOTATIONS, fresh_folder

__all__ = ["combine"]


def combine(
    teachers: Mapping[str, Path],
    output: Path,
    *,
    method: Method = "dawid_skene",
    gold: Path | None = None,
    command: Sequence[str] = (),
) -> Combined:
    """Write the joined labels of `teachers` (by name: annotate or select folders, or labelled files) to the new folder
    `output`, as annotations.jsonl with a manifest that names them.

    With `gold`, a labelled file of sentences that the teachers labelled, too, their confusions are those on gold; of an
    annotate folder the labels of gold count as well (annotate.gold), and do not come out. Raises InputError for labels
    of different kinds, labels of different texts, gold that is of no use, and a folder that is not empty.
    """
    started = datetime.now(UTC)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: it exists, and is not empty. Name a new folder.")
    files = {name: _file(path) for name, path in teachers.items()}
    gold = None if gold is None else resolve_path(str(gold))
    heads = {name: head_of(file) for name, file in files.items()}
    if len(set(heads.values())) > 1:
        raise InputError(f"combine: these are different kinds of labels: {_in_words(heads)}.")
    head = next(iter(heads.values()))
    counts = {name: Counter[str]() for name in files}
    said = {name: _lines(file, head, counts[name]) for name, file in files.items()}
    truth = None if gold is None else list(read_examples(Source(path=str(gold)), origin="original", head=head))
    known = set[tuple[str, ...]]() if truth is None else {example.sentence.tokens for example in truth}
    gold_files = {name: _gold_files(file) if known else [] for name, file in files.items()}
    on_gold = {name: _on_gold(paths, head, known) for name, paths in gold_files.items()}
    try:
        found = combined(head, said, method, truth, on_gold)
    except ValueError as error:
        raise InputError(f"combine: {error}.") from error
    for name, told in found.teachers.items():
        if lost := {what: count for what, count in sorted(counts[name].items()) if count}:
            told["lost"] = lost
    fresh_folder(output)
    write_lines(output / ANNOTATIONS, found.lines)
    manifest.seal(
        output,
        stage="combine",
        config={"method": method},
        seeds={},
        inputs=[*files.values(), *chain.from_iterable(gold_files.values()), *([gold] if gold is not None else [])],
        models={},
        parents=[file.parent / manifest.NAME for file in files.values() if (file.parent / manifest.NAME).is_file()],
        command=command,
        started=started,
        counts=_counts(found),
    )
    return found


def _counts(found: Combined) -> dict[str, Any]:
    return {
        "sentences": len(found.lines),
        "by_teachers": {str(number): count for number, count in found.by_teachers.items()},
        "teachers": found.teachers,
        **({"strange_in_gold": list(found.strange)} if found.strange else {}),
        **({"doubts": list(found.doubts)} if found.doubts else {}),
    }


def _file(path: Path) -> Path:
    resolved = resolve_path(str(path))
    if not resolved.is_dir():
        return resolved
    file = resolved / ANNOTATIONS
    if not file.is_file():
        return resolved  # a folder of labelled files
    stages = (resolved, *resolved.parents[:2])
    if not any(map(manifest.is_whole, stages)):
        raise InputError(f"{path}: its stage {manifest.why_not_whole(*stages)}.")
    return file


def _lines(file: Path, head: Head, counts: Counter[str]) -> list[AnnotationLine]:
    """What a file says; `counts` gains what of it cannot be kept."""
    if file.name != ANNOTATIONS:
        return list(read_annotations(Source(path=str(file)), head=head, counts=counts))
    lines = list(read_lines(file, head))
    counts["stray_tags"] += sum(line.strays for line in lines)
    return lines


def _gold_files(file: Path) -> list[Path]:
    """The labels of gold that stand beside the annotations of an annotate folder (annotate.gold)."""
    return sorted(file.parent.glob(f"gold/*/{ANNOTATIONS}")) if file.name == ANNOTATIONS else []


def _on_gold(files: Iterable[Path], head: Head, gold: Collection[tuple[str, ...]]) -> list[AnnotationLine]:
    """What a teacher said of sentences with the tokens of `gold`; each text once."""
    found = {line.sentence.tokens: line for file in files for line in read_lines(file, head)}
    return [line for tokens, line in found.items() if tokens in gold]


def _in_words(heads: Mapping[str, Head]) -> str:
    return ", ".join(f"{name}: {head}" for name, head in heads.items())
