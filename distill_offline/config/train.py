"""The settings of `train`: of all students, and of one arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from distill_offline.config.values import (
    STRICT,
    Below1,
    Count,
    Fraction,
    Inside01,
    LayerDecay,
    LearningRateDecay,
    NonNegative,
    Number,
    Positive,
    folder_name,
)
from distill_offline.errors import ConfigError

__all__ = ["ArmSettings", "TrainSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSettings:
    """One student, and how its training data are blended. A setting that is left empty here is that of `train`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    """The arm's name; it becomes the folder `train/NAME`."""
    schedule: str = ""
    """A schedule of docs/training.md, the name of an installed one, or `package.module:function`; empty: the one called
    as the arm is."""
    options: dict[str, float] = field(default_factory=dict)
    """The schedule's own numbers, such as `p` of `constant`."""
    average: tuple[str, ...] = ()
    """Other arms: this one is not trained, but is the mean of their students' weights."""
    labelled_by: str = ""
    """Another arm: its student labels the distilled sentences anew, and this arm learns those labels."""
    min_label_confidence: Fraction | None = None
    """[probability] With `labelled_by`: learn nothing from an entity, a token without one, or a text of which that
    student, or those that label together, are less sure; empty: from all."""
    share: Fraction | None = None
    """[share of draws] As `train.share`, for this arm alone."""
    updates: Count | None = None
    """[updates] As `train.updates`, for this arm alone."""
    batch_size: Count | None = None
    """[sentences] As `train.batch_size`, for this arm alone."""
    learning_rate: Positive | None = None
    """[step size] As `train.learning_rate`, for this arm alone."""
    learning_rate_decay: LearningRateDecay | None = None
    """As `train.learning_rate_decay`, for this arm alone."""
    warmup: Below1 | None = None
    """[share of updates] As `train.warmup`, for this arm alone."""
    restart: bool | None = None
    """As `train.restart`, for this arm alone."""
    weight_decay: NonNegative | None = None
    """[AdamW's weight decay] As `train.weight_decay`, for this arm alone."""
    layer_decay: LayerDecay | None = None
    """[factor] As `train.layer_decay`, for this arm alone."""
    clip: Positive | None = None
    """[norm] As `train.clip`, for this arm alone."""
    label_smoothing: Below1 | None = None
    """[probability] As `train.label_smoothing`, for this arm alone."""
    gce_q: Fraction | None = None
    """[exponent q] As `train.gce_q`, for this arm alone."""
    gce_after: Number | None = None
    """[updates] As `train.gce_after`, for this arm alone."""
    confidence_weights: bool | None = None
    """As `train.confidence_weights`, for this arm alone."""
    mask_errors: Below1 | None = None
    """[probability] As `train.mask_errors`, for this arm alone."""
    mask_after: Number | None = None
    """[updates] As `train.mask_after`, for this arm alone."""
    transitions: NonNegative | None = None
    """[weight] As `train.transitions`, for this arm alone."""
    eval_every: Count | None = None
    """[updates] As `train.eval_every`, for this arm alone."""
    tau: Inside01 | None = None
    """[share of updates] As `train.tau`, for this arm alone."""

    def __post_init__(self) -> None:
        folder_name(self.name)
        if self.average and (len(set(self.average)) < 2 or self.schedule or self.options):
            raise ValueError("average names two arms or more, and such an arm has no schedule and no options")
        if self.min_label_confidence is not None and not self.labelled_by:
            raise ValueError(
                "min_label_confidence is about the labels of another arm's student: name it in labelled_by"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """The arms whose students this one is made with."""
        return (*self.average, self.labelled_by) if self.labelled_by else self.average


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How students are trained. An arm may set most of these for itself; docs/training.md has them at length."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    encoder: str = ""
    """The encoder that students start from: a model of the catalogue, or the path of a folder."""
    capitals: bool = False
    """Let an uncased encoder tell capitals from small letters (BERT's WordPiece); a cased one stays as it is."""
    arms: tuple[ArmSettings, ...] = (
        ArmSettings(name="original_only"),
        ArmSettings(name="distilled_only"),
        ArmSettings(name="simple_mix"),
    )
    """The students to train, each with its schedule."""
    share: Fraction | None = None
    """[share of draws] Stretch every schedule until this share of the drawn sentences is distilled; empty: off."""
    updates: Count = 500
    """[updates] How many steps of the optimizer."""
    batch_size: Count = 16
    """[sentences] How many each update draws."""
    learning_rate: Positive = 5e-5
    """[step size] The peak learning rate."""
    learning_rate_decay: LearningRateDecay = "linear"
    """How the rate falls after the warm-up: to zero by a line or a cosine, or not at all (`constant`)."""
    warmup: Below1 = 0.1
    """[share of updates] How long the rate rises at the beginning."""
    restart: bool = False
    """Start the rate's schedule again, warm-up and all, when the arm changes over."""
    weight_decay: NonNegative = 0.01
    """[AdamW's weight decay] On matrices only."""
    layer_decay: LayerDecay = 1.0
    """[factor] What the rate is multiplied by from layer to layer, from the head down; 1: the same for all."""
    clip: Positive = 1.0
    """[norm] The largest norm of the gradient."""
    label_smoothing: Below1 = 0.0
    """[probability] What a label's target gives to all other labels together."""
    gce_q: Fraction = 0.0
    """[exponent q] Generalised cross-entropy on distilled examples; 0.7 is the paper's value, 0 is off."""
    gce_after: Number = 150
    """[updates] How long plain cross-entropy is used before `gce_q`."""
    confidence_weights: bool = True
    """Whether the weights that `select` gave to distilled examples count."""
    mask_errors: Below1 = 0.0
    """[probability] Skip distilled entity labels to which the student gives 1 minus this or less; 0 is off."""
    mask_after: Number = 150
    """[updates] How long nothing is skipped by `mask_errors`."""
    transitions: NonNegative = 0.0
    """[weight] How much it counts where tags are decoded how often they follow each other in what is learnt; 0: off."""
    eval_every: Count = 50
    """[updates] How often the student is scored on dev; the best weights are kept."""
    tau: Inside01 = 0.5
    """[share of updates] When step schedules change over, and when `restart` starts again."""
    micro_batch_tokens: Count = 2048
    """[subwords] The most that are in memory at once, with padding."""
    max_length: Annotated[int, Ge(8)] = 512
    """[subwords] The longest window that the student reads at once; longer sentences are cut into windows."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Compute in 16 bits: `bf16`, or `fp16` on a GPU."""
    checkpoint_every: NonNegative = 120.0
    """[seconds] Time between checkpoints; 0: after every update."""
    processes: int | str = 1
    """[processes] How many share each update's sentences; `auto`: one for each GPU."""

    def __post_init__(self) -> None:
        if self.processes != "auto" and (isinstance(self.processes, str) or not 1 <= self.processes <= 1024):
            raise ValueError("processes: a number from 1 to 1024, or auto")

    def of(self, arm: ArmSettings) -> TrainSettings:
        """These settings with what the arm sets itself."""
        shared = {field.name for field in fields(self)} & {field.name for field in fields(arm)}
        return replace(self, **{name: getattr(arm, name) for name in shared if getattr(arm, name) is not None})

    def before(self, arm: ArmSettings) -> tuple[ArmSettings, ...]:
        """The arms that `arm` needs, and those that they need, in an order in which they can be trained.

        Raises ConfigError if an arm needs one that is not there, or, by whatever way, itself.
        """
        return self._ordered([arm])[:-1]

    @property
    def ordered(self) -> tuple[ArmSettings, ...]:
        """All arms, each behind those that it needs; raises ConfigError as `before` does."""
        return self._ordered(self.arms)

    def _ordered(self, arms: Iterable[ArmSettings]) -> tuple[ArmSettings, ...]:
        known, placed = {arm.name: arm for arm in self.arms}, dict[str, ArmSettings]()

        def place(arm: ArmSettings, path: tuple[str, ...]) -> None:
            if arm.name in path:
                raise ConfigError(f"train.arms: {arm.name} needs itself: {' needs '.join((*path, arm.name))}.")
            for name in arm.needs:
                if name not in known:
                    verb = "be labelled by" if name == arm.labelled_by else "average"
                    raise ConfigError(
                        f"train.arms: {arm.name} is to {verb} {name!r}, which is not an arm that is trained."
                    )
                if name not in placed:
                    place(known[name], (*path, arm.name))
            placed[arm.name] = arm

        for arm_settings in arms:
            if arm_settings.name not in placed:
                place(arm_settings, ())
        return tuple(placed.values())
