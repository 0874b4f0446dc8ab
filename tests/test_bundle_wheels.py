"""Wheels that are built here come out the same each time, and the store hands out nothing that has changed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from bundle_building import ARCH, NATIVE, PYTHON, Site, site, source_archive, tiny_wheel
from bundles import sha256

from distill_offline.bundle import licences, wheel_metadata
from distill_offline.bundle.resolve import Package
from distill_offline.bundle.settings import SourceBuild
from distill_offline.bundle.staging import Staging
from distill_offline.bundle.target import Target
from distill_offline.bundle.wheels import Store, build_from_source, fetch, repack
from distill_offline.errors import EnvironmentFault, IntegrityError

__all__ = ["site"]

TARGET = Target(ARCH, PYTHON, "2.28")


def test_repacked_wheel_depends_on_its_content_alone(tmp_path: Path) -> None:
    made = []
    for number, (method, moment) in enumerate(
        ((zipfile.ZIP_DEFLATED, (2020, 1, 1, 0, 0, 0)), (zipfile.ZIP_STORED, (2024, 5, 5, 5, 5, 4)))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        names = ["a-1.dist-info/METADATA", "b.py", "a/__init__.py"][:: 1 - 2 * number]
        with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w", method) as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name, moment), name * 50, method)
        made.append(repack(folder / "a-1-py3-none-any.whl", folder / "same").read_bytes())
    assert made[0] == made[1]


@pytest.mark.slow
def test_source_only_package_is_built_the_same_each_time_and_held_to_its_pin(site: Site) -> None:
    digest = source_archive(site.index)
    pins = []
    for name in ("one", "two"):
        work = site.folder / name
        work.mkdir()
        build = SourceBuild(version="1.0", sha256=digest, wheel_sha256="0" * 64, build_requirements=())
        with pytest.raises(IntegrityError, match="has the SHA-256") as caught:
            build_from_source("from-source", build, Store(work / "wheels"), work)
        pins.append(str(caught.value).split("SHA-256 ")[1].split(",")[0])
    assert pins[0] == pins[1]
    right = SourceBuild(version="1.0", sha256=digest, wheel_sha256=pins[0], build_requirements=())
    wheel = build_from_source("from-source", right, Store(work / "wheels"), work)
    assert sha256(wheel.read_bytes()) == pins[0]
    (site.index / "from_source-1.0.tar.gz").unlink()
    assert build_from_source("from-source", right, Store(work / "wheels"), work) == wheel


def test_other_source_than_the_pinned_one_is_never_built(site: Site) -> None:
    source_archive(site.index)
    build = SourceBuild(version="1.0", sha256="1" * 64, wheel_sha256="0" * 64, build_requirements=())
    with pytest.raises(EnvironmentFault, match=r"(?i)hash"):
        build_from_source("from-source", build, Store(site.folder / "wheels"), site.folder)


def test_wheel_with_another_digest_than_locked_is_not_taken(site: Site) -> None:
    with pytest.raises(EnvironmentFault, match=r"(?i)hash"):
        fetch([Package("gamma", "3.0", "0" * 64)], TARGET, Store(site.folder / "wheels"), site.folder, site.said.append)


def test_of_several_locked_digests_the_wheel_for_the_target_is_taken_and_all_are_kept(site: Site) -> None:
    foreign = NATIVE.replace(ARCH, "s390x")
    wheels = [tiny_wheel(site.index, "delta", "1.0", tag=tag, licence=tag) for tag in (foreign, NATIVE)]
    wrong, right = (sha256(wheel.read_bytes()) for wheel in wheels)
    store = Store(site.folder / "wheels")
    store.put(tiny_wheel(site.folder / "elsewhere", "delta", "1.0", tag=foreign, licence=foreign))  # for another host
    for digests in ((wrong, right), (right, wrong)):
        package = Package("delta", "1.0", digests[0], others=("0" * 64, *digests[1:]))
        fetch([package], TARGET, store, site.folder, site.said.append)
        found = store.settled(package, TARGET)
        assert found is not None
        assert (found.sha256, found.file) == (right, wheels[1].name)
        assert sorted(found.digests) == sorted(("0" * 64, wrong, right))


def test_store_forgets_what_has_changed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    wheel = store.put(tiny_wheel(tmp_path, "alpha", "1"))
    digest = sha256(wheel.read_bytes())
    assert store.find(digest) == wheel
    wheel.write_bytes(b"spoilt")
    assert store.find(digest) is None
    assert not wheel.exists()


def test_licence_is_read_from_the_new_field_the_old_one_or_the_classifiers(tmp_path: Path) -> None:
    expected = {
        "License-Expression: MIT OR X": ("MIT OR X", True),
        "License: BSD 3-Clause": ("BSD 3-Clause", False),
        "License: " + "words " * 100: ("unknown", False),
        "Classifier: License :: OSI Approved :: MIT License": ("MIT License", False),
        "Summary: nothing": ("unknown", False),
    }
    for number, (line, licence) in enumerate(expected.items()):
        path = tmp_path / f"a{number}-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"a{number}-1.dist-info/METADATA", f"Name: a{number}\nVersion: 1\n{line}\n\n")
        found = wheel_metadata.read(path)
        assert (found.licence, found.is_expression) == licence


def test_licence_texts_get_names_that_may_travel(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    inner = [
        "licenses/LICENSE",
        "licenses/third party/License (x)",
        "LICENSE.txt",
        "licenses/license",
        "licenses/" + "n" * 300,
    ]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", "Name: a\nVersion: 1\n\n")
        archive.writestr("a-1.dist-info/RECORD", "")
        for name in inner:
            archive.writestr(f"a-1.dist-info/{name}", name)
    staging = Staging(tmp_path / "staged", 1 << 20)
    assert licences.stage([("a-1", wheel)], staging) == []
    texts = {each.read_text("utf-8") for each in (tmp_path / "staged").rglob("*") if each.is_file()}
    assert texts == set(inner)


def test_file_that_is_no_wheel_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a-1-py3-none-any.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(IntegrityError, match="cannot be read as a wheel"):
        wheel_metadata.read(path)
