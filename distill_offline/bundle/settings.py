"""A bundle's configuration file: what is to be carried, for which host, by which pins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from pydantic import TypeAdapter, ValidationError

from distill_offline.bundle.verifier import verify
from distill_offline.config.loading import coerced
from distill_offline.config.plain_yaml import read_yaml
from distill_offline.errors import ConfigError

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
    """The host that the bundle is for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    arch: str = "x86_64"
    """The processor, as `uname -m` says it."""
    python: str = "3.11"
    """The version of Python there, in quotes."""
    glibc: str | None = None
    """The version of glibc there, in quotes; empty: as the host's profile says."""
    accelerator: Literal["cpu", "cuda"] = "cpu"
    """Whether packages for GPUs are carried."""
    min_driver: str | None = None
    """The oldest NVIDIA driver that is accepted there, in quotes; only with `accelerator: cuda`."""
    tools: tuple[str, ...] = ()
    """Commands that must be there."""

    def __post_init__(self) -> None:
        _require(re.fullmatch(r"3\.\d{1,2}", self.python), 'python is a version such as "3.11", in quotes')
        _require(self.glibc is None or re.fullmatch(r"2\.\d{1,3}", self.glibc), 'glibc is a version such as "2.28"')
        _require(re.fullmatch(r"[A-Za-z0-9_]{1,32}", self.arch), "arch is what uname -m says")
        _require(self.accelerator == "cuda" or self.min_driver is None, "min_driver is for accelerator: cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """One Python environment: our package with `extras`, further packages, and what narrows their choice."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    extras: tuple[str, ...] = ()
    """Extras of our package to install."""
    requirements: tuple[str, ...] = ()
    """Further packages, each with a lower bound."""
    constraints: tuple[str, ...] = ()
    """Lines of a pip constraints file that narrow the choice."""
    lock: str | None = None
    """The lock of an earlier bundle, used as it is instead of asking the resolver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBuild:
    """A package that its makers publish as source only."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    version: str
    """The version to build."""
    sha256: str
    """The digest of the source archive, in quotes."""
    wheel_sha256: str
    """The digest that the built wheel must have, in quotes."""
    build_requirements: tuple[str, ...]
    """The packages that it is built with, such as `setuptools==84.2.1`."""

    def __post_init__(self) -> None:
        _require(_HEX.fullmatch(self.sha256) and _HEX.fullmatch(self.wheel_sha256), "a sha256 has 64 lower-case digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """Our own package."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    path: str = "."
    """The folder of a checkout, or a wheel of ours."""
    build_requirements: tuple[str, ...] = ()
    """The packages that our wheel is built with, such as `hatchling==1.33.0`."""
    papers: tuple[str, ...] = ()
    """Files of the checkout that travel in `project/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedFile:
    """A file that is carried as it is."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    path: str
    """The file."""
    sha256: str
    """Its digest, in quotes."""
    instead_of: str = ""
    """The download at run time that it replaces."""

    def __post_init__(self) -> None:
        _require(_HEX.fullmatch(self.sha256), "sha256 has 64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSettings:
    """A whole bundle configuration. Paths are relative to where the command runs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    name: str
    """The bundle's name; the isolated side keeps one sequence for each name."""
    version: str
    """The version that people see."""
    sequence: Annotated[int, Ge(1)]
    """[number] Rises with each bundle; the isolated side refuses a smaller one than it has installed."""
    previous_manifest: str | None = None
    """The `manifest.json` of the bundle before; its digest makes a chain."""
    created: str | None = None
    """When it was made, in UTC, in quotes; empty: SOURCE_DATE_EPOCH, or now."""
    expires: str | None = None
    """From this time on it is not to be installed, in UTC, in quotes."""
    target: TargetSettings = field(default_factory=TargetSettings)
    """The host that the bundle is for."""
    environments: dict[str, EnvironmentSettings]
    """Python environments by name. A teacher by vLLM and its students may need two."""
    project: ProjectSettings = field(default_factory=ProjectSettings)
    """Our own package."""
    source_builds: dict[str, SourceBuild] = field(default_factory=dict)
    """Packages by name that are published as source only."""
    accept_retagged: tuple[str, ...] = ()
    """Packages whose wheels claim other tags inside than in their names; by listing one, you vouch for it."""
    accept_unusual_files: tuple[str, ...] = ()
    """Packages that may bring files which Python reads at each start, or share a file with another."""
    models: tuple[str, ...] = ()
    """Models of the catalogue, by id."""
    configs: dict[str, str] = field(default_factory=dict)
    """Names below `configs/` in the bundle, each with the file or folder here."""
    data: dict[str, str] = field(default_factory=dict)
    """Names below `data/` in the bundle, each with the file or folder here."""
    licences: dict[str, str] = field(default_factory=dict)
    """SPDX identifiers, each with a file that has its text, for models that bring none."""
    interpreter: CarriedFile | None = None
    """A relocatable CPython archive, for hosts whose Python is too old."""
    runtime: tuple[CarriedFile, ...] = ()
    """Further files, such as a vocabulary."""
    volume_limit: Annotated[int, Ge(1)] = 2 << 30
    """[bytes] Longer files are split into parts; stay below 4 GiB for FAT."""

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
    value = read_yaml(path)
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
            f"{path.name}: {'.'.join(str(part) for part in problem['loc']) or 'the bundle'}: "
            f"{problem['msg'].removeprefix('Value error, ')}."
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError("\n".join(problems)) from error


def _times_as_text(value: Mapping[str, Any]) -> dict[str, Any]:
    """YAML takes an unquoted time for a date of its own; the manifest's form is meant."""
    moments = {key: value[key] for key in ("created", "expires") if hasattr(value.get(key), "strftime")}
    return {**value, **{key: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for key, moment in moments.items()}}
