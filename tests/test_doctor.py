"""doctor: each check says what is, and what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

from distill_offline import doctor, offline
from distill_offline.config.settings import BackendSettings, CorpusSettings, Settings, TaskSettings, TrainSettings
from distill_offline.doctor import Check, examine, worst


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
        train=TrainSettings(encoder=str(models.parent)),
    )
    checks = by_name(examine(config))
    assert checks["backend.model"].status == "fail"
    assert "models fetch SmolLM2-135M-Instruct-GGUF" in checks["backend.model"].remedy
    assert checks["train.encoder"].status == "ok"


def test_damaged_model_fails(models: Path) -> None:
    (models / "all-MiniLM-L6-v2").mkdir(parents=True)
    (models / "all-MiniLM-L6-v2" / "model.safetensors").write_bytes(b"half")
    check = by_name(doctor._check_models())["model all-MiniLM-L6-v2"]
    assert check.status == "fail"
    assert "models verify all-MiniLM-L6-v2" in check.remedy


def test_broken_catalogue_fails(models: Path) -> None:
    models.mkdir()
    (models / "catalogue.yaml").write_text("models: 1", encoding="utf-8")
    [check] = doctor._check_models()
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

    base = doctor._unmet(requirements, "", version_of)
    assert base == ["numpy is 3.1, needs <3,>=2.2", "absent is absent"]
    assert doctor._unmet(requirements, "vllm", version_of) == ["vllm is absent"]
    assert doctor._unmet(requirements, "all", version_of) == []


def test_network_file_systems_are_warned_of() -> None:
    assert [doctor._check_file_system(kind).status for kind in ("ext4", "nfs4", "cifs", "fuse.sshfs", "unknown")] == [
        "ok",
        "warn",
        "warn",
        "warn",
        "ok",
    ]


def test_old_python_wrong_clock_and_open_umask_are_found() -> None:
    assert doctor._check_python((3, 10, 4)).status == "fail"
    assert doctor._check_python((3, 11, 0)).status == "ok"
    assert doctor._check_clock(datetime(1970, 1, 2, tzinfo=UTC)).status == "fail"
    assert doctor._check_clock(datetime(2025, 1, 2, tzinfo=UTC)).status == "ok"
    assert [doctor._check_umask(mask).status for mask in (0o000, 0o002, 0o022, 0o077)] == ["warn", "warn", "ok", "ok"]


def test_missing_namespaces_are_only_a_warning() -> None:
    assert doctor._check_namespaces("not permitted").status == "warn"
    assert doctor._check_namespaces("").status == "ok"


def test_environment_that_is_not_offline_is_named() -> None:
    check = doctor._check_environment({**offline.ENVIRONMENT, "HF_HUB_OFFLINE": "0"})
    assert check.status == "warn"
    assert "HF_HUB_OFFLINE" in check.detail


def test_worst_is_the_gravest() -> None:
    ok, warn, fail = Check("a", "ok", ""), Check("b", "warn", "", "x"), Check("c", "fail", "", "x")
    assert worst([ok, fail, warn]) == "fail"
    assert worst([ok, warn]) == "warn"
    assert worst([]) == "ok"
