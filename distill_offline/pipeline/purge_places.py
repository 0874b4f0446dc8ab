"""Where a deletion request has to look: every run below some folders, and what lies beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.storage.files import ANNOTATIONS, QUARANTINE, STORE

__all__ = ["Places", "find_runs", "is_run", "stage_folders"]

_CONFIG = "config.yaml"
_STAGES = ("annotate", "cross_fit", "select", "sample", "evaluate", "review")
_OURS = (STORE, ANNOTATIONS, QUARANTINE)
_LINES = frozenset({".jsonl", ".ndjson"})
_OTHER_CORPORA = frozenset({".parquet", ".conll", ".tsv", ".sqlite"})


@dataclass(slots=True)
class Places:
    """The run folders that were found, and the folders and files that are none of a run's, with the reason each.

    `skipped` are folders (or links) that were not purged. `left` are files outside of runs: those that name the
    document, and those that were not looked into.
    """

    runs: list[Path] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)

    def skip(self, path: Path, why: str) -> None:
        self.skipped.append({"folder": str(path), "why": why})

    def leave(self, path: Path, why: str) -> None:
        self.left.append({"file": str(path), "why": why})


@dataclass(slots=True)
class _Walk:
    """One walk over folders; `seen` are those that it has been in, by device and inode."""

    document: str
    places: Places
    seen: dict[tuple[int, int], Path] = field(default_factory=dict)
    links: list[Path] = field(default_factory=list)

    def enter(self, folder: Path, *, in_run: bool) -> bool:
        """Walk `folder`, and say whether a run is at or below it. Links wait, so that what they mean is named first."""
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.places.skip(folder, f"NOT LOOKED AT: it cannot be read ({error.strerror})")
            return True
        self.seen[status.st_dev, status.st_ino] = folder
        is_one = is_run(folder)
        if is_one:
            self.places.runs.append(folder)
        inside, empty, has_run = in_run or is_one, list[Path](), is_one
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                below = self.enter(path, in_run=inside)
                has_run = has_run or below
                if not below:
                    empty.append(path)
            elif entry.is_symlink() and not path.is_file():
                if not (is_one and entry.name in (*_STAGES, "shards")):  # the run itself goes into its own folders
                    self.links.append(path)
            elif not inside:
                self._look_into(path)
        if has_run and not inside:
            for path in empty:
                self.places.skip(path, _NO_RUN)
        return has_run

    def follow(self) -> None:
        """Go through the links to folders, and through those behind them: each folder once."""
        while self.links:
            link = self.links.pop(0)
            try:
                status = link.stat()
            except OSError as error:
                self.places.skip(link, f"a link that leads nowhere ({error.strerror})")
                continue
            if known := self.seen.get((status.st_dev, status.st_ino)):
                self.places.skip(link, f"a link to {known}, which was looked at under that name")
            elif not self.enter(link, in_run=False):
                self.places.skip(link, _NO_RUN)

    def _look_into(self, file: Path) -> None:
        suffix = file.suffix.lower()
        try:
            if suffix in _LINES and _names(file, self.document):
                self.places.leave(file, "it names the document, and is none of a run's files: delete it there yourself")
        except OSError as error:
            self.places.leave(file, f"NOT LOOKED AT: it cannot be read ({error.strerror})")
        if suffix in _OTHER_CORPORA:
            self.places.leave(file, "not looked into, as it is none of a run's files")


_NO_RUN = "no run is in it (neither config.yaml nor a stage's files)"


def find_runs(folder: Path, document: str) -> Places:
    """Every run at or below `folder`, at any depth: those of studies, those within runs, those behind links.

    A link to a folder is followed once, wherever it leads; no folder is entered twice, under whatever name.
    """
    walk = _Walk(document, Places())
    if not walk.enter(folder, in_run=False):
        walk.places.skip(folder, _NO_RUN)
    walk.follow()
    return walk.places


def is_run(folder: Path) -> bool:
    """Whether a run has been here: its configuration is, or files of its stages are."""
    if (folder / _CONFIG).is_file():
        return True
    return any((stage_folder / name).is_file() for stage_folder in stage_folders(folder) for name in _OURS)


def stage_folders(folder: Path) -> list[Path]:
    """The folders of a run in which text can lie."""
    return [*(folder / name for name in _STAGES), *sorted(folder.glob("shards/*"))]


def _names(file: Path, document: str) -> bool:
    """Whether a row of the file is of the document; a line that is no JSON is taken by the characters of its id."""
    raw = {json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"), json.dumps(document).encode()}
    with file.open("rb") as lines:
        return any(_is_of(line, document) for line in lines if any(item in line for item in raw))


def _is_of(line: bytes, document: str) -> bool:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return document in _strings(row)


def _strings(row: Any) -> Iterator[str]:
    values: Iterable[Any] = row.values() if isinstance(row, dict) else ()
    return (value for value in values if isinstance(value, str))
