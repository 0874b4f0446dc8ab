"""Any labels compared with a gold file: a student's, a teacher's annotations, or another labelled file's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distill_offline.config.settings import Source
from distill_offline.corpus import AnySource, check_same_text, head_of, read_examples, resolve_path
from distill_offline.corpus.source import as_source, scheme_of
from distill_offline.errors import InputError
from distill_offline.evaluate.truth import GoldComparison, Truth
from distill_offline.label_kinds import kind_of, widest
from distill_offline.schema import Head
from distill_offline.scoring.annotation_lines import AnnotationLines, strays_in_words
from distill_offline.scoring.comparison import LabelledSentence
from distill_offline.spans.bio import Scheme
from distill_offline.storage.files import ANNOTATIONS, QUARANTINE
from distill_offline.student.checks import check_students
from distill_offline.student.model import Student

__all__ = ["GoldComparison", "compare_with_gold"]


def compare_with_gold(labels: AnySource, gold: AnySource) -> GoldComparison:
    """The scores of `labels` on `gold`: of entities or of classes, whichever the two hold; quality of annotations.

    A student labels the gold sentences itself. An annotate or select folder is matched by sentence id; a sentence
    that it does not hold counts as one without entities, or without the right class (`unanswered`). A labelled file
    must have the gold file's very sentences, in order, else CorpusError names both places. Where the tokens of a
    sentence differ and its text is the same, entities are compared by characters. Stray tags are no entities: they are
    dropped, counted, and told by their places. Entities that touch a token that select masked count neither as found
    nor as missed; gold's are counted (`masked`). `gold` may be a folder of texts in a folder a class; its bad files are
    an error or skipped and counted. Entities of gold that begin or end inside a token count as missed (`unheld`), but
    for those that the other side's tokens hold. How a file is read, its columns, tag scheme, language, offsets and
    format, is said by a Source in its place.
    """
    labelled, truth = (as_source(source, None, "auto") for source in (labels, gold))
    folder = resolve_path(labelled.path)
    if (folder / "config.json").is_file():
        check_students([folder])
        student = Student.load(folder)
        return _student(student, replace(truth, language=student.language))
    if (folder / ANNOTATIONS).is_file():
        return _annotations(folder / ANNOTATIONS, truth)
    if folder.is_dir() and labelled.format is None:
        raise InputError(
            f"{labelled.path}: neither a student (config.json) nor annotations ({ANNOTATIONS}) are in this folder."
        )
    return _file(labelled, truth, _common_head(labelled, truth))


def _student(student: Student, gold: Source) -> GoldComparison:
    truth = Truth.read(gold, student.head)
    predicted = student.predict([example.sentence for example in truth.examples])
    if not student.kind.per_token:
        return truth.of_classes(predicted, {})
    answers = [LabelledSentence(e.sentence, labels) for e, labels in zip(truth.examples, predicted, strict=True)]
    return truth.of_entities(answers, {}, strays=0)


def _file(labelled: Source, gold: Source, head: Head) -> GoldComparison:
    check_same_text(labelled, gold, head=head)
    if not kind_of(head).per_token:
        classes = [example.labels for example in read_examples(labelled, origin="distilled", head=head)]
        return Truth.read(gold, head).of_classes(classes, {})
    wanted = scheme_of(gold)
    how = scheme_of(labelled, "distilled")
    if (wanted, how) == ("iob1", "iob2"):
        how = scheme_of(labelled)  # beside gold in iob1, one I- alone tells of it, too
    truth, strays = Truth.read(_as(gold, wanted), head), list[str]()
    examples = read_examples(_as(labelled, how), origin="distilled", head=head, strays=strays)
    answers = [LabelledSentence.of(other) for other in examples]
    held = truth.of_entities(answers, {"stray_tags": len(strays)}, strays=len(strays))
    warnings = [f"{strays_in_words(labelled.path, strays)} The tags were read as {how}."] if strays else []
    if how == "iob1" != wanted and labelled.scheme == "auto":  # what would be stray in iob2 is an entity there
        warnings.append(
            f"{labelled.path}: hardly a tag tells where an entity begins, so its tags are read as iob1, though "
            f"{gold.path} is {wanted}. If that is wrong, set --input-scheme."
        )
    return replace(held, warnings=(*held.warnings, *warnings))


def _as(source: Source, scheme: Scheme) -> Source:
    """The source, read in that scheme; `io` and `ioe1` say more of its tags than that."""
    return source if source.scheme in ("io", "ioe1", "ioe2") else replace(source, scheme=scheme)


def _annotations(file: Path, gold: Source) -> GoldComparison:
    truth = Truth.read(gold, _common_head(Source(path=str(file)), gold))
    lines, ids = AnnotationLines.read(file, truth.head), {example.sentence.id for example in truth.examples}
    if not lines.answers:
        raise InputError(
            f"{file}: there is no sentence in it. If a teacher was to label some, look into its {QUARANTINE}."
        )
    if not ids & set(lines.answers):
        raise InputError(f"{file}: none of its sentence ids occurs in {gold.path}; these are labels of another corpus.")
    counts = {"unanswered": len(ids - set(lines.answers)), "not_in_gold": len(set(lines.answers) - ids)}
    answers = [lines.answer(example) for example in truth.examples]
    if not kind_of(truth.head).per_token:
        return truth.of_classes([answer.labels for answer in answers], counts)
    held = truth.of_entities(answers, counts, strays=len(lines.strays), with_quality=True)
    return replace(held, warnings=(*held.warnings, *lines.warnings()))


def _common_head(labels: Source, gold: Source) -> Head:
    """What both files label. Raises InputError if it is not the same."""
    wanted, head = head_of(gold), head_of(labels)
    common = widest(wanted, head)
    if common is None and not resolve_path(labels.path).stat().st_size:  # an empty file may mean either
        return wanted
    if common is None:
        holds, should = kind_of(head).what, kind_of(wanted).what
        raise InputError(f"{labels.path} holds {holds}, and {gold.path} holds {should}: nothing to compare.")
    return common
