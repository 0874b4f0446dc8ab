"""A deletion request: one document out of every file of a run, and which students have learnt from it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import escape

from distill_offline import manifest
from distill_offline.annotate.frozen import forget, frozen_pools
from distill_offline.completions import CompletionStore, check_free
from distill_offline.config.loading import load
from distill_offline.config.settings import PretrainSettings
from distill_offline.errors import DistillError, InputError
from distill_offline.evaluate.predictions import PREDICTIONS
from distill_offline.pipeline.purge_places import Places, find_runs, is_run, stage_folders
from distill_offline.pipeline.report_page import page_of_run
from distill_offline.pretrain.stage import is_pretrained
from distill_offline.pretrain.text import read_text
from distill_offline.report import SENTENCES, as_json
from distill_offline.review.decisions import DECISIONS
from distill_offline.run.adapter import ADAPT, ADAPTER
from distill_offline.run.encoder import PRETRAIN
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.schema import Example, Span
from distill_offline.spans.bio import InvalidTags, decode_bio
from distill_offline.storage.files import ANNOTATIONS, QUARANTINE, STORE, check_own, read_rows, write_rows, write_text

__all__ = ["purge", "purge_below"]

_REPORT = "report"


@dataclass(slots=True)
class _Purged:
    """What was found of the document in one run. `lines` are those of annotations and quarantine files.

    `encoder`: whether the one that pretrain made has learnt from it; what starts from that is among `students`.
    `adapter`: whether the teacher's, which adapt made, has.

    `unchecked`: what could not be looked at to say which students were trained on the document. `failed`: why the run
    could not be purged to its end; empty if it was.
    """

    run: str
    completions: int = 0
    rows: int = 0
    demonstrations: int = 0
    encoder: bool = False
    adapter: bool = False
    lines: int = 0
    students: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    failed: str = ""


def purge_below(document: str, folders: Iterable[Path]) -> dict[str, Any]:
    """`purge` for every run at or below the folders, at any depth, and what was seen on the way.

    Gives `runs` (purge's), `skipped` folders and files that are `left` (purge_places.Places), with the reason each.
    Raises InputError if a folder is not there or holds no run.
    """
    seen = Places()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no run is here (there is no such folder).")
        places = find_runs(folder, document)
        if not places.runs and not any("NOT LOOKED AT" in entry["why"] for entry in places.skipped):
            raise InputError(f"{folder}: no run is here or below (no config.yaml and none of a run's files).")
        seen.runs += [run for run in places.runs if not any(run.samefile(other) for other in seen.runs)]
        seen.skipped += [entry for entry in places.skipped if entry not in seen.skipped]
        seen.left += [entry for entry in places.left if entry not in seen.left]
    refused = dict[Path, DistillError | OSError]()
    for run in seen.runs:
        try:
            _check(run)
        except (DistillError, OSError) as error:
            refused[run] = error
    if len(refused) == len(seen.runs):
        raise next(iter(refused.values()), InputError("no run could be looked at"))
    rows = purge(document, (run for run in seen.runs if run not in refused))
    rows += [asdict(_Purged(str(run), failed=str(error))) for run, error in refused.items()]
    return {"runs": rows, "skipped": seen.skipped, "left": seen.left}


def purge(document: str, runs: Iterable[Path]) -> list[dict[str, Any]]:
    """Delete a document from stores (write-ahead logs too), frozen demonstrations and annotations of runs.

    Gives for each run what was found, and its students that were trained on the document, which only training them
    again can make forget it. Answers that quote a purged demonstration in some other sentence are deleted, too, and
    asked again. Manifests are sealed anew and say that (not what) was purged. The corpus itself is the user's: a
    document that stays there is annotated again. A page that shows the document, or answers that may quote it, is
    written again without any text; the rows of studies hold none. Raises InputError
    where a folder is no run, and StoreError where one is being annotated, before anything is changed; a run that fails
    later says so (`failed`), and the others are purged.
    """
    folders = list(runs)
    for folder in folders:
        if not is_run(folder):
            raise InputError(f"{folder}: no run is here (config.yaml is missing).")
        _check(folder)
    return [asdict(_purge_safely(document, folder)) for folder in folders]


def _check(folder: Path) -> None:
    """Raises InputError for a name in the run that leads out of it, StoreError where the run is being annotated."""
    check_own(folder)
    for store in _stores(folder):
        check_free(store)


def _purge_safely(document: str, folder: Path) -> _Purged:
    purged = _Purged(str(folder))
    try:
        _purge_run(document, folder, purged)
    except (DistillError, OSError) as error:
        purged.failed = str(error).partition("\n")[0]
    return purged


def _purge_run(document: str, folder: Path, purged: _Purged) -> None:
    _find_students(document, folder, purged)
    places = [*stage_folders(folder), folder / _REPORT]
    whole = [stage_folder for stage_folder in places if manifest.is_whole(stage_folder)]
    changed = set[Path]()
    pools = frozen_pools(folder)
    gone = [example for examples in pools.values() for example in examples if example.sentence.document == document]
    texts, quoting = _texts(folder), set[str]()
    try:
        # First: once the rest is gone, nothing tells any more that the page has to be looked at.
        if _redact_page(document, folder, may_quote=bool(gone)):
            changed.add(folder / _REPORT)
        with ExitStack() as opened:
            # All of them are locked before anything is changed; pools go last, since they say what answers may quote.
            stores = [(file, opened.enter_context(CompletionStore(file))) for file in _stores(folder)]
            for file, store in stores:
                quotes = dict(_quotes(store, gone, texts))
                completions = store.forget_answers(quotes)
                rows, own_digests = store.forget(document)
                quoting |= set(quotes.values())
                if store.was_changed:
                    changed.add(file.parent)
                purged.rows, purged.completions = purged.rows + rows, purged.completions + own_digests + completions
            purged.lines = _purge_files(document, quoting, folder, changed)
            for pool, examples in pools.items():
                kept = [example for example in examples if example.sentence.document != document]
                if len(kept) < len(examples):
                    forget(pool, kept)
                    changed.add(folder / "annotate")
            purged.demonstrations = len(gone)
    finally:  # what was changed before something failed is whole all the same
        _seal_again(folder, [stage_folder for stage_folder in whole if stage_folder in changed], document)


def _redact_page(document: str, folder: Path, *, may_quote: bool) -> bool:
    """Write the run's page again without text if it shows the document; gives whether it did.

    With `may_quote` it is enough that it shows any text. A page that cannot be made again is deleted.
    """
    page = folder / _REPORT / "index.html"
    if not page.is_file():
        return False
    text = page.read_text("utf-8")
    names = {document, str(escape(document)), str(as_json(document))[1:-1]}
    if not (may_quote and SENTENCES in text) and not any(name in text for name in names):
        return False
    try:
        redacted = page_of_run(folder, redact=True)
    except (DistillError, OSError, ValueError):
        page.unlink()
        return True
    write_text(page, redacted)
    return True


def _stores(folder: Path) -> list[Path]:
    return [*sorted(folder.glob(f"*/{STORE}")), *sorted(folder.glob(f"shards/*/{STORE}"))]


def _texts(folder: Path) -> dict[str, str]:
    """The texts of the sentences that have an annotation, by id."""
    files = sorted((folder / "annotate").rglob(ANNOTATIONS))
    return {row["id"]: row["text"] for file in files for row in read_rows(file) if {"id", "text"} <= row.keys()}


def _quotes(store: CompletionStore, gone: Sequence[Example], texts: Mapping[str, str]) -> Iterator[tuple[bytes, str]]:
    """Answers that hold words of a purged demonstration which their own sentence does not hold: `(digest, id)`.

    A sentence whose text is not at hand is taken not to hold them: its answer is asked for again, and nothing is lost.
    """
    shown = [example.sentence.text for example in gone]
    names = {_surface(example, span) for example in gone for span in _spans(example)}
    for digest, id_, completion in store.answers() if gone else ():
        own_text = texts.get(id_, "")
        words = {string.strip() for string in _STRING.findall(completion.text)}
        said = f"{completion.thinking}\n{completion.text}"
        suspects = {word for word in words if len(word) > 1 and any(word in text for text in shown)}
        suspects |= {name for name in names if name in said}
        if any(suspect not in own_text for suspect in suspects - set(_TYPE.findall(completion.text))):
            yield digest, id_


_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TYPE = re.compile(r'","((?:[^"\\]|\\.)*)"\]')  # the second of a pair: a name of the task's own


def _spans(example: Example) -> tuple[Span, ...]:
    """Its entities; none where its labels are of the whole text, of which there may be as many as tokens."""
    try:
        return decode_bio(example.labels) if len(example.labels) == len(example.sentence.tokens) else ()
    except InvalidTags:
        return ()


def _surface(example: Example, span: Span) -> str:
    return example.sentence.text[example.sentence.offsets[span.start][0] : example.sentence.offsets[span.end - 1][1]]


def _purge_files(document: str, ids: set[str], folder: Path, changed: set[Path]) -> int:
    """Lines deleted from annotations and quarantine files; what a killed process left half written is removed."""
    total = 0
    for stage in stage_folders(folder):
        for half in (*stage.rglob("*.partial"), *stage.rglob(".*.jsonl.*")):
            half.unlink()
        for name in (ANNOTATIONS, QUARANTINE, PREDICTIONS, DECISIONS):
            for file in sorted(stage.rglob(name)):
                if lines := _purge_lines(document, ids, file):
                    total += lines
                    changed.add(stage)
    return total


def _purge_lines(document: str, ids: set[str], file: Path) -> int:
    def is_gone(row: Mapping[str, Any]) -> bool:
        return row.get("document") == document or row.get("id") in ids

    rows = sum(map(is_gone, read_rows(file)))
    if rows:
        write_rows(file, (row for row in read_rows(file) if not is_gone(row)))
    return rows


def _find_students(document: str, folder: Path, purged: _Purged) -> None:
    """Arms whose training data held the document (distilled rows they drew from, or human-labelled ones), and those
    that were made with their students: averages, and arms that learnt their labels."""
    selected = folder / "select" / ANNOTATIONS
    distilled = selected.exists() and any(row.get("document") == document for row in read_rows(selected))
    original = any(row.sentence.document == document for pool in frozen_pools(folder).values() for row in pool)
    arms = list(_arms(folder))
    has_adapter = (folder / ADAPT / ADAPTER).is_dir()
    if (arms or has_adapter) and not original:
        try:
            train = read_gold(load(folder / "config.yaml", ())).train
            original = any(example.sentence.document == document for example in train)
        except (DistillError, OSError, ValueError) as error:
            first_line = str(error).partition("\n")[0]
            purged.unchecked.append(f"whether the human-labelled training data held it ({first_line})")
    for checkpoint in sorted((folder / "train").glob("*/checkpoint*")):
        if not manifest.is_whole(checkpoint.parent):
            purged.unchecked.append(f"train/{checkpoint.parent.name}, which was stopped: its checkpoint may know it")
    purged.adapter = original and has_adapter
    if list((folder / ADAPT).rglob("checkpoint")):
        purged.unchecked.append(f"{ADAPT}, which was stopped: its checkpoint may know it")
    _find_encoder(document, folder, purged)
    students = {name for name, made in arms if _drew(made["counts"], distilled=distilled, original=original)}
    if purged.encoder:
        students |= {name for name, made in arms if f"{PRETRAIN}/{manifest.NAME}" in _made_from(made)}
    for _ in arms:  # as long as a chain of them can be
        parents = {f"{name}/{manifest.NAME}" for name in students}
        students |= {name for name, made in arms if parents & _made_from(made)}
    purged.students = sorted(students)


def _find_encoder(document: str, folder: Path, purged: _Purged) -> None:
    """Whether the encoder that pretrain made learnt from the document: no text of it is kept, so the corpus is read."""
    if not manifest.is_whole(folder / PRETRAIN):
        if (folder / PRETRAIN / "checkpoint").is_dir():
            purged.unchecked.append(f"{PRETRAIN}, which was stopped: its checkpoint may know it")
        return
    try:
        settings = load(folder / "config.yaml", ())
        pretrain = settings.pretrain or PretrainSettings()
        sentences = read_text(settings, pretrain, make_task(settings).head, Counter())
        purged.encoder = any(sentence.document == document for sentence in sentences)
        if not purged.encoder and not is_pretrained(RunFolder(folder, settings)):
            purged.unchecked.append(f"{PRETRAIN}: text, settings or program are others since; it may know the document")
    except (DistillError, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        purged.unchecked.append(f"whether the text that {PRETRAIN} learnt from held it ({first_line})")


def _made_from(made: Mapping[str, Any]) -> set[str]:
    return {entry["name"] for entry in made["inputs"]}


def _drew(counts: dict[str, Any], *, distilled: bool, original: bool) -> bool:
    return bool((distilled and counts.get("distilled_drawn")) or (original and counts.get("original_drawn")))


def _arms(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for arm in sorted((folder / "train").glob("*")):
        if manifest.is_whole(arm):
            yield arm.name, manifest.show(arm)


def _seal_again(folder: Path, places: list[Path], document: str) -> None:
    note = {
        "document_sha256": hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest(),
        "purged": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for stage_folder in places:
        manifest.seal_again(stage_folder, note)
    if places and (folder / manifest.NAME).exists():
        manifest.unseal(folder)  # first: where the configuration cannot be read, it must not look whole
        RunFolder(folder, load(folder / "config.yaml", ())).seal()
