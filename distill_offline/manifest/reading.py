"""Read a folder's manifest: the statement, whether the folder is whole, and what made it, in short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from distill_offline.errors import IntegrityError
from distill_offline.manifest.folder import NAME, RELEASE, RUN
from distill_offline.manifest.statement import BUILD_TYPE, PREDICATE, STATEMENT, shown

__all__ = ["bundle_of", "fingerprint_of", "is_whole", "read", "show", "why_not_whole"]


def read(folder: Path) -> dict[str, Any]:
    """The statement in the folder's manifest. Raises IntegrityError if there is none, or none that can be read."""
    try:
        if not (folder / NAME).is_file():  # a FIFO would be waited for
            raise FileNotFoundError
        statement = json.loads((folder / NAME).read_bytes())
        kinds = statement["_type"], statement["predicateType"]
        is_ours = str(statement["predicate"]["buildDefinition"]["buildType"]).startswith(BUILD_TYPE)
        _require_parts(statement)
    except FileNotFoundError as error:
        raise IntegrityError(f"{shown(folder)}: has no {NAME}, so it is not whole. Run its stage again.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{shown(folder / NAME)}: is not a manifest of ours ({type(error).__name__}). Run its stage again."
        ) from error
    if kinds != (STATEMENT, PREDICATE) or not is_ours:
        raise IntegrityError(f"{shown(folder / NAME)}: is a statement of another kind.")
    return dict(statement)


def _require_parts(statement: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or AttributeError if something is missing, or no such thing, that readers use."""
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    external, internal = definition["externalParameters"], definition["internalParameters"]
    config, changes = external.get("config") or {}, internal.get("changes", [])
    made_from = [*definition["resolvedDependencies"], *details["builder"].get("builderDependencies", [])]
    described = [*statement["subject"], *made_from]
    _require(
        str,
        definition["buildType"],
        details["metadata"]["finishedOn"],
        *internal.get("exclude", []),
        *(change["replaces"] for change in changes),
        *(dependency["annotations"]["kind"] for dependency in made_from),
        *(text for entry in described for text in (entry["name"], entry["digest"]["sha256"])),
        *([external["arm"]] if definition["buildType"] == BUILD_TYPE + RELEASE else []),
    )
    _require(
        Mapping,
        *(external["seeds"], config, config.get("backend") or {}, config.get("train") or {}),
        *(internal.get("platform", {}), internal.get("engine", {}), details["builder"]["version"]),
        *(entry["annotations"] for entry in (*described, *details["byproducts"]) if entry["name"]),
    )
    _require(int, *(subject["annotations"]["size"] for subject in statement["subject"]))
    _require(list, definition["resolvedDependencies"], statement["subject"], internal.get("exclude", []), changes)


def _require(kind: type, *values: Any) -> None:
    if not all(isinstance(value, kind) for value in values):
        raise TypeError(f"no {kind.__name__}")


def is_whole(folder: Path) -> bool:
    """Whether the manifest is there and every file has the size it records; cheap, no file is read."""
    try:
        subjects = read(folder)["subject"]
        return all(_size(folder / subject["name"]) == _sealed_size(subject) for subject in subjects)
    except (IntegrityError, OSError):
        return False


def why_not_whole(*folders: Path) -> str:
    """What is wrong with a stage's folder that is not whole, and what to do: the end of a sentence about the stage.

    The first of `folders` with a manifest is the stage's; without one the stage has not ended yet.
    """
    for folder in folders:
        try:
            subjects = read(folder)["subject"]
        except (IntegrityError, OSError):
            continue
        changed = [subject["name"] for subject in subjects if _size(folder / subject["name"]) != _sealed_size(subject)]
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        return (
            f"was changed after it had ended: {shown}. Run it again: it writes its files anew, from what is stored. "
            "Labels that people corrected come in by `review import --labelled NAME=FILE`"
        )
    return "has not been run to its end. Run it first"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sealed_size(subject: Mapping[str, Any]) -> int:
    return int(subject["annotations"]["size"])


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint that `seal` was given, or None if the folder is not whole."""
    if not is_whole(folder):
        return None
    value = read(folder)["predicate"]["buildDefinition"]["internalParameters"].get("fingerprint")
    return str(value) if value is not None else None


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
        "counts": next(
            (byproduct["annotations"] for byproduct in details["byproducts"] if byproduct["name"] == "counts"), {}
        ),
        "versions": details["builder"]["version"],
        "made_by": definition["internalParameters"].get("made_by"),
        "bundle": bundle_of(statement),
        "models": {
            dependency["name"]: dependency["digest"]["sha256"]
            for dependency in dependencies
            if dependency["annotations"]["kind"] == "model"
        },
        "inputs": [_row(dependency) for dependency in dependencies if dependency["annotations"]["kind"] != "model"],
        "outputs": [_row(subject) for subject in statement["subject"]],
    }
    if view["stage"] == RUN:
        names = [PurePosixPath(subject["name"]) for subject in statement["subject"]]
        inner = [name.parent for name in names if name.name == NAME and (folder / name).exists()]
        view["stages"] = {name.as_posix(): show(folder / name) for name in inner}
    return view


def bundle_of(statement: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which bundle the program that sealed this came from: id, manifest_sha256, commit, signers; None for no bundle."""
    for dependency in statement["predicate"]["runDetails"]["builder"].get("builderDependencies", ()):
        told = {key: value for key, value in dependency["annotations"].items() if key != "kind"}
        return {"id": dependency["name"], "manifest_sha256": dependency["digest"]["sha256"], **told}
    return None


def _row(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": descriptor["name"],
        "size": descriptor["annotations"].get("size"),
        "sha256": descriptor["digest"]["sha256"],
    }
