"""What a process does to train one student, alone or with others: make it, train it, write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline.config.settings import ArmSettings, TrainSettings
from distill_offline.learning.checkpoint import Checkpoints
from distill_offline.schema import Head
from distill_offline.storage.files import fresh_folder, write_rows
from distill_offline.student.model import Student
from distill_offline.train import blending
from distill_offline.train import loop as training
from distill_offline.train.processes import Member
from distill_offline.train.soft_labels import SoftExample, SoftStudent

__all__ = ["Job", "Observe", "blend_of", "look_away", "train_student", "write_student"]

Observe = Callable[[int, Student], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a process that trains a student, or its share of one, has to know. `target` is the stage's folder."""

    target: Path
    fingerprint: str
    encoder: Path
    task: tuple[Sequence[str], Head, str]  # its labels, head and metric
    pools: training.Pools
    arm: ArmSettings
    settings: TrainSettings
    seed: int
    language: str | None
    observe: Observe

    def checkpoints(self, say: Callable[[str], None]) -> Checkpoints:
        return Checkpoints(self.target / "checkpoint", self.fingerprint, say)


def train_student(job: Job, member: Member) -> tuple[training.Trained, int]:
    """Train one, alone or with others, and write it; gives how it went, and the number of threads of a process."""
    labels, head, metric = job.task
    threads = training.prepare(job.seed, member.threads)
    settings = job.settings
    soft = any(isinstance(example, SoftExample) for example in job.pools.distilled)
    student = (SoftStudent if soft else Student).create(
        job.encoder, labels, head, max_length=settings.max_length, capitals=settings.capitals
    )
    student.language = job.language
    trained = training.train(
        student,
        job.pools,
        blend_of(job.arm, job.settings, job.pools, job.seed),
        job.settings,
        name=job.arm.name,
        metric=metric,
        watch=member.watch,
        stop=member.stop,
        checkpoints=job.checkpoints(member.say),
        observe=look_away if member.group.rank else job.observe,
        group=member.group,
    )
    if not member.group.rank:
        write_student(job.target, student, trained.history)
    return trained, threads


def look_away(updates: int, student: Student) -> None:
    """Nobody looks, or another process does."""


def blend_of(arm: ArmSettings, settings: TrainSettings, pools: training.Pools, seed: int) -> blending.Blend:
    """What the arm draws. Raises ConfigError if its schedule fails, or asks a pool that is empty."""
    sizes = len(pools.distilled), len(pools.original)
    name = arm.schedule or arm.name
    schedule = blending.make_schedule(name, arm.options, tau=settings.tau, n_distilled=sizes[0], n_original=sizes[1])
    if settings.share is not None:
        schedule = blending.with_share(schedule, settings.share, settings.updates)
    blend = blending.Blend(schedule, *sizes, settings.updates, settings.batch_size, seed)
    blend.check(f"`{arm.name}`")
    return blend


def write_student(target: Path, student: Student, history: Iterable[Mapping[str, Any]]) -> None:
    fresh_folder(target / "student")
    student.save(target / "student")
    write_rows(target / "history.jsonl", history)
