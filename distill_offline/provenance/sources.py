"""What a stage read, read again: corpus files and model weights, where they still lie here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline import config, registry
from distill_offline.backends import BACKENDS, EXTRAS
from distill_offline.corpus import resolve_path
from distill_offline.errors import DistillError
from distill_offline.manifest import dependencies_of
from distill_offline.manifest.statement import shown
from distill_offline.models import catalogue
from distill_offline.models.files import model_files
from distill_offline.provenance.bundles import Bundles
from distill_offline.provenance.links import Link, broken, gap
from distill_offline.storage.digests import digest_of, file_digests

__all__ = ["Sources"]

_MODEL_KEYS = {"teacher": ("backend", "model"), "encoder": ("train", "encoder"), "base": ("adapt", "base")}


@dataclass(slots=True)
class Sources:
    """Where a run's configuration says that its corpus and models lie; `config` is its config.yaml, if it is here."""

    bundles: Bundles
    config: Mapping[str, Any] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Path | None, bundles: Bundles) -> Sources:
        """An older configuration that no longer reads is as none: what it names is then looked for by name alone."""
        try:
            return cls(bundles, config.as_plain(config.load(run / "config.yaml"))) if run else cls(bundles)
        except (DistillError, OSError):
            return cls(bundles)

    def input(self, recorded: Mapping[str, Any], stage: str) -> Link:
        """The link to a corpus file or folder, by what the stage's manifest has of it."""
        name, digest = str(recorded["name"]), str(recorded["digest"]["sha256"])
        places = [path for path in self._named_in_config() if name in (shown(path), path.name)]
        is_guess = not places and "/" not in name  # a file of that name in this folder may be any other
        places = places or [Path(name)]
        told = self.bundles.told_of_file(digest)
        present = [path for path in places if path.exists()]
        if any(self._digest(path) == digest for path in present):
            return Link("input", name, f"in the bundle: {told}" if told else "")
        if not present or is_guess:
            return Link("input", name, problems=(gap("not-here", stage, f"input {name} is not here to be read again"),))
        return Link("input", name, problems=(broken("changed-input", stage, f"input {name} was changed since"),))

    def model(self, recorded: Mapping[str, Any], stage: str, made_with: Mapping[str, Any]) -> Link:
        """The link to a model's weights; `made_with` is the configuration in the stage's manifest."""
        role, digest = str(recorded["name"]), str(recorded["digest"]["sha256"])
        told = self.bundles.told_of_model(digest)
        detail = f"sha256 {digest[:16]}" + (f"; {told}" if told else "")
        section, key = _MODEL_KEYS.get(role, ("", ""))
        backend = made_with.get("backend") or {}
        if role == "teacher" and not _needs_model(backend.get("name", "")):
            return self._without_weights(role, str(backend.get("name")), stage)
        recorded_name = str((made_with.get(section) or {}).get(key, ""))
        current = str((self.config.get(section) or {}).get(key, ""))
        if role == "base" and not recorded_name:  # adapt.base is empty: it is the teacher's model itself
            recorded_name, current = (
                str(backend.get("model", "")),
                str((self.config.get("backend") or {}).get("model", "")),
            )
        name = (
            current
            if current and shown(Path(current)) in (recorded_name, shown(Path(recorded_name)))
            else recorded_name
        )
        located = _located(name)
        if located is None:
            problem = gap("not-here", stage, f"the weights of {role} are not here to be read again")
        elif self._model_digest(located) == digest:
            return Link("model", role, detail)
        else:
            problem = broken("changed-model", stage, f"the weights of {role} that are here are not those that it used")
        return Link("model", role, detail, (problem,))

    def _without_weights(self, role: str, backend: str, stage: str) -> Link:
        if backend == "scripted":
            return Link("model", role, "scripted answers: there are no weights")
        problem = gap("not-here", stage, f"{role} answered from a server ({backend}); its weights are not here")
        return Link("model", role, backend, (problem,))

    def _named_in_config(self) -> Iterator[Path]:
        for text in _strings({key: self.config.get(key) for key in ("corpus", "annotate", "pretrain")}):
            try:
                yield resolve_path(text)
            except DistillError:
                continue

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            [dependency] = dependencies_of(path.parent, [path], ())
            self._digests[path] = str(dependency["digest"]["sha256"])
        return self._digests[path]

    def _model_digest(self, path: Path) -> str:
        """As catalogue.model_digest, but every byte is read: its cache trusts times and sizes."""
        if path not in self._digests:
            names = [""] if path.is_file() else model_files(path)
            files = {name: path / name if name else path for name in names}
            digests = file_digests(files.values())
            whole = {name: digests[file] for name, file in files.items()}
            self._digests[path] = whole[""] if path.is_file() else digest_of(whole)
        return self._digests[path]


def _located(name: str) -> Path | None:
    try:
        return catalogue.find(name) if name else None
    except (DistillError, ValueError):  # the second where no file can have that name
        return None


def _needs_model(backend: str) -> bool:
    try:
        return bool(registry.load("backend.name", backend, BACKENDS, EXTRAS, group="backends").needs_model)
    except DistillError:
        return True


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
