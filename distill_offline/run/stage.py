"""One stage of a run: whether it has to run, and its sealing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_offline import __version__, config, manifest
from distill_offline.run.folder import RunFolder
from distill_offline.storage.files import make_folder

__all__ = ["Stage"]


@dataclass(slots=True)
class Stage:
    """One stage's folder, whether it has to run, and its sealing.

    `decides` is all that the stage's output depends on, as JSON; its digest with this version is the fingerprint.
    `inputs` are the corpus files or folders read, `models` map a name to a digest, `parents` are sealed folders.
    `engine` is what the backend said of itself, where it was started. `seed` is the stage's, where it is not the run's.
    """

    run: RunFolder
    name: str
    decides: Mapping[str, Any]
    inputs: Iterable[Path] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    parents: Iterable[Path] = ()
    engine: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
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
        """Take the seal off and make the folder. Raises InputError if anything in the run leads out of it."""
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
            seeds={"seed": self.run.settings.seed if self.seed is None else self.seed},
            inputs=self.inputs,
            models=self.models,
            parents=[parent / manifest.NAME for parent in self.parents],
            command=self.run.command,
            started=self.started,
            counts=counts,
            fingerprint=self.fingerprint,
            engine=self.engine,
            method=self.decides.get("method"),
        )
