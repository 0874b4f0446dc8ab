"""All distilled labels of a run as lines of annotations: the teacher's own, and those that corpus.distilled brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from distill_offline.annotations import AnnotationLine, read_lines
from distill_offline.corpus import read_annotations
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.storage.files import ANNOTATIONS

__all__ = ["distilled_lines"]


def distilled_lines(folder: RunFolder, counts: Counter[str] | None) -> Iterator[AnnotationLine]:
    """Annotate's lines, then one for each sentence of corpus.distilled; streams.

    Spans and classes keep the confidence that they come with, out of stand-off labels or rows. `counts` gains
    `stray_tags`, and `rows_with_unread_fields`: fields that no line of annotations has are not kept, and the first such
    row is told. Raises InputError if there is a teacher and it has not annotated to the end.
    """
    counter = Counter[str]() if counts is None else counts
    for line in _lines(folder, counter):
        if line.unread:
            if counts is not None and not counter["rows_with_unread_fields"]:
                named = ", ".join(f"{name[:40]!a}" for name in line.unread[:3])
                folder.say(f"select: sentence {line.sentence.id} has fields that no annotation has, not kept: {named}")
            counter["rows_with_unread_fields"] += 1
        yield line


def _lines(folder: RunFolder, counts: Counter[str]) -> Iterator[AnnotationLine]:
    settings, corpus, head = folder.settings, folder.settings.corpus, make_task(folder.settings).head
    if settings.asks_a_teacher:
        yield from read_lines(folder.whole("annotate") / ANNOTATIONS, head)
    if corpus.distilled is None:
        return
    yield from read_annotations(
        corpus.read_as(corpus.distilled),
        tag_column=corpus.tag_column,
        scheme=corpus.scheme,
        head=head,
        types=list(settings.task.types),
        counts=counts,
    )
