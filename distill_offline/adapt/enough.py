"""Whether there is enough to learn from, and nothing that annotate would refuse once the adapter is made."""

from __future__ import annotations

from collections.abc import Collection

from distill_offline import registry
from distill_offline.adapt.loop import updates_of
from distill_offline.annotate.questions import check_can_be_asked
from distill_offline.backends import BACKENDS, EXTRAS
from distill_offline.config.settings import AdaptSettings, Settings
from distill_offline.errors import ConfigError
from distill_offline.label_kinds import kind_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold
from distill_offline.schema import Head

__all__ = ["check_can_learn", "check_enough"]

FEWEST = 20  # gold training sentences
_FEW_UPDATES = 100  # with 28, 49 sentences of the demo taught a small teacher far less than with 156 (docs/results.md)


def check_enough(found: int, adapt: AdaptSettings, which: str = "") -> None:
    """Raises ConfigError if so many different sentences are too few. `which` says more of them."""
    needed = max(FEWEST, 2 * adapt.folds)
    if found < needed:
        raise ConfigError(
            f"adapt: {found} different gold training sentences{which} are too few to learn from; it needs {needed}. "
            "Label more, or leave the section adapt out and show them as demonstrations."
        )


def check_can_learn(folder: RunFolder, settings: Settings, gold: Gold, contents: Collection[str], head: Head) -> None:
    """`contents` are the content digests of the sentences that are learnt from. Raises ConfigError.

    Tells if no epoch can be chosen, if updates are few, or if none of the sentences has an entity.
    """
    adapt, backend = folder.require("adapt", settings.adapt), settings.backend
    check_enough(len(contents), adapt)
    if backend is not None and settings.annotate.verify is not None:
        engine = registry.load("backend.name", backend.name, BACKENDS, EXTRAS, group="backends")
        check_can_be_asked(backend, engine, head)
    kind = kind_of(head)
    if kind.per_token and not any(name for each in gold.train for _, name in kind.names(each.labels)):
        folder.warn(f"adapt: none of {len(contents)} sentences has an entity: the teacher learns to find none.")
    if adapt.pick != "last" and not gold.dev:
        folder.say("adapt: without corpus.original.dev no epoch can be chosen; the last one is kept.")
    updates = updates_of(len(contents), adapt)
    if updates < _FEW_UPDATES:
        folder.say(
            f"adapt: {updates} updates are few to learn from {len(contents)} sentences. Raise adapt.epochs "
            f"({adapt.epochs}) or lower adapt.batch_size ({adapt.batch_size}) until there are {_FEW_UPDATES} or more."
        )
