"""Bundles built by the real pip from a folder of tiny wheels, and judged by the verifier that travels with them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import bundles
import pytest
from bundle_building import PYTHON, Site, built_site, site, tiny_wheel

from distill_offline.bundle.signing import Keys
from distill_offline.errors import ConfigError, EnvironmentFault, IntegrityError

pytestmark = pytest.mark.slow  # every test runs the real pip, offline

__all__ = ["built_site", "site"]

signs = pytest.mark.skipif(bool(bundles.TOOLS), reason=f"{' and '.join(bundles.TOOLS)} not on this machine")


def verified(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-B", str(folder / "verify.py"), str(folder), "--quiet", *options]
    return subprocess.run(command, capture_output=True, text=True)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_small_bundle_is_intact_by_its_own_verifier(built_site: Site) -> None:
    done = verified(built_site.folder / "out" / "bundle")
    assert done.returncode == 3, done.stdout + done.stderr
    assert built_site.manifest()["bundle_id"] in done.stdout
    paths = {each["path"] for each in built_site.manifest()["files"]}
    assert {"install.py", "python/main.lock", "data/corpus/train.conll", "configs/run.yaml"} <= paths
    assert {"sbom/python.cdx.json", "sbom/ml.cdx.json", "licenses/models/tiny.txt"} <= paths
    assert {"licenses/python/alpha-1.5/LICENSE", "licenses/python/gamma-3.0/LICENSE"} <= paths


@signs
def test_signed_bundle_is_valid_by_both_keys(site: Site, tmp_path: Path) -> None:
    keys = bundles.Keys.make(tmp_path)
    site.config |= {"environments": {"main": {}}, "volume_limit": 100_000}
    (site.folder / "corpus" / "long.txt").write_bytes(bytes(range(256)) * 1000)
    built = site.build(keys=Keys(Path(keys("own")), Path(keys("own.pem"))))
    done = verified(built.folder, "--allowed-signers", keys("own.allowed"), "--openssl-key", keys("own.pub.pem"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert verified(built.folder, "--allowed-signers", keys("foreign.allowed")).returncode == 1
    assert keys.fingerprint("own") in built.signers
    entry = next(each for each in site.manifest()["files"] if each["path"] == "data/corpus/long.txt")
    assert [part["size"] for part in entry["parts"]] == [100_000, 100_000, 56_000]


def test_same_inputs_give_the_same_bytes(site: Site, built_site: Site) -> None:
    again = site.build("elsewhere")
    assert bytes_of(again.folder) == bytes_of(built_site.folder / "out" / "bundle")


def test_manifest_names_what_was_asked_for_and_what_it_needs(built_site: Site) -> None:
    manifest = built_site.manifest()
    assert manifest["direct_requirements"] == [
        {"name": "alpha", "environment": "main", "floor": "1.2", "resolved": "1.5"},
        {"name": "beta", "environment": "main", "floor": "2.0", "resolved": "2.0"},
    ]
    assert [each["name"] for each in manifest["components"]] == ["alpha", "beta", "gamma", "ours"]
    assert manifest["target"]["min_glibc"] == "2.17"
    assert manifest["policy"]["model_kinds"] == [".json", ".safetensors"]
    assert {"models and kernels from a hub"} <= {each["name"] for each in manifest["policy"]["runtime_fetches"]}


def test_nothing_in_a_bundle_tells_of_the_builders_machine(built_site: Site) -> None:
    for name, content in bytes_of(built_site.folder / "out" / "bundle").items():
        assert str(built_site.folder).encode() not in content, name
        assert name.startswith(("README", "VERIFY", "INSTALL", "verify", "install")) or b"://" not in content, name


def half_of_a_build(site: Site) -> None:
    """What may lie about besides what the interrupted build left itself."""
    staged = site.folder / "out" / "bundle.work" / "bundle" / "python"
    staged.mkdir(parents=True, exist_ok=True)
    (staged / "main.lock").write_bytes(b"half of a lo")
    (staged / "left.lock.partial").write_bytes(b"left over")


def test_interrupted_build_goes_on_and_gives_the_same_bundle(site: Site, built_site: Site) -> None:
    class Stop(list[str]):
        def append(self, text: str) -> None:
            if text.startswith("verifying"):
                raise KeyboardInterrupt

    site.said = Stop()
    with pytest.raises(KeyboardInterrupt):
        site.build()
    assert not (site.folder / "out" / "bundle").exists()
    half_of_a_build(site)
    site.said = []
    assert bytes_of(site.build().folder) == bytes_of(built_site.folder / "out" / "bundle")
    assert not any(each.startswith("wheels") for each in site.said)


def test_killed_build_goes_on_and_gives_the_same_bundle(site: Site, built_site: Site) -> None:
    assert site.settings
    command = [sys.executable, "-m", "distill_offline.bundle", "build", "bundle.yaml", "-o", "out/bundle"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stderr
        assert any(line.startswith("wheels 1 to") for line in child.stderr)
        child.kill()
    half_of_a_build(site)
    assert bytes_of(site.build().folder) == bytes_of(built_site.folder / "out" / "bundle")
    assert not list((site.folder / "out" / "bundle.work").glob("incoming-*"))


def test_wheel_that_was_spoilt_in_the_store_is_fetched_again(site: Site) -> None:
    first = site.build("one")
    store = site.folder / "out" / "one.work" / "wheels"
    wheel = next(store.glob("*/alpha-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-5] + b"spoil")
    (site.folder / "out" / "one").rename(site.folder / "first")
    assert site.build("one").bundle_id == first.bundle_id


def test_there_is_never_a_bundle_over_another(built_site: Site) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        built_site.build()


def test_second_build_at_the_same_place_waits_for_nobody(site: Site) -> None:
    class Second(list[str]):
        def append(self, text: str) -> None:
            with pytest.raises(EnvironmentFault, match="another build"):
                Site(site.folder, site.config).build()
            raise KeyboardInterrupt

    site.said = Second()
    with pytest.raises(KeyboardInterrupt):
        site.build()


def test_bundles_form_a_chain(site: Site, built_site: Site) -> None:
    before = built_site.folder / "out" / "bundle" / "manifest.json"
    site.config |= {"sequence": 2, "previous_manifest": str(before), "environments": {"main": {}}}
    site.build("two")
    assert site.manifest("two")["previous_manifest_sha256"] == bundles.sha256(before.read_bytes())
    for sequence, reason in ((4, "before sequence 4 of demo comes 3"), (1, "none before sequence 1")):
        site.config["sequence"] = sequence
        with pytest.raises(ConfigError, match=reason):
            site.build("another")


def test_two_environments_may_hold_two_versions(site: Site) -> None:
    tiny_wheel(site.index, "gamma", "2.0")
    tiny_wheel(site.index, "delta", "1.0", 'zeta>=1; extra == "full"')
    tiny_wheel(site.index, "zeta", "1.0")
    site.config["environments"]["older"] = {"constraints": ["gamma<3"], "requirements": ["delta[full]>=1"]}
    built = site.build()
    found = {(each["name"], each["version"]): each["environments"] for each in site.manifest()["components"]}
    assert found["gamma", "2.0"] == ["older"]
    assert found["gamma", "3.0"] == ["main"]
    assert found["alpha", "1.5"] == ["main", "older"]
    assert found["zeta", "1.0"] == ["older"]
    assert verified(built.folder).returncode == 3


def test_lock_of_an_earlier_bundle_is_taken_as_it_is(site: Site, built_site: Site) -> None:
    tiny_wheel(site.index, "gamma", "3.1")
    site.config["environments"]["main"]["lock"] = str(built_site.folder / "out" / "bundle" / "python" / "main.lock")
    site.build()
    assert site.manifest()["components"] == built_site.manifest()["components"]


def test_a_lock_with_several_digests_for_a_package_gives_a_bundle_whose_lock_has_them_all(
    site: Site, built_site: Site
) -> None:
    earlier = (built_site.folder / "out" / "bundle" / "python" / "main.lock").read_text()
    others = [f"--hash=sha256:{digit * 64}" for digit in "0f"]
    lock = site.folder / "main.lock"
    lock.write_text(re.sub(r"(--hash=\S+)", rf"{others[1]} \\\n    \1 \\\n    {others[0]}", earlier))
    site.config["environments"]["main"]["lock"] = str(lock)
    built = site.build()
    assert site.manifest()["components"] == built_site.manifest()["components"]
    own = (built.folder / "python" / "main.lock").read_text()
    fetched = earlier.count("--hash") - 1  # our own wheel is built, whatever an earlier lock says
    assert [own.count(each) for each in others] == [fetched, fetched]
    assert verified(built.folder).returncode == 3


def test_wheels_with_other_tags_inside_need_someone_to_vouch(site: Site) -> None:
    tiny_wheel(site.index, "gamma", "3.0", tag="py3-none-any", inner="cp27-none-any")
    with pytest.raises(IntegrityError, match=r"accept_retagged: \[gamma\]"):
        site.build("refused")
    site.config["accept_retagged"] = ["gamma"]
    built = site.build("accepted")
    assert "its signer vouches for the name" in verified(built.folder).stdout


def test_files_that_run_at_each_start_need_someone_to_vouch_and_the_signer_is_told(site: Site) -> None:
    hook = b"import gamma\n"
    tiny_wheel(site.index, "gamma", "3.0", extra={"gamma_hook.pth": hook})
    with pytest.raises(IntegrityError, match=r"would install gamma_hook\.pth .*accept_unusual_files: \[gamma\]"):
        site.build("refused")
    site.config["accept_unusual_files"] = ["gamma"]
    built = site.build("accepted")
    digest = bundles.sha256(hook)
    wheel = "python/wheels/gamma-3.0-py3-none-any.whl"
    manifest = json.loads((built.folder / "manifest.json").read_bytes())
    assert manifest["policy"]["unusual_files"] == [{"wheel": wheel, "path": "gamma_hook.pth", "sha256": digest}]
    assert any("gamma_hook.pth" in note and digest in note for note in built.notes)
    assert f"{wheel} installs gamma_hook.pth" in verified(built.folder).stdout
    sizes = {each["name"]: each["unpacked_bytes"] for each in manifest["components"]}
    assert sizes["gamma"] > len(hook)


def test_a_file_that_two_packages_share_needs_someone_to_vouch(site: Site) -> None:
    shared = {"shared/data.txt": b"the same\n"}
    tiny_wheel(site.index, "alpha", "1.5", "gamma>=1", extra=shared)
    tiny_wheel(site.index, "gamma", "3.0", extra=shared)
    with pytest.raises(IntegrityError, match=r"would overwrite shared/data\.txt"):
        site.build("refused")
    site.config["accept_unusual_files"] = ["alpha", "gamma"]
    assert verified(site.build("accepted").folder).returncode == 3


def test_interpreter_is_carried_by_its_digest(site: Site) -> None:
    archive = site.folder / "python.tar"
    for inner in ("python/bin/python3.1", f"python/bin/python{PYTHON}"):
        with tarfile.open(archive, "w") as opened:
            opened.addfile(tarfile.TarInfo(inner))
        site.config["interpreter"] = {"path": "python.tar", "sha256": bundles.sha256(archive.read_bytes())}
        if inner.endswith("python3.1"):
            with pytest.raises(ConfigError, match="holds no bin/python3"):
                site.build()
    site.build()
    assert site.manifest()["target"]["interpreter"] == "runtime/python.tar"
    site.config["interpreter"]["sha256"] = "0" * 64
    with pytest.raises(IntegrityError, match=r"runtime/python\.tar: has the SHA-256"):
        site.build("another")


def profile(site: Site, **changes: Any) -> Path:
    value = {
        "schema": "distill-offline-profile/1", "arch": site.config["target"]["arch"], "glibc": "2.31",
        "pythons": [{"path": "/usr/bin/python3", "version": site.config["target"]["python"] + ".2"}],
        "openssh": "8.4p1", "openssl": "1.1.1", "fips": False, "gpu": {"driver": None, "devices": []},
        "tools": {"tar": True}, "disks": [{"folder": "/", "filesystem": "xfs", "free_bytes": 10**9}], **changes,
    }  # fmt: skip
    path = site.folder / "profile.json"
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_host_without_the_space_is_told_before_anything_is_carried(site: Site) -> None:
    site.config["target"].pop("glibc")
    small = profile(site, disks=[{"folder": "/", "filesystem": "xfs", "free_bytes": 1000}])
    with pytest.raises(EnvironmentFault, match="1000 bytes free"):
        site.build(profile=small)
    assert not (site.folder / "out" / "bundle").exists()
    site.build(profile=profile(site))
    assert site.manifest()["resolution"]["platform_tags"][0].startswith("manylinux_2_31_")


def test_missing_file_is_told_before_anything_is_downloaded(site: Site) -> None:
    site.config["data"]["more"] = "nowhere"
    with pytest.raises(ConfigError, match="nowhere: there is no such file"):
        site.build()
    assert site.said == []
