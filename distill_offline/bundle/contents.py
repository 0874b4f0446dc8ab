"""What a bundle holds: every file put into the staging folder, and the manifest that lists them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from distill_offline.bundle import licences, models, pip, sbom, wheel_metadata
from distill_offline.bundle import manifest as manifests
from distill_offline.bundle.environments import Environment, Environments
from distill_offline.bundle.fetches import runtime_fetches
from distill_offline.bundle.models import CarriedModel
from distill_offline.bundle.resolve import Package, lock_text
from distill_offline.bundle.settings import BundleSettings
from distill_offline.bundle.staging import Staging
from distill_offline.bundle.verifier import verify
from distill_offline.errors import IntegrityError

__all__ = ["LARGEST_INTERPRETER", "stage", "whole_manifest"]

LARGEST_INTERPRETER = 8 << 30  # bytes, unpacked

_HERE = Path(__file__).parent
_SCRIPTS = {
    "INSTALL.sh": _HERE / "medium" / "INSTALL.sh",
    "README.txt": _HERE / "medium" / "README.txt",
    "VERIFY.sh": _HERE / "medium" / "VERIFY.sh",
    "install.py": _HERE / "installer" / "install.py",
    "verify.py": _HERE / "verifier" / "verify.py",
}


def stage(
    settings: BundleSettings,
    environments: Environments,
    carried: list[CarriedModel],
    staging: Staging,
    created: str,
) -> list[str]:
    """All files but the manifest; what the builder should know."""
    distinct = {package.sha256: package for one in environments.resolved for package in one.packages}
    for sha256, package in distinct.items():
        path = environments.path(package)
        staging.add(f"python/wheels/{path.name}", path, sha256)
    for one in environments.resolved:
        staging.add(f"python/{one.name}.lock", lock_text(one.packages).encode("ascii"))
    models.stage(carried, settings.licences, staging)
    for folder, named in (("configs", settings.configs), ("data", settings.data)):
        for name, source in sorted(named.items()):
            staging.add_tree(f"{folder}/{name}", Path(source))
    for paper in settings.project.papers:
        staging.add_tree(f"project/{PurePosixPath(paper)}", Path(settings.project.path) / paper)
    for extra_file in (*settings.runtime, *([settings.interpreter] if settings.interpreter else [])):
        staging.add(f"runtime/{Path(extra_file.path).name}", Path(extra_file.path), extra_file.sha256)
    labelled = [
        (f"{package.name}-{_plain(package.version)}", environments.path(package)) for package in distinct.values()
    ]
    without = licences.stage(labelled, staging)
    for name, script in _SCRIPTS.items():
        staging.add(name, script)
    _stage_sboms(settings, environments, carried, staging, created)
    staging.prune()
    return [f"No licence text comes with {', '.join(without)}; sbom/ has what is declared."] if without else []


def _plain(version: str) -> str:
    return version.replace("!", "_")


def _stage_sboms(
    settings: BundleSettings,
    environments: Environments,
    carried: list[CarriedModel],
    staging: Staging,
    created: str,
) -> None:
    wheels: dict[str, wheel_metadata.WheelMetadata] = {}
    digests: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for one in environments.resolved:
        about = environments.metadata(one)
        references = {package.name: f"{package.name}=={package.version}" for package in one.packages}
        wheels |= {references[name]: metadata for name, metadata in about.items()}
        digests |= {references[package.name]: package.sha256 for package in one.packages}
        for name, needed in environments.needs(one).items():
            needs.setdefault(references[name], set()).update(references[required] for required in needed)
    project = wheel_metadata.read(environments.project_wheel)
    root = f"{project.name}=={project.version}"
    listed = sorted(staging.entries.values(), key=lambda entry: str(entry["path"]))
    files = [environments.path(package).name for one in environments.resolved for package in one.packages]
    host = sbom.Host(
        python=environments.target.python,
        glibc=manifests.least_glibc(files, environments.target.arch),
        runtime=tuple(entry for entry in listed if entry["kind"] == "runtime"),
        interpreter=_interpreter(settings),
    )
    staging.add("sbom/python.cdx.json", sbom.python_bom(wheels, digests, needs, root, created, host))
    staging.add("sbom/ml.cdx.json", sbom.ml_bom(settings.name, settings.version, carried, listed, created))


def whole_manifest(
    settings: BundleSettings,
    environments: Environments,
    carried: list[CarriedModel],
    staging: Staging,
    created: str,
    previous: str | None,
) -> dict[str, Any]:
    """The whole manifest; raises IntegrityError if the format would not hold."""
    asked, chosen, resolved = settings.target, environments.target, environments.resolved
    entries = sorted(staging.entries.values(), key=lambda entry: str(entry["path"]))
    components = _components(settings, environments)
    names = {component["name"] for component in components}
    unpacked = sum(about.installed_bytes for one in resolved for about in environments.metadata(one).values())
    if settings.interpreter:
        with Path(settings.interpreter.path).open("rb") as file:
            unpacked += verify.Archive(file, LARGEST_INTERPRETER).size
    suffixes = {PurePosixPath(entry["path"]).suffix for entry in entries if entry["kind"] == "model"}
    manifest: dict[str, Any] = {
        "schema": verify.SCHEMA,
        "name": settings.name,
        "version": settings.version,
        "sequence": settings.sequence,
        "previous_manifest_sha256": previous,
        "created": created,
        "expires": settings.expires,
        "builder": manifests.builder(Path(settings.project.path)),
        "target": {
            "os": "linux",
            "arch": chosen.arch,
            "python": chosen.python,
            "interpreter": _interpreter(settings),
            "min_glibc": manifests.least_glibc([component["file"] for component in components], chosen.arch),
            "accelerator": asked.accelerator,
            "min_driver": asked.min_driver,
            "tools": sorted(set(asked.tools)),
        },
        "totals": manifests.totals(entries, unpacked),
        "files": entries,
        "components": components,
        "direct_requirements": _direct_requirements(resolved),
        "models": [model.as_manifest() for model in carried],
        "resolution": {
            "tool": "pip",
            "tool_version": pip.version(),
            "platform_tags": chosen.platform_tags,
            "environments": [{"name": one.name, "lock": f"python/{one.name}.lock"} for one in resolved],
        },
        "policy": {
            "model_kinds": sorted(suffixes & verify.MODEL_KINDS),
            "volume_limit": settings.volume_limit,
            "runtime_fetches": runtime_fetches(names, settings.runtime),
        },
    }
    if unusual := _unusual_files(settings, environments, components):
        manifest["policy"]["unusual_files"] = unusual
    manifest["bundle_id"] = manifests.bundle_id(manifest)
    manifests.require_whole(manifest)
    return manifest


def _interpreter(settings: BundleSettings) -> str | None:
    """The carried interpreter's path in the bundle."""
    return f"runtime/{Path(settings.interpreter.path).name}" if settings.interpreter else None


def _direct_requirements(resolved: list[Environment]) -> list[dict[str, str]]:
    requirements = []
    for one in resolved:
        versions = {package.name: package.version for package in one.packages}
        requirements += [
            {
                "name": requirement.name,
                "environment": one.name,
                "floor": requirement.floor,
                "resolved": versions[requirement.name],
            }
            for requirement in one.direct
        ]
    return requirements


def _components(settings: BundleSettings, environments: Environments) -> list[dict[str, Any]]:
    """One for each wheel, sorted by file. Raises IntegrityError for tags that nobody vouches for."""
    users: dict[str, list[str]] = {}
    packages: dict[str, Package] = {}
    for one in environments.resolved:
        for package in one.packages:
            packages[package.sha256] = package
            users.setdefault(package.sha256, []).append(one.name)
    components = []
    for sha256, package in packages.items():
        path = environments.path(package)
        about = wheel_metadata.read(path)
        component: dict[str, Any] = {
            "name": package.name,
            "version": package.version,
            "file": f"python/wheels/{path.name}",
            "environments": sorted(users[sha256]),
            "licence": about.licence[: verify.LIMIT_TEXT],
            "purl": sbom.purl(package.name, package.version),
            "unpacked_bytes": about.installed_bytes,
        }
        if _is_retagged(path, component):
            if package.name not in settings.accept_retagged:
                raise IntegrityError(
                    f"{path.name}: claims other tags inside than in its name. If its makers do that, vouch for the "
                    f"name: accept_retagged: [{package.name}]."
                )
            component["retagged"] = True
        components.append(component)
    return sorted(components, key=lambda component: str(component["file"]))


def _unusual_files(
    settings: BundleSettings, environments: Environments, components: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """Files that Python reads at each start, and ones that several packages share, of the packages accepted for that.

    Raises IntegrityError for one that nobody vouches for.
    """
    wheels = {f"python/wheels/{path.name}": path for path in map(environments.path, _packages(environments))}
    facts = {}
    for component in components:
        # Of a wheel that cannot be read the verifier tells what is wrong.
        with wheels[component["file"]].open("rb") as file, suppress(verify.Unusable):
            facts[component["file"]] = verify.wheel_facts(file, component)
    owners = Counter(key for wheel in facts.values() for key in wheel.places)
    listed = []
    for component in components:
        for key, (installed_path, digest, why) in (
            facts[component["file"]].places.items() if component["file"] in facts else ()
        ):
            if not digest or not (why or (owners[key] > 1 and component["name"] in settings.accept_unusual_files)):
                continue
            path = installed_path.partition(":")[2]
            if component["name"] not in settings.accept_unusual_files and digest not in _KNOWN:
                raise IntegrityError(
                    f"{component['file']}: would install {path} (SHA-256 {digest}), {why}. Read that file; if you "
                    f"vouch for it: accept_unusual_files: [{component['name']}]."
                )
            listed.append({"wheel": component["file"], "path": path, "sha256": digest})
    return sorted(listed, key=lambda unusual: (unusual["wheel"], unusual["path"]))


# setuptools' distutils-precedence.pth, the same in each of its releases since 2022.
_KNOWN = frozenset({"2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224"})


def _packages(environments: Environments) -> list[Package]:
    return [package for one in environments.resolved for package in one.packages]


def _is_retagged(path: Path, component: dict[str, Any]) -> bool:
    """Whether the verifier would say so; anything else that it says of the wheel is an error."""
    with path.open("rb") as file:
        strict = verify.inner_wheel_problems(file, component)
        vouched = verify.inner_wheel_problems(file, {**component, "retagged": True})
    if vouched:
        raise IntegrityError(f"{path.name}: {vouched[0]}.")
    return bool(strict)
