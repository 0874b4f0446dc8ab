"""memory: what runs out of it is told with what to set lower, and halves are tried first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentences import example, sentence

from distill_offline.config.settings import TrainSettings
from distill_offline.errors import OutOfMemory
from distill_offline.learning.checkpoint import Checkpoints
from distill_offline.student.memory import enough_memory, is_out_of_memory
from distill_offline.student.model import Student
from distill_offline.train import blending
from distill_offline.train import loop as training

LABELS = ("O", "B-X", "I-X")
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError(CUDA), True),
        (RuntimeError(CPU), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("shape '[2]' is invalid"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_does_not_suffice(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it
    expected, said = (OutOfMemory, "here: .*Lower it") if is_it else (type(error), ".")
    with pytest.raises(expected, match=said), enough_memory("here", "Lower it."):
        raise error


class _Small(torch.nn.Module):
    """A model on a machine that holds so many subwords at once, and, with `forwards`, fails after so many passes."""

    def __init__(self, inner: Any, room: int = 1 << 30, forwards: int = 1 << 30) -> None:
        super().__init__()
        self.inner, self.room, self.left = inner, room, forwards

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, input_ids: torch.Tensor, **more: Any) -> Any:
        self.left -= self.training
        if input_ids.numel() > self.room or self.left < 0:
            raise torch.OutOfMemoryError(CUDA)
        return self.inner(input_ids=input_ids, **more)


def test_predictions_come_in_halves_when_memory_does_not_hold_a_batch(encoder: Path) -> None:
    torch.manual_seed(1)
    student = Student.create(encoder, LABELS, "token-classification")
    sentences = [sentence(" ".join(["Marta"] * n), f"s{n}") for n in range(1, 20)]
    said = student.predict(sentences)
    student.model = _Small(student.model, room=40)
    assert student.predict(sentences) == said
    assert [len(each) for each in student.probabilities(sentences)] == list(range(1, 20))


def test_one_window_that_is_too_much_says_what_to_do(encoder: Path) -> None:
    student = Student.create(encoder, LABELS, "token-classification")
    student.model = _Small(student.model, room=10)
    with pytest.raises(OutOfMemory, match=r"a window of 32 subwords.*train\.max_length") as caught:
        student.predict([sentence("Marta " * 29 + "left")])
    assert caught.value.exit_code == 4


def test_training_that_runs_out_of_memory_says_what_to_set_lower_and_keeps_its_checkpoint(
    encoder: Path, tmp_path: Path
) -> None:
    training.prepare(1)
    student = Student.create(encoder, LABELS, "token-classification")
    student.model = _Small(student.model, forwards=3)
    pools = training.Pools((), [example("Marta/B-X left", f"s{n}") for n in range(4)], ())
    settings = TrainSettings(updates=6, batch_size=2, checkpoint_every=0)
    schedule = blending.make_schedule("original_only", {}, tau=0.5, n_distilled=0, n_original=4)
    checkpoints = Checkpoints(tmp_path / "checkpoint", "x")
    with pytest.raises(OutOfMemory, match=r"train a: update 3: the GPU's memory.*train\.micro_batch_tokens \(2048\)"):
        training.train(
            student,
            pools,
            blending.Blend(schedule, 0, 4, 6, 2, 1),
            settings,
            name="a",
            metric="entity_f1",
            watch=lambda progress: None,
            checkpoints=checkpoints,
        )
    found = checkpoints.latest()
    assert found is not None
    assert found.updates == 3
