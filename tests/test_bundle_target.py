"""The host that a bundle is for: probe on a host with almost nothing, its profile, and what fits it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill_offline.bundle.settings import TargetSettings
from distill_offline.bundle.target import Profile, Target, choose, require_like_host
from distill_offline.errors import ConfigError, EnvironmentFault

SCRIPT = Path(__file__).parent.parent / "air_gap_bundle.sh"
WANTED = TargetSettings(arch="x86_64", python="3.11", glibc="2.28", tools=("tar", "not-looked-for"))


def profile(**changes: Any) -> Profile:
    known: dict[str, Any] = {
        "arch": "x86_64", "glibc": "2.31", "pythons": ("3.11.2", "3.9.1"), "openssh": "8.4p1", "openssl": "1.1.1",
        "fips": False, "driver": None, "tools": {"tar": True, "strace": False}, "free_bytes": 10**9, **changes,
    }  # fmt: skip
    return Profile(**known)


def test_tags_run_from_the_targets_glibc_down_with_the_old_names_beside_theirs() -> None:
    tags = Target("x86_64", "3.11", "2.18").platform_tags
    assert tags[:4] == [
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    ]
    assert tags[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    assert Target("aarch64", "3.11", "2.17").platform_tags == [
        "manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64",
    ]  # fmt: skip


def test_target_is_what_the_configuration_says_where_the_host_fits() -> None:
    assert choose(WANTED, profile(), False) == Target("x86_64", "3.11", "2.28")
    assert choose(TargetSettings(glibc=None), profile(), False).glibc == "2.31"
    assert choose(TargetSettings(python="3.12", glibc=None), profile(), True).python == "3.12"
    with pytest.raises(ConfigError, match=r"target\.glibc is missing"):
        choose(TargetSettings(), None, False)


@pytest.mark.parametrize(
    ("host", "wanted", "reason"),
    [
        ({"arch": "aarch64"}, {}, "it is aarch64, target.arch is x86_64"),
        ({"glibc": "2.17"}, {}, r"it has glibc 2\.17, target\.glibc is 2\.28"),
        ({"glibc": None}, {}, "other than glibc"),
        ({"pythons": ("3.6.8",)}, {}, r"no Python 3\.11 \(3\.6\.8\): carry one"),
        ({"tools": {"tar": False}}, {}, "lacks the commands tar"),
        ({}, {"accelerator": "cuda"}, "no NVIDIA driver"),
        (
            {"driver": "535.1"},
            {"accelerator": "cuda", "min_driver": "580"},
            r"driver 535\.1, target\.min_driver is 580",
        ),
    ],
)
def test_host_that_cannot_run_it_is_refused(host: dict[str, Any], wanted: dict[str, Any], reason: str) -> None:
    settings = TargetSettings(**{"arch": "x86_64", "python": "3.11", "glibc": "2.28", "tools": ("tar",), **wanted})
    with pytest.raises(ConfigError, match=reason):
        choose(settings, profile(**host), False)


def test_another_python_than_the_targets_cannot_resolve() -> None:
    own = "{}.{}".format(*sys.version_info[:2])
    require_like_host(Target(platform.machine(), own, "2.28"))
    for foreign in (Target(platform.machine(), "3.99", "2.28"), Target("sparc64", own, "2.28")):
        with pytest.raises(EnvironmentFault, match="must be built by the same"):
            require_like_host(foreign)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "other/1"}', "[" * 100_000, '{"schema": 1e999}'])
def test_file_that_probe_did_not_write_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match="is not a profile"):
        Profile.read(path)


def probe(tmp_path: Path, shell: str, path: str) -> dict[str, Any]:
    done = subprocess.run(
        [shell, str(SCRIPT), "probe", str(tmp_path)], env={"PATH": path}, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "profile.json").write_text(done.stdout, "utf-8")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_probe_tells_what_this_machine_has(tmp_path: Path) -> None:
    found = probe(tmp_path, "/bin/sh", os.environ["PATH"])
    read = Profile.read(tmp_path / "profile.json")
    assert read.arch == platform.machine()
    assert read.glibc == platform.libc_ver()[1]
    assert read.free_bytes > 1 << 20
    assert found["disks"][0]["folder"] == str(tmp_path)
    assert any(each["version"].startswith("3.") for each in found["pythons"])


def test_probe_works_where_almost_nothing_is_installed(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("uname", "sed", "tr", "cut", "cat", "df", "awk", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or name)
    smi = tools / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '580.65.06, NVIDIA \"H100\", 81559 MiB\\n580.65.06, B\\\\, 1 MiB\\n'\n", "utf-8")
    smi.chmod(0o755)
    found = probe(tmp_path, "/bin/sh", str(tools))
    assert found["gpu"] == {"driver": "580.65.06", "devices": ['NVIDIA "H100", 81559 MiB', "B\\, 1 MiB"]}
    assert found["tools"]["nvidia-smi"] is True
    assert found["tools"]["strace"] is False
    assert found["openssh"] is None
    assert Profile.read(tmp_path / "profile.json").driver == "580.65.06"


def test_front_door_explains_itself_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, cwd=tmp_path)

    assert "build CONFIG -o DIR" in run().stdout
    assert run("guess").returncode == 2
    (tmp_path / "-n").mkdir()
    assert "is no bundle" in run("verify", "-n").stderr
    assert "give --root" in run("rollback").stderr
