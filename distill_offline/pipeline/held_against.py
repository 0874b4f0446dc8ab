"""Any labels held against a gold file: a student's, a teacher's annotations, or another labelled file's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill_offline.artifacts import ANNOTATIONS, read_rows
from distill_offline.bio import decode_bio, unmasked
from distill_offline.corpus import (
    AnyScheme,
    OnBadFile,
    check_same_tokens,
    digest,
    head_of,
    read_examples,
    resolve_path,
)
from distill_offline.corpus.standoff import carried_of, checked
from distill_offline.errors import InputError
from distill_offline.pipeline.unheld import in_words
from distill_offline.quality import Quality, quality, spans_of
from distill_offline.schema import Example, Head, Report, Span
from distill_offline.scoring import METRIC_OF, score, unanswered, with_unheld
from distill_offline.settings import OffsetUnit, Source
from distill_offline.student import Student

__all__ = ["Held", "held_against"]

_WHAT = {"token-classification": "entities", "sequence-classification": "classes of whole texts"}


@dataclass(frozen=True, slots=True)
class Held:
    """Scores on a gold file; of a teacher's entities also what kinds of error they are, by what is known of them.

    `warning`: a line on what of gold no tokens hold; empty where there is nothing of the kind.
    """

    report: Report
    quality: Quality | None = None
    warning: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report's JSON, and `quality` where there is one."""
        return self.report.as_dict() | ({"quality": self.quality.as_dict()} if self.quality else {})


def held_against(
    labels: Path,
    gold: Path,
    *,
    tag_column: int | None = None,
    gold_column: int | None = None,
    scheme: AnyScheme = "auto",
    on_bad_file: OnBadFile = "error",
    language: str | None = None,
    offsets: OffsetUnit = "characters",
) -> Held:
    """The scores of `labels` on `gold`: of entities or of classes, whichever the two hold; quality of annotations.

    A student labels the gold sentences itself. An annotate or select folder is matched by sentence id; a sentence
    that it does not hold counts as one without entities, or without the right class (`unanswered`). A labelled file
    must have the gold file's very tokens, else CorpusError names both places; its stray tags are dropped and counted.
    Entities that touch a token that select masked count neither as found nor as missed; gold's are counted (`masked`).
    `gold` may be a folder of texts in a folder a class; its bad files are an error or skipped and counted. Entities of
    gold that begin or end inside a token count as missed (`unheld`). `language` says how raw text is tokenised where no
    student does, `offsets` what gold's spans count, both as in CorpusSettings.
    """
    source = Source(
        path=str(gold),
        tag_column=gold_column,
        scheme=scheme,
        on_bad_file=on_bad_file,
        language=language,
        offsets=offsets,
    )
    folder = resolve_path(str(labels))
    if (folder / "config.json").is_file():
        student = Student.load(folder)
        truth = _Gold.read(replace(source, language=student.language), student.head)
        return truth.held(truth.report(student.predict([example.sentence for example in truth.examples])))
    if (folder / ANNOTATIONS).is_file():
        return _annotations(folder / ANNOTATIONS, source)
    if folder.is_dir():
        raise InputError(
            f"{labels}: neither a student (config.json) nor annotations ({ANNOTATIONS}) are in this folder."
        )
    head, counts = _common_head(folder, source), Counter[str]()
    check_same_tokens(folder, source, head=head)
    predicted = read_examples(
        Source(path=str(folder), language=language),
        origin="distilled",
        tag_column=tag_column,
        scheme=scheme,
        head=head,
        counts=counts,
    )
    examples = list(predicted)
    given, masked = [example.labels for example in examples], [example.masked for example in examples]
    stray = {"stray_tags": counts["stray_tags"]} if head == "token-classification" else {}
    truth = _Gold.read(source, head)
    return truth.held(truth.report(given, masked, **stray))


@dataclass(frozen=True, slots=True)
class _Given:
    """What a line of annotations says of its sentence."""

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    masked: tuple[int, ...] = ()


def _annotations(file: Path, gold: Source) -> Held:
    truth = _Gold.read(gold, _common_head(file, gold))
    given = dict(_line(row, file, number, truth.head) for number, row in enumerate(read_rows(file), 1))
    ids = {example.sentence.id for example in truth.examples}
    if not ids & set(given):
        raise InputError(f"{file}: none of its sentence ids stands in {gold.path}; these are labels of another corpus.")
    found: list[_Given] = []
    for example in truth.examples:
        nothing = _Given(example.sentence.tokens, unanswered(truth.head, len(example.labels)))
        found.append(given.get(example.sentence.id, nothing))
        if found[-1].tokens != example.sentence.tokens:
            raise InputError(f"{file}: sentence {example.sentence.id} has other tokens than in {gold.path}.")
    labels, masked = [each.labels for each in found], [each.masked for each in found]
    report = truth.report(labels, masked, unanswered=len(ids - set(given)), not_in_gold=len(set(given) - ids))
    if truth.head != "token-classification":
        return truth.held(report)
    wanted = [decode_bio(unmasked(e.labels, each.masked)) for e, each in zip(truth.examples, found, strict=True)]
    return truth.held(report, quality(wanted, [_unmasked(each) for each in found]))


def _unmasked(given: _Given) -> tuple[Span, ...]:
    hidden = frozenset(given.masked)
    return tuple(span for span in given.spans if hidden.isdisjoint(range(span.start, span.end)))


def _line(row: Mapping[str, Any], file: Path, number: int, head: Head) -> tuple[str, _Given]:
    """A sentence's id, and what a line of annotations says of it."""
    try:
        tokens, labels, masked = tuple(row["tokens"]), tuple(row["labels"]), tuple(carried_of(row).get("masked", ()))
        wanted = len(tokens) if head == "token-classification" else 1
        if len(labels) != wanted or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"`labels` are not {wanted} strings")
        if head == "token-classification":
            decode_bio(labels)
        return row["id"], _Given(tokens, labels, tuple(map(checked, spans_of(row))), masked)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}:{number}: this is no line of annotations ({type(error).__name__}: {error})."
        ) from error


def _common_head(labels: Path, gold: Source) -> Head:
    """What both files label. Raises InputError where it is not the same."""
    wanted, found = head_of(gold), head_of(labels)
    if found != wanted and labels.stat().st_size:  # an empty file may mean either
        raise InputError(f"{labels} holds {_WHAT[found]}, and {gold.path} holds {_WHAT[wanted]}: nothing to compare.")
    return wanted


@dataclass(frozen=True, slots=True)
class _Gold:
    """What labels are held against, and what was passed over in reading it."""

    head: Head
    examples: Sequence[Example]
    bad_files: int

    @classmethod
    def read(cls, source: Source, head: Head) -> _Gold:
        counts = Counter[str]()
        examples = tuple(read_examples(source, origin="original", head=head, counts=counts))
        return cls(head, examples, counts["bad_file"])

    def held(self, report: Report, quality: Quality | None = None) -> Held:
        return Held(report, quality, in_words("gold", self.examples))

    def report(
        self, predicted: Sequence[tuple[str, ...]], masked: Sequence[tuple[int, ...]] = (), **counts: int
    ) -> Report:
        """The scores of one sequence of labels an example; `masked` are the tokens of each that do not count."""
        labels = [example.labels for example in self.examples]
        bad = {"bad_file": self.bad_files} if self.bad_files else {}
        if self.head == "token-classification" and any(masked):
            whole = labels
            labels = [unmasked(*each) for each in zip(whole, masked, strict=True)]
            predicted = [unmasked(*each) for each in zip(predicted, masked, strict=True)]
            bad["masked"] = sum(len(decode_bio(each)) for each in whole) - sum(len(decode_bio(each)) for each in labels)
        wanted, given = with_unheld(self.examples, predicted, labels)
        unheld = sum(len(example.unheld) for example in self.examples)
        bad |= {"unheld": unheld} if unheld else {}
        report = score(METRIC_OF[self.head], wanted, given, on=digest(self.examples))
        return replace(report, counts={**report.counts, **counts, **bad})
