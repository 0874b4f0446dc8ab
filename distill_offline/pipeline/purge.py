"""A deletion request: one document out of every file of a run, and which students have learnt from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_offline import corpus, manifest
from distill_offline.artifacts import ANNOTATIONS, QUARANTINE, read_rows, write_rows, write_text
from distill_offline.completions import CompletionStore
from distill_offline.config import load
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import DistillError, InputError
from distill_offline.inputs import read_gold
from distill_offline.pipeline.frozen import frozen_pools
from distill_offline.pipeline.work import STORE
from distill_offline.run_folder import RunFolder
from distill_offline.schema import Example
from distill_offline.settings import Source

__all__ = ["purge"]


@dataclass(slots=True)
class _Purged:
    """What was found of the document in one run."""

    run: str
    completions: int = 0
    rows: int = 0
    demonstrations: int = 0
    lines: int = 0  # of annotations and quarantine files
    students: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "completions": self.completions,
            "rows": self.rows,
            "demonstrations": self.demonstrations,
            "lines": self.lines,
            "students": self.students,
        }


def purge(document: str, runs: Iterable[Path]) -> list[dict[str, Any]]:
    """Delete a document from stores (write-ahead logs too), frozen demonstrations and annotations of runs.

    Gives for each run what was found, and its students that were trained on the document, which only training them
    again can make forget it. Answers that quote a purged demonstration in some other sentence are deleted, too, and
    asked again. Manifests are sealed anew and say that (not what) was purged. The corpus itself is the user's: a
    document that stays there is annotated again. Reports hold no text. Raises InputError where a folder is no run.
    """
    folders = list(runs)
    for folder in folders:
        if not (folder / "config.yaml").exists():
            raise InputError(f"{folder}: no run is here (config.yaml is missing).")
    return [_purge_run(document, folder).as_dict() for folder in folders]


def _purge_run(document: str, folder: Path) -> _Purged:
    found = _Purged(str(folder))
    found.students = _students(document, folder)
    whole = [place for place in _stages(folder) if manifest.is_whole(place)]
    changed = set[Path]()
    quoted = set[str]()
    for pool in frozen_pools(folder):
        gone = _purge_pool(document, pool)
        if gone:
            found.demonstrations += len(gone)
            changed.add(folder / "annotate")
            quoted |= _quoting(folder, gone)
    for store_file in sorted(folder.glob(f"*/{STORE}")) + sorted(folder.glob(f"shards/*/{STORE}")):
        with CompletionStore(store_file) as store:
            rows, completions = store.forget(document)
            completions += store.forget_answers(quoted)
        if rows or completions:
            changed.add(store_file.parent)
        found.rows, found.completions = found.rows + rows, found.completions + completions
    for stage in ("annotate", "select"):
        for name in (ANNOTATIONS, QUARANTINE):
            for file in sorted((folder / stage).rglob(name)):
                lines = _purge_lines(document, quoted, file)
                if lines:
                    found.lines += lines
                    changed.add(folder / stage)
    _seal_again(folder, [place for place in whole if place in changed], document)
    return found


def _stages(folder: Path) -> list[Path]:
    return [folder / "annotate", folder / "select", *sorted(folder.glob("shards/*"))]


def _purge_pool(document: str, pool: Path) -> list[Example]:
    """The document's examples, which are now gone from a frozen pool."""
    examples = list(read_examples(Source(path=str(pool), scheme="iob2"), origin="original"))
    gone = [example for example in examples if example.sentence.document == document]
    if not gone:
        return []
    kept = [example for example in examples if example.sentence.document != document]
    write_examples(pool, kept)
    current_file = pool.parent.parent / "current.json"
    current = json.loads(current_file.read_text("utf-8"))
    if str(current["version"]) == pool.parent.name:
        # A source without the document is then what the run has frozen, and no change.
        current["digests"]["demonstrations"] = corpus.digest(kept)
        write_text(current_file, json.dumps(current, indent=2))
    return gone


def _quoting(folder: Path, gone: list[Example]) -> set[str]:
    """Ids of sentences whose answer names something that stands in a purged demonstration and not in the sentence."""
    texts = [example.sentence.text for example in gone]
    file = folder / "annotate" / ANNOTATIONS
    rows = read_rows(file) if file.exists() else iter(())
    return {row["id"] for row in rows if any(_stands_in(each["mention"], texts) for each in row["rejected"])}


def _stands_in(mention: str, texts: list[str]) -> bool:
    return len(mention.strip()) > 1 and any(mention.strip() in text for text in texts)


def _purge_lines(document: str, ids: set[str], file: Path) -> int:
    rows = sum(1 for row in read_rows(file) if row["document"] == document or row["id"] in ids)
    if rows:
        write_rows(file, (r for r in read_rows(file) if r["document"] != document and r["id"] not in ids))
    return rows


def _students(document: str, folder: Path) -> list[str]:
    """Arms whose training data held the document: distilled rows they drew from, or human-labelled ones."""
    selected = folder / "select" / ANNOTATIONS
    distilled = selected.exists() and any(row["document"] == document for row in read_rows(selected))
    original = False
    with suppress(DistillError, OSError):  # the user may have deleted it there already
        settings = load(folder / "config.yaml", ())
        original = any(example.sentence.document == document for example in read_gold(settings).train)
    pools = [read_examples(Source(path=str(p), scheme="iob2"), origin="original") for p in frozen_pools(folder)]
    original = original or any(e.sentence.document == document for pool in pools for e in pool)
    return [name for name, counts in _arms(folder) if _drew(counts, distilled=distilled, original=original)]


def _drew(counts: dict[str, Any], *, distilled: bool, original: bool) -> bool:
    return bool((distilled and counts.get("distilled_drawn")) or (original and counts.get("original_drawn")))


def _arms(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for arm in sorted((folder / "train").glob("*")):
        if manifest.is_whole(arm):
            yield arm.name, manifest.show(arm)["counts"]


def _seal_again(folder: Path, places: list[Path], document: str) -> None:
    note = {
        "document_sha256": hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest(),
        "purged": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for place in places:
        manifest.seal_again(place, note)
    if places and (folder / manifest.NAME).exists():
        manifest.unseal(folder)
        RunFolder(folder, load(folder / "config.yaml", ())).seal()
