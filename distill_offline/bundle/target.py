"""The host that a bundle is for: what its profile says against what the configuration asks, and its platform tags."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.bundle.settings import TargetSettings
from distill_offline.bundle.verifier.verify import numbers
from distill_offline.errors import ConfigError, EnvironmentFault

__all__ = ["Profile", "Target", "choose", "require_like_host"]

PROFILE_SCHEMA = "distill-offline-profile/1"
_PROFILE_LIMIT = 1 << 20  # bytes
_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_NEWEST = 60  # a minor glibc version that is years away
_OLDEST = {"x86_64": 5, "i686": 5}  # minor glibc version of an architecture's first manylinux tag; 17 elsewhere


@dataclass(frozen=True, slots=True)
class Profile:
    """What `air_gap_bundle.sh probe` found on the isolated host; versions are None if it found none."""

    arch: str
    glibc: str | None
    pythons: tuple[str, ...]
    openssh: str | None
    openssl: str | None
    fips: bool
    driver: str | None
    tools: Mapping[str, bool]
    free_bytes: int

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Raises ConfigError for a file that probe did not write."""
        try:
            content = path.read_bytes()
            if len(content) > _PROFILE_LIMIT:
                raise ValueError("too large")
            return cls._parse(json.loads(content))
        except OSError as error:
            raise ConfigError(f"{path}: the host's profile cannot be read ({error.strerror}).") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path}: is not a profile of this version ({type(error).__name__}: {str(error)[:60]}). "
                "Make it on the isolated host: ./air_gap_bundle.sh probe > profile.json"
            ) from error

    @classmethod
    def _parse(cls, value: Any) -> Profile:
        if value["schema"] != PROFILE_SCHEMA:
            raise ValueError(f"schema is not {PROFILE_SCHEMA}")
        profile = cls(
            arch=str(value["arch"]),
            glibc=value["glibc"] or None,
            pythons=tuple(str(interpreter["version"]) for interpreter in value["pythons"]),
            openssh=value["openssh"] or None,
            openssl=value["openssl"] or None,
            fips=value["fips"] is True,
            driver=value["gpu"]["driver"] or None,
            tools={str(name): there is True for name, there in value["tools"].items()},
            free_bytes=max([int(disk["free_bytes"]) for disk in value["disks"]], default=0),
        )
        for version in (profile.glibc, profile.driver):
            if version is not None:
                numbers(version)
        return profile


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels are chosen for."""

    arch: str
    python: str
    glibc: str

    @property
    def platform_tags(self) -> list[str]:
        """Every platform tag that fits, best first: pip's --platform takes each literally, without the older ones."""
        return _platform_tags(self.arch, numbers(self.glibc)[1])

    @property
    def newest_tags(self) -> list[str]:
        """The same, and after them those of newer glibcs, lowest first: to say how much of it a package would need."""
        newer = range(numbers(self.glibc)[1] + 1, _NEWEST + 1)
        return [*self.platform_tags, *(f"manylinux_2_{minor}_{self.arch}" for minor in newer)]


def _platform_tags(arch: str, newest: int) -> list[str]:
    tags = []
    for minor in range(newest, _OLDEST.get(arch, 17) - 1, -1):
        tags.append(f"manylinux_2_{minor}_{arch}")
        if (2, minor) in _LEGACY:
            tags.append(f"{_LEGACY[2, minor]}_{arch}")
    return [*tags, f"linux_{arch}"]


def choose(settings: TargetSettings, profile: Profile | None, carries_python: bool) -> Target:
    """The target of a build. Raises ConfigError if the profile's host cannot run what the configuration asks."""
    if profile is None:
        if settings.glibc is None:
            raise ConfigError("target.glibc is missing: write it there, or give the host's profile by --target.")
        return Target(settings.arch, settings.python, settings.glibc)
    problems = list(_misfits(settings, profile, carries_python))
    if problems:
        raise ConfigError("the host of the profile cannot run this bundle: " + "; ".join(problems) + ".")
    return Target(settings.arch, settings.python, settings.glibc or str(profile.glibc))


def _misfits(settings: TargetSettings, profile: Profile, carries_python: bool) -> list[str]:
    problems = []
    if profile.arch != settings.arch:
        problems.append(f"it is {profile.arch}, target.arch is {settings.arch}")
    if profile.glibc is None:
        problems.append("it has a C library other than glibc, for which there are no manylinux wheels")
    elif settings.glibc and numbers(profile.glibc) < numbers(settings.glibc):
        problems.append(f"it has glibc {profile.glibc}, target.glibc is {settings.glibc}")
    if not carries_python and settings.python not in {
        ".".join(interpreter.split(".")[:2]) for interpreter in profile.pythons
    }:
        has = ", ".join(profile.pythons) or "none"
        problems.append(f"it has no Python {settings.python} ({has}): carry one with `interpreter`")
    if settings.accelerator == "cuda":
        if profile.driver is None:
            problems.append("it has no NVIDIA driver, target.accelerator is cuda")
        elif numbers(profile.driver) < numbers(settings.min_driver or "0"):
            problems.append(f"it has NVIDIA driver {profile.driver}, target.min_driver is {settings.min_driver}")
    # What probe didn't look for cannot be told from here; the verifier looks on the host itself.
    lacking = [tool for tool in settings.tools if not profile.tools.get(tool, True)]
    return problems + ([f"it lacks the commands {', '.join(lacking)}"] if lacking else [])


def require_like_host(target: Target) -> None:
    """Markers such as python_version are judged by the Python that runs pip, whatever it is asked to resolve for."""
    own_version = "{}.{}".format(*sys.version_info[:2])
    if (own_version, platform.machine(), sys.platform) != (target.python, target.arch, "linux"):
        raise EnvironmentFault(
            f"this is Python {own_version} on {sys.platform} {platform.machine()}; a bundle for Python {target.python} "
            f"on linux {target.arch} must be built by the same, since pip judges the markers of requirements by the "
            "Python that runs it. Use PYTHON=/path/to/that/python ./air_gap_bundle.sh build ..."
        )
