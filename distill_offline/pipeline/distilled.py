"""All distilled labels of a run as lines of annotations: the teacher's own, and those that corpus.distilled brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from distill_offline.answers import annotation_row
from distill_offline.artifacts import ANNOTATIONS, read_rows
from distill_offline.corpus import read_annotations
from distill_offline.inputs import make_task
from distill_offline.run_folder import RunFolder

__all__ = ["distilled_rows"]


def distilled_rows(folder: RunFolder, counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """Annotate's rows, then one for each sentence of corpus.distilled; streams. `counts` gains `stray_tags`.

    Spans and classes keep the confidence that they come with, out of stand-off labels or rows. Raises InputError where
    there is a teacher and it has not annotated to the end.
    """
    settings, corpus = folder.settings, folder.settings.corpus
    if settings.asks_a_teacher:
        yield from read_rows(folder.whole("annotate") / ANNOTATIONS)
    if corpus.distilled is None:
        return
    found = read_annotations(
        corpus.read_as(corpus.distilled),
        tag_column=corpus.tag_column,
        scheme=corpus.scheme,
        head=make_task(settings).head,
        types=list(settings.task.types),
        counts=counts,
    )
    for sentence, annotation, carried in found:
        yield {**annotation_row(sentence, annotation), **carried}
