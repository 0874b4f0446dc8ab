"""A tiny bundle that can be installed, with a stand-in for distill_offline in it, and how tests call the installer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bundles import Bundle, Keys, component, sha256, small_bundle, wheel

PACKAGE = Path(__file__).parent.parent / "distill_offline"
INSTALLER, VERIFIER = PACKAGE / "bundle/installer/install.py", PACKAGE / "bundle/verifier/verify.py"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

# What stands for distill_offline: it tells what it sees of the world, writes a result, and fails when it is told to.
STAND_IN = b"""
import json, os, socket, sys
def world():
    with open("/proc/self/net/dev") as file:
        interfaces = sorted(line.split(":")[0].strip() for line in file if ":" in line)
    names = [name for name in os.environ if name.startswith(("PIP_", "PYTHON", "LD_")) or "proxy" in name.lower()]
    return {"arguments": sys.argv[1:], "interfaces": interfaces, "bad": sorted(names), "path": sys.path,
            "models": sorted(os.listdir(os.environ["DISTILL_MODELS"])), "offline": os.environ["HF_HUB_OFFLINE"],
            "release": os.environ["DISTILL_RELEASE"]}
if __name__ == "__main__":
    if "fail" in sys.argv:
        sys.exit("this smoke run was told to fail")
    with open("result-%s.json" % sys.argv[1], "w") as file:
        file.write("result of " + sys.argv[1])
    print(json.dumps(world()))
"""


def wheels() -> dict[str, bytes]:
    """Real wheels: a library, and the stand-in. Pure Python, so they install everywhere."""
    return {
        "python/wheels/tiny_one-1.0-py3-none-any.whl": installable("tiny_one", "1.0"),
        "python/wheels/tiny_two-2.0-py3-none-any.whl": installable("tiny_two", "2.0"),
        "python/wheels/distill_offline-1.0-py3-none-any.whl": installable(
            "distill_offline", "1.0", {"distill_offline/__main__.py": STAND_IN}
        ),
    }


def installable(name: str, version: str, extra: dict[str, bytes] | None = None, code: bytes = b"") -> bytes:
    """A wheel that pip takes: with a RECORD, and METADATA that has its version."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}/__init__.py": code or b"import re\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    return wheel(name, version, "py3-none-any", extra=members)


def installable_bundle(path: Path, keys: Keys) -> Bundle:
    """The small bundle, but one that fits this machine's Python, has the scripts, and can really be installed."""
    bundle = small_bundle(path, keys)
    for entry in [each for each in bundle.manifest["files"] if each["kind"] in ("wheel", "lock", "runtime")]:
        bundle.file(entry["path"]).unlink()
        bundle.manifest["files"].remove(entry)
    bundle.file("runtime").rmdir()
    bundle.manifest["target"] |= {"python": HERE, "interpreter": None}
    bundle.manifest["totals"]["installed_bytes"] = 2_000_000
    bundle.manifest["components"] = []
    bundle.manifest["direct_requirements"] = [
        {"name": "distill-offline", "environment": "main", "floor": "1.0", "resolved": "1.0"},
        {"name": "tiny-one", "environment": "main", "floor": "0.9", "resolved": "1.0"},
    ]
    for name, content in wheels().items():
        put_wheel(bundle, name, content)
    bundle.add("verify.py", VERIFIER.read_bytes())
    bundle.add("install.py", INSTALLER.read_bytes())
    bundle.add("configs/smoke.json", json.dumps([["annotate", "-x"], ["train"]]).encode())
    lock(bundle)
    bundle.seal()
    return bundle


def plain_bundle(path: Path, keys: Keys) -> Bundle:
    """An installable bundle without environments: quick to install, since nothing is run."""
    bundle = installable_bundle(path, keys)
    for entry in [each for each in bundle.manifest["files"] if each["kind"] in ("wheel", "lock")]:
        bundle.file(entry["path"]).unlink()
        bundle.manifest["files"].remove(entry)
    for folder in ("python/wheels", "python"):
        bundle.file(folder).rmdir()
    bundle.file("configs/smoke.json").unlink()
    bundle.manifest["files"].remove(bundle.entry("configs/smoke.json"))
    bundle.manifest |= {"components": [], "direct_requirements": []}
    bundle.manifest["resolution"]["environments"] = []
    bundle.seal()
    bundle.drop_ssh()  # one process instead of four
    return bundle


def put_wheel(bundle: Bundle, path: str, content: bytes) -> None:
    name, version = path.rpartition("/")[2].split("-")[:2]
    others = [each for each in bundle.manifest["components"] if each["file"] != path]
    own = component(name.replace("_", "-"), version, path)
    bundle.manifest["components"] = sorted([*others, own], key=lambda each: str(each["file"]))
    bundle.add(path, content)


def lock(bundle: Bundle, extra: str = "") -> None:
    """A lock with the hashes that the manifest has for the wheels now."""
    lines = [
        f"{each['name']}=={each['version']} \\\n    --hash=sha256:{bundle.entry(each['file'])['sha256']}\n"
        for each in bundle.manifest["components"]
    ]
    bundle.add("python/main.lock", ("# by the tests\n" + "".join(lines) + extra).encode())


def successor(bundle: Bundle, path: Path, sequence: int = 4) -> Bundle:
    """Another bundle of the same name, with this sequence."""
    other = bundle.copy(path)
    before = sha256(bundle.file("manifest.json").read_bytes())
    follows = sequence == bundle.manifest["sequence"] + 1
    other.manifest |= {"sequence": sequence, "previous_manifest_sha256": before if follows else None}
    other.with_ssh = bundle.with_ssh
    other.seal()
    return other


def trust(bundle: Bundle) -> list[str]:
    return ["--openssl-key", bundle.keys("own.pub.pem"), "--quiet"]


def line_for(bundle: Bundle, root: Path, *words: str | Path) -> list[str]:
    """The command that installs a bundle."""
    words = ("install", bundle.path, "--root", root, *trust(bundle), *words)
    return [sys.executable, "-I", "-S", "-B", str(INSTALLER), *map(str, words)]


def run(verb: str, *words: str | Path, python: str = sys.executable, program: Path = INSTALLER, **settings: Any) -> Any:
    """The installer's exit code and output."""
    line = [python, "-I", "-S", "-B", str(program), verb, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, **settings)


def install(bundle: Bundle, root: Path, *words: str | Path, **settings: Any) -> Any:
    return run("install", bundle.path, "--root", root, *trust(bundle), *words, **settings)


def current(root: Path) -> Path:
    """The current release's folder; fails where there is none."""
    link = root / "current"
    assert link.is_symlink()
    assert link.resolve().parent == root.resolve() / "releases"
    return link.resolve()


def evidence(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((current(root) / "evidence/install.json").read_bytes())
    return found


def installer_module() -> ModuleType:
    """install.py as a module, for what can be tried without a process."""
    specification = importlib.util.spec_from_file_location("install", INSTALLER)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in sorted(folder.rglob("*"))}
