"""Build a bundle: resolve, check, fetch, stage, list, sign, verify; the folder appears under its name at the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.bundle import contents, models, target
from distill_offline.bundle import manifest as manifests
from distill_offline.bundle.environments import Environments
from distill_offline.bundle.resolve import lock_text
from distill_offline.bundle.settings import BundleSettings
from distill_offline.bundle.signing import Keys, sign
from distill_offline.bundle.sizes import sizes
from distill_offline.bundle.staging import Staging
from distill_offline.bundle.verifier import verify
from distill_offline.errors import ConfigError, EnvironmentFault, IntegrityError
from distill_offline.models.catalogue import Catalogue
from distill_offline.storage.files import make_folder, open_in_place

__all__ = ["Built", "build", "resolve_only"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A finished bundle; `notes` are what its builder should know, `signers` who signed."""

    folder: Path
    bundle_id: str
    files: int
    bytes: int
    installed_bytes: int
    signers: tuple[str, ...]
    notes: tuple[str, ...]


def build(settings: BundleSettings, output: Path, profile: Path | None, keys: Keys, say: Say) -> Built:
    """Make the bundle at `output`, which must not be there yet; `output`.work keeps what a later build can use again.

    An interrupted build goes on when it is started again. Raises ConfigError, EnvironmentFault, IntegrityError.
    """
    if output.exists():
        raise ConfigError(f"{output}: is there already. A bundle is never changed; name another folder.")
    host, chosen = _host(settings, profile)
    carried = models.choose(settings.models, Catalogue.load())
    _require_files(settings)
    previous = manifests.previous_digest(settings)
    with _working(output) as work:
        environments = Environments(settings, chosen, work, say)
        environments.fetch()
        say("staging")
        staging = Staging(work / "bundle", settings.volume_limit)
        moment = manifests.created(settings)
        notes = contents.stage(settings, environments, carried, staging, moment)
        manifest = contents.whole_manifest(settings, environments, carried, staging, moment, previous)
        notes += [
            f"{file['wheel']} installs {file['path']} (SHA-256 {file['sha256']}): by signing, you vouch for it."
            for file in manifest["policy"].get("unusual_files", [])
        ]
        notes += _host_notes(host, manifest, keys)
        path = staging.folder / "manifest.json"
        path.write_bytes(verify.canonical(manifest))
        path.chmod(0o644)
        signers = sign(path, keys)
        say("verifying what was built")
        _verify(staging.folder, signers)
        staging.folder.rename(output)
    total = manifest["totals"]
    return Built(
        folder=output,
        bundle_id=manifest["bundle_id"],
        files=total["files"],
        bytes=total["bytes"],
        installed_bytes=total["installed_bytes"],
        signers=tuple(signers),
        notes=tuple(notes),
    )


def resolve_only(settings: BundleSettings, output: Path, profile: Path | None, say: Say) -> dict[str, Any]:
    """Write the lock of each environment and sizes.json into `output`; no wheels but those built here are made or read.

    The summary is what sizes.json holds: bytes, None if the index does not say. Raises as `build` does.
    """
    _, chosen = _host(settings, profile)
    with _working(output) as work:
        environments = Environments(settings, chosen, work, say)
    say("asking for sizes")
    everything = {package.sha256: package for one in environments.resolved for package in one.packages}
    size_of_wheel = sizes(everything.values())
    summary = {
        "environments": {
            one.name: {
                "packages": len(one.packages),
                "bytes": sum(size_of_wheel[package.sha256] or 0 for package in one.packages),
                "unknown_sizes": [package.name for package in one.packages if size_of_wheel[package.sha256] is None],
                "min_glibc": manifests.least_glibc([package.file for package in one.packages], chosen.arch),
                "sizes": {package.file or package.name: size_of_wheel[package.sha256] for package in one.packages},
            }
            for one in environments.resolved
        },
        "download_bytes": sum(size or 0 for size in size_of_wheel.values()),
    }
    output.mkdir(parents=True, exist_ok=True)
    for one in environments.resolved:
        (output / f"{one.name}.lock").write_text(lock_text(one.packages), "ascii")
    (output / "sizes.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", "ascii")
    return summary


def _host(settings: BundleSettings, profile: Path | None) -> tuple[target.Profile | None, target.Target]:
    host = target.Profile.read(profile) if profile else None
    chosen = target.choose(settings.target, host, settings.interpreter is not None)
    target.require_like_host(chosen)
    return host, chosen


def _host_notes(host: target.Profile | None, manifest: Mapping[str, Any], keys: Keys) -> list[str]:
    """What its builder should know of the host. Raises EnvironmentFault if no disk of it has the space."""
    if host is None:
        return ["No profile of the host was given: nothing but `target` says whether it can run this."]
    needed = manifest["totals"]["installed_bytes"]
    if host.free_bytes < needed:
        raise EnvironmentFault(f"the host's profile has at most {host.free_bytes} bytes free; {needed} are needed.")
    notes = []
    if keys and keys.p256 is None and (host.fips or host.openssh is None):
        notes.append("The host is in FIPS mode or has no OpenSSH: sign with --openssl-key (P-256), too.")
    return notes


@contextlib.contextmanager
def _working(output: Path) -> Iterator[Path]:
    """The side folder, for one build at a time, without what an interrupted one left half done."""
    work = output.with_name(output.name + ".work")
    make_folder(work)
    with os.fdopen(open_in_place(work / ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentFault(f"{work.name}: another build is at work there.") from error
        _clear(work)
        try:
            yield work
        finally:
            _clear(work)  # a killed build's pip may have gone on for a moment after it


def _clear(work: Path) -> None:
    for left in [*work.glob("incoming-*"), *work.glob("source-*"), *work.glob("project-*")]:
        shutil.rmtree(left, ignore_errors=True)


def _require_files(settings: BundleSettings) -> None:
    """That what the configuration names is there, before anything is downloaded. Raises ConfigError."""
    named = [*settings.configs.values(), *settings.data.values(), *settings.licences.values()]
    named += [
        extra_file.path for extra_file in (*settings.runtime, *([settings.interpreter] if settings.interpreter else []))
    ]
    named += [str(Path(settings.project.path) / paper) for paper in settings.project.papers]
    for path in named:
        if not Path(path).exists():
            raise ConfigError(f"{path}: there is no such file, and the bundle's configuration names it.")
    if settings.interpreter:
        _require_interpreter(Path(settings.interpreter.path), settings.target.python)


def _require_interpreter(archive: Path, version: str) -> None:
    try:
        with archive.open("rb") as file:
            names = [member.name for member in verify.Archive(file, contents.LARGEST_INTERPRETER).members]
    except verify.Unusable as unusable:
        raise ConfigError(f"interpreter: {archive}: {unusable}. The installer would refuse it.") from unusable
    if not any(name.endswith(f"bin/python{version}") for name in names):
        raise ConfigError(f"interpreter: {archive} holds no bin/python{version}, which target.python asks for.")


def _verify(folder: Path, signers: list[str]) -> None:
    """The verifier over what was built, as the isolated side will run it, but for the target. Raises IntegrityError."""
    fingerprint = next((signer for signer in signers if signer.startswith("SHA256:")), None)
    report = verify.verify(str(folder), verify.Options(fingerprint=fingerprint, check_target=False))
    if report.exit_code not in (verify.VALID, verify.INTEGRITY_ONLY):
        raise IntegrityError("what was built does not hold: " + "; ".join(report.lines()[:5]))
