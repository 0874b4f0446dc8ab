"""What pip is asked for a target, and what is refused before anything large is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_building import ARCH, NATIVE, PYTHON, Site, site, tiny_wheel
from bundles import sha256

from distill_offline.bundle import wheel_metadata
from distill_offline.bundle.requirements import Direct, check_floors, direct_requirements, edges
from distill_offline.bundle.resolve import (
    Package,
    Question,
    lock_text,
    parse_report,
    read_lock,
    refuse_misfits,
    resolve,
)
from distill_offline.bundle.target import Target
from distill_offline.errors import ConfigError, EnvironmentFault, IntegrityError

__all__ = ["site"]

TARGET = Target(ARCH, PYTHON, "2.28")


def test_resolver_takes_the_newest_wheels_that_fit_the_target(site: Site) -> None:
    tiny_wheel(site.index, "beta", "2.5", tag=NATIVE.replace("2_17", "2_31"))
    tiny_wheel(site.index, "beta", "2.2", tag=NATIVE.replace("2_17", "2_28"))
    tiny_wheel(site.index, "gamma", "3.5", tag="cp36-cp36m-linux_x86_64")
    found = resolve(Question(("beta>=1", "alpha>=1"), ("gamma<4",)), TARGET, "main")
    assert [(each.name, each.version) for each in found] == [("alpha", "1.5"), ("beta", "2.2"), ("gamma", "3.0")]
    assert found[0].sha256 == sha256((site.index / "alpha-1.5-py3-none-any.whl").read_bytes())


def test_what_needs_a_newer_glibc_is_named(site: Site) -> None:
    for glibc in ("2_31", "2_35"):
        tiny_wheel(site.index, "delta", "4.0", tag=NATIVE.replace("2_17", glibc))
        tiny_wheel(site.index, "beta", "2.0", tag=NATIVE.replace("2_17", glibc))
    tiny_wheel(site.index, "omega", "1.0", "delta>=4", "beta>=2")
    with pytest.raises(EnvironmentFault, match=r"glibc 2\.28, but delta 4\.0 needs 2\.31\. Nothing was downloaded"):
        resolve(Question(("omega>=1",), ()), TARGET, "teacher")


def test_what_is_nowhere_is_told_in_pips_words_without_addresses(site: Site) -> None:
    with pytest.raises(EnvironmentFault, match="No matching distribution found for nowhere") as caught:
        resolve(Question(("nowhere>=1",), ()), TARGET, "main")
    assert "://" not in str(caught.value)
    assert str(site.folder) not in str(caught.value)


def test_index_without_digests_is_refused() -> None:
    item = {"metadata": {"name": "A.b", "version": "1"}, "download_info": {"url": "file:///a.whl", "archive_info": {}}}
    with pytest.raises(EnvironmentFault, match="a-b: the index gives no SHA-256"):
        parse_report({"version": "1", "install": [item]})
    with pytest.raises(EnvironmentFault, match="version 2"):
        parse_report({"version": "2", "install": []})


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (f"a-1-cp36-cp36m-manylinux_2_17_{ARCH}.whl", "is not for Python"),
        (f"a-1-{NATIVE.replace('2_17', '2_30')}.whl", r"needs glibc 2\.30"),
        ("a-1-py3-none-win_amd64.whl", "is not for Linux"),
        ("a-2-py3-none-any.whl", "is not named as a 1"),
        ("a-1.zip", "is not named as a wheel"),
    ],
)
def test_wheel_that_cannot_run_there_is_refused_by_its_name(file: str, reason: str) -> None:
    with pytest.raises(EnvironmentFault, match=reason):
        refuse_misfits([Package("a", "1", "0" * 64, file)], TARGET, "cpu")


def test_gpu_packages_are_no_part_of_a_cpu_bundle() -> None:
    listed = [
        Package(name, "1", "0" * 64, f"{name.replace('-', '_')}-1-py3-none-any.whl") for name in ("nvidia-nccl", "a")
    ]
    with pytest.raises(EnvironmentFault, match="nvidia-nccl and 0 more packages for GPUs"):
        refuse_misfits(listed, TARGET, "cpu")
    refuse_misfits(listed, TARGET, "cuda")


def test_lock_survives_writing_and_reading(tmp_path: Path) -> None:
    packages = [Package("alpha", "1.5", "a" * 64), Package("torch", "2.13.0+cpu", "b" * 64)]
    path = tmp_path / "main.lock"
    path.write_text(lock_text(packages), "ascii")
    assert read_lock(path, ()) == packages
    assert read_lock(path, ["alpha"]) == packages[1:]
    path.write_text(lock_text(packages) + "--extra-index-url file:///x\n", "ascii")
    with pytest.raises(ConfigError, match="entry 4: is not NAME==VERSION"):
        read_lock(path, ())


def test_a_lock_keeps_every_digest_of_a_package(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    digests = [letter * 64 for letter in "cab"]
    hashes = " \\\n    ".join(f"--hash=sha256:{each}" for each in digests)
    path.write_text(f"alpha[extra]==1.0 \\\n    {hashes}\n    # via ours\nbeta==2 --hash=sha256:{'d' * 64}  # why\n")
    alpha, beta = read_lock(path, ())
    assert alpha.digests == tuple(digests)
    assert beta.digests == ("d" * 64,)
    again = tmp_path / "again.lock"
    again.write_text(lock_text([alpha, beta]), "ascii")
    assert [sorted(each.digests) for each in read_lock(again, ())] == [sorted(digests), ["d" * 64]]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_lock(path, ()) == [alpha, beta]


def test_a_lock_with_two_versions_of_a_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "main.lock"
    path.write_text(f"alpha==1 --hash=sha256:{'a' * 64}\nAlpha==2 --hash=sha256:{'b' * 64}\n")
    with pytest.raises(ConfigError, match="entry 2: alpha 2 is locked, and 1 before"):
        read_lock(path, ())
    path.write_text(f"alpha==1 --hash=sha256:{'a' * 64}\nalpha==1 --hash=sha256:{'b' * 64}\n")
    assert [each.digests for each in read_lock(path, ())] == [("a" * 64, "b" * 64)]


def test_every_direct_requirement_needs_a_floor(tmp_path: Path) -> None:
    own = wheel_metadata.read(tiny_wheel(tmp_path, "ours", "1", "alpha", "beta<3"))
    with pytest.raises(ConfigError, match="alpha: has no lower bound"):
        direct_requirements(own, (), ())
    bare = wheel_metadata.read(tiny_wheel(tmp_path, "ours", "1"))
    with pytest.raises(ConfigError, match="beta<3: has no lower bound"):
        direct_requirements(bare, (), ["beta<3"])


def test_extra_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    own = wheel_metadata.read(tiny_wheel(tmp_path, "ours", "1", 'alpha>=1; extra == "quickstart"'))
    with pytest.raises(ConfigError, match=r"no extra 'quickstrat'.*Did you mean quickstart"):
        direct_requirements(own, ["quickstrat"], ())


def test_extras_of_ours_are_followed_and_the_highest_floor_counts(tmp_path: Path) -> None:
    requires = (
        "alpha>=1.2,<3",
        'ours[inner]; extra == "outer"',
        'Beta_X==2.*; extra == "inner"',
        'alpha>=1.10; extra == "inner"',
        'never>=1; python_version < "3"',
        'other; extra == "unasked"',
    )
    own = wheel_metadata.read(tiny_wheel(tmp_path, "ours", "1", *requires))
    assert direct_requirements(own, ["outer"], ["pip>=25"]) == [
        Direct("alpha", "1.10"),
        Direct("beta-x", "2"),
        Direct("pip", "25"),
    ]


def test_resolver_that_fell_back_is_found_out() -> None:
    wanted = [Direct("vllm", "0.32")]
    check_floors(wanted, {"vllm": "0.32.0"}, "teacher")
    with pytest.raises(IntegrityError, match=r"vllm was resolved to 0\.2\.2, below its floor 0\.32"):
        check_floors(wanted, {"vllm": "0.2.2"}, "teacher")
    with pytest.raises(IntegrityError, match=r"0\.32rc1, below"):
        check_floors(wanted, {"vllm": "0.32rc1"}, "teacher")
    with pytest.raises(IntegrityError, match="was not resolved"):
        check_floors(wanted, {}, "teacher")


def test_wheels_say_who_needs_whom_and_what_is_lacking(tmp_path: Path) -> None:
    made = [
        tiny_wheel(tmp_path, "ours", "1", "alpha[fast]>=1"),
        tiny_wheel(tmp_path, "alpha", "1.5", 'gamma>=3; extra == "fast"', 'rho; extra == "slow"'),
        tiny_wheel(tmp_path, "gamma", "3.0", "alpha"),
    ]
    wheels = {each.name: each for each in map(wheel_metadata.read, made)}
    assert edges({"ours": ()}, wheels) == {"alpha": ["gamma"], "gamma": ["alpha"], "ours": ["alpha"]}
    without = {name: each for name, each in wheels.items() if name != "gamma"}
    with pytest.raises(IntegrityError, match=r"alpha needs gamma>=3.*not among the wheels"):
        edges({"ours": ()}, without)
    older = wheel_metadata.read(tiny_wheel(tmp_path, "gamma", "2.0"))
    with pytest.raises(IntegrityError, match=r"2\.0 was taken"):
        edges({"ours": ()}, {**wheels, "gamma": older})
