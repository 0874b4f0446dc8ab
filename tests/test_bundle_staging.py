"""The staging folder and the models that go into it, judged by the bytes that come to lie there."""

from __future__ import annotations

from pathlib import Path

import bundles
import pytest
from bundle_building import COMMIT, Site, site

from distill_offline.bundle import models
from distill_offline.bundle.staging import Staging
from distill_offline.errors import ConfigError, IntegrityError, MissingModel
from distill_offline.models.catalogue import Catalogue

__all__ = ["site"]


def files_of(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*")}


def test_file_arrives_with_its_digest_size_and_kind(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 100)
    staging.add("data/a.txt", b"abc")
    assert staging.entries["data/a.txt"] == {
        "path": "data/a.txt", "kind": "data", "size": 3, "sha256": bundles.sha256(b"abc"),
    }  # fmt: skip
    assert (tmp_path / "data" / "a.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("size", [101, 199, 200, 201])
def test_parts_join_to_the_whole(tmp_path: Path, size: int) -> None:
    source, staging = tmp_path / "long", Staging(tmp_path / "staged", 100)
    content = bytes(each % 251 for each in range(size))
    source.write_bytes(content)
    for path, given in (("data/long", source), ("data/same", content + b".")):
        staging.add(path, given)
        parts = staging.entries[path]["parts"]
        joined = [(tmp_path / "staged" / part["path"]).read_bytes() for part in parts]
        assert b"".join(joined) == (content if given is source else content + b".")
        assert [part["size"] for part in parts] == [len(each) for each in joined]
        assert [part["sha256"] for part in parts] == [bundles.sha256(each) for each in joined]
        assert all(part["size"] == 100 for part in parts[:-1])


def test_file_at_the_limit_is_not_split(tmp_path: Path) -> None:
    staging = Staging(tmp_path, 100)
    staging.add("data/even", bytes(100))
    assert "parts" not in staging.entries["data/even"]


def test_what_is_not_listed_is_pruned(tmp_path: Path) -> None:
    (tmp_path / "models" / "old").mkdir(parents=True)
    (tmp_path / "models" / "old" / "x.json").write_bytes(b"{}")
    (tmp_path / "manifest.json.sig").write_bytes(b"old")
    staging = Staging(tmp_path, 10)
    staging.add("data/long", bytes(25))
    staging.prune()
    assert {each for each in files_of(tmp_path) if "." in each} == {
        part["path"] for part in staging.entries["data/long"]["parts"]
    }
    assert "models" not in files_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("data/a b.txt", "has characters other than"),
        ("data/-x.txt", "starts with '-'"),
        ("data/TRAIN.conll", "only by letter case"),
        ("DATA/x.conll", "no place in a bundle"),
        ("data/train.conll", "two files would go there"),
        ("data/" + "x" * 200, "more than 200 bytes"),
    ],
)
def test_names_that_cannot_travel_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    staging = Staging(tmp_path, 100)
    staging.add("data/train.conll", b"x")
    with pytest.raises(ConfigError, match=reason):
        staging.add(name, b"y")


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link.txt").symlink_to("elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        Staging(tmp_path / "staged", 100).add_tree("data/corpus", tmp_path / "corpus")


def test_other_bytes_than_pinned_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"data/a\.txt: has the SHA-256"):
        Staging(tmp_path, 100).add("data/a.txt", b"abc", bundles.sha256(b"abd"))


def staged_models(site: Site, **licences: str) -> Staging:
    staging = Staging(site.folder / "staged", 1 << 20)
    models.stage(models.choose(("tiny",), Catalogue.load()), licences, staging)
    return staging


def test_model_travels_with_its_licence_and_terms(site: Site) -> None:
    staging = staged_models(site)
    assert set(staging.entries) == {
        f"models/tiny@{COMMIT}/{name}" for name in ("config.json", "model.safetensors", "LICENSE")
    } | {"licenses/models/tiny.txt"}
    assert "training on its outputs: Silent." in (staging.folder / "licenses/models/tiny.txt").read_text("utf-8")


def test_model_that_is_not_the_catalogues_is_refused(site: Site) -> None:
    weights = site.folder / "models" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: has the SHA-256"):
        staged_models(site)
    weights.unlink()
    with pytest.raises(MissingModel, match="models fetch tiny"):
        staged_models(site)


def test_model_with_code_beside_it_is_refused(site: Site) -> None:
    (site.folder / "models" / "tiny" / "modeling.py").write_text("import os\n", "utf-8")
    with pytest.raises(ConfigError, match=r"modeling\.py is of a kind that can run code"):
        staged_models(site)


def test_model_without_the_text_of_its_licence_is_refused(site: Site) -> None:
    (site.folder / "models" / "tiny" / "LICENSE").unlink()
    with pytest.raises(ConfigError, match=r"has the text of Apache-2\.0"):
        staged_models(site)
    (site.folder / "apache.txt").write_text("Licence.\n", "utf-8")
    assert "licenses/texts/Apache-2.0.txt" in staged_models(site, **{"Apache-2.0": "apache.txt"}).entries
