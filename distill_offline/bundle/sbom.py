"""Bills of materials in CycloneDX 1.6 JSON: of the wheels, and of the models and data.

Written here and not by cyclonedx-bom: of a lock that is not installed it knows neither licences nor who needs whom, it
writes an index's address beside every package, and it has no machine-learning components. The tests check what is
written here with its makers' validator.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from distill_offline import __version__
from distill_offline.bundle.models import CarriedModel
from distill_offline.bundle.wheel_metadata import WheelMetadata

__all__ = ["Host", "ml_bom", "purl", "python_bom"]


def purl(name: str, version: str) -> str:
    """The package URL of a Python package (which names it, and no index)."""
    return f"pkg:pypi/{name}@{quote(version, safe='.-_~')}"


@dataclass(frozen=True, slots=True)
class Host:
    """What lies below the wheels: `runtime` are the manifest's entries of what is carried, among them `interpreter`.

    `glibc` is the oldest that the wheels' names allow, `python` the version that they are for.
    """

    python: str
    glibc: str
    runtime: tuple[Mapping[str, Any], ...] = ()
    interpreter: str | None = None

    def in_words(self) -> tuple[str, ...]:
        """What the bundle leaves to the host: what a manylinux wheel may take for granted."""
        system = f"glibc {self.glibc} or later, and libstdc++.so.6 and libgcc_s.so.1 of a system with that glibc"
        return (system,) if self.interpreter else (system, f"CPython {self.python}")


def python_bom(
    wheels: Mapping[str, WheelMetadata],
    digests: Mapping[str, str],
    needs: Mapping[str, Iterable[str]],
    root: str,
    created: str,
    host: Host,
) -> bytes:
    """The SBOM of what one bundle runs on: its wheels, by bom-ref `name==version`, and what it carries below them.

    All by bom-ref: what it is, its SHA-256, whom it needs. What stays the host's is a property of the whole.
    """
    components = []
    for reference, wheel in sorted(wheels.items()):
        component = {
            "type": "library",
            "bom-ref": reference,
            "name": wheel.name,
            "version": wheel.version,
            "purl": purl(wheel.name, wheel.version),
            "hashes": [{"alg": "SHA-256", "content": digests[reference]}],
        }
        if wheel.licence != "unknown":
            declared = {"acknowledgement": "declared"}
            named: dict[str, Any] = {"license": {"name": wheel.licence, **declared}}
            component["licenses"] = [{"expression": wheel.licence, **declared} if wheel.is_expression else named]
        components.append(component)
    about = next(component for component in components if component["bom-ref"] == root)
    others = [component for component in components if component is not about]
    dependencies = [{"ref": name, "dependsOn": sorted(needed)} for name, needed in sorted(needs.items())]
    below = [_carried(entry, host) for entry in host.runtime]
    dependencies += [{"ref": model["bom-ref"], "dependsOn": []} for model in below]
    return _document({**about, "type": "application"}, [*others, *below], dependencies, created, host.in_words())


def _carried(entry: Mapping[str, Any], host: Host) -> dict[str, Any]:
    common = {"bom-ref": entry["path"], "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}]}
    if entry["path"] != host.interpreter:
        return {"type": "file", "name": entry["path"], **common}
    properties = [{"name": "distill_offline:file", "value": entry["path"]}]
    return {"type": "platform", "name": "CPython", "version": host.python, **common, "properties": properties}


def ml_bom(
    name: str, version: str, models: Iterable[CarriedModel], files: Iterable[Mapping[str, Any]], created: str
) -> bytes:
    """The SBOM of models, with their terms on outputs, and of data files; `files` are entries of the manifest."""
    listed = list(files)
    components = [_model(model, listed) for model in models]
    components += [
        {
            "type": "data",
            "bom-ref": entry["path"],
            "name": entry["path"],
            "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}],
            "data": [{"type": "dataset", "name": entry["path"]}],
        }
        for entry in listed
        if entry["kind"] == "data"
    ]
    root = {"type": "application", "bom-ref": "bundle", "name": name, "version": version}
    references = sorted(str(component["bom-ref"]) for component in components)
    return _document(root, components, [{"ref": "bundle", "dependsOn": references}], created)


def _model(model: CarriedModel, files: list[Mapping[str, Any]]) -> dict[str, Any]:
    entry = model.entry
    model_files = [file for file in files if file["path"].startswith(model.folder + "/")]
    spdx = entry.licence.spdx
    licence: dict[str, Any] = {"name": spdx} if spdx.startswith(("LicenseRef-", "NOASSERTION")) else {"id": spdx}
    task = "text generation" if entry.role == "teacher" else "token classification"
    return {
        "type": "machine-learning-model",
        "bom-ref": model.folder,
        "name": entry.id,
        "version": model.revision,
        "licenses": [{"license": {**licence, "acknowledgement": "declared"}}],
        "modelCard": {
            "modelParameters": {"task": task},
            "considerations": {"technicalLimitations": [f"training on its outputs: {entry.licence.outputs}"]},
        },
        "properties": [
            {"name": "distill_offline:role", "value": entry.role},
            {"name": "distill_offline:source", "value": str(entry.source)},
        ],
        "components": [
            {
                "type": "file",
                "bom-ref": file["path"],
                "name": file["path"].removeprefix(model.folder + "/"),
                "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
            }
            for file in model_files
        ],
    }


def _document(
    about: Mapping[str, Any],
    components: list[Any],
    dependencies: list[Any],
    created: str,
    left_to_host: tuple[str, ...] = (),
) -> bytes:
    """Sorted and without anything of the moment but `created`; its serial number comes from its content."""
    tool = {"type": "application", "name": "distill_offline", "version": __version__}
    left = [{"name": "distill_offline:left_to_the_host", "value": library} for library in left_to_host]
    metadata = {"timestamp": created, "tools": {"components": [tool]}, "component": about}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {**metadata, "properties": left} if left else metadata,
        "components": components,
        "dependencies": dependencies,
    }
    content = json.dumps(document, sort_keys=True).encode()
    serial = uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5)
    document["serialNumber"] = f"urn:uuid:{serial}"
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode("ascii")
