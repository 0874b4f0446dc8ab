"""Which wheels an environment consists of: asked of pip for the target, or taken from an earlier lock."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from distill_offline.bundle import pip
from distill_offline.bundle.target import Target
from distill_offline.bundle.verifier.verify import Wheel, glibc_of, numbers, plain_name, wheel_problems
from distill_offline.errors import ConfigError, DistillError, EnvironmentFault

__all__ = ["Package", "Question", "lock_text", "read_lock", "refuse_misfits", "resolve"]

_GPU_ONLY = re.compile(r"(nvidia|cuda)-.*|triton")
_LOCK_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(\[[A-Za-z0-9._, -]*\])? *== *(?P<version>[^\s;]+)"
    r"(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


@dataclass(frozen=True, slots=True)
class Package:
    """One resolved wheel. `file` is empty where only a lock is known; `url` serves to ask for its size only.

    `others` are the digests of further files that a lock allows for it: builds for other hosts, or its source. Until
    the wheel is here any of them may be the right one; from then on `sha256` is the wheel's own.
    """

    name: str
    version: str
    sha256: str
    file: str = ""
    url: str = ""
    others: tuple[str, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """All that the lock allows."""
        return (self.sha256, *self.others)

    @property
    def requirement(self) -> str:
        """The package as pip takes it, pinned to every digest."""
        return " ".join(
            (f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in sorted(self.digests)))
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the resolver: requirements, constraints, and wheels that lie here already (name → path)."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    local: tuple[tuple[str, Path], ...] = ()


def resolve(question: Question, target: Target, environment: str) -> list[Package]:
    """The wheels of an environment with their digests, sorted by name; nothing but metadata is downloaded.

    Raises EnvironmentFault that says which packages would need a newer glibc, where that is the reason.
    """
    try:
        packages = _ask(question, target, target.platform_tags, environment)
    except pip.PipFailed as failure:
        too_new = _needing_newer_glibc(question, target, environment)
        if not too_new:
            raise
        raise EnvironmentFault(
            f"environment {environment}: the target has glibc {target.glibc}, but {', '.join(too_new)}. "
            "Nothing was downloaded. Take a newer host, or ask for older versions and lower floors."
        ) from failure
    return packages


def _ask(question: Question, target: Target, tags: Sequence[str], environment: str) -> list[Package]:
    with tempfile.TemporaryDirectory(prefix="resolve-") as folder:
        work_folder = Path(folder)
        local = [f"{name} @ {path.resolve().as_uri()}" for name, path in question.local]
        (work_folder / "requirements.txt").write_text("\n".join(question.requirements) + "\n", "utf-8")
        (work_folder / "constraints.txt").write_text("\n".join([*question.constraints, *local]) + "\n", "utf-8")
        arguments = ["install", "--dry-run", "--ignore-installed", "--quiet", "--target", str(work_folder / "nowhere")]
        files = ["-r", str(work_folder / "requirements.txt"), "-c", str(work_folder / "constraints.txt")]
        report = ["--report", str(work_folder / "report.json")]
        pip.run([*arguments, *pip.for_target(target, tags), *report, *files], f"environment {environment}")
        return parse_report(json.loads((work_folder / "report.json").read_bytes()))


def parse_report(report: Any) -> list[Package]:
    """The packages of pip's installation report, version 1."""
    if report.get("version") != "1":
        raise EnvironmentFault(f"pip wrote a report of version {report.get('version')}; version 1 is known here.")
    packages = []
    for item in report["install"]:
        name, url = plain_name(item["metadata"]["name"]), item["download_info"]["url"]
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise EnvironmentFault(f"{name}: the index gives no SHA-256. Use an index or mirror that does.")
        file = unquote(urlsplit(url).path.rpartition("/")[2])
        packages.append(Package(name, item["metadata"]["version"], digest, file, url))
    return sorted(packages, key=lambda package: package.name)


def _needing_newer_glibc(question: Question, target: Target, environment: str) -> list[str]:
    """What pip would take if glibc were no matter, and then needs more of it than the target has."""
    try:
        packages = _ask(question, target, target.newest_tags, environment)
    except DistillError:
        return []
    own_glibc, problems = numbers(target.glibc), []
    for package in packages:
        wheel = Wheel.parse(package.file)
        needed = (
            [platform for platform in (glibc_of(tag, target.arch) for tag in wheel.platforms) if platform]
            if wheel
            else []
        )
        if needed and min(needed) > own_glibc:
            problems.append(f"{package.name} {package.version} needs {'.'.join(str(number) for number in min(needed))}")
    return problems


def refuse_misfits(packages: Iterable[Package], target: Target, accelerator: str) -> None:
    """By their names alone, before anything large is downloaded: wheels that cannot run there, CUDA on a CPU host.

    Raises EnvironmentFault.
    """
    listed = [package for package in packages if package.file]
    gpu = [package.name for package in listed if _GPU_ONLY.fullmatch(package.name)] if accelerator == "cpu" else []
    if gpu:
        raise EnvironmentFault(
            f"target.accelerator is cpu, but {gpu[0]} and {len(gpu) - 1} more packages for GPUs were resolved, which "
            "are gigabytes. The CPU build of torch is on an index of its own: put that into pip's configuration "
            "(extra-index-url or find-links), and add torch==VERSION+cpu to the environment's constraints."
        )
    about = {"arch": target.arch, "python": target.python, "min_glibc": target.glibc}
    for package in listed:
        path = f"python/wheels/{package.file}"
        component = {"file": path, "name": package.name, "version": package.version}
        problems = wheel_problems(component, {path}, about)
        if problems:
            raise EnvironmentFault(f"{problems[0].removeprefix('python/wheels/')}: it cannot run on the target.")


def lock_text(packages: Iterable[Package]) -> str:
    """The lock file of an environment: what `pip install --require-hashes` takes; every digest, in order."""
    lines = [package.requirement.replace(" --hash", " \\\n    --hash") + "\n" for package in packages]
    return "# Made by air_gap_bundle.sh build. Install with --require-hashes --no-deps --no-index.\n" + "".join(lines)


def read_lock(path: Path, without: Iterable[str]) -> list[Package]:
    """The packages of an earlier lock but for some names, with all of their digests; comments may stand anywhere.

    Raises ConfigError that names the entry.
    """
    left_out, packages = set(without), dict[str, Package]()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the lock cannot be read ({type(error).__name__}).") from error
    for number, line in enumerate(re.sub(r"[ \t]*\\\n\s*", " ", text).splitlines(), 1):
        entry = re.sub(r"(\A|\s)#.*", "", line).strip()
        if not entry:
            continue
        match = _LOCK_LINE.fullmatch(entry)
        if match is None:
            raise ConfigError(f"{path}: entry {number}: is not NAME==VERSION --hash=sha256:DIGEST.")
        name, version = plain_name(match["name"]), match["version"]
        before = packages.get(name)
        if before is not None and before.version != version:
            raise ConfigError(f"{path}: entry {number}: {name} {version} is locked, and {before.version} before.")
        digests = re.findall(r"[0-9a-f]{64}", match["hashes"])
        first, *others = dict.fromkeys([*(before.digests if before else ()), *digests])
        packages[name] = Package(name, version, first, others=tuple(others))
    return sorted(
        (package for name, package in packages.items() if name not in left_out), key=lambda package: package.name
    )
