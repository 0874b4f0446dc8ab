"""The wheels of a bundle: built here from source so that they come out the same everywhere, or fetched by digest."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from distill_offline import children
from distill_offline.bundle import pip
from distill_offline.bundle.resolve import Package
from distill_offline.bundle.settings import SourceBuild
from distill_offline.bundle.target import Target
from distill_offline.bundle.verifier.verify import Wheel, wheel_problems
from distill_offline.errors import EnvironmentFault, IntegrityError
from distill_offline.storage.digests import file_digests

__all__ = ["Store", "build_from_source", "build_project", "fetch", "repack"]

_BATCH = 4  # wheels a pip run: what has arrived stays when the next run is interrupted
_DAY_ONE = (1980, 1, 1, 0, 0, 0)


class Store:
    """Wheels by digest in the side folder: a file is here whole or not at all, and is hashed again when it is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, sha256: str) -> Path | None:
        """The wheel with this digest; one that has changed meanwhile is thrown away."""
        here = sorted((self.folder / sha256).glob("*.whl"))
        if not here:
            return None
        if file_digests(here[:1])[here[0]] != sha256:
            shutil.rmtree(self.folder / sha256)
            return None
        return here[0]

    def settled(self, package: Package, target: Target) -> Package | None:
        """The package as the wheel of it that is here and runs on the target, the best such; None if there is none.

        Where a lock allows one digest only, whether it runs there is for others to say.
        """
        here = {digest: wheel for digest in package.digests if (wheel := self.find(digest))}
        fitting = [digest for digest, wheel in here.items() if not package.others or _fits(package, wheel, target)]
        if not fitting:
            return None
        best = min(fitting, key=lambda digest: (_rank(here[digest], target), here[digest].name))
        others = tuple(digest for digest in package.digests if digest != best)
        return dataclasses.replace(package, sha256=best, others=others, file=here[best].name)

    def put(self, wheel: Path) -> Path:
        """Take a finished wheel in; where it lies now."""
        digest = file_digests([wheel])[wheel]
        target = self.folder / digest / wheel.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with wheel.open("rb") as file:
            os.fsync(file.fileno())
        return wheel.replace(target)


def _fits(package: Package, wheel: Path, target: Target) -> bool:
    about = {"arch": target.arch, "python": target.python, "min_glibc": target.glibc}
    component = {"file": wheel.name, "name": package.name, "version": package.version}
    return not wheel_problems(component, {wheel.name}, about)


def _rank(wheel: Path, target: Target) -> int:
    """How far down the target's tags, best first, the wheel's come; behind them all where it is for any platform."""
    named, tags = Wheel.parse(wheel.name), target.platform_tags
    return min(
        (tags.index(platform) for platform in (named.platforms if named else ()) if platform in tags), default=len(tags)
    )


def build_from_source(name: str, build: SourceBuild, store: Store, work: Path) -> Path:
    """The wheel of a package that is published as source only; raises IntegrityError if it is not the pinned one."""
    known = store.find(build.wheel_sha256)
    if known:
        return known
    with tempfile.TemporaryDirectory(prefix="source-", dir=work) as folder:
        work_folder = Path(folder)
        (work_folder / "requirements.txt").write_text(
            f"{name}=={build.version} --hash=sha256:{build.sha256}\n", "utf-8"
        )
        flags = ["--no-deps", "--no-cache-dir", "--no-build-isolation", "--require-hashes", "--no-binary", name]
        python = _tool_environment(build.build_requirements, work)
        pip.run(
            ["wheel", *flags, "-w", folder, "-r", str(work_folder / "requirements.txt")], f"{name} from source", python
        )
        wheel = repack(_only(work_folder, name), work_folder / "same")
        digest = file_digests([wheel])[wheel]
        if digest != build.wheel_sha256:
            raise IntegrityError(
                f"source_builds.{name}: the wheel that was built has the SHA-256 {digest}, not {build.wheel_sha256}. "
                "Compare the two wheels before you change the pin; build_requirements decide its bytes, too."
            )
        return store.put(wheel)


def build_project(path: Path, build_requirements: Sequence[str], store: Store, work: Path) -> Path:
    """Our own wheel, from a checkout; a path to a wheel is taken as it is."""
    with tempfile.TemporaryDirectory(prefix="project-", dir=work) as folder:
        work_folder = Path(folder)
        if path.suffix == ".whl":
            return store.put(Path(shutil.copy(path, work_folder)))
        python = _tool_environment(build_requirements, work)
        flags = ["--no-deps", "--no-cache-dir", "--no-build-isolation", "-w", folder]
        pip.run(["wheel", *flags, str(path.resolve())], "project.path", python)
        return store.put(repack(_only(work_folder, "project.path"), work_folder / "same"))


def fetch(
    packages: Iterable[Package], target: Target, store: Store, work: Path, progress: Callable[[str], None]
) -> None:
    """Download what the store lacks, by name, version and digests; a batch that has arrived is kept."""
    lacking = [package for package in packages if store.settled(package, target) is None]
    done = 0
    for batch in _batches(lacking):
        progress(f"wheels {done + 1} to {done + len(batch)} of {len(lacking)}: {', '.join(p.name for p in batch)}")
        done += len(batch)
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=work) as folder:
            listed = Path(folder) / "lock.txt"
            listed.write_text("".join(f"{package.requirement}\n" for package in batch), "utf-8")
            flags = ["download", "--quiet", "--no-deps", "--require-hashes", "-d", folder, "-r", str(listed)]
            pip.run([*flags, *pip.for_target(target)], "wheels")
            for wheel in sorted(Path(folder).glob("*.whl")):
                store.put(wheel)
    missing = [package.name for package in lacking if store.settled(package, target) is None]
    if missing:
        raise EnvironmentFault(f"{missing[0]}: pip downloaded a file with another digest than the lock's.")


def _batches(packages: list[Package]) -> Iterator[list[Package]]:
    """A few at a time; two versions of one package, for two environments, never together: pip takes one only."""
    waiting = packages
    while waiting:
        batch: dict[str, Package] = {}
        for package in waiting:
            if len(batch) < _BATCH:
                batch.setdefault(package.name, package)
        yield list(batch.values())
        waiting = [package for package in waiting if package not in batch.values()]


def repack(wheel: Path, folder: Path) -> Path:
    """The same wheel as bytes that depend on nothing but its content: members sorted, stored, with one date and mode.

    Stored, because what deflate makes of the same content differs from one zlib to another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for member in sorted(old.infolist(), key=lambda entry: (".dist-info/" in entry.filename, entry.filename)):
            if member.is_dir():
                continue
            information = zipfile.ZipInfo(member.filename, _DAY_ONE)
            executable = (member.external_attr >> 16) & 0o111
            information.external_attr = (0o100755 if executable else 0o100644) << 16
            information.create_system = 3
            new.writestr(information, old.read(member))
    return target


def _only(folder: Path, what: str) -> Path:
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise EnvironmentFault(f"{what}: {len(wheels)} wheels came out instead of one.")
    return wheels[0]


def _tool_environment(requirements: Sequence[str], work: Path) -> Path:
    """The Python of an environment that holds just these build requirements; made once for each set of them."""
    key = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]
    home = work / "tools" / key
    python = home / "bin" / "python"
    if (home / "ready").is_file():
        return python
    shutil.rmtree(home, ignore_errors=True)
    made = children.run([sys.executable, "-P", "-m", "venv", "--without-pip", str(home)])
    if made.returncode != 0:
        raise EnvironmentFault("python -m venv does not work here; on Debian and Ubuntu install python3-venv.")
    if requirements:
        flags = ["install", "--quiet", "--only-binary=:all:", "--no-warn-script-location"]
        pip.run([*flags, *requirements], "build requirements", python)
    (home / "ready").touch()
    return python
