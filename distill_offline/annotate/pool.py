"""The human-labelled sentences that a prompt may show."""

from __future__ import annotations

from distill_offline.annotate.demonstrations import Demonstrations, check_pool
from distill_offline.config.settings import AnnotateSettings, DemonstrationSettings, Settings
from distill_offline.errors import ConfigError
from distill_offline.run.gold import Gold, read_labelled
from distill_offline.schema import Example, content_digest

__all__ = ["demonstration_pool", "demonstrations"]


def demonstration_pool(settings: Settings, gold: Gold) -> tuple[Example, ...]:
    """corpus.original.train, or annotate.demonstrations.pool less what stands in dev or test."""
    chosen = settings.demonstrations
    if chosen.pool is None:
        pool = tuple(example for example in gold.train if not example.unheld)
        check_pool(chosen, pool)  # before an empty pool is frozen
        return pool
    held_out = gold.held_out()
    read = read_labelled(settings, chosen.pool, origin="original")
    fit = (example for example in read if not example.unheld)  # an answer would lack what no label can say
    pool = tuple(example for example in fit if content_digest(example.sentence) not in held_out)
    check_pool(chosen, pool)
    return pool


def demonstrations(settings: Settings, gold: Gold) -> Demonstrations:
    """What picks from the pool as annotate.demonstrations says."""
    pool = demonstration_pool(settings, gold)
    _check_samples(
        settings.annotate, settings.demonstrations, len({content_digest(example.sentence) for example in pool})
    )
    return Demonstrations(settings.demonstrations, pool, seed=settings.seed)


def _check_samples(settings: AnnotateSettings, chosen: DemonstrationSettings, pool: int) -> None:
    """Raises ConfigError if all samples of a sentence would show the same, since the pool holds no other."""
    fewest = {"no": 0, "order": 2, "set": chosen.k + 1}[chosen.vary]
    if settings.samples > 1 and not settings.sampling.temperature and pool < fewest:
        raise ConfigError(
            f"annotate.samples: {settings.samples} samples of one prompt at temperature 0 would be the same: with "
            f"{pool} labelled sentences to choose from, demonstrations.vary: {chosen.vary} (k: {chosen.k}) changes "
            f"nothing. Give {fewest} or more, or set sampling.temperature."
        )
