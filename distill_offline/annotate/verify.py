"""verify: the teacher is asked yes or no about each entity that it found; what it says first is a confidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from distill_offline.annotate.answers import Counts, parsed
from distill_offline.annotate.asking import Asked, ask_all, survey_all
from distill_offline.annotate.out_of_fold import folds_of
from distill_offline.annotate.questions import Questions, recipe_of
from distill_offline.annotate.teacher import Teacher
from distill_offline.annotate.work import AnnotateInputs, questions_of
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.run.adapter import Adapter
from distill_offline.schema import Annotation, Completion, Prompt, Sentence, Span

__all__ = ["Verified", "ask_about", "known_verdicts", "note_questions", "part_of", "verdicts_of"]

_SHOWN = 20  # ids in the manifest
_SUMMED = ("cached", "asked", "prompt_tokens", "completion_tokens", "cached_tokens")


def part_of(corpus_part: str) -> str:
    """The name under which a store has the rows of the questions about a corpus."""
    return f"{corpus_part}, verify"


@dataclass(slots=True)
class Verified:
    """Gives spans what the store knows of them, and counts it.

    `digest` is that of a prompt by the recipe of the teacher who was asked. Spans that `without` a confidence are left:
    `unreadable` where the answer began with neither word, `unanswered` if there is none in the store.
    """

    questions: Questions
    store: CompletionStore
    digest: Callable[[Prompt], bytes]
    asked: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    spans: int = 0
    verified: int = 0
    one_word: int = 0
    unreadable: int = 0
    unanswered: int = 0
    without: dict[str, None] = field(default_factory=dict)

    def complete(self, sentence: Sentence, annotation: Annotation) -> Annotation:
        """The annotation with `verify` at its spans."""
        spans = tuple(self._completed(sentence, span) for span in annotation.spans)
        return replace(annotation, spans=spans)

    def _completed(self, sentence: Sentence, span: Span) -> Span:
        self.spans += 1
        completion = self.store.get(self.digest(self.questions.about(sentence, span)))
        found = None if completion is None else self.questions.read(completion)
        if found is None:
            self.unanswered += completion is None
            self.unreadable += completion is not None
            self.without.setdefault(sentence.id)
            return span
        self.verified += 1
        self.one_word += not found.are_both
        return replace(span, verify=round(found.probability, 6))

    def as_dict(self) -> dict[str, Any]:
        """JSON for the manifest: counts of spans, of questions and of tokens, seconds, and ids of sentences that have
        spans without a confidence, the first twenty."""
        names = ("spans", "verified", "one_word", "unreadable", "unanswered")
        counts = {name: getattr(self, name) for name in names}
        return {**counts, **self.asked_as_dict(), "without": list(islice(self.without, _SHOWN))}

    def asked_as_dict(self) -> dict[str, Any]:
        """JSON of what was asked: questions, tokens, seconds."""
        return {**{name: getattr(self.asked, name) for name in _SUMMED}, "seconds": round(self.seconds, 2)}

    def in_words(self) -> str:
        """One line."""
        counts, more = self.asked, ""
        if left := self.unreadable + self.unanswered:
            more = (
                f"; {left} have no confidence of it ({self.unreadable} answers begin with neither "
                f"{self.questions.settings.words[0]} nor {self.questions.settings.words[1]}, {self.unanswered} "
                f"unanswered), the first in {next(iter(self.without))}"
            )
        return (
            f"verify: {self.verified} of {self.spans} spans, {counts.cached} questions cached, {counts.asked} asked in "
            f"{self.seconds:.1f} s with {counts.prompt_tokens} tokens, {counts.cached_tokens} of them cached{more}"
        )


def ask_about(
    work: AnnotateInputs, corpus_part: str, store: CompletionStore, engine: Callable[[], Backend]
) -> Verified | None:
    """Bring the store up to date for the questions about a corpus whose labels are stored; None if none are asked.

    With folds of an adapter, the teacher that is asked about a sentence is the one that labelled it.
    """
    verified = known_verdicts(work, corpus_part, store)
    if verified is None:
        return None
    began, found = time.monotonic(), _folds(work, corpus_part)
    if found is None:
        _ask(work, corpus_part, part_of(corpus_part), verified, engine)
    else:
        _, folds = found
        for number in sorted(set(folds.values())):
            teacher, name = work.teacher.of_fold(number), f"{part_of(corpus_part)}, fold {number}"
            ids = {id_ for id_, fold in folds.items() if fold == number}
            with work.engine(teacher) as start:
                _ask(work, corpus_part, name, verified, start, teacher, ids)
            store.end_rows(name, 0)  # its rows are written once more below, in the corpus's order
        note_questions(work, corpus_part, verified)
    verified.seconds = time.monotonic() - began
    return verified


def note_questions(work: AnnotateInputs, corpus_part: str, verified: Verified) -> list[str]:
    """Write down which answers the spans of a corpus want, and give the ids of the sentences of those that are not
    stored, each as often as it lacks one; asks nothing."""
    asking = work.asking(verified.store, _no_engine)
    return survey_all(part_of(corpus_part), _asked(work, corpus_part, verified, None), asking)


def _no_engine() -> Backend:
    raise AssertionError("nothing is asked here")


def _ask(
    work: AnnotateInputs,
    corpus_part: str,
    name: str,
    verified: Verified,
    engine: Callable[[], Backend],
    teacher: Teacher | None = None,
    ids: set[str] | None = None,
) -> None:
    """Ask `teacher` (the work's own) about the spans of a corpus (the sentences of `ids`), under the rows' `name`."""
    asking = work.asking(verified.store, engine, teacher)
    recipe = verified.store.add_recipe(recipe_of((teacher or work.teacher).recipe()))
    asking = replace(asking, recipe=recipe, retry_tokens=0, max_failure_rate=1.0)
    total = sum(1 for _ in _asked(work, corpus_part, verified, ids))
    counts = ask_all(name, _asked(work, corpus_part, verified, ids), asking, verified.questions.judge, total=total)
    for key in _SUMMED:
        setattr(verified.asked, key, getattr(verified.asked, key) + getattr(counts, key))


def known_verdicts(work: AnnotateInputs, corpus_part: str, store: CompletionStore) -> Verified | None:
    """What the store knows already; None without annotate.verify."""
    questions = questions_of(work.settings)
    if questions is None:
        return None
    return verdicts_of(questions, store, work.teacher.recipe(), _folds(work, corpus_part))


def verdicts_of(
    questions: Questions,
    store: CompletionStore,
    recipe: Mapping[str, Any],
    folds: tuple[Adapter, Mapping[str, int]] | None,
) -> Verified:
    """By the recipe of the labels; `folds`: the adapter, and the fold of each sentence by its id."""
    whole = store.add_recipe(recipe_of(recipe))
    if folds is None:
        return Verified(questions, store, lambda prompt: prompt_digest(prompt, whole))
    adapter, fold_of = folds
    each = {
        n: store.add_recipe(recipe_of({**recipe, "adapter": part.digest})) for n, part in enumerate(adapter.folds, 1)
    }
    return Verified(questions, store, lambda prompt: prompt_digest(prompt, each[fold_of[prompt.sentence_id]]))


def _folds(work: AnnotateInputs, corpus_part: str) -> tuple[Adapter, Mapping[str, int]] | None:
    adapter = work.teacher.adapter
    folds = folds_of(adapter, corpus_part, work.sentences(corpus_part))
    return (adapter, folds) if adapter is not None and folds else None


def _asked(work: AnnotateInputs, corpus_part: str, verified: Verified, ids: set[str] | None) -> Iterator[Asked]:
    """The questions about the sentences whose labels are stored (those of `ids`), in order."""
    for sentence, annotation in _annotations(work, corpus_part, verified.store):
        if ids is None or sentence.id in ids:
            for span in annotation.spans:
                prompt = verified.questions.about(sentence, span)
                yield sentence, prompt, verified.digest(prompt)


def _annotations(
    work: AnnotateInputs, corpus_part: str, store: CompletionStore
) -> Iterator[tuple[Sentence, Annotation]]:
    rows, samples = store.rows(corpus_part), work.settings.annotate.samples
    for sentence in work.sentences(corpus_part):
        said: Sequence[Completion | None] = [completion for _, _, completion in islice(rows, samples)]
        annotation = parsed(work.task, sentence, said) if said else ""
        if isinstance(annotation, Annotation):
            yield sentence, annotation
