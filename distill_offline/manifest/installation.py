"""What this program runs from: an installed release of a signed bundle, a checkout, or a package; checked each time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline import __version__

__all__ = ["RELEASE", "Installation", "installation"]

RELEASE = "DISTILL_RELEASE"  # exported by the commands in a release's bin/
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Installation:
    """`made_by` in words; `bundle` describes the bundle's manifest.json (name, digest, annotations), if it is one."""

    made_by: str
    bundle: Mapping[str, Any] | None = None


def installation(environment: Mapping[str, str] = os.environ, package: Path = _PACKAGE) -> Installation:
    """What `package` was installed from; $DISTILL_RELEASE is checked, not believed.

    A release counts where `package` lies in it and its manifest.json is, byte by byte, the one that the installer
    sealed it with. Otherwise `bundle` is None, and `made_by` says why.
    """
    release_folder = environment.get(RELEASE)
    if release_folder:
        try:
            return _of_release(Path(release_folder).resolve(), package)
        except _NoReleaseError as problem:
            return Installation(f"{_own_words(package)}; {RELEASE} is set, but {problem}")
    return Installation(_own_words(package))


class _NoReleaseError(Exception):
    """Why a folder is not the release that this program was installed in."""


def _of_release(folder: Path, package: Path) -> Installation:
    if not package.resolve().is_relative_to(folder):
        raise _NoReleaseError("this program does not lie in that release")
    raw = _bytes(folder, "manifest.json")
    seal, manifest = _parsed("release.json", _bytes(folder, "release.json")), _parsed("manifest.json", raw)
    digest = hashlib.sha256(raw).hexdigest()
    if seal.get("manifest_sha256") != digest:
        raise _NoReleaseError("its manifest.json is not the one that was installed")
    name, builder = str(manifest.get("bundle_id")), manifest.get("builder")
    annotations = {
        "kind": "bundle",
        "version": manifest.get("version"),
        "sequence": manifest.get("sequence"),
        "commit": builder.get("commit") if isinstance(builder, dict) else None,
        "signers": [
            str(signer).rpartition(" ")[2] for signer in seal.get("signers", ())
        ],  # without who is meant by a key
    }
    return Installation(f"bundle {name}", {"name": name, "digest": {"sha256": digest}, "annotations": annotations})


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise _NoReleaseError(f"{name} is not there: the release is not whole") from None
    except OSError as error:
        raise _NoReleaseError(f"{name} cannot be read ({error.strerror})") from error


def _parsed(name: str, raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise _NoReleaseError(f"{name} is damaged") from error
    if not isinstance(value, dict):
        raise _NoReleaseError(f"{name} is damaged")
    return value


def _own_words(package: Path) -> str:
    is_checkout = (package.parent / "pyproject.toml").is_file()
    return f"{'a checkout' if is_checkout else 'an installed package'}, version {__version__}"
