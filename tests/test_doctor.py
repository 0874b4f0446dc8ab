"""doctor: each check says what is, and what to do where something is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from distill_offline import manifest, offline
from distill_offline.config.settings import BackendSettings, CorpusSettings, SeededTrainSettings, Settings, TaskSettings
from distill_offline.doctor import Check, examine, machine, needs, worst
from distill_offline.models.fitting import free_memory


def by_name(checks: list[Check]) -> Mapping[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILL_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_examination_covers_the_machine_and_every_problem_has_a_remedy(models: Path) -> None:
    checks = examine()
    names = set(by_name(checks))
    assert {"python", "packages", "torch", "gpu", "offline", "clock", "umask", "file system"} <= names
    assert {"disk, working folder", "disk, models folder", "network namespaces"} <= names
    assert "model all-MiniLM-L6-v2" in names
    assert all(check.remedy for check in checks if check.status != "ok")
    assert len(names) == len(checks)


def test_what_a_configuration_needs_and_lacks_fails(models: Path) -> None:
    config = Settings(
        name="x",
        task=TaskSettings(types={"X": "x"}),
        corpus=CorpusSettings(),
        backend=BackendSettings(name="llama_cpp", model="SmolLM2-135M-Instruct-GGUF"),
        train=SeededTrainSettings(encoder=str(models.parent)),
    )
    checks = by_name(examine(config))
    assert checks["backend.model"].status == "fail"
    assert "models fetch SmolLM2-135M-Instruct-GGUF" in checks["backend.model"].remedy
    assert checks["train.encoder"].status == "ok"


def test_damaged_model_fails(models: Path) -> None:
    (models / "all-MiniLM-L6-v2").mkdir(parents=True)
    (models / "all-MiniLM-L6-v2" / "model.safetensors").write_bytes(b"half")
    check = by_name(needs.check_models())["model all-MiniLM-L6-v2"]
    assert check.status == "fail"
    assert "models verify all-MiniLM-L6-v2" in check.remedy


def test_broken_catalogue_fails(models: Path) -> None:
    models.mkdir()
    (models / "catalogue.yaml").write_text("models: 1", encoding="utf-8")
    [check] = needs.check_models()
    assert (check.name, check.status) == ("catalogue", "fail")


def test_requirements_are_compared_with_what_is_installed() -> None:
    requirements = [
        "torch==2.13.0",
        "numpy>=2.2,<3",
        "absent>=1",
        "vllm==0.32.0; extra == 'vllm'",
        "distill_offline[vllm]; extra == 'all'",
        "tomli; python_version < '3'",
    ]
    installed = {"torch": "2.13.0+cpu", "numpy": "3.1"}

    def version_of(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    base = machine.unmet(requirements, "", version_of)
    assert base == ["numpy is 3.1, needs <3,>=2.2", "absent is absent"]
    assert machine.unmet(requirements, "vllm", version_of) == ["vllm is absent"]
    assert machine.unmet(requirements, "all", version_of) == []


def test_network_file_systems_are_warned_of() -> None:
    assert [machine.check_file_system(kind).status for kind in ("ext4", "nfs4", "cifs", "fuse.sshfs", "unknown")] == [
        "ok",
        "warn",
        "warn",
        "warn",
        "ok",
    ]


def test_old_python_wrong_clock_and_open_umask_are_found() -> None:
    assert machine.check_python((3, 10, 4)).status == "fail"
    assert machine.check_python((3, 11, 0)).status == "ok"
    assert machine.check_clock(datetime(1970, 1, 2, tzinfo=UTC)).status == "fail"
    assert machine.check_clock(datetime(2025, 1, 2, tzinfo=UTC)).status == "ok"
    assert [machine.check_umask(mask).status for mask in (0o000, 0o002, 0o022, 0o077)] == ["warn", "warn", "ok", "ok"]


def test_missing_namespaces_are_only_a_warning() -> None:
    assert machine.check_namespaces("not permitted").status == "warn"
    assert machine.check_namespaces("").status == "ok"


def test_environment_that_is_not_offline_is_named() -> None:
    check = machine.check_environment({**offline.ENVIRONMENT, "HF_HUB_OFFLINE": "0"})
    assert check.status == "warn"
    assert "HF_HUB_OFFLINE" in check.detail


def test_worst_is_the_gravest() -> None:
    ok, warn, fail = Check("a", "ok", ""), Check("b", "warn", "", "x"), Check("c", "fail", "", "x")
    assert worst([ok, fail, warn]) == "fail"
    assert worst([ok, warn]) == "warn"
    assert worst([]) == "ok"


def a_config(model: str, backend: str = "llama_cpp") -> Settings:
    return Settings(
        name="x",
        task=TaskSettings(types={"X": "x"}),
        corpus=CorpusSettings(),
        backend=BackendSettings(name=backend, model=model),
        train=SeededTrainSettings(encoder="none"),
    )


def test_memory_says_which_teacher_fits_in_how_many_bits(models: Path) -> None:
    [check] = needs.check_memory(None, 8_000_000_000)
    assert check.detail == (
        "8.0 GB free; the most parameters of a teacher that fit: 10.7 billion in 4 bits, 6.1 billion in 8 bits, "
        "3.2 billion in 16 bits"
    )
    assert "0.0 billion in 4 bits" in needs.check_memory(None, 10**9)[0].detail
    assert needs.check_memory(None, None) == []


def test_a_teacher_that_does_not_fit_is_warned_of(models: Path) -> None:
    model = models / "mine.gguf"
    model.parent.mkdir(parents=True)
    with model.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(4_000_000_000)  # no block of it is written
    _, fits = needs.check_memory(a_config(str(model)), 8_000_000_000)
    assert (fits.status, "4.0 GB: they fit" in fits.detail) == ("ok", True)
    _, does_not = needs.check_memory(a_config(str(model)), 5_000_000_000)
    assert (does_not.status, "fewer bits" in does_not.remedy) == ("warn", True)
    assert len(needs.check_memory(a_config(str(model), "transformers"), 5_000_000_000)) == 1


def test_free_memory_is_the_containers_where_that_is_less(tmp_path: Path) -> None:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal:       9000 kB\nMemAvailable:   4000 kB\n")
    assert free_memory(meminfo, cgroup) == 4000 * 1024
    cgroup.mkdir()
    (cgroup / "memory.current").write_text("1000000\n")
    (cgroup / "memory.max").write_text("max\n")
    assert free_memory(meminfo, cgroup) == 4000 * 1024
    (cgroup / "memory.max").write_text("3000000\n")
    assert free_memory(meminfo, cgroup) == 2_000_000
    assert free_memory(tmp_path / "none", cgroup) is None


def test_the_pace_of_a_teacher_is_that_of_the_last_annotation(tmp_path: Path) -> None:
    assert "not measured yet" in needs.check_pace(tmp_path).detail
    folder = tmp_path / "annotate"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    assert "not measured yet" in needs.check_pace(tmp_path).detail
    (folder / "manifest.json").unlink()

    def sealed(asked: int) -> str:
        manifest.seal(
            folder, stage="annotate", config={}, seeds={}, inputs=[], models={"tiny": "ab" * 32},
            started=datetime.now(UTC) - timedelta(hours=2), counts={"unlabelled": {"asked": asked}},
        )  # fmt: skip
        return needs.check_pace(tmp_path).detail

    assert re.match(r"1,0\d\d when .* was made \(2100 asked, loading included\)", sealed(2100))
    assert "not measured yet" in sealed(3)
