"""adapt that is stopped, or fails in the middle: nothing is lost, and the bytes are the same in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapting import adapted, refused, settings, tiny_base

from distill_offline import pipeline
from distill_offline.adapt import loop, stage
from distill_offline.adapt.lessons import Lesson
from distill_offline.adapt.model import Base
from distill_offline.backends.adapter import WEIGHTS
from distill_offline.errors import DistillError, Interrupted, OutOfMemory
from distill_offline.run.folder import RunFolder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory)


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapted(base, tmp_path_factory)


class Stop:
    """Says to stop when asked for the n-th time."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.slow
def test_stopped_and_resumed_gives_the_same_bytes(tmp_path: Path, base: Path, made: Path, after: int) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {}), stop=Stop(after))
    folder.open()
    with pytest.raises(Interrupted, match=rf"adapt: stopped at update {after}\."):
        pipeline.adapt(folder)
    assert not pipeline.is_adapted(folder)
    again = RunFolder(folder.path, folder.settings)
    pipeline.adapt(again)
    assert pipeline.is_adapted(again)
    for name in ("adapter_model.safetensors", "adapter_config.json", "made.json", "history.jsonl"):
        assert (again.path / "adapt/adapter" / name).read_bytes() == (made / "adapt/adapter" / name).read_bytes(), name


@pytest.mark.slow
def test_a_killed_run_keeps_the_adapters_that_are_done(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {"folds": 2, "epochs": 1}), stop=Stop(4))
    folder.open()
    with pytest.raises(Interrupted, match="adapt fold 1: stopped"):
        pipeline.adapt(folder)
    made: list[str] = []

    def note(base: Base, *rest: Any, name: str, **more: Any) -> loop.Learnt:
        made.append(name)
        return learn(base, *rest, name=name, **more)

    learn = loop.learn
    monkeypatch.setattr(stage, "learn", note)
    pipeline.adapt(RunFolder(folder.path, folder.settings))
    assert made == ["adapt fold 1", "adapt fold 2"]


def breaking(monkeypatch: pytest.MonkeyPatch, when: int, how: Callable[[Any], Any]) -> None:
    """What the n-th loss becomes."""
    calls, whole = [0], Base.loss

    def loss(self: Base, lessons: list[Lesson], device: Any) -> Any:
        calls[0] += 1
        found = whole(self, lessons, device)
        return how(found) if calls[0] == when else found

    monkeypatch.setattr(Base, "loss", loss)


def no_memory(loss: Any) -> Any:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (lambda loss: loss * float("nan"), DistillError, "it has diverged. Lower adapt.learning_rate"),
        (no_memory, OutOfMemory, "memory does not suffice. Set adapt.gradient_checkpointing"),
    ],
)
@pytest.mark.slow
def test_what_fails_in_the_middle_loses_nothing(
    tmp_path: Path,
    base: Path,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Any], Any],
    error: type[DistillError],
    words: str,
) -> None:
    folder = RunFolder(tmp_path / "run", settings(base, {}))
    folder.open()
    with monkeypatch.context() as patch:
        breaking(patch, 7, how)
        refused(folder, error, words)
    assert list((folder.path / "adapt/checkpoint").iterdir())
    pipeline.adapt(folder)
    assert (folder.path / "adapt/adapter" / WEIGHTS).read_bytes() == (made / "adapt/adapter" / WEIGHTS).read_bytes()
