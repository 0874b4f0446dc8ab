"""Name → object, by one table of `module:attribute` strings, imported when asked."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from distill_offline.errors import ConfigError, MissingPackage

__all__ = ["load"]


def load(kind: str, name: str, table: Mapping[str, str], extras: Mapping[str, str] | None = None) -> Any:
    """The object that `name` stands for in `table`, or that `package.module:attribute` names directly.

    `kind` is the configuration key, for messages. `extras` says which extra installs a name's dependencies.
    Raises ConfigError for an unknown name and MissingPackage where a dependency is not installed.
    """
    target = table.get(name, name if ":" in name else None)
    if target is None:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{kind}: {name!r} is unknown.{hint} Known: {', '.join(sorted(table))}, or package.module:Name."
        )
    module, _, attribute = target.partition(":")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        extra = (extras or {}).get(name)
        remedy = f"Install it: pip install 'distill_offline[{extra}]'." if extra else "Is it on PYTHONPATH?"
        raise MissingPackage(
            f"{kind}: {name!r} needs {error.name or module}, which does not import ({error}). {remedy}"
        ) from error
    try:
        return getattr(loaded, attribute)
    except AttributeError as error:
        raise ConfigError(f"{kind}: module {module} has no {attribute!r}.") from error
