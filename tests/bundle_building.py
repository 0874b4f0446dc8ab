"""A site that builds bundles from tiny wheels in a folder, which the real pip takes for its index; no network."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import record_of, safetensors, zipped

from distill_offline.bundle.build import Built, build
from distill_offline.bundle.settings import BundleSettings, load
from distill_offline.bundle.signing import Keys

PYTHON = "{}.{}".format(*sys.version_info[:2])
ARCH = platform.machine()
NATIVE = f"cp{PYTHON.replace('.', '')}-cp{PYTHON.replace('.', '')}-manylinux_2_17_{ARCH}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CREATED = "2026-01-01T00:00:00Z"

BACKEND = """
import base64, hashlib, zipfile
INFO = "from_source-1.0.dist-info"
MEMBERS = {
    "from_source.py": "value = 1\\n" * 100,
    INFO + "/METADATA": "Metadata-Version: 2.1\\nName: from_source\\nVersion: 1.0\\n",
    INFO + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
def row(path):
    content = MEMBERS[path].encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return "%s,sha256=%s,%d\\n" % (path, digest, len(content))
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "from_source-1.0-py3-none-any.whl"
    record = "".join(map(row, MEMBERS)) + INFO + "/RECORD,,\\n"
    with zipfile.ZipFile(wheel_directory + "/" + name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in [*MEMBERS.items(), (INFO + "/RECORD", record)]:
            archive.writestr(path, content)
    return name
"""


def tiny_wheel(
    folder: Path,
    name: str,
    version: str,
    *requires: str,
    tag: str = "py3-none-any",
    inner: str = "",
    licence: str = "MIT",
    extra: dict[str, bytes] | None = None,
) -> Path:
    """A wheel that pip installs; `inner` are the tags that it claims inside, if others."""
    info = f"{name}-{version}.dist-info"
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", f"License-Expression: {licence}"]
    extras = {part.split('"')[1] for each in requires for part in each.split("extra ==")[1:]}
    head += [f"Provides-Extra: {extra}" for extra in sorted(extras)]
    members = {
        f"{name}.py": b"value = 1\n",
        f"{info}/METADATA": "\n".join([*head, *(f"Requires-Dist: {each}" for each in requires), "", ""]).encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {inner or tag}\n".encode(),
        f"{info}/licenses/LICENSE": f"{licence}, in full.\n".encode(),
    }
    members |= extra or {}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    path.write_bytes(zipped({**members, f"{info}/RECORD": record_of(members, info)}))
    return path


def source_archive(folder: Path) -> str:
    """from_source 1.0 as source only, built by a backend of its own; the digest of the archive."""
    about = b"[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    path = folder / "from_source-1.0.tar.gz"
    members = {
        "pyproject.toml": about,
        "backend.py": BACKEND.encode(),
        "PKG-INFO": b"Name: from_source\nVersion: 1.0\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"from_source-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Site:
    """The connected side: an index of wheels, our own wheel, a pinned model, and the configuration to change."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def settings(self) -> BundleSettings:
        path = self.folder / "bundle.yaml"
        path.write_text(yaml.safe_dump(self.config), "utf-8")
        return load(path)

    def build(self, name: str = "bundle", profile: Path | None = None, keys: Keys | None = None) -> Built:
        return build(self.settings, self.folder / "out" / name, profile, keys or Keys(), self.said.append)

    def manifest(self, name: str = "bundle") -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "out" / name / "manifest.json").read_bytes())
        return value

    def own_wheel(self, *requires: str) -> None:
        self.config["project"] = {"path": str(tiny_wheel(self.folder, "ours", "0.1", *requires))}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site of one test's own; the test runs in its folder."""
    return make_site(tmp_path / "a site", monkeypatch)


@pytest.fixture(scope="module")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose bundle is built, for tests that only look at it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = make_site(tmp_path_factory.mktemp("built") / "a site", monkeypatch)
        made.build()
        yield made


def make_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Ours needs `alpha` always and `beta`, a native one, with the extra `more`; alpha needs `gamma`."""
    made = Site(folder)
    tiny_wheel(made.index, "alpha", "1.5", "gamma>=1")
    tiny_wheel(made.index, "beta", "2.0", tag=NATIVE)
    tiny_wheel(made.index, "gamma", "3.0", licence="Apache-2.0 OR MIT")
    made.own_wheel("alpha>=1.2", 'beta==2.0; extra == "more"', 'ours[inner]; extra == "more"')
    model = made.folder / "models" / "tiny"
    model.mkdir(parents=True)
    files = {"model.safetensors": safetensors(), "config.json": b'{"model_type": "bert"}', "LICENSE": b"Free.\n"}
    for name, content in files.items():
        (model / name).write_bytes(content)
    pins = {
        name: {"sha256": hashlib.sha256(files[name]).hexdigest(), "size": len(files[name])}
        for name in ("model.safetensors", "config.json")
    }
    entry = {
        "id": "tiny",
        "role": "student",
        "source": {"kind": "hub", "repo": "site/tiny", "revision": COMMIT},
        "licence": {"spdx": "Apache-2.0", "outputs": "Silent."},
        "files": pins,
    }
    (made.folder / "models" / "catalogue.yaml").write_text(yaml.safe_dump({"models": [entry]}), "utf-8")
    (made.folder / "corpus").mkdir()
    (made.folder / "corpus" / "train.conll").write_bytes(b"Rome B-LOC\n")
    (made.folder / "run.yaml").write_text("name: run\n", "utf-8")
    made.config |= {
        "name": "demo",
        "version": "1.0",
        "sequence": 1,
        "created": CREATED,
        "expires": "2099-01-01T00:00:00Z",
        "target": {"arch": ARCH, "python": PYTHON, "glibc": "2.28"},
        "environments": {"main": {"extras": ["more"]}},
        "models": ["tiny"],
        "configs": {"run.yaml": "run.yaml"},
        "data": {"corpus": "corpus"},
    }
    monkeypatch.chdir(made.folder)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "DISTILL_MODELS": "models",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": made.index.as_uri(),
        "PIP_CACHE_DIR": str(folder / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return made
