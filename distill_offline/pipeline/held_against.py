"""Any labels held against a gold file: a student's, a teacher's annotations, or another tagged file's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill_offline.artifacts import ANNOTATIONS, read_rows
from distill_offline.corpus import AnyScheme, check_same_tokens, digest, read_examples, resolve_path
from distill_offline.errors import InputError
from distill_offline.schema import Example, Report
from distill_offline.scoring import score
from distill_offline.student import Student

__all__ = ["held_against"]

Labels = list[tuple[str, ...]]


def held_against(
    labels: Path,
    gold: Path,
    *,
    tag_column: int | None = None,
    gold_column: int | None = None,
    scheme: AnyScheme = "auto",
) -> Report:
    """The scores of `labels` on `gold`.

    A student labels the gold sentences itself. An annotate or select folder is matched by sentence id; a sentence
    that it does not hold counts as one without entities (`unanswered`). A tagged file must have the gold file's very
    tokens, else CorpusError names both places; its stray tags are dropped and counted.
    """
    folder = resolve_path(str(labels))
    if (folder / "config.json").is_file():
        return _student(folder, gold, gold_column, scheme)
    if (folder / ANNOTATIONS).is_file():
        return _annotations(folder / ANNOTATIONS, gold, gold_column, scheme)
    if folder.is_dir():
        raise InputError(
            f"{labels}: neither a student (config.json) nor annotations ({ANNOTATIONS}) are in this folder."
        )
    counts = Counter[str]()
    check_same_tokens(folder, gold)
    predicted = read_examples(folder, origin="distilled", tag_column=tag_column, scheme=scheme, counts=counts)
    given = [example.labels for example in predicted]
    return _scored("entity_f1", _read(gold, gold_column, scheme), given, {"stray_tags": counts["stray_tags"]})


def _student(folder: Path, gold: Path, gold_column: int | None, scheme: AnyScheme) -> Report:
    student = Student.load(folder)
    is_tagging = student.head == "token-classification"
    examples = list(
        read_examples(gold, origin="original", tag_column=gold_column, scheme=scheme)
        if is_tagging
        else read_examples(gold, origin="original", head="sequence-classification")
    )
    predicted = student.predict([example.sentence for example in examples])
    return _scored("entity_f1" if is_tagging else "macro_f1", examples, predicted, {})


def _annotations(file: Path, gold: Path, gold_column: int | None, scheme: AnyScheme) -> Report:
    examples = _read(gold, gold_column, scheme)
    given = {row["id"]: (tuple(row["tokens"]), tuple(row["labels"])) for row in read_rows(file)}
    ids = {example.sentence.id for example in examples}
    if not ids & set(given):
        raise InputError(f"{file}: none of its sentence ids stands in {gold}; these are labels of another corpus.")
    predicted: Labels = []
    for example in examples:
        tokens, labels = given.get(example.sentence.id, (example.sentence.tokens, ("O",) * len(example.labels)))
        if tokens != example.sentence.tokens:
            raise InputError(f"{file}: sentence {example.sentence.id} has other tokens than in {gold}.")
        predicted.append(labels)
    counts = {"unanswered": len(ids - set(given)), "not_in_gold": len(set(given) - ids)}
    return _scored("entity_f1", examples, predicted, counts)


def _read(gold: Path, column: int | None, scheme: AnyScheme) -> list[Example]:
    return list(read_examples(gold, origin="original", tag_column=column, scheme=scheme))


def _scored(
    metric: str, examples: Sequence[Example], predicted: Sequence[Sequence[str]], counts: dict[str, int]
) -> Report:
    report = score(metric, [example.labels for example in examples], predicted, on=digest(examples))
    return replace(report, counts={**report.counts, **counts})
