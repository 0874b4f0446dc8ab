"""Write a manifest, last and atomically, so that a folder that has one is whole; take it off; write it again."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from distill_offline.errors import IntegrityError
from distill_offline.manifest.folder import NAME, RUN, SIGNATURES, dependencies_of, files_below, is_journal, unsealable
from distill_offline.manifest.reading import is_whole, read
from distill_offline.manifest.statement import describe, describe_models, shown, write, write_statement
from distill_offline.storage.digests import file_digests

__all__ = ["link", "seal", "seal_again", "seal_run", "unseal"]


def unseal(folder: Path) -> None:
    """Remove the manifest and its signatures, so that a folder about to be rewritten does not look whole."""
    (folder / NAME).unlink(missing_ok=True)
    _drop_signatures(folder)


def _drop_signatures(folder: Path) -> None:
    for name in SIGNATURES:
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
    method: str | None = None,
) -> Path:
    """Hash every file below `folder` and write its manifest, mode 0600; the manifest's path.

    `inputs` are files or folders, `models` maps name to hex digest, `parents` are the manifests of earlier stages,
    `exclude` are glob patterns of relative paths that are left out for good. SQLite's -wal and -shm are never sealed:
    checkpoint first. Raises IntegrityError for a link or for a write-ahead log that still holds rows, InputError for
    an input that is gone.
    """
    patterns = tuple(exclude)
    files = files_below(folder, patterns)
    for path in files:
        problem = unsealable(path)
        if problem:
            raise IntegrityError(f"{shown(path)}: {problem}")
    inner = [path for path in files if not is_journal(path)]
    _drop_signatures(folder)
    return write(
        folder / NAME,
        subjects=describe({path.relative_to(folder).as_posix(): path for path in inner}),
        stage=stage,
        external={"config": config, "seeds": dict(seeds)} | ({"command": list(command)} if command is not None else {}),
        internal={"fingerprint": fingerprint, "exclude": list(patterns)}
        | ({"engine": dict(engine)} if engine else {})
        | ({"method": method} if method else {}),
        dependencies=[*dependencies_of(folder, inputs, parents), *describe_models(models)],
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
    """Write the run's manifest over the manifests of its whole stages, config.yaml and other loose files.

    One that covers exactly these already is left as it is, and so is its signature.
    """
    patterns = tuple(exclude)
    stages = _stage_folders(run_folder)
    own_folders = {run_folder, *(stage.parent for stage in stages)}
    loose = [path for path in files_below(run_folder, patterns) if path.parent in own_folders and not is_journal(path)]
    members = [*(stage / NAME for stage in stages), *loose]
    subjects = describe({path.relative_to(run_folder).as_posix(): path for path in sorted(members)})
    if is_whole(run_folder) and read(run_folder)["subject"] == subjects:
        return run_folder / NAME
    _drop_signatures(run_folder)
    return write(
        run_folder / NAME,
        subjects=subjects,
        stage=RUN,
        external={"config": config, "seeds": dict(seeds)} | ({"command": list(command)} if command is not None else {}),
        internal={"exclude": list(patterns)},
        dependencies=[],
        started=started,
        counts=counts,
    )


def seal_again(folder: Path, change: Mapping[str, Any]) -> None:
    """Take a folder whose files were changed on purpose as whole again; the manifest keeps `change` and its old digest.

    What made the folder stays as it was recorded. Raises IntegrityError if there is no manifest to go on.
    """
    statement, before = read(folder), file_digests([folder / NAME])[folder / NAME]
    unseal(folder)
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    inner = [path for path in files_below(folder, internal.get("exclude", ())) if not is_journal(path)]
    statement["subject"] = describe({path.relative_to(folder).as_posix(): path for path in inner})
    internal["changes"] = [*internal.get("changes", ()), {**change, "replaces": before}]
    write_statement(folder / NAME, statement)


def link(folder: Path, parents: Iterable[Path]) -> None:
    """Name these manifests as the parents' where they were sealed anew since, with the same content for this folder."""
    statement = read(folder)
    definition = statement["predicate"]["buildDefinition"]
    others = [
        dependency
        for dependency in definition["resolvedDependencies"]
        if dependency["annotations"]["kind"] != "manifest"
    ]
    now = [*others, *dependencies_of(folder, (), parents)]
    key = operator.itemgetter("name")
    if sorted(now, key=key) == sorted(definition["resolvedDependencies"], key=key):
        return
    definition["resolvedDependencies"] = now
    before = file_digests([folder / NAME])[folder / NAME]
    internal = definition["internalParameters"]
    internal["changes"] = [*internal.get("changes", ()), {"linked": "parents sealed anew", "replaces": before}]
    unseal(folder)
    write_statement(folder / NAME, statement)


def _stage_folders(run_folder: Path) -> list[Path]:
    """The sealed folders one level down, and two where a stage has arms (train/<arm>)."""
    inner = [path for path in run_folder.iterdir() if path.is_dir() and not path.is_symlink()]
    arms = [arm for path in inner if not (path / NAME).exists() for arm in path.iterdir() if arm.is_dir()]
    return sorted(path for path in [*inner, *arms] if is_whole(path))
