"""Direct requirements with their floors, and what a resolved environment needs of itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from distill_offline.bundle.verifier.verify import plain_name
from distill_offline.bundle.wheel_metadata import WheelMetadata
from distill_offline.errors import ConfigError, IntegrityError

__all__ = ["Direct", "check_floors", "direct_requirements", "edges"]


@dataclass(frozen=True, slots=True)
class Direct:
    """A package that we ask for ourselves, and the version below which it is not what we asked for."""

    name: str
    floor: str


def direct_requirements(project: WheelMetadata, extras: Iterable[str], further: Iterable[str]) -> list[Direct]:
    """What our package asks for with these extras, and the configuration besides; sorted by name.

    Raises ConfigError for one without a lower bound: left alone, a resolver may go back to any version.
    """
    try:
        asked = [Requirement(line) for line in further]
    except InvalidRequirement as error:
        raise ConfigError(f"environments: requirements: {error}.") from error
    wanted, seen = list(extras), set[str]()
    for extra in wanted:
        if plain_name(extra) not in project.extras:
            near = difflib.get_close_matches(extra, project.extras, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"environments: {project.name} has no extra {extra!r}, and pip would only warn.{hint}")
    asked += _of_us(project, "")
    while wanted:
        extra = wanted.pop()
        if extra not in seen:
            seen.add(extra)
            inner = [requirement for requirement in _of_us(project, extra) if requirement not in asked]
            wanted += [
                more
                for requirement in inner
                if plain_name(requirement.name) == project.name
                for more in requirement.extras
            ]
            asked += inner
    floors: dict[str, Version] = {}
    for requirement in asked:
        name = plain_name(requirement.name)
        if name != project.name:
            floor = _floor(requirement)
            floors[name] = max(floor, floors.get(name, floor))
    return [Direct(name, str(floor)) for name, floor in sorted(floors.items())]


def _of_us(project: WheelMetadata, extra: str) -> list[Requirement]:
    return [requirement for requirement in project.requires if _applies(requirement, {extra})]


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Under this very Python, of which require_like_host has seen that it is like the target's."""
    environment = {key: str(value) for key, value in default_environment().items()}
    return requirement.marker is None or any(
        requirement.marker.evaluate({**environment, "extra": extra}) for extra in (*extras, "")
    )


def _floor(requirement: Requirement) -> Version:
    bounds = [
        Version(specifier.version.removesuffix(".*"))
        for specifier in requirement.specifier
        if specifier.operator in (">=", "==", "~=", "===")
    ]
    if not bounds:
        raise ConfigError(
            f"{requirement}: has no lower bound. Write the oldest version that will do, as {requirement.name}>=1.2: "
            "without one a resolver may fall back to any, and says nothing."
        )
    return max(bounds)


def check_floors(direct: Iterable[Direct], resolved: Mapping[str, str], environment: str) -> None:
    """Raises IntegrityError if what was resolved is older than its floor, or is not there at all."""
    for wanted in direct:
        version = resolved.get(wanted.name)
        if version is None:
            raise IntegrityError(f"environment {environment}: {wanted.name} is asked for and was not resolved.")
        if Version(version) < Version(wanted.floor):
            raise IntegrityError(
                f"environment {environment}: {wanted.name} was resolved to {version}, below its floor {wanted.floor}. "
                "The resolver fell back; see what holds the newer one off (glibc, Python, a constraint)."
            )


def edges(roots: Mapping[str, Iterable[str]], wheels: Mapping[str, WheelMetadata]) -> dict[str, list[str]]:
    """Who needs whom: name → sorted names, from the roots (name → extras) through every wheel's own requirements.

    Raises IntegrityError if something needed is missing or has a version that is not wanted.
    """
    asked: dict[str, set[str]] = {}
    edges_of: dict[str, set[str]] = {}
    waiting = [(name, set(extras)) for name, extras in roots.items()]
    while waiting:
        name, extras = waiting.pop()
        if name in asked and extras <= asked[name]:
            continue
        asked[name] = asked.get(name, set()) | extras
        for requirement in wheels[name].requires:
            needed = plain_name(requirement.name)
            if not _applies(requirement, asked[name]):
                continue
            _require(name, requirement, wheels.get(needed))
            if needed != name:
                edges_of.setdefault(name, set()).add(needed)
            waiting.append((needed, set(requirement.extras)))
    return {name: sorted(edges_of.get(name, ())) for name in sorted(asked)}


def _require(name: str, requirement: Requirement, metadata: WheelMetadata | None) -> None:
    if metadata is None:
        raise IntegrityError(f"{name} needs {requirement}, which is not among the wheels. Is the lock whole?")
    if not requirement.specifier.contains(metadata.version, prereleases=True):
        raise IntegrityError(f"{name} needs {requirement}, and {metadata.version} was taken.")
