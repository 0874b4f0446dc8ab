"""A whole configuration: one plain dataclass per section; loading.py fills them from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from distill_offline.config.adapt import AdaptSettings
from distill_offline.config.annotate import (
    AnnotateSettings,
    BackendSettings,
    ClusterSettings,
    DemonstrationSettings,
    VerifySettings,
)
from distill_offline.config.corpus import OFFSETS, CorpusSettings, OffsetUnit, OriginalSettings, Source
from distill_offline.config.pretrain import PretrainSettings
from distill_offline.config.seeds import ConfiguredArm, SeededArm, SeededTrainSettings
from distill_offline.config.select import CrossFitSettings, SelectSettings
from distill_offline.config.study import StudySettings
from distill_offline.config.train import ArmSettings, TrainSettings
from distill_offline.config.values import STRICT, Fraction, Number, folder_name
from distill_offline.schema import Sampling

__all__ = [
    "OFFSETS", "AdaptSettings", "AnnotateSettings", "ArmSettings", "BackendSettings", "ClusterSettings",
    "ConfiguredArm", "CorpusSettings", "CrossFitSettings", "DemonstrationSettings", "EvaluateSettings", "OffsetUnit",
    "OriginalSettings", "PretrainSettings", "Sampling", "SeededArm", "SeededTrainSettings", "SelectSettings",
    "Settings", "Source", "TaskSettings", "TrainSettings", "VerifySettings",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What is to be labelled, and how the teacher is told."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str = "ner"
    """`ner`, `text_classification`, `multi_label_classification`, the name of an installed one, or
    `package.module:Class`."""
    types: dict[str, str]
    """Each type (or class) with its definition, in the order of the prompt. The teacher reads the definitions."""
    prompt: str = "standard"
    """`standard`, `cot` (reason first, then answer), `brief` (of `ner`, for an adapted teacher), or the path of a
    Jinja template of yours."""
    guidelines: str = ""
    """The path of a text file with what your annotators were told; it goes into the prompt."""
    context: Number = 0
    """[sentences] How many neighbours in the document the teacher sees on either side of the one that it labels."""
    repeats: Literal["every", "first"] = "every"
    """A mention that an answer gives once means `every` place of it in the sentence, or only the `first`."""
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What else a type may be called in an answer, such as `PER: [PERSON]`. Case, blanks and plurals never matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What is scored: every student, and the teacher if it labelled the split."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    split: Literal["dev", "test"] = "test"
    """The human-labelled split that scores are made on."""
    min_f1: Fraction | None = None
    """[F1, 0 to 1] If the best student scores less, the exit code is 5; of several seeds the best arm's mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole configuration file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    """The run's name; it becomes the folder `runs/NAME`."""
    seed: Number = 0
    """[seed] Decides everything that is drawn at random."""
    task: TaskSettings
    """What is to be labelled."""
    corpus: CorpusSettings
    """The text and the labels that are there already."""
    backend: BackendSettings | None = None
    """The teacher's engine; may be left out if all labels come from `corpus.distilled`."""
    adapt: AdaptSettings | None = None
    """An adapter that the teacher learns from the gold training sentences before it annotates; empty: none."""
    annotate: AnnotateSettings = field(default_factory=AnnotateSettings)
    """How the teacher annotates."""
    select: SelectSettings = field(default_factory=SelectSettings)
    """Which annotations go into training."""
    pretrain: PretrainSettings | None = None
    """Let the encoder learn the text before students start from it."""
    train: SeededTrainSettings = field(default_factory=SeededTrainSettings)
    """How students are trained."""
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    """What is scored."""
    study: StudySettings | None = None
    """A comparison of arms, sizes and seeds; for `distill-offline study`."""

    def __post_init__(self) -> None:
        folder_name(self.name)
        if self.adapt is not None:
            self._check_adapted(self.adapt)
        if self.select.confidence_from != "answer" and self.annotate.verify is None:
            raise ValueError(
                f"select.confidence_from: {self.select.confidence_from} wants what annotate.verify asks for. Set "
                "annotate.verify: {}."
            )

    def _check_adapted(self, adapt: AdaptSettings) -> None:
        if self.corpus.original.train is None:
            raise ValueError("adapt: there is nothing to learn from. Give corpus.original.train.")
        if "train" in self.annotate.gold and not adapt.folds:
            raise ValueError(
                "annotate.gold: train: these sentences train the adapter, so that its answers for them say nothing of "
                "its answers for others. Set adapt.folds (5, say): then each is answered by an adapter that has not "
                "seen it. Or leave train out."
            )
        if self.annotate.samples > 1 and not self.annotate.sampling.temperature and not self.demonstrations.can_vary:
            raise ValueError(
                f"annotate.samples: {self.annotate.samples} samples of one prompt at temperature 0 would be the same: "
                f"an adapted teacher is shown {adapt.demonstrations} demonstrations (adapt.demonstrations). "
                "Set annotate.sampling.temperature."
            )

    @property
    def demonstrations(self) -> DemonstrationSettings:
        """Those of the prompts: an adapted teacher is asked as it was taught."""
        chosen = self.annotate.demonstrations
        if self.adapt is None:
            return chosen
        shown = self.adapt.demonstrations
        return replace(chosen, k=shown, strategy=chosen.strategy if shown else "none")

    @property
    def asks_a_teacher(self) -> bool:
        """Whether there is text to annotate and a teacher to do it; else labels come from corpus.distilled alone."""
        return self.backend is not None and self.corpus.unlabelled is not None
