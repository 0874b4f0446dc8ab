"""Read a folder's manifest: the statement, whether the folder is whole, and what made it, in short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from distill_offline.errors import IntegrityError
from distill_offline.manifest.folder import NAME, RUN
from distill_offline.statement import BUILD_TYPE, PREDICATE, STATEMENT, shown

__all__ = ["bundle_of", "fingerprint_of", "is_whole", "read", "show"]


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
        _require_parts(definition, statement["predicate"]["runDetails"])
    except FileNotFoundError as error:
        raise IntegrityError(f"{shown(folder)}: has no {NAME}, so it is not whole. Run its stage again.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{shown(folder / NAME)}: is no manifest of ours ({type(error).__name__}). Run its stage again."
        ) from error
    if not understood or statement["predicateType"] != PREDICATE:
        raise IntegrityError(f"{shown(folder / NAME)}: is a statement of another kind.")
    return dict(statement)


def _require_parts(definition: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or AttributeError where something is missing that every reader counts on."""
    described = [*definition["resolvedDependencies"], *details["builder"].get("builderDependencies", ())]
    "".join(each["name"] + each["digest"]["sha256"] + each["annotations"]["kind"] for each in described)
    inner = definition["externalParameters"], definition["internalParameters"], details["builder"]["version"]
    {key: each.keys() for key, each in zip(("external", "internal", "version"), inner, strict=True)}
    details["metadata"]["finishedOn"].strip()


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
        "made_by": definition["internalParameters"].get("made_by"),
        "bundle": bundle_of(statement),
        "models": {
            each["name"]: each["digest"]["sha256"] for each in dependencies if each["annotations"]["kind"] == "model"
        },
        "inputs": [_row(each) for each in dependencies if each["annotations"]["kind"] != "model"],
        "outputs": [_row(each) for each in statement["subject"]],
    }
    if view["stage"] == RUN:
        names = [PurePosixPath(each["name"]) for each in statement["subject"]]
        inner = [name.parent for name in names if name.name == NAME and (folder / name).exists()]
        view["stages"] = {name.as_posix(): show(folder / name) for name in inner}
    return view


def bundle_of(statement: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which bundle the program that sealed this came from: id, manifest_sha256, commit, signers; None for no bundle."""
    for each in statement["predicate"]["runDetails"]["builder"].get("builderDependencies", ()):
        told = {key: value for key, value in each["annotations"].items() if key != "kind"}
        return {"id": each["name"], "manifest_sha256": each["digest"]["sha256"], **told}
    return None


def _row(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": descriptor["name"],
        "size": descriptor["annotations"].get("size"),
        "sha256": descriptor["digest"]["sha256"],
    }
