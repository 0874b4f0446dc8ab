"""What a shell offers when Tab is pressed: configurations, runs, models and settings, found without a heavy import."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

__all__ = ["configs", "folders", "model_ids", "runs", "runs_and_studies", "settings"]

_SCHEMA = "package:configs/schema.json"


def configs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Configurations here and below configs/; whatever file begins so, if there is none."""
    return _or_files([*_here("*.yaml"), *_here("configs/**/*.yaml")], incomplete)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs below runs/."""
    return _or_files((str(Path(found).parent) for found in _here("runs/*/manifest.json")), incomplete)


def runs_and_studies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs and studies below runs/, then configurations."""
    made = [str(Path(found).parent) for name in ("manifest", "study") for found in _here(f"runs/*/{name}.json")]
    return _or_files([*sorted(set(made)), *_here("*.yaml"), *_here("configs/**/*.yaml")], incomplete)


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs below runs/ and their stages: what has a manifest."""
    found = [*_here("runs/*/manifest.json"), *_here("runs/*/*/manifest.json")]
    return _or_files((str(Path(manifest).parent) for manifest in found), incomplete)


def model_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The catalogue's models."""
    from distill_offline.errors import DistillError
    from distill_offline.models.entries import Catalogue

    try:
        entries = Catalogue.load().entries
    except (DistillError, OSError):
        return []  # the verb itself says what is wrong with the catalogue
    return [CompletionItem(entry.id, help=entry.role) for entry in entries if entry.id.startswith(incomplete)]


def settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`section.key=` for each setting, from the schema that editors use."""
    from distill_offline.corpus.source import resolve_path
    from distill_offline.errors import CorpusError

    try:
        whole = json.loads(resolve_path(_SCHEMA).read_text("utf-8"))
    except CorpusError:
        return []
    found = []
    for section, about in whole["properties"].items():
        parts = [part["$ref"] for part in about.get("allOf", about.get("anyOf", ())) if "$ref" in part]
        keys = [key for part in parts for key in whole["$defs"][part.rpartition("/")[2]]["properties"].items()]
        found += [(f"{section}.{key}=", told.get("description", "")) for key, told in keys] or [
            (f"{section}=", about.get("description", ""))
        ]
    return [CompletionItem(key, help=told.partition("\n")[0]) for key, told in found if key.startswith(incomplete)]


def _here(pattern: str) -> list[str]:
    return sorted(str(path) for path in Path().glob(pattern))


def _or_files(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
