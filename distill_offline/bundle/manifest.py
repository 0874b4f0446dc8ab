"""The bundle's manifest, as docs/bundle-format.md says: put together, checked by the verifier's own rules, written."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill_offline import __version__, children
from distill_offline.bundle.settings import BundleSettings
from distill_offline.bundle.verifier import verify
from distill_offline.errors import ConfigError, IntegrityError

__all__ = ["bundle_id", "commit_of", "created", "least_glibc", "previous_digest", "require_whole", "totals"]

_LAST_SECOND = 253_402_300_799  # of the year 9999
_OLDEST_GLIBC = [2, 17]  # what every manylinux wheel of today may assume; nothing older is promised


def created(settings: BundleSettings) -> str:
    """SOURCE_DATE_EPOCH, else the configuration's, else now. The same moment gives the same bytes."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None:
        if not re.fullmatch("[0-9]{1,12}", epoch) or int(epoch) > _LAST_SECOND:
            raise ConfigError("SOURCE_DATE_EPOCH is a whole number of seconds since 1970, and of no year after 9999.")
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
    return settings.created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit_of(project: Path) -> str | None:
    """The commit of a checkout without changes; None for any other folder: nothing is claimed then."""
    try:
        folder = project if project.is_dir() else project.parent
        state = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=normal", "--", "."]
        dirty = children.run(state, text=True)
        head = children.run(["git", "-C", str(folder), "rev-parse", "HEAD"], text=True)
    except OSError:
        return None
    clean = project.is_dir() and dirty.returncode == 0 and not dirty.stdout.strip() and head.returncode == 0
    return head.stdout.strip() if clean else None


def previous_digest(settings: BundleSettings) -> str | None:
    """The digest of the manifest before this one. Raises ConfigError if it is not that."""
    if settings.previous_manifest is None:
        return None
    if settings.sequence == 1:
        raise ConfigError("previous_manifest: there is none before sequence 1.")
    path = Path(settings.previous_manifest)
    try:
        raw = path.read_bytes()
        value = json.loads(raw)
        before = (value["name"], value["sequence"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"previous_manifest: {path} is not a bundle's manifest ({type(error).__name__}).") from error
    if before != (settings.name, settings.sequence - 1):
        raise ConfigError(
            f"previous_manifest: is sequence {before[1]} of {before[0]}; before sequence {settings.sequence} of "
            f"{settings.name} comes {settings.sequence - 1}."
        )
    return verify.sha256(raw)


def least_glibc(wheel_files: Iterable[str], arch: str) -> str:
    """The glibc that the wheels need, by their names: of each its lowest, of all the highest."""
    needed = _OLDEST_GLIBC
    for file in wheel_files:
        wheel = verify.Wheel.parse(file)
        tags = [verify.glibc_of(tag, arch) for tag in wheel.platforms] if wheel else []
        needed = max([needed, *[min(version for version in tags if version is not None)]]) if any(tags) else needed
    return ".".join(str(number) for number in needed)


def totals(entries: Iterable[Mapping[str, Any]], unpacked_bytes: int) -> dict[str, int]:
    """`unpacked_bytes`: all environments installed. An installation copies the bundle and compiles what it unpacks."""
    sizes = [int(entry["size"]) for entry in entries]
    peak = sum(sizes) + unpacked_bytes * 5 // 4 + max(sizes)
    return {"files": len(sizes), "bytes": sum(sizes), "installed_bytes": peak}


def builder(project: Path) -> dict[str, Any]:
    return {
        "name": "distill_offline",
        "version": __version__,
        "commit": commit_of(project),
        "python": platform.python_version(),
    }


def bundle_id(manifest: Mapping[str, Any]) -> str:
    """The id of a manifest that has none yet."""
    target, digest = manifest["target"], verify.sha256(verify.canonical(manifest))[:16]
    head = f"{manifest['name']}-{manifest['version']}-linux-{target['arch']}-py{target['python']}"
    return f"{head}-{target['accelerator']}-{digest}"


def require_whole(manifest: dict[str, Any]) -> None:
    """Raises IntegrityError with every rule of the format that the manifest breaks."""
    findings = verify.Findings(20)
    verify.check_manifest(manifest, findings)
    if findings.total:
        raise IntegrityError(
            "the bundle breaks its format: " + "; ".join(finding.reason for finding in findings.listed)
        )
