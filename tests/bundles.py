"""A small real bundle, built to docs/bundle-format.md by the tests' own hand, with real keys and real signatures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import re
import shutil
import stat
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMESPACE = "distill-offline-bundle"
VOLUME_LIMIT = 200_000  # the scripts lie whole, so that they can be run from the medium
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = f"models/tiny@{COMMIT}"
WHEEL = "python/wheels/tiny_one-1.0-py3-none-any.whl"
NATIVE = f"python/wheels/tiny_two-2.0-cp36-abi3-manylinux_2_17_{platform.machine()}.whl"
LONG = "data/long.txt"
KINDS = {
    "models": "model", "data": "data", "configs": "config", "project": "project",
    "sbom": "sbom", "licenses": "licence", "runtime": "runtime",
}  # fmt: skip
TOOLS = [tool for tool in ("ssh-keygen", "openssl") if shutil.which(tool) is None]


def canonical(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Keys:
    """ssh keys `own`, `foreign`, and P-256 keys of the same names, in one folder, with lists of allowed signers."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        keys = cls(folder)
        for name in ("own", "foreign"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
            private = str(folder / f"{name}.pem")
            _run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
            _run("openssl", "ec", "-in", private, "-pubout", "-out", str(folder / f"{name}.pub.pem"))
            keys.allow(name, name)
        keys.allow("expired", "own", 'valid-before="20200101" ')
        return keys

    def allow(self, list_name: str, key: str, options: str = "") -> None:
        public = " ".join((self.folder / f"{key}.pub").read_text().split()[:2])
        (self.folder / f"{list_name}.allowed").write_text(f"{key}@site {options}{public}\n")

    def __call__(self, name: str) -> str:
        return str(self.folder / name)

    def fingerprint(self, key: str) -> str:
        return _run("ssh-keygen", "-lf", str(self.folder / f"{key}.pub")).split()[1]


@dataclass
class Bundle:
    """A bundle's folder and what its manifest says; `seal` writes and signs that as it stands."""

    path: Path
    keys: Keys
    manifest: dict[str, Any] = field(default_factory=dict)
    with_ssh: bool = True
    with_p256: bool = True

    def file(self, name: str) -> Path:
        return self.path / name

    def entry(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.manifest["files"] if each["path"] == name)
        return found

    def add(self, name: str, content: bytes) -> None:
        """Put a file there, in parts if it is long, and list it."""
        top = name.split("/")[0]
        kind = "wheel" if name.endswith(".whl") else "lock" if name.endswith(".lock") else KINDS.get(top, "script")
        entry: dict[str, Any] = {"path": name, "kind": kind, "size": len(content), "sha256": sha256(content)}
        pieces = {name: content}
        if len(content) > VOLUME_LIMIT and kind != "script":
            cut = [content[at : at + VOLUME_LIMIT] for at in range(0, len(content), VOLUME_LIMIT)]
            pieces = {f"volumes/{entry['sha256']}.{number:05d}.part": each for number, each in enumerate(cut)}
            entry["parts"] = [
                {"path": path, "size": len(each), "sha256": sha256(each)} for path, each in pieces.items()
            ]
        for path, each in pieces.items():
            self.file(path).parent.mkdir(parents=True, exist_ok=True)
            self.file(path).write_bytes(each)
        others = [each for each in self.manifest.get("files", []) if each["path"] != name]
        self.manifest["files"] = sorted([*others, entry], key=lambda each: str(each["path"]))

    def seal(self) -> None:
        """Totals and id as they must be, then canonical bytes and both signatures."""
        files = self.manifest["files"]
        self.manifest["totals"] = {
            "files": len(files),
            "bytes": sum(each["size"] for each in files),
            "installed_bytes": self.manifest.get("totals", {}).get("installed_bytes", 1),
        }
        target = self.manifest["target"]
        self.manifest.pop("bundle_id", None)
        self.manifest["bundle_id"] = (
            f"{self.manifest['name']}-{self.manifest['version']}-linux-{target['arch']}-py{target['python']}-"
            f"{target['accelerator']}-{sha256(canonical(self.manifest))[:16]}"
        )
        self.write_manifest(canonical(self.manifest))

    def write_manifest(self, raw: bytes) -> None:
        self.file("manifest.json").write_bytes(raw)
        self.sign()

    def sign(self, key: str = "own", namespace: str = NAMESPACE) -> None:
        manifest, signature = self.file("manifest.json"), self.file("manifest.json.p256")
        if self.with_ssh:
            self.file("manifest.json.sig").unlink(missing_ok=True)
            _run("ssh-keygen", "-q", "-Y", "sign", "-f", self.keys(key), "-n", namespace, str(manifest))
        if self.with_p256:
            _run("openssl", "dgst", "-sha256", "-sign", self.keys(f"{key}.pem"), "-out", str(signature), str(manifest))

    def drop_ssh(self) -> None:
        """From now on it is signed with P-256 alone."""
        self.with_ssh = False
        self.file("manifest.json.sig").unlink()

    def unsign(self) -> None:
        """From now on nobody signs it, which costs no process."""
        self.drop_ssh()
        self.with_p256 = False
        self.file("manifest.json.p256").unlink()

    def copy(self, path: Path) -> Bundle:
        shutil.copytree(self.path, path, symlinks=True)
        return Bundle(path, self.keys, json.loads(canonical(self.manifest)), self.with_ssh, self.with_p256)


def made(make: Callable[[Path, Keys], Bundle], folder: Path) -> Bundle:
    """A bundle by `make` in a new folder, with new keys beside it."""
    (folder / "keys").mkdir()
    return make(folder / "a bundle", Keys.make(folder / "keys"))


def small_bundle(path: Path, keys: Keys) -> Bundle:
    """Two wheels, a lock, a model, data of which one file lies in three parts, a carried interpreter, and scripts."""
    path.mkdir()
    bundle = Bundle(path, keys)
    bundle.manifest = {
        "schema": "distill-offline-bundle/1", "name": "demo", "version": "1.0", "sequence": 3,
        "previous_manifest_sha256": "a" * 64, "created": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z",
        "builder": {"name": "tests", "version": "0", "commit": COMMIT, "python": "3.11.2"},
        "target": {
            "os": "linux", "arch": platform.machine(), "python": "3.11", "interpreter": "runtime/python.tar",
            "min_glibc": "2.17", "accelerator": "cpu", "min_driver": None, "tools": ["ls"],
        },
        "components": [
            component("tiny-one", "1.0", WHEEL),
            component("tiny-two", "2.0", NATIVE),
        ],
        "direct_requirements": [{"name": "tiny-one", "environment": "main", "floor": "0.9", "resolved": "1.0"}],
        "models": [
            {"id": "tiny", "revision": COMMIT, "role": "student", "licence": "Apache-2.0", "outputs": "Silent on them."}
        ],
        "resolution": {
            "tool": "pip", "tool_version": "26", "platform_tags": ["any"],
            "environments": [{"name": "main", "lock": "python/main.lock"}],
        },
        "policy": {
            "model_kinds": [".gguf", ".json", ".safetensors"], "volume_limit": VOLUME_LIMIT,
            "runtime_fetches": [{"name": "hub", "answer": "switched off", "how": "HF_HUB_OFFLINE=1"}],
        },
    }  # fmt: skip
    contents = {
        "README.txt": b"Verify first.\n",
        "VERIFY.sh": b"#!/bin/sh\n",
        WHEEL: wheel("tiny_one", "1.0", "py3-none-any"),
        NATIVE: wheel("tiny_two", "2.0", f"cp36-abi3-manylinux_2_17_{platform.machine()}"),
        "python/main.lock": b"tiny-one==1.0\n",
        f"{MODEL}/model.safetensors": safetensors(),
        f"{MODEL}/config.json": b'{"model_type": "bert"}',
        f"{MODEL}/tokenizer.json": b"{}",
        f"{MODEL}/LICENSE": b"Free.\n",
        "data/train.conll": b"Rome B-LOC\n",
        "data/train2.conll": b"Oslo B-LOC\n",
        LONG: b"".join(b"%09d\n" % number for number in range(50_000)),
        "configs/demo.yaml": b"seed: 1\n",
        "project/py.typed": b"",
        "runtime/python.tar": b"not really\n",
        "sbom/python.cdx.json": b"{}",
        "licenses/tiny-one.txt": b"Free.\n",
    }
    for name, content in contents.items():
        bundle.add(name, content)
    bundle.seal()
    return bundle


def component(name: str, version: str, file: str) -> dict[str, Any]:
    return {"name": name, "version": version, "file": file, "environments": ["main"], "licence": "MIT", "purl": ""}


def wheel(name: str, version: str, *tags: str, inner_name: str = "", extra: dict[str, bytes] | None = None) -> bytes:
    """A wheel that claims these name, version and tags inside; `extra` members may have any name."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}/__init__.py": b"import re\n",
        f"{info}/METADATA": f"Name: {inner_name or name}\nVersion: {version}\n\nName: no\n".encode(),
        f"{info}/WHEEL": "".join(["Wheel-Version: 1.0\n", *(f"Tag: {tag}\n" for tag in tags)]).encode(),
        **(extra or {}),
    }
    return zipped({**members, f"{info}/RECORD": members.get(f"{info}/RECORD", record_of(members, info))})


def record_of(members: dict[str, bytes], info: str) -> bytes:
    """A RECORD as an installer expects it."""
    names = {path: f'"{path}"' if "," in path else path for path in members}
    rows = [f"{names[path]},sha256={_plain_base64(content)},{len(content)}\n" for path, content in members.items()]
    return "".join([*rows, f"{info}/RECORD,,\n"]).encode()


def _plain_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            information = zipfile.ZipInfo(member)
            information.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(information, content)
    return buffer.getvalue()


def repacked(content: bytes) -> bytes:
    """The same wheel with other code of the same length, and a valid CRC."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    code = next(name for name in members if name.endswith("__init__.py"))
    return zipped({**members, code: b"import os\n"})


def safetensors(header: bytes | None = None, tensors: bytes = bytes(8)) -> bytes:
    header = header or json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + tensors


def replaced(pattern: str, by: str) -> Callable[[bytes], bytes]:
    """A change of a manifest's bytes that is sure to have changed something."""

    def change(raw: bytes) -> bytes:
        text, times = re.subn(pattern, lambda _: by, raw.decode("ascii"), count=1)
        assert times == 1, pattern
        return text.encode()

    return change


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
