"""The bills of materials: by CycloneDX's own validator, and compared with the manifest beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bundle_building import COMMIT, Site, built_site

from distill_offline.bundle.sbom import Host, python_bom
from distill_offline.bundle.wheel_metadata import WheelMetadata

__all__ = ["built_site"]

NAMES = ("python.cdx.json", "ml.cdx.json")


def bom(site: Site, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((site.folder / "out" / "bundle" / "sbom" / name).read_bytes())
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bom_holds_by_the_strict_schema(built_site: Site, name: str) -> None:
    reason = "cyclonedx-python-lib[json-validation] is not installed"
    schema = pytest.importorskip("cyclonedx.schema", reason=reason)
    validation = pytest.importorskip("cyclonedx.validation.json", reason=reason)
    content = (built_site.folder / "out" / "bundle" / "sbom" / name).read_text("ascii")
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(content) is None


@pytest.mark.slow
def test_python_bom_has_each_wheel_with_its_digest_licence_and_needs(built_site: Site) -> None:
    found, manifest = bom(built_site, "python.cdx.json"), built_site.manifest()
    everything = [*found["components"], found["metadata"]["component"]]
    digests = {each["path"]: each["sha256"] for each in manifest["files"]}
    assert {(each["purl"], each["hashes"][0]["content"]) for each in everything} == {
        (each["purl"], digests[each["file"]]) for each in manifest["components"]
    }
    gamma = next(each for each in found["components"] if each["name"] == "gamma")
    assert gamma["licenses"] == [{"expression": "Apache-2.0 OR MIT", "acknowledgement": "declared"}]
    needs = {each["ref"]: each["dependsOn"] for each in found["dependencies"]}
    assert needs["ours==0.1"] == ["alpha==1.5", "beta==2.0"]
    assert needs["alpha==1.5"] == ["gamma==3.0"]


def test_ml_bom_has_the_model_its_files_its_terms_and_the_data(built_site: Site) -> None:
    found, manifest = bom(built_site, "ml.cdx.json"), built_site.manifest()
    model = next(each for each in found["components"] if each["type"] == "machine-learning-model")
    assert (model["name"], model["version"]) == ("tiny", COMMIT)
    assert "Silent." in model["modelCard"]["considerations"]["technicalLimitations"][0]
    digests = {each["path"]: each["sha256"] for each in manifest["files"] if each["kind"] in ("model", "data")}
    listed = [*model["components"], *(each for each in found["components"] if each["type"] == "data")]
    assert {each["bom-ref"]: each["hashes"][0]["content"] for each in listed} == digests


OWN = WheelMetadata(
    name="ours", version="0.1", licence="MIT", is_expression=True, requires=(), extras=(), installed_bytes=1
)
INTERPRETER = {"path": "runtime/python.tar", "kind": "runtime", "size": 3, "sha256": "a" * 64}
VOCABULARY = {"path": "runtime/o200k.tiktoken", "kind": "runtime", "size": 3, "sha256": "b" * 64}


def bom_of(host: Host) -> bytes:
    return python_bom({"ours==0.1": OWN}, {"ours==0.1": "c" * 64}, {}, "ours==0.1", "2026-01-01T00:00:00Z", host)


@pytest.mark.slow
def test_carried_interpreter_and_runtime_files_are_in_the_bom_with_their_digests() -> None:
    content = bom_of(Host("3.11", "2.31", (VOCABULARY, INTERPRETER), "runtime/python.tar"))
    found = json.loads(content)
    told = [(each["type"], each["name"], each["hashes"][0]["content"]) for each in found["components"]]
    assert told == [("file", "runtime/o200k.tiktoken", "b" * 64), ("platform", "CPython", "a" * 64)]
    assert found["components"][1]["version"] == "3.11"
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(content.decode()) is None


def test_bom_says_what_is_left_to_the_host() -> None:
    left = [each["value"] for each in json.loads(bom_of(Host("3.11", "2.31")))["metadata"]["properties"]]
    assert len(left) == 2
    assert left[0].startswith("glibc 2.31 or later, and libstdc++.so.6")
    assert left[1] == "CPython 3.11"
    carried = json.loads(bom_of(Host("3.11", "2.31", (INTERPRETER,), "runtime/python.tar")))
    assert len(carried["metadata"]["properties"]) == 1


def test_built_bom_names_the_glibc_of_its_manifest(built_site: Site) -> None:
    [first, *_] = bom(built_site, "python.cdx.json")["metadata"]["properties"]
    assert built_site.manifest()["target"]["min_glibc"] in first["value"]
