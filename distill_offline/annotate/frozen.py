"""What shapes a run's prompts, frozen in it: demonstrations, template and guidelines, each version kept.

A pool that gains a hundred reviewed sentences would otherwise change every prompt that looks for the nearest of them,
and ask the teacher for a whole corpus again. So a run goes on with what it began with, says when its sources have
changed since, and takes the new ones when told to (`--refreeze`), or when the configuration names other ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from distill_offline import corpus, manifest
from distill_offline.annotate.pool import demonstration_pool
from distill_offline.config.settings import Settings, Source
from distill_offline.corpus import head_of, read_examples, write_examples
from distill_offline.errors import DistillError, InputError
from distill_offline.manifest import digest_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import Gold
from distill_offline.run.sources import plain_source
from distill_offline.schema import Example
from distill_offline.storage.files import fresh_folder, write_text
from distill_offline.tasks.prompting import guidelines_text, prompt_source

__all__ = ["forget", "frozen", "frozen_pools"]

_FROZEN = "frozen"  # the folder within annotate/
_CURRENT, _POOL, _PROMPT, _GUIDELINES = "current.json", "pool.jsonl", "prompt.jinja", "guidelines.md"


@dataclass(frozen=True, slots=True)
class _Live:
    """What the configuration's sources hold now."""

    pool: tuple[Example, ...]
    prompt: str
    guidelines: str

    def digests(self) -> dict[str, str]:
        return {
            "demonstrations": corpus.digest(self.pool),
            "prompt": hashlib.sha256(self.prompt.encode()).hexdigest(),
            "guidelines": hashlib.sha256(self.guidelines.encode()).hexdigest(),
        }


def frozen(folder: RunFolder, gold: Gold, *, refreeze: bool = False, write: bool = True) -> Settings:
    """The run's settings, with prompt, guidelines and pool pointing at what the run has frozen.

    Without `write`, nothing is made: where a version would have to be frozen, the live sources are used.
    """
    settings, frozen_folder = folder.settings, folder.folder("annotate") / _FROZEN
    live = _Live(_pool(settings, gold), prompt_source(settings.task), guidelines_text(settings.task.guidelines))
    current = _read(frozen_folder)
    digests, choice = live.digests(), digest_of(_choice(settings))
    if current is not None and not refreeze and current["choice"] == choice:
        if changed := sorted(name for name, digest in digests.items() if current["digests"][name] != digest):
            folder.say(
                f"annotate: {' and '.join(changed)} changed since this run began; it goes on with version "
                f"{current['version']}, which is frozen in {frozen_folder}. --refreeze takes the new: --dry-run "
                "--refreeze counts the rows that would be asked again, --sample N shows what would become of N of them."
            )
        _check(frozen_folder / str(current["version"]), digests=current["digests"])
        return _pointed_at(settings, frozen_folder / str(current["version"]))
    if not write:
        if current is None or (current["digests"], current["choice"]) != (digests, choice):
            return settings
        return _pointed_at(settings, frozen_folder / str(current["version"]))
    folder.check()
    for sealed in (folder.path, folder.folder("annotate")):
        manifest.unseal(sealed)
    version = current["version"] if current and current["digests"] == digests else _write(frozen_folder, live)
    _make_current(frozen_folder, {"version": version, "choice": choice, "digests": digests})
    return _pointed_at(settings, frozen_folder / str(version))


def _pool(settings: Settings, gold: Gold) -> tuple[Example, ...]:
    chosen = settings.demonstrations
    return () if chosen.strategy == "none" or not chosen.k else demonstration_pool(settings, gold)


def _choice(settings: Settings) -> Any:
    """What the configuration itself says: where it changes, the user has changed it."""
    chosen = settings.demonstrations
    named = settings.corpus.original.train if chosen.pool is None else chosen.pool
    has_pool = chosen.strategy != "none" and chosen.k > 0
    source = plain_source(named) if isinstance(named, Source) else named
    language = [settings.corpus.language] if settings.corpus.language else []
    return [settings.task.prompt, settings.task.guidelines, source if has_pool else None, *language]


def _read(frozen_folder: Path) -> dict[str, Any] | None:
    try:
        current: dict[str, Any] = json.loads((frozen_folder / _CURRENT).read_text("utf-8"))
        is_ours = {"version", "choice"} <= set(current) and set(current["digests"]) == set(_KINDS)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{frozen_folder / _CURRENT}: cannot be read ({type(error).__name__}). {_REMEDY}") from error
    if not is_ours:
        raise InputError(f"{frozen_folder / _CURRENT}: is not what a run writes. {_REMEDY}")
    return current


_KINDS = ("demonstrations", "guidelines", "prompt")
_REMEDY = "Restore the run's frozen folder from a copy, or remove it: the next annotate freezes anew."


def _check(version: Path, digests: Mapping[str, str]) -> None:
    """Raises InputError if a frozen file is not what was frozen."""
    try:
        present = _stored(version).digests()
    except (OSError, UnicodeDecodeError, DistillError) as error:
        raise InputError(f"{version}: cannot be read ({type(error).__name__}). {_REMEDY}") from error
    if changed := [name for name in _KINDS if present[name] != digests[name]]:
        raise InputError(f"{version}: {' and '.join(changed)} changed after being frozen. {_REMEDY}")


def _stored(version: Path) -> _Live:
    prompt, guidelines = ((version / name).read_text("utf-8") for name in (_PROMPT, _GUIDELINES))
    return _Live(_read_pool(version / _POOL), prompt, guidelines.strip())


def _write(frozen_folder: Path, live: _Live) -> int:
    """The number under which this is frozen: the next free one, or one that holds the very same already."""
    # Shards of one run may begin at the same moment: each writes a folder of its own, and the first one's counts.
    partial = frozen_folder / f"new.{os.getpid()}"
    fresh_folder(partial)
    write_examples(partial / _POOL, live.pool)
    write_text(partial / _PROMPT, live.prompt)
    write_text(partial / _GUIDELINES, live.guidelines)
    for number in count(1):
        version = frozen_folder / str(number)
        if not version.exists():
            with suppress(OSError):  # another shard has just taken the number
                partial.replace(version)
                return number
        with suppress(InputError):  # another version than this
            _check(version, live.digests())
            shutil.rmtree(partial)
            return number
    raise AssertionError("count() ends")


def _make_current(frozen_folder: Path, current: Mapping[str, Any]) -> None:
    partial = frozen_folder / f"{_CURRENT}.{os.getpid()}"
    write_text(partial, json.dumps(current, indent=2))
    partial.replace(frozen_folder / _CURRENT)


def _pointed_at(settings: Settings, version: Path) -> Settings:
    task, annotate = settings.task, settings.annotate
    demonstrations = settings.demonstrations
    if demonstrations.strategy != "none" and demonstrations.k:
        demonstrations = replace(demonstrations, pool=Source(path=str(version / _POOL), scheme="iob2"))
    return replace(
        settings,
        task=replace(task, prompt=str(version / _PROMPT), guidelines=str(version / _GUIDELINES)),
        annotate=replace(annotate, demonstrations=demonstrations),
    )


def frozen_pools(folder: Path) -> dict[Path, tuple[Example, ...]]:
    """The demonstrations of every version that a run has frozen, by file."""
    return {pool: _read_pool(pool) for pool in sorted((folder / "annotate" / _FROZEN).glob(f"*/{_POOL}"))}


def forget(pool: Path, kept: Sequence[Example]) -> None:
    """Leave only `kept` in a frozen pool, and take that as what was frozen: no change, once the source lacks it too."""
    current = _read(pool.parent.parent)
    if current is not None and str(current["version"]) == pool.parent.name:
        # First, so that a purge that is killed in between is finished by the next one, which finds the pool as it was.
        current["digests"]["demonstrations"] = corpus.digest(kept)
        _make_current(pool.parent.parent, current)
    write_examples(pool, kept)


def _read_pool(pool: Path) -> tuple[Example, ...]:
    if not pool.stat().st_size:  # no demonstrations, or all of them purged
        return ()
    return tuple(read_examples(Source(path=str(pool), scheme="iob2"), origin="original", head=head_of(pool)))
