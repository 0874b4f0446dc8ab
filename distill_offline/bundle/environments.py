"""The Python side of a build: our wheel, source builds, and every environment resolved and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement

from distill_offline.bundle import pip, wheel_metadata, wheels
from distill_offline.bundle.requirements import Direct, check_floors, direct_requirements, edges
from distill_offline.bundle.resolve import Package, Question, read_lock, refuse_misfits, resolve
from distill_offline.bundle.settings import BundleSettings, EnvironmentSettings
from distill_offline.bundle.target import Target
from distill_offline.bundle.verifier.verify import plain_name
from distill_offline.bundle.wheel_metadata import WheelMetadata
from distill_offline.errors import ConfigError, IntegrityError
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.storage.files import replacing

__all__ = ["Environment", "Environments"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Environment:
    """One resolved environment: its packages sorted by name, and what was asked for directly.

    `roots` is where its requirements begin: name → extras.
    """

    name: str
    packages: tuple[Package, ...]
    direct: tuple[Direct, ...]
    roots: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class Environments:
    """All environments of a bundle; wheels lie in the store once they were built or fetched."""

    settings: BundleSettings
    target: Target
    work: Path
    say: Say
    store: wheels.Store = field(init=False)
    project_wheel: Path = field(init=False)
    built: dict[str, Path] = field(init=False)
    resolved: list[Environment] = field(init=False)

    def __post_init__(self) -> None:
        self.store = wheels.Store(self.work / "wheels")
        project = self.settings.project
        self.say("building our own wheel")
        self.project_wheel = wheels.build_project(Path(project.path), project.build_requirements, self.store, self.work)
        self.built = {}
        for name, build in sorted(self.settings.source_builds.items()):
            self.say(f"building {name} {build.version} from source")
            self.built[name] = wheels.build_from_source(name, build, self.store, self.work)
        self.resolved = [self._resolve(name, asked) for name, asked in sorted(self.settings.environments.items())]

    def _resolve(self, name: str, asked: EnvironmentSettings) -> Environment:
        project = wheel_metadata.read(self.project_wheel)
        direct = direct_requirements(project, asked.extras, asked.requirements)
        extras = f"[{','.join(asked.extras)}]" if asked.extras else ""
        requirements = (f"{project.name}{extras} @ {self.project_wheel.resolve().as_uri()}", *asked.requirements)
        question = Question(requirements, asked.constraints, tuple(sorted(self.built.items())))
        if asked.lock is not None:
            packages = self._locked(Path(asked.lock), project.name)
        else:
            self.say(f"resolving environment {name} for {self.target.platform_tags[0]}, Python {self.target.python}")
            packages = self._remembered(question, name)
        check_floors(direct, {package.name: package.version for package in packages}, name)
        refuse_misfits(packages, self.target, self.settings.target.accelerator)
        further = [Requirement(line) for line in asked.requirements]
        roots = {
            project.name: asked.extras,
            **{plain_name(line.name): tuple(sorted(line.extras)) for line in further},
        }
        return Environment(name, tuple(packages), tuple(direct), roots)

    def _locked(self, lock: Path, project_name: str) -> list[Package]:
        named = {package.name for package in read_lock(lock, ())}
        built = [path for name, path in self.built.items() if name in named]
        local = [self._local(path) for path in (self.project_wheel, *built)]
        packages = read_lock(lock, [project_name, *self.built])
        return sorted([*packages, *local], key=lambda package: package.name)

    def _local(self, wheel: Path) -> Package:
        about = wheel_metadata.read(wheel)
        return Package(about.name, about.version, file_digests([wheel])[wheel], wheel.name)

    def _remembered(self, question: Question, name: str) -> list[Package]:
        """What was resolved for the same question before, so that an interrupted build goes on with the same wheels."""
        key = digest_of(
            [list(question.requirements), list(question.constraints), self.target.platform_tags, pip.version()]
        )
        answer = self.work / "resolved" / f"{name}-{key[:16]}.json"
        if answer.is_file():
            remembered = json.loads(answer.read_bytes())
            return [Package(**{**row, "others": tuple(row.get("others", ()))}) for row in remembered]
        packages = resolve(question, self.target, name)
        with replacing(answer) as file:  # for its owner alone: a URL may hold a password
            json.dump([asdict(package) for package in packages], file)
        return packages

    def fetch(self) -> None:
        """Download what is lacking, then look into every wheel: names, floors, and that nothing is missing."""
        everything = {package.digests: package for environment in self.resolved for package in environment.packages}
        wheels.fetch(everything.values(), self.target, self.store, self.work, self.say)
        self.resolved = [
            replace(environment, packages=tuple(map(self._here, environment.packages))) for environment in self.resolved
        ]
        for environment in self.resolved:
            self.needs(environment)
            refuse_misfits(environment.packages, self.target, self.settings.target.accelerator)

    def _here(self, package: Package) -> Package:
        """The package as the wheel that was fetched."""
        settled = self.store.settled(package, self.target)
        if settled is None:
            raise IntegrityError(f"{package.name}: its wheel has changed since it was fetched. Build again.")
        return settled

    def path(self, package: Package) -> Path:
        """Where a fetched wheel lies."""
        path = self.store.folder / package.sha256
        return next(iter(sorted(path.glob("*.whl"))))

    def metadata(self, environment: Environment) -> dict[str, WheelMetadata]:
        """By name. Raises IntegrityError for a wheel that is not what the lock calls it."""
        metadata = {}
        for package in environment.packages:
            about = wheel_metadata.read(self.path(package))
            if about.name != package.name:
                raise IntegrityError(f"{self.path(package).name}: calls itself {about.name}, the lock {package.name}.")
            metadata[about.name] = about
        return metadata

    def needs(self, environment: Environment) -> dict[str, list[str]]:
        """Who needs whom. Raises IntegrityError if something is missing, ConfigError where something is needless."""
        about = self.metadata(environment)
        needs = edges(environment.roots, about)
        needless = sorted(about.keys() - needs.keys())
        if needless:
            raise ConfigError(f"environment {environment.name}: nothing needs {needless[0]}. Is the lock an old one?")
        return needs
