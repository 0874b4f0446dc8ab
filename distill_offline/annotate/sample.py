"""What an edit would do: the labels of a few rows as the run has them, and as the changed configuration gives them."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from distill_offline.annotate.answers import parsed
from distill_offline.annotate.asking import ask, prompts
from distill_offline.annotate.frozen import frozen
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.completions import Answer, CompletionStore
from distill_offline.config.loading import load
from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.run.folder import SAMPLE, RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.schema import Annotation, Completion, Head, Sentence
from distill_offline.storage.files import STORE
from distill_offline.tasks.base import Task

__all__ = ["sample"]

_SHOWN = 20
_Said = dict[bytes, Completion | None]  # the answers to the samples of a sentence, in order, by their digests


def sample(folder: RunFolder, rows: int) -> dict[str, Any]:
    """Ask for `rows` of the run's answered rows as the changed configuration (and its live sources) would.

    The run itself is left as it is; annotate takes the answers over if the change is adopted. Gives counts of `rows`,
    `asked`, how many are `same` or `changed`, which `spans` were `kept`, `added`, `removed` or `retyped`, by type too
    (a class counts as one span over its whole text), and the ids of the first twenty rows that changed. Raises
    InputError where the run has no answers yet.
    """
    path = folder.folder("annotate") / STORE
    if not path.exists() or not (folder.path / "config.yaml").exists():
        raise InputError(f"{folder.path}: nothing is annotated here yet, so there is nothing to compare. Run annotate.")
    folder.check()
    before = RunFolder(folder.path, load(folder.path / "config.yaml", ()))
    old_task = make_task(frozen(before, read_gold(before.settings), write=False))
    with CompletionStore(path, read_only=True) as old:
        chosen = _choose(old, rows, folder.settings.seed, before.settings.annotate.samples)
    work = AnnotateInputs.of(folder, refreeze=True, write=False)

    def sentences() -> Iterator[Sentence]:
        return (sentence for sentence in work.sentences("unlabelled") if sentence.id in chosen)

    sample_folder = folder.folder(SAMPLE)
    with CompletionStore(sample_folder / STORE) as store, work.engine() as engine:
        asking = work.asking(store, engine)
        for sentence, _, digest in prompts(sentences(), asking):
            if known := chosen[sentence.id].get(digest):  # its prompt has not changed
                store.add([Answer(digest, asking.recipe, sentence.id, sentence.document, known)])
        counts = ask("unlabelled", sentences(), asking, total=len(chosen) * asking.samples)
        now = _by_sentence(store.rows("unlabelled"))
    compared = _Compared(work.task.head)
    for sentence in sentences():
        old_labels = _parsed(old_task, sentence, chosen[sentence.id])
        compared.add(sentence.id, old_labels, _parsed(work.task, sentence, now.get(sentence.id, {})))
    return {"rows": counts.rows // asking.samples, "asked": counts.asked, **compared.as_dict()}


def _by_sentence(rows: Iterable[tuple[str, bytes, Completion | None]]) -> dict[str, _Said]:
    completions: dict[str, _Said] = {}
    for id_, digest, completion in rows:
        completions.setdefault(id_, {})[digest] = completion
    return completions


def _choose(store: CompletionStore, rows: int, seed: int, samples: int) -> dict[str, _Said]:
    """Rows of the unlabelled corpus that have an answer, drawn by a digest of their ids: the same ones every time."""

    def drawn(id_: str) -> bytes:
        return hashlib.sha256(f"{seed}\x1f{id_}".encode("utf-8", "surrogatepass")).digest()

    # An id stands there once for each of its samples.
    nearest = heapq.nsmallest(rows * samples, store.answered_ids("unlabelled"), key=drawn)
    ids = set(islice(dict.fromkeys(nearest), rows))
    if not ids:
        raise InputError(f"{store.path}: no row has an answer yet, so there is nothing to compare. Run annotate.")
    return _by_sentence(row for row in store.rows("unlabelled") if row[0] in ids)


def _parsed(task: Task, sentence: Sentence, said: _Said) -> Annotation | None:
    annotation = parsed(task, sentence, list(said.values())) if said else None
    return annotation if isinstance(annotation, Annotation) else None


class _Compared:
    """Counts over pairs of annotations; None stands for an answer that cannot be used."""

    def __init__(self, head: Head) -> None:
        self._kind = kind_of(head)
        self._rows = Counter[str]()
        self._spans = Counter[str]()
        self._types: dict[str, Counter[str]] = {}
        self._changed: list[str] = []

    def add(self, id_: str, before: Annotation | None, now: Annotation | None) -> None:
        self._rows["unusable_before"] += before is None
        self._rows["unusable_now"] += now is None
        if before is None or now is None:
            is_same = before is now
        else:
            is_same = before.labels == now.labels
            self._compare(self._kind.places(before.labels), self._kind.places(now.labels))
        self._rows["same" if is_same else "changed"] += 1
        if not is_same:
            self._changed.append(id_)

    def _compare(self, old: Mapping[Any, str], new: Mapping[Any, str]) -> None:
        for position, type_ in old.items():
            if position not in new:
                self._count("removed", type_)
            elif new[position] == type_:
                self._count("kept", type_)
            else:
                self._count("retyped", type_)
        for position, type_ in new.items():
            if position not in old:
                self._count("added", type_)

    def _count(self, what: str, type_: str) -> None:
        self._spans[what] += 1
        self._types.setdefault(type_, Counter())[what] += 1

    def as_dict(self) -> Mapping[str, Any]:
        rows = {key: self._rows[key] for key in ("same", "changed", "unusable_before", "unusable_now")}
        what = ("kept", "added", "removed", "retyped")
        return {
            **rows,
            "spans": {key: self._spans[key] for key in what},
            "per_type": {name: {key: self._types[name][key] for key in what} for name in sorted(self._types)},
            "changed_ids": self._changed[:_SHOWN],
        }
