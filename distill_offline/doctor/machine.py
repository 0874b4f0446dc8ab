"""The machine itself: Python, packages, GPU, disks, clock, umask, and what keeps the network out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from distill_offline import children, offline
from distill_offline.config.settings import Settings
from distill_offline.doctor.check import Check
from distill_offline.storage.filesystem import NETWORK, filesystem_of

__all__ = [
    "check_accelerator",
    "check_clock",
    "check_disks",
    "check_environment",
    "check_file_system",
    "check_namespaces",
    "check_packages",
    "check_python",
    "check_umask",
    "umask",
    "unmet",
]


def check_python(version: Sequence[int]) -> Check:
    text = ".".join(str(part) for part in version)
    if tuple(version) < (3, 11):
        return Check("python", "fail", text, "Install Python 3.11 or later.")
    return Check("python", "ok", text)


def check_packages() -> list[Check]:
    """Installed versions against the requirements in our own metadata; an extra is all there, or not installed."""
    try:
        requirements = metadata.requires("distill_offline") or []
        extras = metadata.metadata("distill_offline").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return [Check("packages", "warn", "distill_offline itself is not installed", "Install it: pip install -e .")]
    lacking = unmet(requirements, "", metadata.version)
    checks = [
        Check("packages", "fail", "; ".join(lacking), "Install what is pinned: pip install --upgrade distill_offline")
        if lacking
        else Check("packages", "ok", "all as required")
    ]
    for extra in extras:
        lacking = unmet(requirements, extra, metadata.version)
        detail = "installed" if not lacking else "not installed: " + "; ".join(lacking)
        checks.append(Check(f"extra {extra}", "ok", detail))
    return checks


def unmet(requirements: Iterable[str], extra: str, version_of: Callable[[str], str]) -> list[str]:
    """Requirements of the base (extra "") or of one extra that are absent or have another version."""
    from packaging.requirements import Requirement

    absent = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if extra and (marker is None or marker.evaluate({"extra": ""})):
            continue
        if requirement.name.replace("-", "_").lower() == "distill_offline" or (
            marker and not marker.evaluate({"extra": extra})
        ):
            continue
        try:
            version = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            absent.append(f"{requirement.name} is absent")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            absent.append(f"{requirement.name} is {version}, needs {requirement.specifier}")
    return absent


def check_accelerator(config: Settings | None) -> list[Check]:
    driver = _nvidia_driver()
    try:
        import torch
    except ImportError as error:
        return [Check("torch", "fail", f"does not import: {error}", "Reinstall torch in the pinned version.")]
    build = (
        f"{torch.__version__}, CUDA {torch.version.cuda}" if torch.version.cuda else f"{torch.__version__}, CPU build"
    )
    checks = [Check("torch", "ok", build)]
    usable = torch.cuda.is_available()
    if usable:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        checks.append(Check("gpu", "ok", f"{names}; driver {driver or 'unknown'}"))
    elif driver:
        remedy = "Install the CUDA build of torch, or a driver that is new enough for it."
        checks.append(Check("gpu", "warn", f"driver {driver} is there, but this torch cannot use it", remedy))
    else:
        checks.append(Check("gpu", "ok", "none; everything runs on the CPU"))
    if config and config.backend and config.backend.name == "vllm" and not usable:
        remedy = "Use backend.name: llama_cpp or transformers, or run on a machine with a GPU."
        checks.append(Check("backend.name", "warn", "vllm without a GPU needs vllm's CPU build", remedy))
    return checks


def _nvidia_driver() -> str | None:
    """Driver version and memory as nvidia-smi says them; None without nvidia-smi or without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = children.run(query, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (answer.stdout.strip().splitlines() or [""])[0] or None


def check_disks(places: Mapping[str, Path]) -> list[Check]:
    checks = []
    for name, folder in places.items():
        existing = next(path for path in [folder.resolve(), *folder.resolve().parents] if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
        remedy = "" if free >= 5 else "Make room: a run needs about 1 GB, a large teacher 15 GB and more."
        checks.append(
            Check(
                f"disk, {name}", "ok" if free >= 5 else "warn" if free >= 1 else "fail", f"{free:.1f} GB free", remedy
            )
        )
        if name == "working folder":
            checks.append(check_file_system(filesystem_of(existing) or "unknown"))
    return checks


def check_file_system(kind: str) -> Check:
    if kind in NETWORK:
        remedy = "Prefer a local disk: here stores do without a write-ahead log, which would be unsafe, and are slower."
        return Check("file system", "warn", f"{kind}, over the network", remedy)
    return Check("file system", "ok", kind)


def check_environment(environment: Mapping[str, str]) -> Check:
    unset = [name for name, value in offline.ENVIRONMENT.items() if environment.get(name) != value]
    if not unset and offline.is_enforced():
        return Check("offline", "ok", "environment set; connections beyond the allow-list are stopped")
    detail = f"not set: {', '.join(unset)}" if unset else "environment set, but connections are not stopped"
    return Check(
        "offline", "warn", detail, "Every distill-offline command sets this itself; from Python call offline.enforce()."
    )


def check_namespaces(fault: str) -> Check:
    if not fault:
        return Check("network namespaces", "ok", "--isolate can run a command with no network but loopback")
    remedy = "Permit unprivileged user namespaces to prove the air gap here; nothing else needs them."
    return Check("network namespaces", "warn", fault, remedy)


def check_clock(now: datetime) -> Check:
    if now.year < 2024:
        remedy = "Set the clock: manifests and signatures carry the time."
        return Check("clock", "fail", f"it is said to be {now.year}", remedy)
    return Check("clock", "ok", now.date().isoformat())


def umask() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("Umask:")[2].split()[0], 8)
    except (OSError, ValueError, IndexError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def check_umask(mask: int) -> Check:
    if mask & 0o022 != 0o022:
        return Check("umask", "warn", f"{mask:04o}: others may write into new folders", "Run: umask 077")
    return Check("umask", "ok", f"{mask:04o}")
