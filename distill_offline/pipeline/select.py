"""select: the distilled examples that students may learn from, in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from distill_offline.artifacts import ANNOTATIONS, read_rows, write_rows
from distill_offline.bio import decode_bio
from distill_offline.config import as_plain
from distill_offline.digests import file_digests
from distill_offline.inputs import make_task, read_gold, read_labelled
from distill_offline.run_folder import RunFolder, Stage, labels_digest, source_digest, source_paths
from distill_offline.schema import Annotation, Example, Head, tokens_digest
from distill_offline.stages.annotate import annotation_row
from distill_offline.stages.select import select as keep

__all__ = ["select"]


def select(folder: RunFolder) -> dict[str, int]:
    """The annotations that may be trained on: annotate's, and those that corpus.distilled brings."""
    settings, corpus = folder.settings, folder.settings.corpus
    sources = [folder.whole("annotate") / ANNOTATIONS] if settings.asks_a_teacher else []
    stage = Stage(
        folder,
        "select",
        decides={
            "annotations": sorted(file_digests(sources).values()),
            "distilled": source_digest(corpus.distilled),
            "held_out": labels_digest(settings, "dev", "test"),
            "settings": as_plain(settings.select),
        },
        inputs=source_paths(corpus.distilled, corpus.original.dev, corpus.original.test),
        parents=[path.parent for path in sources],
    )
    if stage.is_fresh():
        folder.say("select: up to date")
        return stage.sealed_counts()
    target, counts = stage.begin(), Counter[str]()
    rows: Iterator[Mapping[str, Any]] = chain.from_iterable(read_rows(path) for path in sources)
    if corpus.distilled is not None:
        head = make_task(settings).head
        distilled = read_labelled(settings, corpus.distilled, origin="distilled", counts=counts)
        rows = chain(rows, (_as_row(example, head) for example in distilled))
    held_out = read_gold(settings).held_out()
    write_rows(target / ANNOTATIONS, keep(rows, settings.select, held_out, _content, counts))
    in_words = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
    folder.say(f"select: {in_words}")
    stage.seal({key: counts[key] for key in sorted(counts)})
    return {key: counts[key] for key in sorted(counts)}


def _content(row: Mapping[str, Any]) -> str:
    return tokens_digest(row["tokens"])


def _as_row(example: Example, head: Head) -> dict[str, Any]:
    found = decode_bio(example.labels) if head == "token-classification" else ()
    spans = tuple(replace(span, alignment="tags") for span in found)
    return annotation_row(example.sentence, Annotation(example.sentence.id, example.labels, spans))
