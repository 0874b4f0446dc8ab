"""What made a folder, sealed beside it: verify it later, file by file, from a run down to its stages.

A manifest is written last and atomically, so a folder that has one is whole. Its words are in statement.py.
"""

from __future__ import annotations

import fnmatch
import json
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from distill_offline.digests import digest_of, file_digests
from distill_offline.errors import InputError, IntegrityError
from distill_offline.statement import (
    BUILD_TYPE,
    PREDICATE,
    STATEMENT,
    describe,
    describe_models,
    shown,
    versions,
    write,
    write_statement,
)

__all__ = [
    "Finding",
    "digest_of",
    "fingerprint_of",
    "is_whole",
    "link",
    "read",
    "seal",
    "seal_again",
    "seal_run",
    "show",
    "unseal",
    "verify",
    "versions",
]

NAME = "manifest.json"
_SIGNATURES = (f"{NAME}.sig", f"{NAME}.p256")  # made by others after sealing
_RUN = "run"


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a folder differs from its manifest; `path` is relative to the folder."""

    path: str
    problem: str


def unseal(folder: Path) -> None:
    """Remove the manifest and its signatures, so that a folder about to be rewritten does not look whole."""
    for name in (NAME, *_SIGNATURES):
        (folder / name).unlink(missing_ok=True)


def seal(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    seeds: Mapping[str, int],
    inputs: Iterable[Path],
    models: Mapping[str, str],
    parents: Iterable[Path] = (),
    command: Sequence[str] | None = None,
    started: datetime | None = None,
    counts: Mapping[str, Any] | None = None,
    exclude: Iterable[str] = (),
    fingerprint: str | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Path:
    """Hash every file below `folder` and write its manifest, mode 0600; the manifest's path.

    `inputs` are files or folders, `models` maps name to hex digest, `parents` are the manifests of earlier stages,
    `exclude` are glob patterns of relative paths that are left out for good. SQLite's -wal and -shm are never sealed:
    checkpoint first. Raises IntegrityError for a link or for a write-ahead log that still holds rows, InputError for
    an input that is gone.
    """
    patterns = tuple(exclude)
    files = _files_below(folder, patterns)
    for path in files:
        problem = _unsealable(path)
        if problem:
            raise IntegrityError(f"{shown(path)}: {problem}")
    inner = [path for path in files if not _is_journal(path)]
    return write(
        folder / NAME,
        subjects=describe({path.relative_to(folder).as_posix(): path for path in inner}),
        stage=stage,
        external={"config": config, "seeds": dict(seeds)} | ({"command": list(command)} if command is not None else {}),
        internal={"fingerprint": fingerprint, "exclude": list(patterns)} | ({"engine": dict(engine)} if engine else {}),
        dependencies=[*_dependencies(folder, inputs, parents), *describe_models(models)],
        started=started,
        counts=counts,
    )


def seal_run(
    run_folder: Path,
    *,
    config: Mapping[str, Any],
    seeds: Mapping[str, int],
    command: Sequence[str] | None = None,
    started: datetime | None = None,
    counts: Mapping[str, Any] | None = None,
    exclude: Iterable[str] = (),
) -> Path:
    """Write the run's manifest over the manifests of its whole stages, config.yaml and other loose files."""
    patterns = tuple(exclude)
    stages = _stage_folders(run_folder)
    own = {run_folder, *(stage.parent for stage in stages)}
    loose = [path for path in _files_below(run_folder, patterns) if path.parent in own and not _is_journal(path)]
    members = [*(stage / NAME for stage in stages), *loose]
    return write(
        run_folder / NAME,
        subjects=describe({path.relative_to(run_folder).as_posix(): path for path in sorted(members)}),
        stage=_RUN,
        external={"config": config, "seeds": dict(seeds)} | ({"command": list(command)} if command is not None else {}),
        internal={"exclude": list(patterns)},
        dependencies=[],
        started=started,
        counts=counts,
    )


def seal_again(folder: Path, change: Mapping[str, Any]) -> None:
    """Take a folder whose files were changed on purpose as whole again; the manifest keeps `change` and its old digest.

    What made the folder stays as it was recorded. Raises IntegrityError where there is no manifest to go on.
    """
    statement, before = read(folder), file_digests([folder / NAME])[folder / NAME]
    unseal(folder)
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    inner = [path for path in _files_below(folder, internal.get("exclude", ())) if not _is_journal(path)]
    statement["subject"] = describe({path.relative_to(folder).as_posix(): path for path in inner})
    internal["changes"] = [*internal.get("changes", ()), {**change, "replaces": before}]
    write_statement(folder / NAME, statement)


def link(folder: Path, parents: Iterable[Path]) -> None:
    """Name these manifests as the parents' where they were sealed anew since, with the same content for this folder."""
    statement = read(folder)
    definition = statement["predicate"]["buildDefinition"]
    others = [each for each in definition["resolvedDependencies"] if each["annotations"]["kind"] != "manifest"]
    now = [*others, *_dependencies(folder, (), parents)]
    key = operator.itemgetter("name")
    if sorted(now, key=key) == sorted(definition["resolvedDependencies"], key=key):
        return
    definition["resolvedDependencies"] = now
    before = file_digests([folder / NAME])[folder / NAME]
    internal = definition["internalParameters"]
    internal["changes"] = [*internal.get("changes", ()), {"linked": "parents sealed anew", "replaces": before}]
    unseal(folder)
    write_statement(folder / NAME, statement)


def read(folder: Path) -> dict[str, Any]:
    """The statement in the folder's manifest. Raises IntegrityError where there is none, or none that can be read."""
    try:
        statement = json.loads((folder / NAME).read_bytes())
        subjects = {
            str(each["name"]): (each["digest"]["sha256"], int(each["annotations"]["size"]))
            for each in statement["subject"]
        }
        definition = statement["predicate"]["buildDefinition"]
        understood = (
            statement["_type"] == STATEMENT and definition["buildType"].startswith(BUILD_TYPE) and subjects is not None
        )
    except FileNotFoundError as error:
        raise IntegrityError(f"{shown(folder)}: has no {NAME}, so it is not whole. Run its stage again.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{shown(folder / NAME)}: is no manifest of ours ({type(error).__name__}). Run its stage again."
        ) from error
    if not understood or statement["predicateType"] != PREDICATE:
        raise IntegrityError(f"{shown(folder / NAME)}: is a statement of another kind.")
    return dict(statement)


def is_whole(folder: Path) -> bool:
    """Whether the manifest is there and every file has the size it records; cheap, no file is read."""
    try:
        subjects = read(folder)["subject"]
        return all((folder / each["name"]).stat().st_size == each["annotations"]["size"] for each in subjects)
    except (IntegrityError, OSError):
        return False


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint that `seal` was given, or None where the folder is not whole."""
    if not is_whole(folder):
        return None
    value = read(folder)["predicate"]["buildDefinition"]["internalParameters"].get("fingerprint")
    return str(value) if value is not None else None


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
    subjects = {each["name"]: each for each in statement["subject"]}
    stages: list[Path] = []
    findings = _compare(folder, subjects)
    if definition["buildType"] == BUILD_TYPE + _RUN:
        stages = [(folder / name).parent for name in subjects if name.endswith("/" + NAME) and _is_inner_name(name)]
        for stage in stages:
            prefix = stage.relative_to(folder).as_posix()
            findings += [
                Finding(f"{prefix}/{each.path}", each.problem) for each in verify(stage) if (stage / NAME).exists()
            ]
    for path in _files_below(folder, patterns):
        name = path.relative_to(folder).as_posix()
        problem = _unsealable(path)
        if not _is_inside(path, stages) and name not in subjects and not (_is_journal(path) and not problem):
            findings.append(Finding(name, problem or "is not in the manifest"))
    return sorted(findings, key=lambda each: each.path)


def show(folder: Path) -> dict[str, Any]:
    """A compact view of the manifest: what made the folder, from what, and what came out."""
    statement = read(folder)
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    dependencies = definition["resolvedDependencies"]
    view = {
        "stage": definition["buildType"].removeprefix(BUILD_TYPE),
        "command": definition["externalParameters"].get("command"),
        "started": details["metadata"].get("startedOn"),
        "finished": details["metadata"]["finishedOn"],
        "seeds": definition["externalParameters"]["seeds"],
        "fingerprint": definition["internalParameters"].get("fingerprint"),
        "counts": next((each["annotations"] for each in details["byproducts"] if each["name"] == "counts"), {}),
        "versions": details["builder"]["version"],
        "models": {
            each["name"]: each["digest"]["sha256"] for each in dependencies if each["annotations"]["kind"] == "model"
        },
        "inputs": [_row(each) for each in dependencies if each["annotations"]["kind"] != "model"],
        "outputs": [_row(each) for each in statement["subject"]],
    }
    if view["stage"] == _RUN:
        names = [PurePosixPath(each["name"]) for each in statement["subject"]]
        inner = [name.parent for name in names if name.name == NAME and (folder / name).exists()]
        view["stages"] = {name.as_posix(): show(folder / name) for name in inner}
    return view


def _row(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": descriptor["name"],
        "size": descriptor["annotations"]["size"],
        "sha256": descriptor["digest"]["sha256"],
    }


def _files_below(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Everything but folders, sorted by name, without the folder's own manifest and what `patterns` exclude."""
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [Path(parent) / name for name in [*names, *links]]
    kept = {path.relative_to(folder).as_posix(): path for path in found}
    return [
        kept[name]
        for name in sorted(kept)
        if name not in (NAME, *_SIGNATURES) and not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _is_journal(path: Path) -> bool:
    return path.name.endswith(("-wal", "-shm", ".sqlite.lock"))


def _unsealable(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return "is a link or a special file; only regular files can be sealed"
    if path.name.endswith("-wal") and path.stat().st_size:
        return "holds rows that are not in its database yet; checkpoint the database first"
    return None


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _is_inner_name(name: str) -> bool:
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts


def _stage_folders(run_folder: Path) -> list[Path]:
    """The sealed folders one level down, and two where a stage has arms (train/<arm>)."""
    inner = [path for path in run_folder.iterdir() if path.is_dir() and not path.is_symlink()]
    arms = [arm for path in inner if not (path / NAME).exists() for arm in path.iterdir() if arm.is_dir()]
    return sorted(path for path in [*inner, *arms] if is_whole(path))


def _compare(folder: Path, subjects: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    findings, present = [], {}
    for name, subject in subjects.items():
        path = folder / name
        if not _is_inner_name(name):
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


def _dependencies(folder: Path, inputs: Iterable[Path], parents: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in inputs:
        if path.is_dir():
            parts = describe(
                {each.relative_to(path).as_posix(): each for each in _files_below(path, ()) if each.is_file()}
            )
            pairs = {part["name"]: part["digest"]["sha256"] for part in parts}
            size = sum(part["annotations"]["size"] for part in parts)
            annotations = {"size": size, "kind": "folder", "files": len(parts)}
            yield {"name": shown(path), "digest": {"sha256": digest_of(pairs)}, "annotations": annotations}
        elif path.is_file():
            yield from describe({shown(path): path}, kind="input")
        else:
            raise InputError(f"{shown(path)}: an input of this stage is no longer there. Put it back and run again.")
    for path in parents:
        above = folder.resolve().parents
        base = next((each for each in above[:2] if path.resolve().is_relative_to(each)), None)
        name = path.resolve().relative_to(base).as_posix() if base else f"{path.resolve().parent.name}/{path.name}"
        yield from describe({name: path}, kind="manifest")
