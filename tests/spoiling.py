"""Ways to spoil a bundle: on its medium, or in a manifest that is signed again afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundles import LONG, VOLUME_LIMIT, Bundle, canonical, component, sha256

Spoil = Callable[[Bundle], object]


def flip(name: str, at: int) -> Spoil:
    def spoil(bundle: Bundle) -> None:
        content = bytearray(bundle.file(name).read_bytes())
        content[at] ^= 1
        bundle.file(name).write_bytes(content)

    return spoil


def swap(one: str, other: str) -> Spoil:
    def spoil(bundle: Bundle) -> None:
        first, second = bundle.file(one).read_bytes(), bundle.file(other).read_bytes()
        bundle.file(one).write_bytes(second)
        bundle.file(other).write_bytes(first)

    return spoil


def put(name: str, content: bytes = b"x") -> Spoil:
    def spoil(bundle: Bundle) -> None:
        path = os.path.join(os.fsencode(bundle.path), os.fsencode(name))  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)

    return spoil


def remove(name: str) -> Spoil:
    return lambda bundle: bundle.file(name).unlink()


def move(name: str, to: str) -> Spoil:
    def spoil(bundle: Bundle) -> None:
        bundle.file(name).rename(bundle.file(to))

    return spoil


def instead(name: str, make: Callable[[Path], Any]) -> Spoil:
    """Put something else in a file's place."""

    def spoil(bundle: Bundle) -> None:
        bundle.file(name).unlink()
        make(bundle.file(name))

    return spoil


def listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def edit(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """A manifest that its signer meant to be so: totals, id and signatures are right."""

    def spoil(bundle: Bundle) -> None:
        change(bundle.manifest)
        bundle.seal()

    return spoil


def raw(change: Callable[[bytes], bytes]) -> Spoil:
    """Other bytes of the manifest, well signed."""
    return lambda bundle: bundle.write_manifest(change(bundle.file("manifest.json").read_bytes()))


def relist(old: str, new: str) -> Spoil:
    """The manifest says another path; the list is sorted again."""

    def change(manifest: dict[str, Any]) -> None:
        next(each for each in manifest["files"] if each["path"] == old)["path"] = new
        manifest["files"].sort(key=lambda each: each["path"])

    return edit(change)


def add(name: str, content: bytes) -> Spoil:
    """A file more, or another one, that was signed like all."""

    def spoil(bundle: Bundle) -> None:
        bundle.add(name, content)
        bundle.seal()

    return spoil


def add_wheel(file: str, content: bytes, name: str = "tiny-three", version: str = "3.0") -> Spoil:
    def spoil(bundle: Bundle) -> None:
        bundle.manifest["components"].append(component(name, version, file))
        bundle.manifest["components"].sort(key=lambda each: each["file"])
        add(file, content)(bundle)

    return spoil


def signed(**settings: str) -> Spoil:
    return lambda bundle: bundle.sign(**settings)


def part(number: int) -> str:
    """The path of a part of the long file in the template."""
    content = b"".join(b"%09d\n" % each for each in range(50_000))
    return f"volumes/{sha256(content)}.{number:05d}.part"


def parts_of(manifest: dict[str, Any]) -> Any:
    return next(each for each in manifest["files"] if each["path"] == LONG)["parts"]


def one_foreign(bundle: Bundle) -> None:
    """The ssh signature is our own, the other one is not."""
    good = bundle.file("manifest.json.sig").read_bytes()
    bundle.sign("foreign")
    bundle.file("manifest.json.sig").write_bytes(good)


def link_folder(bundle: Bundle) -> None:
    bundle.file("data").rename(bundle.path.parent / "outside")
    bundle.file("data").symlink_to("../outside")


def part_of_another_bundle(bundle: Bundle) -> None:
    bundle.file(part(1)).write_bytes(bytes(VOLUME_LIMIT))


def inconsistent_parts(bundle: Bundle) -> None:
    """Each part is as listed, but joined they are not the file."""
    entry = bundle.entry(LONG)
    entry["parts"][0]["sha256"], entry["parts"][1]["sha256"] = entry["parts"][1]["sha256"], entry["parts"][0]["sha256"]
    swap(part(0), part(1))(bundle)
    bundle.seal()


def record_of(name: str, sequence: int, digest: str) -> Spoil:
    """Leaves beside the bundle what an installer keeps."""

    def spoil(bundle: Bundle) -> None:
        schema = "distill-offline-last-installed/1"
        content = {"schema": schema, "name": name, "sequence": sequence, "manifest_sha256": digest}
        (bundle.path.parent / "last.json").write_bytes(canonical(content))

    return spoil


def set_in(*keys: Any) -> Callable[[dict[str, Any]], Any]:
    """set_in("target", "arch", "vax"): the last one is the value."""

    def change(manifest: dict[str, Any]) -> None:
        value: Any = manifest
        for key in keys[:-2]:
            value = value[key]
        value[keys[-2]] = keys[-1]

    return change
