"""Compare a sealed folder with its manifest, file by file, from a run down to its stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.errors import IntegrityError
from distill_offline.manifest.folder import NAME, RELEASE, RUN, files_below, is_inner_name, is_journal, unsealable
from distill_offline.manifest.reading import read
from distill_offline.manifest.statement import BUILD_TYPE
from distill_offline.storage.digests import file_digests

__all__ = ["Finding", "verify"]


_SUMS = "SHA256SUMS"  # written after the manifest, over the same files and the manifest


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a folder differs from its manifest; `path` is relative to the folder."""

    path: str
    problem: str


def verify(folder: Path) -> list[Finding]:
    """Every changed, missing and extra file below a stage or run folder; empty if all is as it was sealed.

    All bytes are read again. A run's manifest leads on to its stages'.
    """
    try:
        statement = read(folder)
    except IntegrityError as error:
        return [Finding(NAME, str(error))]
    definition = statement["predicate"]["buildDefinition"]
    patterns = tuple(definition["internalParameters"].get("exclude", ()))
    subjects = {subject["name"]: subject for subject in statement["subject"]}
    stages: list[Path] = []
    findings = _compare(folder, subjects)
    if definition["buildType"] == BUILD_TYPE + RUN:
        stages = [(folder / name).parent for name in subjects if name.endswith("/" + NAME) and is_inner_name(name)]
        for stage in stages:
            prefix = stage.relative_to(folder).as_posix()
            findings += [
                Finding(f"{prefix}/{finding.path}", finding.problem)
                for finding in verify(stage)
                if (stage / NAME).exists()
            ]
    for path in files_below(folder, patterns):
        name = path.relative_to(folder).as_posix()
        problem = unsealable(path)
        if not _is_inside(path, stages) and name not in subjects and not (is_journal(path) and not problem):
            findings.append(Finding(name, problem or "is not in the manifest"))
    if definition["buildType"] == BUILD_TYPE + RELEASE:
        findings = [finding for finding in findings if finding.path != _SUMS] + _wrong_sums(folder)
    return sorted(findings, key=lambda finding: finding.path)


def _wrong_sums(folder: Path) -> list[Finding]:
    """What `sha256sum -c` would say, where that list is here; it has the manifest, too."""
    path = folder / _SUMS
    if not path.is_file():
        return []
    pairs = (line.partition("  ") for line in path.read_text("utf-8", "replace").splitlines())
    listed = {name: digest for digest, _, name in pairs}
    there = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name in listed]
    right = {path.name: digest for path, digest in file_digests(there).items()}
    return [] if right == listed else [Finding(_SUMS, "was changed: it does not list the files that are here")]


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _compare(folder: Path, subjects: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    findings, present = [], {}
    for name, subject in subjects.items():
        path = folder / name
        if not is_inner_name(name):
            findings.append(Finding(name, "lies outside the folder"))
        elif path.is_symlink() or not path.is_file():
            findings.append(Finding(name, "is missing"))
        elif path.stat().st_size != subject["annotations"]["size"]:
            findings.append(
                Finding(name, f"was changed: {path.stat().st_size} bytes, not {subject['annotations']['size']}")
            )
        else:
            present[name] = path
    digests = file_digests(present.values())
    changed = [name for name, path in present.items() if digests[path] != subjects[name]["digest"]["sha256"]]
    return findings + [Finding(name, "was changed: same size, another SHA-256") for name in changed]
