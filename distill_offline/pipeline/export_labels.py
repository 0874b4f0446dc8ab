"""export-labels: a run's labels, or those of any labelled file, without the text that they stand for."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_offline import manifest
from distill_offline.annotations import AnnotationLine, LineValues, read_lines
from distill_offline.config.settings import Source
from distill_offline.corpus import AnyScheme, OnBadFile, head_of, read_annotations, read_sentences, resolve_path
from distill_offline.corpus.standoff import StandoffLabels, content_prefix, write_standoff
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.schema import Head, Sentence, Span, tokens_digest
from distill_offline.storage.files import ANNOTATIONS

__all__ = ["export_labels"]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A labelled sentence whose position is not yet known. `digest` is its content's."""

    id: str
    digest: str
    spans: tuple[Span, ...]
    labels: tuple[str, ...] | None
    beside: LineValues


def export_labels(
    labels: Path,
    corpus: Path,
    output: Path,
    *,
    tag_column: int | None = None,
    scheme: AnyScheme = "auto",
    on_bad_file: OnBadFile = "error",
    language: str | None = None,
    input_format: str | None = None,
    corpus_format: str | None = None,
) -> dict[str, int]:
    """Write the labels of `labels` for the sentences of `corpus` to `output`, as corpus/standoff.py says.

    `labels`: an annotate, cross_fit or select folder, its annotations.jsonl, or a labelled file (with `tag_column` and
    `scheme`). A row goes with the sentence that has its id and tokens; if there is none, with the first one left
    that has its tokens. `corpus` is read whole. Gives counts: `sentences` and `spans` written, `not_in_corpus` rows
    left out for want of a sentence, `in_corpus` sentences. Raises InputError if nothing is left.
    `language` says how raw text is tokenised, as corpus.language; `input_format` and `corpus_format` name the formats
    that suffixes do not.
    """
    rows, head = _read(labels, tag_column, scheme, input_format)
    source = Source(path=str(corpus), format=corpus_format, on_bad_file=on_bad_file, language=language)
    places = _Places(rows)
    for position, sentence in enumerate(read_sentences(source, head=head)):
        places.add(position, sentence)
    entities = list(places.labels())
    if not entities:
        raise InputError(f"{labels}: none of its sentences occurs in {corpus}; these are labels of another corpus.")
    written = write_standoff(output, head, entities, {"name": resolve_path(corpus).name, "sentences": places.count})
    return {
        "sentences": written.sentences,
        "spans": sum(len(row.spans) for row in entities),
        "not_in_corpus": len(rows) - len(entities),
        "in_corpus": places.count,
    }


class _Places:
    """Which position each row has, found in one pass over the corpus; no more is kept of it than the rows need."""

    def __init__(self, rows: Sequence[_Labelled]) -> None:
        self._rows = rows
        self._by_id = {(row.id, row.digest): number for number, row in enumerate(rows)}
        self._wanted = {row.digest for row in rows}
        self._position_of: dict[int, tuple[int, str]] = {}
        self._left: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self.count = 0

    def add(self, position: int, sentence: Sentence) -> None:
        self.count = position + 1
        digest = tokens_digest(sentence.tokens)
        number = self._by_id.get((sentence.id, digest))
        if number is not None:
            self._position_of[number] = position, content_prefix(sentence)
        elif digest in self._wanted:
            self._left[digest].append((position, content_prefix(sentence)))

    def labels(self) -> Iterator[StandoffLabels]:
        for number, row in enumerate(self._rows):
            position = self._position_of.get(number)
            if position is None and self._left[row.digest]:
                position = self._left[row.digest].popleft()
            if position is not None:
                yield StandoffLabels(*position, row.spans, row.labels, row.beside)


def _read(
    labels: Path, tag_column: int | None, scheme: AnyScheme, file_format: str | None
) -> tuple[list[_Labelled], Head]:
    path = resolve_path(labels)
    if file_format is None and (path.is_dir() or path.name == ANNOTATIONS):
        file = path / ANNOTATIONS if path.is_dir() else path
        if not file.is_file():
            raise InputError(f"{labels}: there are no annotations ({ANNOTATIONS}) in this folder.")
        # annotate/gold/test has no manifest of its own
        stages = (path, *path.parents[:2])
        if path.is_dir() and not any(map(manifest.is_whole, stages)):
            raise InputError(f"{labels}: its stage {manifest.why_not_whole(*stages)}.")
        head = head_of(file)
        return [_labelled(line, head) for line in read_lines(file, head)], head
    source = Source(path=str(path), format=file_format, tag_column=tag_column)
    head = head_of(source)
    return [_labelled(line, head) for line in read_annotations(source, scheme=scheme, head=head)], head


def _labelled(line: AnnotationLine, head: Head) -> _Labelled:
    labels = None if kind_of(head).per_token else line.labels
    spans = tuple(sorted(line.spans, key=lambda span: span.start))
    return _Labelled(line.sentence.id, tokens_digest(line.sentence.tokens), spans, labels, line.beside)
