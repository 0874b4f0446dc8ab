"""Whether there is enough to learn from, and nothing that annotate would refuse once the adapter is made."""

from __future__ import annotations

from collections.abc import Collection

from distill_offline import registry
from distill_offline.annotate.questions import check_can_be_asked
from distill_offline.backends import BACKENDS, EXTRAS
from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError
from distill_offline.label_kinds import kind_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold
from distill_offline.schema import Head

__all__ = ["check_can_learn"]

FEWEST = 20  # gold training sentences


def check_can_learn(folder: RunFolder, settings: Settings, gold: Gold, contents: Collection[str], head: Head) -> None:
    """`contents` are the content digests of the sentences that are learnt from. Raises ConfigError.

    Tells if no epoch can be chosen, or none of the sentences has an entity.
    """
    adapt, backend = folder.require("adapt", settings.adapt), settings.backend
    needed = max(FEWEST, 2 * adapt.folds)
    if len(contents) < needed:
        raise ConfigError(
            f"adapt: {len(contents)} different gold training sentences are too few to learn from; it needs {needed}. "
            "Label more, or leave the section adapt out and show them as demonstrations."
        )
    if backend is not None and settings.annotate.verify is not None:
        engine = registry.load("backend.name", backend.name, BACKENDS, EXTRAS, group="backends")
        check_can_be_asked(backend, engine, head)
    kind = kind_of(head)
    if kind.per_token and not any(name for each in gold.train for _, name in kind.names(each.labels)):
        folder.warn(f"adapt: none of {len(contents)} sentences has an entity: the teacher learns to find none.")
    if adapt.pick != "last" and not gold.dev:
        folder.say("adapt: without corpus.original.dev no epoch can be chosen; the last one is kept.")
