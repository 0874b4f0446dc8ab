"""Gold training sentences and an adapter that was trained on them: each is answered by one that has not seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from distill_offline.annotate.answers import Counts
from distill_offline.annotate.asking import AskSettings, ask, survey
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, prompt_digest
from distill_offline.run.adapter import Adapter
from distill_offline.schema import Prompt, Sentence, content_digest

__all__ = ["ask_part", "asking_of", "by_fold", "folds_of"]

_SUMMED = ("rows", "cached", "asked", "retried", "unusable", "prompt_tokens", "completion_tokens", "cached_tokens")


def ask_part(work: AnnotateInputs, corpus_part: str, store: CompletionStore, engine: Callable[[], Backend]) -> Counts:
    """Bring the store up to date for a corpus; with folds, the gold training sentences by a teacher for each fold."""
    folds = _folds(work, corpus_part)
    if not folds:
        return ask(
            corpus_part, work.sentences(corpus_part), work.asking(store, engine), total=work.prompts(corpus_part)
        )
    counts = Counts()
    for number in sorted(set(folds.values())):
        teacher, own = work.teacher.of_fold(number), f"{corpus_part}, fold {number}"
        inside = [sentence for sentence in work.sentences(corpus_part) if folds[sentence.id] == number]
        with work.engine(teacher) as start:
            asking = work.asking(store, start, teacher)
            found = ask(own, inside, asking, total=len(inside) * asking.samples)
        store.end_rows(own, 0)  # its rows are written once more below, in the corpus's order
        for name in _SUMMED:
            setattr(counts, name, getattr(counts, name) + getattr(found, name))
    survey(corpus_part, work.sentences(corpus_part), asking_of(work, corpus_part, store, engine))
    return counts


def asking_of(
    work: AnnotateInputs, corpus_part: str, store: CompletionStore, engine: Callable[[], Backend]
) -> AskSettings:
    """What knows the answers of a corpus in the store, whichever fold's teacher gave them."""
    folds = _folds(work, corpus_part)
    asking = work.asking(store, engine)
    if not folds:
        return asking
    recipes = {number: store.add_recipe(work.teacher.of_fold(number).recipe()) for number in set(folds.values())}
    return replace(asking, digest=by_fold(folds, recipes))


def by_fold(folds: Mapping[str, int], recipes: Mapping[int, bytes]) -> Callable[[Prompt, bytes], bytes]:
    """The digest of a prompt by the recipe of its sentence's fold."""
    return lambda prompt, recipe: prompt_digest(prompt, recipes[folds[prompt.sentence_id]])


def folds_of(adapter: Adapter | None, part: str, sentences: Iterable[Sentence]) -> dict[str, int]:
    """The fold, from 1, of each sentence, by id; empty if none is needed. What no adapter has seen is in 1."""
    if part != "train" or adapter is None or not adapter.folds:
        return {}
    return {sentence.id: adapter.fold_of.get(content_digest(sentence), 1) for sentence in sentences}


def _folds(work: AnnotateInputs, corpus_part: str) -> dict[str, int]:
    return folds_of(work.teacher.adapter, corpus_part, work.sentences(corpus_part)) if corpus_part == "train" else {}
