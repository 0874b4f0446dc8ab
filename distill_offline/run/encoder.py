"""The encoder that an arm's student starts from: the configuration's, or the one that `pretrain` made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError
from distill_offline.models import catalogue
from distill_offline.models.casing import require_capitals
from distill_offline.models.encoder_tokenizer import tokenizer_of
from distill_offline.models.layers import ignored_layers
from distill_offline.run.folder import RunFolder

__all__ = [
    "PRETRAIN",
    "StartingEncoder",
    "check_capitals",
    "check_pretrained_arms",
    "say_ignored_layers",
    "starting_encoder",
    "starts_pretrained",
]

PRETRAIN = "pretrain"  # the stage


@dataclass(frozen=True, slots=True)
class StartingEncoder:
    """Its folder and its digest; `made_in` are the sealed folders that it comes from, none for a model of the site."""

    folder: Path
    digest: str
    made_in: tuple[Path, ...]

    @property
    def models(self) -> dict[str, str]:
        """For the manifest of a student: a model that no stage made is named there."""
        return {} if self.made_in else {"encoder": self.digest}


def starting_encoder(folder: RunFolder, arm: str | None = None) -> StartingEncoder:
    """What the students of `arm` start from; without an arm those of select.cross_fit.

    Raises ConfigError if none is named, MissingModel where it is not there, InputError where pretrain has not been
    run to its end.
    """
    named = folder.require("train.encoder", folder.settings.train.encoder)
    if starts_pretrained(folder.settings, arm):
        made = folder.whole(PRETRAIN)
        return StartingEncoder(made / "encoder", catalogue.model_digest(made / "encoder"), (made,))
    base = catalogue.locate(named)
    return StartingEncoder(base, catalogue.model_digest(base), ())


def starts_pretrained(settings: Settings, arm: str | None = None) -> bool:
    """Whether an arm starts from what `pretrain` made; without an arm, whether there is such a stage."""
    pretrain = settings.pretrain
    return pretrain is not None and (arm is None or not pretrain.arms or arm in pretrain.arms)


def check_pretrained_arms(settings: Settings) -> None:
    """Raises ConfigError if pretrain.arms names none, or an average is of students of two encoders."""
    if settings.pretrain is None:
        return
    known = {arm.name for arm in settings.train.arms}
    if unknown := [name for name in settings.pretrain.arms if name not in known]:
        raise ConfigError(f"pretrain.arms: there is no arm {unknown[0]!r}.")
    for arm in settings.train.arms:
        if len({starts_pretrained(settings, name) for name in arm.average}) > 1:
            raise ConfigError(
                f"pretrain.arms: {arm.name} averages arms that start from different encoders; the mean of unrelated "
                "weights is noise. Name all of them there, or none."
            )


def check_capitals(settings: Settings) -> None:
    """Raises InputError if train.capitals is for an encoder that cannot be given capitals."""
    name = settings.train.encoder
    if settings.train.capitals and name and (tokenizer := tokenizer_of(name)) is not None:
        require_capitals(tokenizer, name)


def say_ignored_layers(folder: RunFolder) -> None:
    """Warn of an encoder whose weights have more layers than its configuration speaks of."""
    name = folder.settings.train.encoder
    if name and (ignored := ignored_layers(catalogue.locate(name))):
        folder.warn(
            f"train.encoder: {name}: its weights have {ignored[1]} layers, and config.json has {ignored[0]}: the "
            "others are not used. If it was not cut on purpose, copy the model again."
        )
