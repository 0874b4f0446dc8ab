"""What annotate would ask for, counted beforehand: rows, tokens, disk, and how the prompts look."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.annotate.asking import batches, prompts
from distill_offline.annotate.out_of_fold import asking_of
from distill_offline.annotate.work import AnnotateInputs
from distill_offline.backends.base import PromptCounter
from distill_offline.completions import CompletionStore
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Prompt
from distill_offline.storage.files import STORE

__all__ = ["forecast"]

_COUNTED = 500  # prompts whose tokens are counted; the sum for more is estimated from every n-th
_SHOWN = 3
_ANSWER_BYTES = 400  # of a stored completion, a guess
_LINES_PER_TEXT = 12  # bytes in annotate/ and select/ for each byte of text: tokens, offsets, labels, twice


@dataclass(slots=True)
class _Tally:
    """Counts over one corpus. A prompt is `again` where its row has an answer to another prompt."""

    rows: int = 0
    cached: int = 0
    again: int = 0
    text_bytes: int = 0
    wanted: set[bytes] = field(default_factory=set)
    examples: list[Prompt] = field(default_factory=list)
    sampled: list[Prompt] = field(default_factory=list)
    every: int = 1

    def want(self, digest: bytes, prompt: Prompt) -> None:
        """Count a prompt once; keep the first to show, and every n-th to count its tokens, n doubling with the need."""
        if digest in self.wanted:
            return
        if len(self.examples) < _SHOWN:
            self.examples.append(prompt)
        if len(self.wanted) % self.every == 0:
            self.sampled.append(prompt)
        self.wanted.add(digest)
        if len(self.sampled) > 2 * _COUNTED:
            self.sampled, self.every = self.sampled[::2], 2 * self.every


def forecast(folder: RunFolder, *, refreeze: bool = False, is_adapted: bool = True) -> Iterator[dict[str, Any]]:
    """For each corpus that annotate would ask about, a step of plan() with more in it.

    `rows`; `cached` rows, whose answer is stored; `asked` prompts (identical ones are asked once), of which `again` are
    for rows that have an answer already, to another prompt or of another teacher; `prompt_tokens` and `too_long` where
    the backend's tokenizer can be had without its engine, else None (`tokens_are_exact`: counted, not estimated from a
    sample; so for too_long); `disk_bytes` needed and `disk_free`; `examples`: the messages of the first three prompts.
    The first step names `changes`, the lines by which the configuration differs from the run's last use. `is_adapted`:
    whether the run's adapter, if there is to be one, is the one that will be used.
    """
    work = AnnotateInputs.of(folder, refreeze=refreeze, write=False, is_adapted=is_adapted)
    counter = work.teacher.counter()
    changes, is_fresh = folder.changes(), work.stage().is_fresh()
    with CompletionStore(folder.folder("annotate") / STORE, read_only=True) as store:
        for corpus_part in work.parts:
            step = _step(work, corpus_part, store, counter, is_fresh=is_fresh)
            yield step | {"changes": changes}
            changes = []


def _step(
    work: AnnotateInputs, corpus_part: str, store: CompletionStore, counter: PromptCounter | None, *, is_fresh: bool
) -> dict[str, Any]:
    answered = Counter(hash(id_) for id_ in store.answered_ids(corpus_part))
    tally = _Tally()
    asking = asking_of(work, corpus_part, store, work.teacher.start)
    for batch in batches(prompts(work.sentences(corpus_part), asking), 500):
        known = store.known({digest for _, _, digest in batch})
        for sentence, prompt, digest in batch:
            tally.rows += 1
            tally.text_bytes += len(sentence.text.encode("utf-8", "surrogatepass"))
            if digest in known:
                tally.cached += 1
                continue
            tally.again += prompt.sample < answered[hash(sentence.id)]  # a further sample is asked for the first time
            tally.want(digest, prompt)
    asked = len(tally.wanted)
    tokens = _tokens(tally, asked, counter)
    existing = _existing(work.folder.path)
    detail = f"{tally.rows} rows: {tally.cached} cached, {asked} prompts to ask"
    if tally.again:
        detail += f", for {tally.again} rows AGAIN: their prompt or the teacher has changed"
    return {
        "stage": f"annotate {corpus_part}",
        "fresh": is_fresh,
        "rows": tally.rows,
        "cached": tally.cached,
        "asked": asked,
        "again": tally.again,
        **tokens,
        "disk_bytes": asked * _ANSWER_BYTES + tally.text_bytes * _LINES_PER_TEXT,
        "disk_free": shutil.disk_usage(existing).free,
        "examples": [[[message.role, message.content] for message in p.messages] for p in tally.examples],
        "detail": detail,
    }


def _tokens(tally: _Tally, asked: int, counter: PromptCounter | None) -> dict[str, Any]:
    if counter is None:
        return {"prompt_tokens": None, "too_long": None, "tokens_are_exact": False}
    lengths = [counter.count(prompt.messages) for prompt in tally.sampled]
    share = asked / len(lengths) if lengths else 0.0
    too_long = sum(length >= counter.limit for length in lengths)
    return {
        "prompt_tokens": round(sum(lengths) * share),
        "too_long": round(too_long * share),
        "tokens_are_exact": tally.every == 1,
    }


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
