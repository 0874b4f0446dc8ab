"""A run's folder: its settings, where its stages lie, and whether a stage still stands for what went into it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_offline import __version__, config, manifest
from distill_offline.artifacts import STORE, check_own, make_folder, replacing
from distill_offline.completions import check_free
from distill_offline.corpus import may_be_raw, resolve_path, tokenisation
from distill_offline.digests import file_digests
from distill_offline.errors import ConfigError, InputError
from distill_offline.schema import Watch
from distill_offline.settings import CorpusSettings, Settings, Source

__all__ = [
    "SAMPLE",
    "RunFolder",
    "Stage",
    "labels_digest",
    "plain_source",
    "reading_of",
    "source_digest",
    "source_path",
    "source_paths",
]


SAMPLE = "sample"  # the folder of `annotate --sample`; annotate takes its answers over


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`runs/<name>/` with its resolved settings, and the callbacks of whoever runs it.

    `say` shows one line of news, `watch` shows progress, `stop` tells whether to stop at the next safe point,
    and `on_warning` shows a line more loudly than `say`.
    """

    path: Path
    settings: Settings
    command: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda line: None
    watch: Watch = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    on_warning: Callable[[str], None] | None = None

    def warn(self, line: str) -> None:
        """Show a line that nobody should miss: by `on_warning`, or as news."""
        if self.on_warning is None:
            self.say(f"warning: {line}")
        else:
            self.on_warning(line)

    def folder(self, stage: str) -> Path:
        return self.path / stage

    def whole(self, stage: str) -> Path:
        """The folder of a stage that has been run to its end; raises InputError where it has not."""
        if not manifest.is_whole(self.folder(stage)):
            raise InputError(f"{self.folder(stage)}: {stage} has not been run to its end. Run it first.")
        return self.folder(stage)

    def require(self, key: str, value: Any) -> Any:
        """`value`, or the error that the configuration lacks `key`."""
        if value in (None, "", ()):
            raise ConfigError(f"{self.settings.name}: {key} is missing; this stage needs it.")
        return value

    def open(self) -> None:
        """Make the folder, say what changed since its last use, and write config.yaml.

        Raises StoreError, and changes nothing, where another process is annotating into it; InputError where anything
        in it is a link or no plain file.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_free(self.folder("annotate") / STORE)
        file, text = self.path / "config.yaml", config.dump(self.settings)
        before = file.read_text("utf-8") if file.exists() else None
        if before == text:
            return
        if changes := self.changes():
            self.say(f"{self.path}: the configuration has changed; the stages it touches run again:")
            for line in changes:
                self.say(f"  {line}")
        manifest.unseal(self.path)
        own = file.with_name(f"config.yaml.{os.getpid()}")  # shards of one run may come here at the same moment
        with replacing(file, own) as out:
            out.write(text)

    def check(self) -> None:
        """Raises InputError where anything in the folder is a link or no plain file; before something is written."""
        check_own(self.path)

    def changes(self) -> list[str]:
        """How the configuration differs from the one of the run's last use, as the lines of a diff."""
        file = self.path / "config.yaml"
        before = file.read_text("utf-8").splitlines() if file.exists() else []
        now = config.dump(self.settings).splitlines() if before else []
        return list(difflib.unified_diff(before, now, "before", "now", n=1, lineterm=""))

    def seal(self) -> None:
        """Seal the run over the stages that are whole."""
        manifest.seal_run(
            self.path,
            config=config.as_plain(self.settings),
            seeds={"seed": self.settings.seed},
            command=self.command,
            exclude=[f"{SAMPLE}/*"],  # answers to a change that nobody has taken over yet
        )


@dataclass(slots=True)
class Stage:
    """One stage's folder, whether it has to run, and its sealing.

    `decides` is all that the stage's output depends on, as JSON; its digest with this version is the fingerprint.
    `inputs` are the corpus files or folders read, `models` map a name to a digest, `parents` are sealed folders.
    `engine` is what the backend said of itself, where it was started.
    """

    run: RunFolder
    name: str
    decides: Mapping[str, Any]
    inputs: Iterable[Path] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    parents: Iterable[Path] = ()
    engine: Mapping[str, Any] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def folder(self) -> Path:
        return self.run.folder(self.name)

    @property
    def fingerprint(self) -> str:
        return manifest.digest_of({"version": __version__, "stage": self.name, **self.decides})

    def is_fresh(self) -> bool:
        """Whether the folder is whole and was made from exactly this, so that the stage need not run."""
        return manifest.fingerprint_of(self.folder) == self.fingerprint

    def relink(self) -> None:
        """Link a fresh folder to its parents' manifests as they are now: they may be made again, with same content."""
        parents = [parent / manifest.NAME for parent in self.parents]
        if all(path.is_file() for path in parents):
            manifest.link(self.folder, parents)

    def begin(self) -> Path:
        """Take the seal off and make the folder. Raises InputError where anything in the run leads out of it."""
        self.run.check()
        manifest.unseal(self.run.path)
        manifest.unseal(self.folder)
        make_folder(self.folder)
        return self.folder

    def sealed_counts(self) -> dict[str, Any]:
        """What `seal` was told when the folder was made."""
        return dict(manifest.show(self.folder)["counts"])

    def seal(self, counts: Mapping[str, Any]) -> None:
        manifest.seal(
            self.folder,
            stage=self.name,
            config=config.as_plain(self.run.settings),
            seeds={"seed": self.run.settings.seed},
            inputs=self.inputs,
            models=self.models,
            parents=[parent / manifest.NAME for parent in self.parents],
            command=self.run.command,
            started=self.started,
            counts=counts,
            fingerprint=self.fingerprint,
            engine=self.engine,
        )


def labels_digest(settings: Settings, *splits: str) -> dict[str, Any]:
    """JSON of what the named splits of corpus.original stand for, and of the rules by which they are read."""
    corpus = settings.corpus
    return {
        "splits": {split: source_digest(getattr(corpus.original, split), corpus) for split in splits},
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
    digests = file_digests(files)
    named = {(p.relative_to(path).as_posix() if path.is_dir() else ""): digests[p] for p in files}
    part = plain_source(source) if isinstance(source, Source) else {}
    for key in ("path", "token_column", "language", "offsets"):
        part.pop(key, None)
    if labels := part.pop("labels", None):
        part["labels"] = _files_digest(labels)
    return {"files": manifest.digest_of(named), "part": part}
