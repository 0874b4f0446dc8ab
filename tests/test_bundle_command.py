"""The bundle's configuration and the builder's command line; where a test is marked slow, with the real registry."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import bundles
import pytest
import yaml
from bundle_building import Site, site
from model_fixtures import real_model

from distill_offline.bundle.__main__ import main
from distill_offline.bundle.fetches import runtime_fetches
from distill_offline.bundle.resolve import Package
from distill_offline.bundle.settings import CarriedFile, load
from distill_offline.bundle.sizes import sizes
from distill_offline.errors import ConfigError
from distill_offline.offline import isolation

__all__ = ["site"]

ROOT = Path(__file__).parent.parent

# annotate, train and evaluate, in seconds
SMALL = (
    "annotate.limit=4", "annotate.gold=[]", "annotate.max_quarantined=1", "train.updates=2", "train.eval_every=2",
    "train.seeds=1", "train.arms=[{name: original_only}, {name: simple_mix}]",
    'corpus.original.dev={path: "package:demo/dev.jsonl", limit: 4}',
    'corpus.original.test={path: "package:demo/test.jsonl", limit: 4}',
    "corpus.original.train.limit=20", "adapt.epochs=1",
)  # fmt: skip


@pytest.mark.parametrize("name", ["bundle-quickstart.yaml", "bundle-cuda.yaml"])
def test_configurations_of_the_checkout_are_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = load(Path("configs") / name)
    for path in (*settings.configs.values(), *settings.licences.values(), *settings.project.papers):
        assert Path(path).exists(), path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sequenze": 2}, "sequenze"),
        ({"sequence": 0}, "sequence"),
        ({"name": "../up"}, "name has letters"),
        ({"environments": {}}, "at least one"),
        ({"environments": {"Main": {}}}, "'Main' has a-z"),
        ({"expires": "tomorrow"}, "expires is a time"),
        ({"target": {"python": 3.11}}, r"target\.python"),
        ({"target": {"min_driver": "580"}}, "min_driver is for accelerator: cuda"),
        ({"data": {"../x": "y"}}, "which may lead elsewhere"),
        ({"interpreter": {"path": "x", "sha256": "abc"}}, "64 lower-case"),
    ],
)
def test_mistakes_in_a_configuration_are_named(site: Site, change: dict[str, Any], reason: str) -> None:
    site.config |= change
    with pytest.raises(ConfigError, match=reason) as caught:
        _ = site.settings
    assert str(caught.value).startswith("bundle.yaml: ")


def test_key_given_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text("name: a\nname: b\n", "utf-8")
    with pytest.raises(ConfigError, match=r"bundle\.yaml:2: the key 'name' occurs here twice"):
        load(path)


@pytest.mark.slow
def test_command_builds_and_signs(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.settings
    keys = bundles.Keys.make(tmp_path)
    out = site.folder / "made"
    assert main(["build", "bundle.yaml", "-o", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["signers"] == []
    assert "resolving environment main" in said.err
    assert main(["sign", str(out), "--ssh-key", keys("own")]) == 0
    assert keys.fingerprint("own") in capsys.readouterr().out
    assert main(["build", "bundle.yaml", "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_only_resolving_writes_lock_and_sizes_and_downloads_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.settings
    assert main(["build", "bundle.yaml", "-o", "plan", "--resolve-only"]) == 0
    assert "main: 4 packages" in capsys.readouterr().out
    summary = json.loads((site.folder / "plan" / "sizes.json").read_bytes())
    files = {each.name: each.stat().st_size for each in site.index.iterdir()}
    listed = summary["environments"]["main"]["sizes"]
    assert {name: size for name, size in listed.items() if not name.startswith("ours")} == files
    assert (site.folder / "plan" / "main.lock").read_text("ascii").count("--hash=sha256:") == 4
    stored = {each.name for each in (site.folder / "plan.work" / "wheels").glob("*/*")}
    assert stored == {"ours-0.1-py3-none-any.whl"}


def test_size_that_nobody_tells_is_unknown(site: Site) -> None:
    gone = Package("a", "1", "0" * 64, "a-1-py3-none-any.whl", (site.index / "gone.whl").as_uri())
    assert sizes([gone, Package("b", "1", "1" * 64)]) == {"0" * 64: None, "1" * 64: None}


def test_what_engines_would_fetch_is_listed_by_what_is_there() -> None:
    names = {each["name"] for each in runtime_fetches(["vllm", "flashinfer-python"], [])}
    assert {"usage reports of vLLM", "GPU kernels by FlashInfer"} <= names
    assert "models by llama.cpp" not in names
    carried = CarriedFile(path="a/o200k.tiktoken", sha256="0" * 64, instead_of="a vocabulary")
    assert {"name": "a vocabulary", "answer": "shipped", "how": "runtime/o200k.tiktoken"} in runtime_fetches(
        [], [carried]
    )


def real(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        [str(ROOT / "air_gap_bundle.sh"), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


needs_target = pytest.mark.skipif(
    (platform.machine(), sys.version_info[:2]) != ("x86_64", (3, 11)),
    reason="the bundles are for Python 3.11 on x86_64",
)


@pytest.mark.slow
@needs_target
def test_quickstart_bundle_is_built_from_the_registry_installed_and_used_without_a_network(tmp_path: Path) -> None:
    for name in ("SmolLM2-135M-Instruct-GGUF", "all-MiniLM-L6-v2"):
        real_model(name)
    keys = bundles.Keys.make(tmp_path)
    out = tmp_path / "quickstart"
    (tmp_path / "profile.json").write_text(real("probe", str(tmp_path)).stdout, "utf-8")
    built = real(
        "build", "configs/bundle-quickstart.yaml", "-o", str(out), "--target", str(tmp_path / "profile.json"),
        "--ssh-key", keys("own"), "--openssl-key", keys("own.pem"),
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    done = real("verify", str(out), "--allowed-signers", keys("own.allowed"), "--openssl-key", keys("own.pub.pem"))
    assert done.returncode == 0, done.stdout
    manifest = json.loads((out / "manifest.json").read_bytes())
    resolved = {each["name"]: each["resolved"] for each in manifest["direct_requirements"]}
    assert resolved["seqeval"] == "1.2.2"
    assert {each["name"] for each in manifest["components"]} >= {
        "distill-offline",
        "xllamacpp",
        "torch",
        "transformers",
    }
    assert 4e8 < manifest["totals"]["bytes"] < 2e9
    root = tmp_path / "installed here"
    done = real("install", str(out), "--root", str(root), "--allowed-signers", keys("own.allowed"))
    assert done.returncode == 0, done.stderr
    fault = isolation.probe().fault
    assert ("Imports and smoke run had no network but loopback" in done.stdout) is not bool(fault)
    use_installed(root / "current", out, keys, tmp_path, isolated=not fault)


def use_installed(release: Path, bundle: Path, keys: bundles.Keys, place: Path, *, isolated: bool) -> None:
    """A small run by the release's own command; what it made leads back to the bundle and its signer, without a gap."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place)}

    def distill(*words: str) -> subprocess.CompletedProcess[str]:
        line = [str(release / "bin/distill-offline"), *words]
        return subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True)

    changes = [word for change in SMALL for word in ("--set", change)]
    config = str(release / "configs/quickstart.yaml")
    done = distill(*(["--isolate"] if isolated else []), "run", config, *changes)
    assert done.returncode == 0, done.stderr
    done = distill("manifest", "sign", "runs/quickstart", "--ssh-key", keys("own"))
    assert done.returncode == 0, done.stderr
    trust = ["--allowed-signers", keys("own.allowed"), "--bundle", str(bundle)]
    done = distill("manifest", "verify", "--deep", "--strict", "--json", "runs/quickstart", *trust)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["verdict"] == "whole"


@pytest.mark.slow
@needs_target
def test_bundle_for_cuda_is_resolved_and_weighed_without_its_gigabytes(tmp_path: Path) -> None:
    out = tmp_path / "cuda"
    done = real("build", "configs/bundle-cuda.yaml", "-o", str(out), "--resolve-only")
    assert done.returncode == 0, done.stderr
    teacher = json.loads((out / "sizes.json").read_bytes())["environments"]["teacher"]
    assert teacher["packages"] > 150
    assert teacher["min_glibc"] == "2.31"
    assert teacher["unknown_sizes"] == []
    assert 3e9 < teacher["bytes"] < 8e9
    lock = (out / "teacher.lock").read_text("ascii")
    assert "\nvllm==0.32.0 " in lock
    assert "\ntorch==2.13.0 " in lock
    stored = sum(each.stat().st_size for each in tmp_path.rglob("*.whl"))
    assert stored < 10e6


@pytest.mark.slow
@needs_target
def test_vllm_is_refused_for_a_host_with_an_older_glibc(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "configs" / "bundle-cuda.yaml").read_text("utf-8"))
    config["target"]["glibc"] = "2.28"
    del config["environments"]["student"]
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(config), "utf-8")
    done = real("build", str(tmp_path / "old.yaml"), "-o", str(tmp_path / "old"))
    assert done.returncode == 4
    assert "the target has glibc 2.28, but llguidance" in done.stderr
    assert "needs 2.31" in done.stderr
