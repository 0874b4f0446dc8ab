"""Stored completions, read into annotations: every sentence lands in exactly one of two files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from distill_offline.annotations import AnnotationLine
from distill_offline.errors import InputError, UnusableAnswer
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Annotation, Completion, Sentence
from distill_offline.storage.files import json_line, replacing
from distill_offline.tasks.base import Task

__all__ = ["Counts", "parse", "parsed"]


_NUMBER = re.compile(r"\d{4,}|(?<!status )\b\d+\b")
_LONGEST_NAME = 40  # characters of a type as it was written


@dataclass(slots=True)
class Counts:
    """What happened, in rows: one for each sample of a sentence, where a sentence is asked about more than once; one
    a sentence again once its answers have been read.

    `asked` counts prompts that the teacher answered now, `retried` those among them that were asked again with more
    room, and `unusable` those whose answer cannot be read; tokens are those of `asked`, first tries included. `renamed`
    counts types (or classes) that answers give by another name, as "PERSON as PER"; `only_unknown` the rows that have
    no entity since every mention of theirs is of a type that the task has not. `causes` are those of the rows that an
    engine failed: an example of each kind, and how many are of it.
    """

    rows: int = 0
    cached: int = 0
    asked: int = 0
    retried: int = 0
    unusable: int = 0
    annotated: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    aligned: Counter[str] = field(default_factory=Counter)
    renamed: Counter[str] = field(default_factory=Counter)
    only_unknown: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: dict(sorted(v.items())) if isinstance(v, Counter) else v for key, v in values.items()}


class Rows(Protocol):
    """What reading needs of a completion store; see completions.CompletionStore."""

    def rows(self, corpus_part: str) -> Iterator[tuple[str, bytes, Completion | None]]: ...
    def failures(self) -> Mapping[bytes, str]: ...


def parse(
    sentences: Iterable[Sentence],
    corpus_part: str,
    task: Task,
    store: Rows,
    counts: Counts,
    output: Path,
    quarantine: Path,
    *,
    samples: int = 1,
    complete: Callable[[Sentence, Annotation], Annotation] | None = None,
) -> None:
    """Turn stored completions into the two files, in the corpus's order; needs no teacher.

    The same stored completions give the same bytes. Of several `samples` of a sentence those that can be used vote;
    where none can, the sentence is quarantined for the first one's reason. `complete` adds what else is known.
    """
    rows, failures, kinds = store.rows(corpus_part), store.failures(), dict[str, str]()
    with replacing(output) as labelled, replacing(quarantine) as refused:
        for sentence in sentences:
            said = list(islice(rows, samples))
            if len(said) < samples or any(id_ != sentence.id for id_, _, _ in said):
                asked = next((id_ for id_, _, _ in said if id_ != sentence.id), "no sentence")
                raise _changed(corpus_part, asked, sentence.id)
            annotation = parsed(task, sentence, [completion for _, _, completion in said])
            if isinstance(annotation, str):
                counts.quarantined[annotation] += 1
                _, digest, completion = said[0]
                finish = completion.finish_reason if completion else failures.get(digest, "")
                refused.write(json_line(_refusal(sentence, annotation, digest, finish)))
                if annotation == "engine_error":
                    cause = finish.removeprefix("error: ") or "the engine gave no answer"
                    counts.causes[kinds.setdefault(re.sub(r"\d+", "0", cause), cause)] += 1
                continue
            if complete is not None:
                annotation = complete(sentence, annotation)
            counts.annotated += 1
            counts.rejected.update(rejection.reason for rejection in annotation.rejected)
            counts.aligned.update(span.alignment for span in annotation.spans)
            counts.renamed.update(f"{written[:_LONGEST_NAME]} as {name}" for written, name in annotation.renamed)
            reasons = {rejection.reason for rejection in annotation.rejected}
            counts.only_unknown += not annotation.spans and reasons == {"unknown_type"}
            labelled.write(AnnotationLine.of(sentence, annotation).as_line())
        if (left := next(rows, None)) is not None:
            raise _changed(corpus_part, left[0], "no sentence")
    counts.rows //= samples


def _changed(corpus_part: str, asked: str, present: str) -> InputError:
    return InputError(
        f"{corpus_part}: where {asked} was asked for, the corpus has {present} now. It changed meanwhile: run annotate "
        "again; all answers are stored."
    )


def parsed(task: Task, sentence: Sentence, said: Sequence[Completion | None]) -> Annotation | str:
    """What the samples of a sentence say, by vote if there are several; or why none of them can be used."""
    read = [_read(task, sentence, completion) for completion in said]
    usable = [reading for reading in read if isinstance(reading, Annotation)]
    if not usable:
        return str(read[0])
    return usable[0] if len(said) == 1 else kind_of(task.head).vote(usable, len(said))


def _read(task: Task, sentence: Sentence, completion: Completion | None) -> Annotation | str:
    """The labels, or why there are none to trust."""
    if completion is None:
        return "engine_error"
    try:
        return task.parse(sentence, completion)
    except UnusableAnswer as error:
        return error.reason


def _refusal(sentence: Sentence, reason: str, digest: bytes, finish: str) -> Mapping[str, Any]:
    return {
        "id": sentence.id,
        "document": sentence.document,
        "index": sentence.index,
        "reason": reason,
        "finish_reason": finish,
        "completion": digest.hex(),
    }
