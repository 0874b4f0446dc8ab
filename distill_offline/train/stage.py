"""train: one student an arm and seed, each in a sealed folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.annotations import read_lines
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import SeededArm, TrainSettings
from distill_offline.corpus import tokenisation
from distill_offline.errors import InputError, MissingModel
from distill_offline.manifest.method import labelling, method
from distill_offline.models.fitting import weights_of
from distill_offline.run.encoder import check_pretrained_arms, say_ignored_layers, starting_encoder
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.run.sources import labels_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.run.unheld import say_lost, say_unheld, unheld_counts
from distill_offline.schema import Example
from distill_offline.storage.digests import file_digests
from distill_offline.storage.files import ANNOTATIONS
from distill_offline.student.model import Student
from distill_offline.train import loop as training
from distill_offline.train.arms import check_arms, chosen_students, in_words
from distill_offline.train.at_once import Started, Task, gpus_of, how_many, run_at_once
from distill_offline.train.job import Job, Observe, blend_of, look_away, train_student, write_student
from distill_offline.train.processes import Crew, Member, count, threads_each
from distill_offline.train.self_training import labelled_again
from distill_offline.train.sure_labels import sure_together

__all__ = ["check_needs", "decides", "distilled_pool", "is_trained", "train"]

_Labelled = tuple[tuple[Example, ...], dict[str, int]]
_Said = dict[tuple[tuple[str, ...], bool, float], _Labelled]  # by who labels, whether softly, and how sure at least
_SHOWN = 5  # names
# Of train's settings. The encoder counts by its digest, several processes by their number.
_DECIDES_NOTHING = ("arms", "encoder", "seeds", "at_once", "checkpoint_every", "processes")


def train(folder: RunFolder, arms: Sequence[str] = (), observe: Observe | None = None) -> dict[str, Any]:
    """One student an arm and seed, under train/<its name>/; what is up to date is left alone. Gives counts by name.

    `arms` are names of arms, for all their students, or of single students; without any, all are trained.

    `observe` is shown each student after every update, and must leave it as it is. Where other processes train one,
    a copy of it looks on in the first of them: only what it writes to the disk stays.

    Raises the error of the first student that fails; those that are trained at the same time stop first.
    """
    settings = folder.settings
    check_arms(settings.train)
    check_pretrained_arms(settings)
    chosen = chosen_students(settings.train, arms)
    if not arms:
        _say_left_over(folder)
    students = [arm for arm in settings.train.ordered_students if arm.name in chosen]
    _say_outdated(folder, students)
    say_ignored_layers(folder)
    look, at_once, said = observe or look_away, _at_once(folder), _Said()
    if at_once == count(settings.train.processes) == 1:
        counts = {arm.name: _train_here(folder, arm, look, said) for arm in students}
    else:
        if at_once > 1:  # the longest first, so that at the end no student trains alone for long
            students.sort(key=lambda arm: -settings.train.of(arm).updates)
        talk: dict[str, Any] = {"say": folder.say, "watch": folder.watch, "stop": folder.stop}
        counts = run_at_once([_task(folder, arm, look, at_once, said) for arm in students], at_once, **talk)
    return {name: counts[name] for name in chosen}


def _say_left_over(folder: RunFolder) -> None:
    """Students of an earlier configuration, with more seeds or other arms: nothing scores, shows or renews them."""
    names = {student.name for student in folder.settings.train.students}
    lying = sorted(path.name for path in folder.folder("train").glob("*") if path.is_dir() and path.name not in names)
    if lying:
        more = f" and {len(lying) - _SHOWN} more" if len(lying) > _SHOWN else ""
        folder.say(
            f"train: {', '.join(lying[:_SHOWN])}{more}: of an earlier configuration. Not scored, not in the report, "
            "and not made again where what they were made from changes; delete their folders if you need them no more."
        )


def check_needs(folder: RunFolder, students: Sequence[SeededArm]) -> None:
    """Raises InputError if students that these are made with are not trained, and are not among them."""
    names = {student.name for student in students}
    for student in students:
        missing = [name for name in student.needs if name not in names and not _is_whole(folder, name)]
        if missing:
            raise InputError(
                f"train: {student.name} is made with {in_words(student.needs)}, and train/{missing[0]} has not been "
                f"run to its end{f', nor {len(missing) - 1} more' if missing[1:] else ''}. Train all: leave --arm out."
            )


def _say_outdated(folder: RunFolder, students: Sequence[SeededArm]) -> None:
    """Which students that these are made with are of before. Raises InputError as check_needs does."""
    check_needs(folder, students)
    names = {student.name for student in students}
    needed = {name for student in students for name in student.needs} - names
    known = [student for student in folder.settings.train.students if student.name in needed]
    if old := [student.name for student in known if not is_trained(folder, student)]:
        folder.warn(
            f"train: {in_words(old)}: of other settings, data, encoder or program than now. {in_words(sorted(names))} "
            "will be made with what is there. To have all of now, leave --arm out."
        )


def _is_whole(folder: RunFolder, student: str) -> bool:
    return manifest.is_whole(folder.folder(f"train/{student}"))


def is_trained(folder: RunFolder, arm: SeededArm) -> bool:
    """Whether its folder stands for the configuration and what is selected as they are now; changes nothing."""
    try:
        return (_average_stage if arm.average else _stage)(folder, arm).is_fresh()
    except (InputError, MissingModel):  # what comes before has not been run to its end, or the encoder is not there
        return False


def distilled_pool(folder: RunFolder) -> tuple[Example, ...]:
    """The distilled examples that the arms of a run learn from."""
    file = folder.whole("select") / ANNOTATIONS
    return tuple(line.example() for line in read_lines(file, make_task(folder.settings).head))


def decides(settings: TrainSettings) -> dict[str, Any]:
    """Those settings that decide what a student becomes, as JSON."""
    return {key: value for key, value in as_plain(settings).items() if key not in _DECIDES_NOTHING}


def _stage(folder: RunFolder, arm: SeededArm) -> Stage:
    """The stage that trains a student."""
    settings, resolved = folder.settings, folder.settings.train.of(arm)
    processes = count(resolved.processes)
    encoder, seed = starting_encoder(folder, arm.arm), arm.seed(settings.seed)
    selected = folder.whole("select") / ANNOTATIONS
    labellers = [folder.whole(f"train/{name}") for name in arm.needs]
    return Stage(
        folder,
        f"train/{arm.name}",
        decides={
            "selected": file_digests([selected])[selected],
            # test, too: what stands there is dropped from train
            "original": labels_digest(settings, "train", "dev", "test"),
            # Tokens of column files, too, are learnt from in the pieces that raw text has.
            "tokens": tokenisation(settings.corpus.language),
            "method": method(
                *labelling(together=bool(arm.labelled_by_all), soft=arm.soft_labels, least=arm.min_label_confidence)
            ),
            "encoder": encoder.digest,
            "task": settings.task.name,
            "train": decides(resolved),
            "arm": {"name": arm.name, "schedule": arm.schedule, "options": arm.options},
            "seed": seed,
            # Several add up in another order and draw another dropout. One is not named: before, there was but one.
            **({"processes": processes} if processes > 1 else {}),
            **({"labelled_by": _weights(labellers)} if labellers else {}),
            **({"min_label_confidence": arm.min_label_confidence} if arm.min_label_confidence else {}),
            **({"soft_labels": True} if arm.soft_labels else {}),
        },
        inputs=source_paths(
            settings.corpus.original.train, settings.corpus.original.reviewed, settings.corpus.original.dev
        ),
        models=encoder.models,
        parents=[selected.parent, *encoder.made_in, *labellers],
        seed=seed,
    )


def _at_once(folder: RunFolder) -> int:
    """How many students train at once. All of the run's count, trained or not: their threads decide last bits."""
    settings = folder.settings.train
    students = [student for student in settings.students if not student.average]
    if settings.at_once == 1 or len(students) < 2:
        return 1
    weights = weights_of(starting_encoder(folder, students[0].arm).folder)
    return how_many(settings.at_once, len(students), count(settings.processes), weights)


def _task(folder: RunFolder, arm: SeededArm, observe: Observe, at_once: int, said: _Said) -> Task:
    """The student as one that is trained in processes of its own."""

    def start(slot: int) -> Started | dict[str, Any]:
        if arm.average:
            return _average_arm(folder, arm)
        begun = _begin(folder, arm, observe, said)
        if not isinstance(begun, _Begun):
            return begun
        processes = begun.processes
        threads = threads_each(processes * at_once)
        gpus = gpus_of(slot, processes)
        crew = Crew(train_student, begun.job, processes, name=f"train {arm.name}", threads=threads, gpus=gpus)
        return Started(crew, lambda result: _finish(folder, begun, *result))

    return Task(arm.name, frozenset(arm.needs), start)


def _train_here(folder: RunFolder, arm: SeededArm, observe: Observe, said: _Said) -> dict[str, Any]:
    """Train it in this process; gives its counts."""
    if arm.average:
        return _average_arm(folder, arm)
    begun = _begin(folder, arm, observe, said)
    if not isinstance(begun, _Begun):
        return begun
    trained, threads = train_student(begun.job, Member(say=folder.say, watch=folder.watch, stop=folder.stop))
    return _finish(folder, begun, trained, threads)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A student that has to be trained: its stage, what its processes are told, and counts that are known before."""

    stage: Stage
    job: Job
    processes: int
    counts: Mapping[str, Any]


def _begin(folder: RunFolder, arm: SeededArm, observe: Observe, said: _Said) -> _Begun | dict[str, Any]:
    """Make ready to train it; its counts if it is up to date. `said` keeps what students said together."""
    settings, resolved = folder.settings, folder.settings.train.of(arm)
    stage = _stage(folder, arm)
    if stage.is_fresh():
        stage.relink()
        folder.say(f"train {arm.name}: up to date")
        return stage.sealed_counts()
    task, gold = make_task(settings), read_gold(settings)
    encoder, distilled = starting_encoder(folder, arm.arm).folder, distilled_pool(folder)
    relabelled: dict[str, int] = {}
    if arm.labelled_by_all:
        by = arm.labelled_by_all, arm.soft_labels, arm.min_label_confidence or 0.0
        labelled = said.get(by) or sure_together(folder, distilled, *by)
        if len(arm.labelled_by_all) > 1:  # all students of the arm learn it
            said[by] = labelled
        distilled, relabelled = labelled
        _say_unsure(folder, arm, distilled, relabelled)
    elif arm.labelled_by:
        distilled, relabelled = labelled_again(
            folder, arm.labelled_by, distilled, min_confidence=arm.min_label_confidence or 0.0
        )
        _say_unsure(folder, arm, distilled, relabelled)
    pools = training.Pools(distilled, gold.train, gold.dev)
    blend_of(arm, resolved, pools, arm.seed(settings.seed))  # before anything is taken away
    splits = {"train": gold.train, "dev": gold.dev}
    say_unheld(folder, splits)
    say_lost(folder, gold.lost, splits)
    job = Job(
        stage.begin(),
        stage.fingerprint,
        encoder,
        (task.labels, task.head, task.metric),
        pools,
        arm,
        resolved,
        arm.seed(settings.seed),
        settings.corpus.language,
        observe,
    )
    known = {"original_dropped_as_overlap": gold.dropped, **relabelled, **unheld_counts(splits)}
    return _Begun(stage, job, count(resolved.processes), known)


def _finish(folder: RunFolder, begun: _Begun, trained: training.Trained, threads: int) -> dict[str, Any]:
    """Seal a student that its process has written; gives its counts."""
    pools = begun.job.pools
    counts = {
        "distilled_pool": len(pools.distilled),
        "original_pool": len(pools.original),
        "distilled_drawn": sum(row["distilled"] for row in trained.history),
        "original_drawn": sum(row["original"] for row in trained.history),
        "best_update": trained.best_update,
        "best_dev_f1": trained.best_f1,
        "processes": begun.processes,
        "threads": threads,
        **begun.counts,
    }
    begun.job.checkpoints(folder.say).clear()
    begun.stage.seal(counts)
    return counts


def _say_unsure(folder: RunFolder, arm: SeededArm, distilled: Sequence[Example], counts: Mapping[str, int]) -> None:
    """What is not learnt from. Raises InputError if that is every token."""
    names = arm.labelled_by_all or (arm.labelled_by,)
    told = f"{in_words(names)} {'are' if len(names) > 1 else 'is'} less sure than {arm.min_label_confidence or 0:g} of"
    if masked := counts.get("distilled_tokens_unsure", 0):
        tokens = sum(len(example.labels) for example in distilled)
        if masked == tokens:
            raise InputError(f"train: {told} all tokens. Set min_label_confidence lower.")
        entities = counts.get("distilled_spans_unsure", 0)
        folder.say(f"train: {told} {entities} entities and, with these, {masked} of {tokens} tokens: not learnt from")
    if texts := counts.get("distilled_texts_unsure", 0):
        folder.say(f"train: {told} {texts} of {texts + len(distilled)} texts: not learnt from")


def _average_stage(folder: RunFolder, arm: SeededArm) -> Stage:
    """The stage that averages students of other arms."""
    settings = folder.settings
    parents = [folder.whole(f"train/{name}") for name in arm.average]
    return Stage(
        folder,
        f"train/{arm.name}",
        decides={
            "average": _weights(parents),
            "method": method(),
            "original": labels_digest(settings, "train", "dev", "test"),
            "task": settings.task.name,
        },
        inputs=source_paths(settings.corpus.original.dev),
        parents=parents,
        seed=arm.seed(settings.seed),
    )


def _average_arm(folder: RunFolder, arm: SeededArm) -> dict[str, Any]:
    """The mean of other arms' students; its history is empty, since nothing was drawn."""
    settings, stage = folder.settings, _average_stage(folder, arm)
    students = [folder.folder(f"train/{name}") / "student" for name in arm.average]
    if stage.is_fresh():
        stage.relink()
        folder.say(f"train {arm.name}: up to date")
        return stage.sealed_counts()
    task, gold = make_task(settings), read_gold(settings)
    target, threads = stage.begin(), training.prepare(arm.seed(settings.seed))
    student = Student.load(students[0])
    training.average(student, [Student.load(path) for path in students])
    write_student(target, student, ())
    counts = {
        "distilled_drawn": 0,
        "original_drawn": 0,
        "best_update": 0,
        "best_dev_f1": training.dev_f1(student, gold.dev, task.metric) if gold.dev else None,
        "threads": threads,
    }
    stage.seal(counts)
    return counts


def _weights(trained: Iterable[Path]) -> list[str]:
    """The digests of the weights of students, of their train/<arm>/ folders, and of what they decode tags with."""
    files = [folder / "student" / name for folder in trained for name in ("model.safetensors", "config.json")]
    return [*file_digests(files).values()]
