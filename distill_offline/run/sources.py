"""Where a run's corpora lie and what they hold, for fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_offline import config, manifest
from distill_offline.config.settings import CorpusSettings, Settings, Source
from distill_offline.corpus import may_be_raw, resolve_path, tokenisation
from distill_offline.errors import InputError
from distill_offline.storage.digests import file_digests

__all__ = ["labels_digest", "plain_source", "reading_of", "source_digest", "source_path", "source_paths"]


def labels_digest(settings: Settings, *splits: str) -> dict[str, Any]:
    """JSON of what the named splits of corpus.original stand for, and of the rules by which they are read."""
    corpus, reviewed = settings.corpus, settings.corpus.original.reviewed
    also = ("reviewed",) if reviewed is not None and "train" in splits else ()
    return {
        "splits": {split: source_digest(getattr(corpus.original, split), corpus) for split in (*splits, *also)},
        "tag_column": corpus.tag_column,
        "scheme": corpus.scheme,
        "on_overlap": corpus.on_overlap,
        "types": list(settings.task.types),
    }


def plain_source(source: Source) -> dict[str, Any]:
    """JSON of a source, for fingerprints: what was added to it later is there only where it is set."""
    plain = dict(config.as_plain(source))
    later = ("token_column", "language", "offsets", "format")
    return {key: value for key, value in plain.items() if value is not None or key not in later}


def source_path(source: str | Source) -> Path:
    """The file or folder that a corpus setting means."""
    return resolve_path(source.path if isinstance(source, Source) else source)


def source_paths(*sources: str | Source | None) -> list[Path]:
    """The files or folders of those corpus settings that are set, with their stand-off labels."""
    named = [source_path(source) for source in sources if source is not None]
    labels = [source.labels for source in sources if isinstance(source, Source) and source.labels is not None]
    return [*named, *map(resolve_path, labels)]


def source_digest(source: str | Source | None, corpus: CorpusSettings) -> Any:
    """JSON of what a corpus setting stands for: its files' digests, the part of them that is meant, and how it is read.

    Of text that may be raw also how it is tokenised and what spans count: `corpus` says so where the source does not.
    """
    if source is None:
        return None
    return {**_files_digest(source), **reading_of(source, corpus)}


def reading_of(source: str | Source, corpus: CorpusSettings) -> dict[str, Any]:
    """JSON of how text that may be raw is tokenised and what its spans count; of a column file its token column."""
    meant, path = corpus.read_as(source), source_path(source)
    if not may_be_raw(path, meant):
        return {} if meant.token_column is None else {"token_column": meant.token_column}
    counts = {"offsets": meant.offsets} if meant.offsets != "characters" else {}
    column = {} if meant.token_column is None else {"token_column": meant.token_column}  # a .txt may hold columns
    return {"tokens": tokenisation(meant.language), **counts, **column}


def _files_digest(source: str | Source) -> dict[str, Any]:
    path = source_path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Paths are relative to where the command runs.")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if path.suffix.lower() == ".ann" and path.with_suffix(".txt").is_file():  # brat's text stands beside its labels
        files.append(path.with_suffix(".txt"))
    digests = file_digests(files)
    named = {(p.relative_to(path).as_posix() if path.is_dir() else p.name * (p != path)): digests[p] for p in files}
    plain = plain_source(source) if isinstance(source, Source) else {}
    for key in ("path", "token_column", "language", "offsets"):
        plain.pop(key, None)
    if labels := plain.pop("labels", None):
        plain["labels"] = _files_digest(labels)
    return {"files": manifest.digest_of(named), "part": plain}
