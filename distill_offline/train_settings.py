"""The settings of `train`: of all students, and of one arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from distill_offline.errors import ConfigError
from distill_offline.setting_values import (
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

__all__ = ["ArmSettings", "TrainSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSettings:
    """One way to blend; what is not set here comes from `train`, where it is explained.

    `schedule` defaults to the arm's name. `average` names other arms: this arm is then not trained, but the mean of
    their students' weights. `labelled_by` names another arm: its student's labels for the distilled sentences take the
    place of the teacher's (self-training).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    name: str
    schedule: str = ""
    options: dict[str, float] = field(default_factory=dict)
    average: tuple[str, ...] = ()
    labelled_by: str = ""
    share: Fraction | None = None
    updates: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    learning_rate_decay: LearningRateDecay | None = None
    warmup: Below1 | None = None
    restart: bool | None = None
    weight_decay: NonNegative | None = None
    layer_decay: LayerDecay | None = None
    clip: Positive | None = None
    label_smoothing: Below1 | None = None
    gce_q: Fraction | None = None
    gce_after: Number | None = None
    confidence_weights: bool | None = None
    mask_errors: Below1 | None = None
    mask_after: Number | None = None
    eval_every: Count | None = None
    tau: Inside01 | None = None

    def __post_init__(self) -> None:
        folder_name(self.name)
        if self.average and (len(set(self.average)) < 2 or self.schedule or self.options):
            raise ValueError("average names two arms or more, and such an arm has no schedule and no options")

    @property
    def needs(self) -> tuple[str, ...]:
        """The arms whose students this one is made with."""
        return (*self.average, self.labelled_by) if self.labelled_by else self.average


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How students are trained; docs/training.md has it at length.

    t = update / updates; `tau` is where step schedules change over. `share`: every schedule is stretched along t until
    this share of the drawn sentences is distilled, so that arms differ by its shape alone. `restart`: the learning
    rate starts again at tau. `layer_decay`: what the rate is multiplied by from layer to layer, downwards. Of distilled
    examples only: `gce_q` (generalised cross-entropy) after `gce_after` updates, `confidence_weights` (whether the
    weights that select gave count), `mask_errors` after `mask_after` updates (masking of likely errors); 0 is off.
    `checkpoint_every`: seconds. `processes`: so many share each update's sentences; `auto` is one for each GPU.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    encoder: str = ""
    arms: tuple[ArmSettings, ...] = (
        ArmSettings(name="original_only"),
        ArmSettings(name="distilled_only"),
        ArmSettings(name="simple_mix"),
    )
    share: Fraction | None = None
    updates: Count = 500
    batch_size: Count = 16
    learning_rate: Positive = 5e-5
    learning_rate_decay: LearningRateDecay = "linear"
    warmup: Below1 = 0.1
    restart: bool = False
    weight_decay: NonNegative = 0.01
    layer_decay: LayerDecay = 1.0
    clip: Positive = 1.0
    label_smoothing: Below1 = 0.0
    gce_q: Fraction = 0.0
    gce_after: Number = 150
    confidence_weights: bool = True
    mask_errors: Below1 = 0.0
    mask_after: Number = 150
    eval_every: Count = 50
    tau: Inside01 = 0.5
    micro_batch_tokens: Count = 2048
    max_length: Annotated[int, Ge(8)] = 512
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_every: NonNegative = 120.0
    processes: int | str = 1

    def __post_init__(self) -> None:
        if self.processes != "auto" and (isinstance(self.processes, str) or not 1 <= self.processes <= 1024):
            raise ValueError("processes: a number from 1 to 1024, or auto")

    def of(self, arm: ArmSettings) -> TrainSettings:
        """These settings with what the arm sets itself."""
        shared = {each.name for each in fields(self)} & {each.name for each in fields(arm)}
        return replace(self, **{name: getattr(arm, name) for name in shared if getattr(arm, name) is not None})

    def before(self, arm: ArmSettings) -> tuple[ArmSettings, ...]:
        """The arms that `arm` needs, and those that they need, in an order in which they can be trained.

        Raises ConfigError where an arm needs one that is not there, or, by whatever way, itself.
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
                    raise ConfigError(f"train.arms: {arm.name} is to {verb} {name!r}, which is no arm that is trained.")
                if name not in placed:
                    place(known[name], (*path, arm.name))
            placed[arm.name] = arm

        for each in arms:
            if each.name not in placed:
                place(each, ())
        return tuple(placed.values())
