"""Which settings of `select` change nothing, since no label has the number that they look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from distill_offline.annotations import AnnotationLine
from distill_offline.config.settings import SelectSettings

__all__ = ["without_effect"]

_OF_SPANS = "spans' confidence"
_CONFIDENCE = "no label has a confidence. Set select.cross_fit, or use labels that have one"


def without_effect(lines: Iterable[AnnotationLine], settings: SelectSettings, *, has_teacher: bool) -> Iterator[str]:
    """A line for each such setting: its name and value, and why; `lines` are read until all numbers have been met.

    `has_teacher`: whether some of them are of the run's own teacher.
    """
    if settings.confidence_from != "answer" and (why := _confidence_is_not_the_teachers(settings, has_teacher)):
        yield f"confidence_from: {settings.confidence_from} has no effect: {why}."
    asked = _asked(settings)
    lacking, is_empty = dict.fromkeys(number for number, _, _ in asked), True
    for line in lines if asked else ():
        is_empty = False
        for number in [number for number in lacking if _has(line, number)]:
            del lacking[number]
        if not lacking:
            break
    if not is_empty:
        yield from (f"{setting} has no effect: {why}." for number, setting, why in asked if number in lacking)


def _confidence_is_not_the_teachers(settings: SelectSettings, has_teacher: bool) -> str:
    """Whose confidences count instead; empty if the teacher's do."""
    if settings.cross_fit is not None and settings.cross_fit.overrule:
        return "cross_fit.overrule takes the students' confidences"
    return "" if has_teacher else "these labels are not of this run's teacher, and keep the confidence that they have"


def _asked(settings: SelectSettings) -> list[tuple[str, str, str]]:
    """The number that a setting looks at, the setting, and why it is not there."""
    asked = []
    if settings.min_confidence:
        why = "no entity has a confidence. Set select.cross_fit; of classes min_sentence_confidence is the threshold"
        asked.append((_OF_SPANS, f"min_confidence: {settings.min_confidence:g}", why))
    if settings.min_sentence_confidence:
        asked.append(("confidence", f"min_sentence_confidence: {settings.min_sentence_confidence:g}", _CONFIDENCE))
    if settings.weigh:
        asked.append(("confidence", "weigh: true", _CONFIDENCE))
    if settings.budget is not None and settings.prefer == "confident":
        asked.append(("confidence", "prefer: confident", _CONFIDENCE))
    if settings.min_agreement:
        why = "no label says how many samples agree. Set annotate.samples, or leave it out"
        asked.append(("agreement", f"min_agreement: {settings.min_agreement:g}", why))
    if settings.max_missed < 1:
        why = "no sentence says what it may lack. It takes select.cross_fit, and a task of entities"
        asked.append(("missed", f"max_missed: {settings.max_missed:g}", why))
    return asked


def _has(line: AnnotationLine, number: str) -> bool:
    """Whether a line, or a span of it, has this number."""
    if number == _OF_SPANS:
        return any(span.confidence is not None for span in line.spans)
    return any(getattr(label, number, None) is not None for label in (line.beside, *line.spans))
