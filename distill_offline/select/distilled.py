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


def distilled_lines(folder: RunFolder, counts: Counter[str]) -> Iterator[AnnotationLine]:
    """Annotate's lines, then one for each sentence of corpus.distilled; streams. `counts` gains `stray_tags`.

    Spans and classes keep the confidence that they come with, out of stand-off labels or rows. Raises InputError where
    there is a teacher and it has not annotated to the end.
    """
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
