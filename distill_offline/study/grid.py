"""The cells of a study: which settings each one runs with, in which order, and what its result is filed under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from distill_offline import config
from distill_offline.config.settings import ArmSettings, ConfiguredArm, CorpusSettings, SeededArm, Settings, Source
from distill_offline.config.study import StudySettings
from distill_offline.errors import ConfigError
from distill_offline.manifest.method import labelling
from distill_offline.manifest.method import source_digest as digest_of_modules
from distill_offline.models import catalogue
from distill_offline.pretrain.stage import identity
from distill_offline.run.encoder import check_pretrained_arms, starts_pretrained
from distill_offline.run.sources import reading_of, source_digest
from distill_offline.storage.digests import digest_of
from distill_offline.train.arms import check_arms
from distill_offline.train.processes import count

__all__ = ["METHODS_BEFORE", "Cell", "Study"]

# Until rows said by which method they were made, its number was part of their keys: 2 learnt from a corpus's tokens in
# the pieces that raw text has. EXAMINED_BEFORE was that of what was looked at in a cell.
METHODS_BEFORE = (1, 2)
EXAMINED_BEFORE = 1

_LABELS = ("distilled", "teacher", "select")
_NOT_PART_OF_A_RESULT = frozenset({"arms", "at_once", "encoder", "checkpoint_every"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm of one variant at one size with one seed. `settings` are the run's that it shares with its other arms."""

    variant: str
    size: int
    seed: int
    arm: ConfiguredArm
    settings: Settings

    @property
    def name(self) -> tuple[str, int, int, str]:
        """What a row is filed under."""
        return self.variant, self.size, self.seed, self.arm.name

    @property
    def folder(self) -> Path:
        """The folder of the run, below the study's."""
        return Path(self.variant) / str(self.size) / str(self.seed)

    @property
    def students(self) -> tuple[SeededArm, ...]:
        """Those that it takes: the arm's own comes last, behind all that are needed for it."""
        train = self.settings.train
        own = next(student for student in train.students if student.name == self.arm.name)
        return (*train.students_before(own), own)

    def __str__(self) -> str:
        return f"{self.variant}, {self.size} sentences, seed {self.seed}, {self.arm.name}"


@dataclass(frozen=True, slots=True)
class Study:
    """A configuration with a `study` section, spread out into cells."""

    settings: Settings
    plan: StudySettings
    cells: tuple[Cell, ...]
    _digests: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path, changes: Iterable[str] = ()) -> Study:
        """The study of a YAML file after `--set` changes. Raises ConfigError, for every variant's settings, too."""
        settings = config.load(path, changes)
        plan = settings.study
        if plan is None:
            raise ConfigError(f"{path.name}: study is missing; give study.sizes, for example [100, 250, 1000].")
        cells = _sharing_encoders(path, tuple(_cells(path, tuple(changes), plan)))
        arms = {cell.arm.name for cell in cells}
        placed = {f"{cell.variant}/{cell.arm.name}" for cell in cells}
        for key, name in (("baseline", plan.baseline), *(("against", name) for name in plan.against)):
            if name not in arms and (key == "baseline" or name not in placed):
                known = ", ".join(sorted(placed if key == "against" and "/" in name else arms))
                raise ConfigError(f"{path.name}: study.{key}: no variant trains the arm {name!r}. Known: {known}.")
        return cls(settings, plan, cells)

    def key(self, cell: Cell, before: int | None = None) -> str:
        """The digest of all that decides the cell's result; reads corpora and encoder once for the whole study.

        Settings left at their defaults are not in it, so that a new setting does not make old results void. Nor is the
        distilled data where an arm learns from gold alone: variants share its result. Nor is the method (see
        manifest.method), which rows tell themselves; `before` is one of METHODS_BEFORE, whose keys had it.
        """
        settings, corpus = cell.settings, cell.settings.corpus
        averaged = _averaged(settings, cell.arm)
        learnt = [arm for arm in (*settings.train.before(cell.arm), cell.arm) if not arm.average]
        gold_alone = all(_schedule(arm) == "original_only" for arm in learnt)
        labels = dict.fromkeys(_LABELS) if gold_alone else self._labels(settings)
        return digest_of(
            {
                **({} if before is None else {"method": before}),
                "task": [settings.task.name, *settings.task.types],
                "splits": [self._source(getattr(corpus.original, split), corpus) for split in ("train", "dev", "test")],
                **labels,
                "reading": [corpus.tag_column, corpus.scheme, corpus.on_overlap],
                **({"language": corpus.language} if corpus.language else {}),  # a student cuts by it
                "train": self._training(settings, cell.arm),
                "averaged": [self._training(settings, arm) for arm in averaged],
                "seed": settings.seed,
                "split": settings.evaluate.split,
            }
        )

    def examination_key(self, cell: Cell, before: int | None = None) -> str | None:
        """The digest of all that decides what is seen in the cell; None if it is not to be examined.

        Distilled data is part of it even where the arm learns from gold alone: it is looked at all the same.
        """
        examine = self.plan.examine
        if examine is None or not self.is_examined(cell):
            return None
        return digest_of(
            {
                **({} if before is None else {"method": EXAMINED_BEFORE}),
                "cell": self.key(cell, before),
                "labels": self._labels(cell.settings),
                "sentences": [examine.distilled, examine.held_out],
                "reference": self._source(self.reference, cell.settings.corpus),
            }
        )

    def is_examined(self, cell: Cell) -> bool:
        """Whether study.examine asks for it."""
        examine = self.plan.examine
        if examine is None:
            return False
        named = (examine.variants, cell.variant), (examine.sizes, cell.size), (examine.seeds, cell.seed)
        return all(only is None or value in only for only, value in named)

    @property
    def reference(self) -> Source | None:
        """Gold for distilled sentences, where study.examine names some."""
        named = self.plan.examine.reference if self.plan.examine is not None else None
        if named is None or isinstance(named, str):
            return None if named is None else Source(path=named)
        return Source(
            path=named.path, token_column=named.token_column, tag_column=named.tag_column, scheme=named.scheme
        )

    def _labels(self, settings: Settings) -> dict[str, Any]:
        """Which distilled labels there are, by _LABELS."""
        teacher = None
        if settings.asks_a_teacher:
            teacher = {
                "backend": _said(settings.backend),
                "annotate": _said(settings.annotate),
                "task": _said(settings.task),
                "unlabelled": self._source(settings.corpus.unlabelled, settings.corpus),
                **({} if settings.adapt is None else {"adapt": _said(settings.adapt)}),
            }
        return {
            "distilled": self._source(settings.corpus.distilled, settings.corpus),
            "teacher": teacher,
            "select": _said(settings.select),
        }

    def _training(self, settings: Settings, arm: ConfiguredArm) -> dict[str, Any]:
        processes = count(settings.train.processes)  # what `auto` means here; one is the default, and not said
        trained_by = settings.train.of(arm)
        resolved = _said(replace(trained_by, processes=processes))
        if trained_by.gce_q:  # was there before its warm-up was, of which the default is therefore said, too
            resolved["gce_after"] = trained_by.gce_after
        return {
            **{key: value for key, value in resolved.items() if key not in _NOT_PART_OF_A_RESULT},
            "schedule": _schedule(arm),
            "options": arm.options,
            "encoder": self._once(f"encoder {settings.train.encoder}", lambda: _encoder(settings)),
            **self._pretrained(settings, arm),
            **self._labeller(settings, arm),
        }

    def _pretrained(self, settings: Settings, arm: ConfiguredArm) -> dict[str, Any]:
        """What decides the encoder, its method too: rows tell that of training alone."""
        pretrain, starts = settings.pretrain, starts_pretrained(settings, arm.name)
        if pretrain is None or not (starts or settings.select.cross_fit is not None):
            return {}
        name = f"pretrain {_said(pretrain)} {settings.train.encoder} {settings.corpus.language}"
        key = "pretrained" if starts else "cross_fit_pretrained"  # its students choose what an arm learns from
        return {key: self._once(name, lambda: digest_of(identity(settings, pretrain)))}

    def _labeller(self, settings: Settings, arm: ConfiguredArm) -> dict[str, Any]:
        if not arm.labelled_by:
            return {}
        other = next(candidate for candidate in settings.train.arms if candidate.name == arm.labelled_by)
        averaged = [self._training(settings, averaged_arm) for averaged_arm in _averaged(settings, other)]
        least = {"least": arm.min_label_confidence} if arm.min_label_confidence else {}
        several = {"labellers": arm.labellers} if arm.labellers else {}
        soft = bool(arm.soft_labels)
        code = labelling(together=bool(several), soft=soft, least=arm.min_label_confidence)
        kind = "soft" if soft else "sure" if several and least else ""  # before these two, code was not named
        of_code = {kind: digest_of_modules(code)} if kind else {}
        by = {"train": self._training(settings, other), "averaged": averaged, **least, **several, **of_code}
        return {"labelled_by": by}

    def _source(self, source: str | Source | None, corpus: CorpusSettings) -> Any:
        if source is None:
            return None
        said = _said(source) if isinstance(source, Source) else {"path": source}
        said |= reading_of(source, corpus)
        for key in said.keys() & {"path", "labels"}:
            said[key] = self._once(f"file {said[key]}", lambda name=said[key]: source_digest(name, corpus)["files"])
        return said

    def _once(self, name: str, make: Any) -> Any:
        if name not in self._digests:
            self._digests[name] = make()
        return self._digests[name]


def _cells(path: Path, changes: tuple[str, ...], plan: StudySettings) -> Iterator[Cell]:
    """Seed by seed, so that a study stopped halfway has all arms of its first seeds."""
    for seed in plan.seeds:
        for size in plan.sizes:
            for variant, values in plan.variants.items():
                settings = _settings(path, changes, plan, size, seed, values)
                for arm in settings.train.arms:
                    yield Cell(variant, size, seed, arm, settings)


def _sharing_encoders(path: Path, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """The cells, with dev and test of all of them left out of what `pretrain` reads, so that they share an encoder."""
    if all(cell.settings.pretrain is None for cell in cells):
        return cells
    splits = [cell.settings.corpus.original for cell in cells]
    never = tuple(dict.fromkeys(source for split in splits for source in (split.dev, split.test) if source is not None))
    made = dict[int, Settings]()  # arms of one place have one object
    for settings in {id(cell.settings): cell.settings for cell in cells}.values():
        pretrain = settings.pretrain
        if pretrain is not None and pretrain.text is None:
            raise ConfigError(f"{path.name}: pretrain.text is missing; the seeds of a study share one encoder.")
        shared = pretrain and replace(pretrain, never=tuple(dict.fromkeys((*pretrain.never, *never))))
        made[id(settings)] = replace(settings, pretrain=shared)
    return tuple(replace(cell, settings=made[id(cell.settings)]) for cell in cells)


def _settings(
    path: Path, changes: tuple[str, ...], plan: StudySettings, size: int, seed: int, variant: Mapping[str, Any]
) -> Settings:
    trained, dev = plan.split(size)
    names = {"size": size, "train": trained, "seed": seed}
    own_changes = [f"{key}={_as_yaml(_filled(value, names))}" for key, value in variant.items()]
    settings = config.load(path, (*changes, *own_changes))
    if settings.train.seeds > 1:
        raise ConfigError(
            f"{path.name}: train.seeds: a study trains every arm from each of study.seeds. Name the seeds there, and "
            "take train.seeds away."
        )
    corpus, original = settings.corpus, settings.corpus.original
    if original.reviewed is not None:
        raise ConfigError(
            f"{path.name}: corpus.original.reviewed: a study draws its sizes from corpus.original.train alone. Put the "
            "reviewed sentences into that file."
        )
    if original.train is None:
        raise ConfigError(f"{path.name}: corpus.original.train is missing; a study draws its sizes from it.")
    if getattr(original, settings.evaluate.split) is None:
        raise ConfigError(f"{path.name}: corpus.original.{settings.evaluate.split} is missing; a study scores on it.")
    check_arms(settings.train)
    check_pretrained_arms(settings)
    pool = _as_source(original.train)
    shuffle = seed if pool.shuffle is None else pool.shuffle
    if pool.limit is not None and trained > pool.limit:
        raise ConfigError(
            f"{path.name}: study.sizes: {trained} sentences are to be trained on, and corpus.original.train.limit "
            f"allows {pool.limit}."
        )
    changed = replace(original, train=replace(pool, shuffle=shuffle, limit=trained))
    if plan.dev_share is not None:
        # Behind what the largest size trains on, so that dev, too, is nested and no sentence is in both.
        behind = pool.skip + plan.split(plan.reserve or max(plan.sizes))[0]
        changed = replace(changed, dev=replace(pool, shuffle=shuffle, skip=behind, limit=dev) if dev else None)
    for name in plan.reshuffle:
        source = getattr(corpus, name)
        if source is not None:
            shuffled: Any = {name: replace(_as_source(source), shuffle=seed)}
            corpus = replace(corpus, **shuffled)
    return replace(settings, seed=seed, study=None, corpus=replace(corpus, original=changed))


def _averaged(settings: Settings, arm: ConfiguredArm) -> list[ConfiguredArm]:
    return [candidate for candidate in settings.train.arms if candidate.name in arm.average]


def _schedule(arm: ArmSettings) -> str:
    return "" if arm.average else arm.schedule or arm.name


def _as_source(source: str | Source) -> Source:
    return source if isinstance(source, Source) else Source(path=source)


def _filled(value: Any, names: Mapping[str, int]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    if not isinstance(value, str):
        return value
    for name, number in names.items():
        if value == f"{{{name}}}":
            return number
        value = value.replace(f"{{{name}}}", str(number))
    return value


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)


def _said(settings: Any) -> dict[str, Any]:
    """JSON of the settings that differ from their defaults."""
    plain = asdict(
        settings
    )  # plain already: numbers, text, tuples; a TypeAdapter for each would take a second a hundred
    said = {}
    for setting in fields(settings):
        default = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        if default is MISSING or getattr(settings, setting.name) != default:
            said[setting.name] = plain[setting.name]
    return said


def _encoder(settings: Settings) -> str:
    if not settings.train.encoder:
        raise ConfigError(f"{settings.name}: train.encoder is missing; a study trains students.")
    return catalogue.model_digest(catalogue.locate(settings.train.encoder))
