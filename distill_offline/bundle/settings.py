"""A bundle's configuration file: what is to be carried, for which host, by which pins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from annotated_types import Ge
from pydantic import TypeAdapter, ValidationError

from distill_offline.bundle.verifier import verify
from distill_offline.config import coerced
from distill_offline.errors import ConfigError
from distill_offline.plain_yaml import UniqueKeys
from distill_offline.text_encoding import NotUTF8, read_utf8

__all__ = [
    "BundleSettings",
    "CarriedFile",
    "EnvironmentSettings",
    "ProjectSettings",
    "SourceBuild",
    "TargetSettings",
    "load",
]

_STRICT: dict[str, Any] = {"extra": "forbid"}
_HEX = re.compile(r"[0-9a-f]{64}")


def _require(fits: object, problem: str) -> None:
    if not fits:
        raise ValueError(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """The host that the bundle is for. `glibc` may be left to the host's profile; `tools` are commands it must have."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    arch: str = "x86_64"
    python: str = "3.11"
    glibc: str | None = None
    accelerator: Literal["cpu", "cuda"] = "cpu"
    min_driver: str | None = None
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(re.fullmatch(r"3\.\d{1,2}", self.python), 'python is a version such as "3.11", in quotes')
        _require(self.glibc is None or re.fullmatch(r"2\.\d{1,3}", self.glibc), 'glibc is a version such as "2.28"')
        _require(re.fullmatch(r"[A-Za-z0-9_]{1,32}", self.arch), "arch is what uname -m says")
        _require(self.accelerator == "cuda" or self.min_driver is None, "min_driver is for accelerator: cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """One Python environment: our package with `extras`, further `requirements`, and what narrows their choice.

    `constraints` are lines of a pip constraints file. `lock` is the lock of an earlier bundle: it is taken as it is
    instead of asking the resolver (the lines of our own package and of source builds in it do not count).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    extras: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    lock: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBuild:
    """A package that its makers publish as source only: which source, by what it is built, and what must come out."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    version: str
    sha256: str
    wheel_sha256: str
    build_requirements: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(_HEX.fullmatch(self.sha256) and _HEX.fullmatch(self.wheel_sha256), "a sha256 has 64 lower-case digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """Our own package: a checkout (or a wheel of it), and the papers of the checkout that travel in project/."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    path: str = "."
    build_requirements: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedFile:
    """A file for runtime/ by path and digest; `instead_of` says which download at run time it makes needless."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    path: str
    sha256: str
    instead_of: str = ""

    def __post_init__(self) -> None:
        _require(_HEX.fullmatch(self.sha256), "sha256 has 64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSettings:
    """A whole bundle configuration. Paths are relative to where the command runs, as everywhere.

    `data` and `configs` map a name below data/ or configs/ to the file or folder that goes there. `licences` maps an
    SPDX identifier to a file with its text, for models that bring none. `accept_retagged` names packages whose wheels
    claim other tags inside than in their file names: by listing them, the signer vouches for the names.
    `accept_unusual_files` names packages that may bring files which Python reads at each start, or share a file with
    another package: the manifest then lists each by its digest.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    name: str
    version: str
    sequence: Annotated[int, Ge(1)]
    previous_manifest: str | None = None
    created: str | None = None
    expires: str | None = None
    target: TargetSettings = field(default_factory=TargetSettings)
    environments: dict[str, EnvironmentSettings]
    project: ProjectSettings = field(default_factory=ProjectSettings)
    source_builds: dict[str, SourceBuild] = field(default_factory=dict)
    accept_retagged: tuple[str, ...] = ()
    accept_unusual_files: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    configs: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    interpreter: CarriedFile | None = None
    runtime: tuple[CarriedFile, ...] = ()
    volume_limit: Annotated[int, Ge(1)] = 2 << 30

    def __post_init__(self) -> None:
        _require(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name), "name has letters, digits and ._- only")
        _require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", self.version), "version has letters, digits and ._+- only"
        )
        for key, moment in (("created", self.created), ("expires", self.expires)):
            _require(moment is None or verify.seconds(moment), f"{key} is a time as 2026-01-31T23:59:59Z, in quotes")
        _require(self.environments, "environments names at least one")
        for name in self.environments:
            _require(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name), f"environments: {name!r} has a-z, 0-9 and - only")
        for name in (*self.configs, *self.data):
            _require(not verify.name_problem(name), f"{name!r} {verify.name_problem(name)}")


def load(path: Path) -> BundleSettings:
    """The settings of a YAML file. Raises ConfigError that names the file and key."""
    try:
        value = yaml.load(read_utf8(path), UniqueKeys)
    except NotUTF8 as error:
        raise ConfigError(f"{path}:{error.line}: {error.problem}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else '?'}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: a bundle's configuration is a mapping: name, version, sequence, environments, ...")
    try:
        value = _times_as_text(value)
        made = TypeAdapter(BundleSettings).validate_python(value)
        if unlike := list(coerced(value, made)):
            raise ConfigError("\n".join(f"{path.name}: {problem}" for problem in unlike))
        return made
    except ValidationError as error:
        problems = [
            f"{path.name}: {'.'.join(str(part) for part in each['loc']) or 'the bundle'}: "
            f"{each['msg'].removeprefix('Value error, ')}."
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError("\n".join(problems)) from error


def _times_as_text(value: Mapping[str, Any]) -> dict[str, Any]:
    """YAML takes an unquoted time for a date of its own; the manifest's form is meant."""
    moments = {key: value[key] for key in ("created", "expires") if hasattr(value.get(key), "strftime")}
    return {**value, **{key: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for key, moment in moments.items()}}
