"""adapt: the teacher learns from the gold training sentences; its adapter goes into a sealed folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from distill_offline.adapt.answers import f1_of_answers
from distill_offline.adapt.base_model import base_of
from distill_offline.adapt.enough import check_can_learn, check_enough
from distill_offline.adapt.gguf_adapter import write_gguf
from distill_offline.adapt.lessons import Lesson, Pair, pairs
from distill_offline.adapt.loop import Learnt, learn, updates_of
from distill_offline.adapt.model import Base, check_quantization, write_adapter
from distill_offline.annotate.frozen import frozen
from distill_offline.annotate.pool import demonstrations
from distill_offline.annotate.work import corpus_of
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import AdaptSettings, Settings
from distill_offline.errors import ConfigError, InputError, MissingModel
from distill_offline.learning.checkpoint import Checkpoints
from distill_offline.manifest.method import source_digest
from distill_offline.models import catalogue
from distill_offline.run.adapter import ADAPTER, FOLD_OF, FOLDS, MADE, adapter_digest, gguf_digest, made_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold, make_task, read_gold
from distill_offline.run.sources import labels_digest, source_paths
from distill_offline.run.stage import Stage
from distill_offline.run.unheld import say_unheld, unheld_counts
from distill_offline.storage.digests import digest_of, file_digests
from distill_offline.storage.files import fresh_folder, make_folder, remove_folder, write_rows, write_text
from distill_offline.student.out_of_fold import folds
from distill_offline.train.loop import prepare

__all__ = ["adapt", "is_adapted", "plan"]

_SHOWN = 5  # ids
_DECIDES_NOTHING = ("base", "checkpoint_every", "folds")  # the base counts by its digest, folds for each by itself
_METHOD = (
    *(f"distill_offline.adapt.{name}" for name in ("answers", "gguf_adapter", "lessons", "loop", "model", "packing")),
    "distill_offline.learning.acceleration",
    "distill_offline.learning.optimisation",
    "distill_offline.student.batching",
)


def adapt(folder: RunFolder, *, refreeze: bool = False) -> dict[str, Any]:
    """The run's adapter, and those of its folds, under adapt/; gives the manifest's counts.

    `refreeze`: what the prompt is made of is frozen anew first, as in annotate: a teacher is asked as it was taught.
    Raises ConfigError for a base that cannot be adapted or too few sentences, before anything is changed; for too few
    that fit, before anything is learnt.
    """
    settings: AdaptSettings = folder.require("adapt", folder.settings.adapt)
    work = _AdaptInputs.of(folder, write=True, refreeze=refreeze)
    if (done := work.done()) is not None:
        folder.say("adapt: up to date")
        return done.sealed_counts()
    work.check()
    stage = work.stage()
    say_unheld(folder, {"train": work.gold.train, "dev": work.gold.dev})
    target = stage.begin()
    made, fold_of = {"": work.make(target, "", work.train)}, work.fold_of()
    for number in range(1, settings.folds + 1):
        inside = {content for content, fold in fold_of.items() if fold == number}
        lessons = [each for each in work.train if each.content not in inside]
        made[str(number)] = work.make(target / FOLDS / str(number), str(number), lessons)
    _clear(target, settings.folds)
    if fold_of:
        write_text(target / FOLDS / FOLD_OF, work.fold_file())
    counts = {**made[""], **unheld_counts({"train": work.gold.train, "dev": work.gold.dev})}
    if settings.folds:
        counts["folds"] = {name: each for name, each in made.items() if name}
    stage.seal(counts)
    return counts


def is_adapted(folder: RunFolder, *, refreeze: bool = False) -> bool:
    """Whether adapt/ stands for configuration, base and gold as they are now, or none is asked for; changes nothing."""
    if folder.settings.adapt is None:
        return True
    try:
        return _AdaptInputs.of(folder, write=False, refreeze=refreeze).done() is not None
    except (InputError, MissingModel):
        return False


def plan(folder: RunFolder, *, refreeze: bool = False) -> dict[str, Any]:
    """What the stage would do: a step of pipeline.plan, with its memory. Raises ConfigError as `adapt` does."""
    from distill_offline.models.adapting import need

    settings: AdaptSettings = folder.require("adapt", folder.settings.adapt)
    work = _AdaptInputs.of(folder, write=False, refreeze=refreeze)
    is_done = work.done() is not None
    if not is_done:
        work.check()
    sentences, updates = len(work.train), updates_of(len(work.train), settings)
    found = need(work.base, settings, on_gpu=_on_gpu())
    adapters = 1 + settings.folds
    detail = f"{sentences} sentences, {settings.epochs} epochs, {updates} updates, rank {settings.rank}"
    detail += f"; {adapters} adapters one after another" if adapters > 1 else ""
    return {
        "stage": "adapt",
        "fresh": is_done,
        "sentences": sentences,
        "updates": updates * adapters,
        "memory_bytes": found.total if found else None,
        "detail": f"{detail}; {found.in_words() if found else 'memory unknown'}",
    }


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@dataclass(frozen=True, slots=True)
class _AdaptInputs:
    """What adapt works on, read in."""

    folder: RunFolder
    settings: Settings  # with the prompt's ingredients as the run froze them
    gold: Gold
    base: Path
    task: Any
    picker: Any
    train: tuple[Pair, ...]

    @classmethod
    def of(cls, folder: RunFolder, *, write: bool, refreeze: bool = False) -> _AdaptInputs:
        base, gold = base_of(folder.settings), read_gold(folder.settings)
        settings = frozen(folder, gold, write=write, refreeze=refreeze)
        task, picker = make_task(settings), demonstrations(settings, gold)
        found = tuple(pairs(gold.train, corpus_of(settings, gold, "train"), picker, task))
        return cls(folder, settings, gold, base, task, picker, found)

    @property
    def adapt(self) -> AdaptSettings:
        assert self.settings.adapt is not None
        return self.settings.adapt

    def check(self) -> None:
        """Raises ConfigError if there is too little to learn from, or something that would be refused afterwards."""
        check_quantization(self.adapt, on_gpu=_on_gpu())
        check_can_learn(self.folder, self.settings, self.gold, {each.content for each in self.train}, self.task.head)

    def done(self) -> Stage | None:
        """The stage, if adapt/ holds what it makes, whether on a GPU or a CPU, and nothing in it is damaged."""
        for on_gpu in (_on_gpu(), not _on_gpu()):
            if (stage := self.stage(on_gpu=on_gpu)).is_fresh() and self._is_intact(stage.folder):
                return stage
        return None

    def _is_intact(self, target: Path) -> bool:
        places = (target, *(target / FOLDS / str(number) for number in range(1, self.adapt.folds + 1)))
        file = target / FOLDS / FOLD_OF
        folds = file.read_text("utf-8", "replace") if file.is_file() else ""
        return folds == self.fold_file() and all(made_of(place / ADAPTER) is not None for place in places)

    def _fingerprint(self, train: Sequence[Pair], dev: Sequence[Pair]) -> str:
        """Of one adapter: what it learns from, and how; whatever other folds there are, and whatever is tested on."""
        decides = {name: value for name, value in self._decides().items() if name not in ("folds", "original")}
        learnt = [[[asdict(each.prompt), each.answer] for each in pairs_] for pairs_ in (train, dev)]
        return digest_of([decides, learnt])

    def stage(self, *, on_gpu: bool | None = None) -> Stage:
        """`on_gpu`: as if it ran on a GPU, or on a CPU; None: where it is."""
        original = self.settings.corpus.original
        return Stage(
            self.folder,
            "adapt",
            decides=self._decides(on_gpu=on_gpu),
            inputs=source_paths(original.train, original.reviewed, original.dev),
            models={"base": catalogue.model_digest(self.base)},
        )

    def _decides(self, *, on_gpu: bool | None = None) -> dict[str, Any]:
        settings, options = self.settings, self._options
        template = options.get("chat_template")
        return {
            "base": catalogue.model_digest(self.base),
            "task": self.task.identity(),
            "demonstrations": self.picker.identity(),
            "original": labels_digest(settings, "train", "dev", "test"),
            "context": settings.task.context,
            "adapt": {key: each for key, each in as_plain(self.adapt).items() if key not in _DECIDES_NOTHING},
            "folds": self.adapt.folds,
            "thinking": bool(options.get("thinking")),
            "chat_template": file_digests([Path(template)])[Path(template)] if template else None,
            "method": source_digest(_METHOD),
            "seed": settings.seed,
            "on_gpu": _on_gpu() if on_gpu is None else on_gpu,
            # Generated answers choose the epoch: how long they may be counts.
            **({"max_tokens": settings.annotate.sampling.max_tokens} if self.adapt.pick == "dev_f1" else {}),
        }

    @property
    def _options(self) -> Mapping[str, Any]:
        return self.settings.backend.options if self.settings.backend else {}

    def fold_of(self) -> dict[str, int]:
        """The fold, from 1, of each sentence, by its content digest."""
        if not self.adapt.folds:
            return {}
        contents = [each.content for each in self.train]
        found = folds(contents, self.adapt.folds, self.settings.seed)
        return {content: fold + 1 for content, fold in zip(contents, found, strict=True)}

    def fold_file(self) -> str:
        """fold_of as a file's text; empty without folds."""
        found = self.fold_of()
        return json.dumps(dict(sorted(found.items())), indent=0) + "\n" if found else ""

    def make(self, place: Path, fold: str, train: Sequence[Pair]) -> dict[str, Any]:
        """Train an adapter into place/adapter/, unless it lies there finished; gives its counts."""
        name = f"adapt fold {fold}" if fold else "adapt"
        dev = () if self.adapt.pick == "last" else self.dev_pairs()
        fingerprint = self._fingerprint(train, dev)
        made = made_of(place / ADAPTER)
        if made is not None and made.get("fingerprint") == fingerprint:
            self.folder.say(f"{name}: is here already")
            return dict(made["counts"])
        threads = prepare(self.settings.seed)
        base = Base(
            self.base,
            self.adapt,
            thinking=bool(self._options.get("thinking")),
            template=self._options.get("chat_template"),
            max_tokens=self.settings.annotate.sampling.max_tokens,
        )
        lessons, left_out = self._lessons(base, train, name)
        if left_out and not fold:
            check_enough(len({each.ids for each in lessons}), self.adapt, " that fit into adapt.max_length")
        if not lessons:
            raise ConfigError(f"{name}: none of {len(train)} sentences fits. Raise adapt.max_length.")
        dev_lessons = self._lessons(base, dev, f"{name}, dev")[0]
        if dev and not dev_lessons:
            self.folder.warn(f"{name}: no sentence of dev fits, so no epoch can be chosen; the last one is kept.")
            dev = ()
        checkpoints = Checkpoints(place / "checkpoint", fingerprint, self.folder.say)
        learnt = learn(
            base,
            lessons,
            dev_lessons,
            self.adapt,
            name=name,
            seed=self.settings.seed,
            dev_f1=self._dev_f1(base, dev) if dev and self.adapt.pick == "dev_f1" else None,
            watch=self.folder.watch,
            stop=self.folder.stop,
            checkpoints=checkpoints,
        )
        counts = {
            "sentences": len(lessons),
            "left_out": left_out,
            "dev_sentences": len(dev_lessons),
            **_counts(learnt, base, lessons, self.adapt),
            "threads": threads,
        }
        self._tell(name, learnt, counts)
        self._write(place, base, learnt, {"fingerprint": fingerprint, "counts": counts})
        checkpoints.clear()
        base.backend.close()
        return {**counts, "seconds": round(learnt.seconds, 1)}

    def dev_pairs(self) -> tuple[Pair, ...]:
        dev = self.gold.dev
        return tuple(pairs(dev, corpus_of(self.settings, self.gold, "dev"), self.picker, self.task))

    def _dev_f1(self, base: Base, dev: Sequence[Pair]) -> Callable[[], float]:
        prompts = [each.prompt for each in dev]
        kept = {each.id for each in dev}
        examples = [example for example in self.gold.dev if example.sentence.id in kept]
        return lambda: f1_of_answers(base.backend, self.task, examples, prompts)

    def _lessons(self, base: Base, found: Sequence[Pair], name: str) -> tuple[list[Lesson], int]:
        """Those that fit into max_length and the model and that the template takes; others are told by their ids."""
        longest = min(self.adapt.max_length, base.backend.max_context)
        limit = (
            f"adapt.max_length ({longest} tokens)"
            if longest == self.adapt.max_length
            else f"what the model reads ({longest})"
        )
        kept, lost = list[Lesson](), list[str]()
        for each in found:
            try:
                lesson = base.encoder.lesson(each)
            except TemplateError:
                lost.append(each.id)
                continue
            if len(lesson.ids) <= longest:
                kept.append(lesson)
            else:
                lost.append(each.id)
        if lost:
            more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
            self.folder.warn(
                f"{name}: {len(lost)} of {len(found)} sentences are left out (rows {', '.join(lost[:_SHOWN])}{more}): "
                f"they are longer than {limit}, or the chat template refuses them. Raise adapt.max_length to keep more."
            )
        return kept, len(lost)

    def _tell(self, name: str, learnt: Learnt, counts: Mapping[str, Any]) -> None:
        first, best = learnt.history[0], learnt.history[learnt.epoch]
        told = ""
        if "dev_loss" in best:
            told = f"; loss on dev {first['dev_loss']:.3f} before, {best['dev_loss']:.3f} after"
            if best["dev_loss"] >= first["dev_loss"]:
                self.folder.warn(
                    f"{name}: no epoch is better on dev than the base as it was ({first['dev_loss']:.3f}): the adapter "
                    "makes the teacher worse. Lower adapt.learning_rate or adapt.epochs."
                )
        self.folder.say(
            f"{name}: {counts['sentences']} sentences, epoch {learnt.epoch} of {self.adapt.epochs} kept{told}; "
            f"{learnt.seconds:.0f} s"
        )

    def _write(self, place: Path, base: Base, learnt: Learnt, made: Mapping[str, Any]) -> None:
        """The adapter's folder takes its name when it is whole."""
        make_folder(place)
        partial = place / f"{ADAPTER}.partial"
        fresh_folder(partial)
        write_adapter(partial, base, learnt.weights)
        write_gguf(partial, base.backend.model.base_model.model.config)
        write_rows(partial / "history.jsonl", learnt.history)
        digests = {"digest": adapter_digest(partial), "gguf": gguf_digest(partial)}
        kept = {"base": catalogue.model_digest(self.base), **digests, **made}
        write_text(partial / MADE, json.dumps(kept, indent=2, sort_keys=True) + "\n")
        remove_folder(place / ADAPTER)
        partial.rename(place / ADAPTER)


def _counts(learnt: Learnt, base: Base, lessons: Sequence[Lesson], settings: AdaptSettings) -> dict[str, Any]:
    return {
        "updates": updates_of(len(lessons), settings),
        "epoch": learnt.epoch,
        "prompt_tokens": sum(each.start for each in lessons),
        "answer_tokens": sum(each.answer_tokens for each in lessons),
        "packed": base.packs,
        "parameters": sum(each.numel() for each in base.learning.values()),
        "history": list(learnt.history),
    }


def _clear(target: Path, count: int) -> None:
    """Take folds of an earlier configuration away."""
    for each in (target / FOLDS).glob("*"):
        if each.is_dir() and not (each.name.isdecimal() and 1 <= int(each.name) <= count):
            remove_folder(each)
    if not count:
        remove_folder(target / FOLDS)
