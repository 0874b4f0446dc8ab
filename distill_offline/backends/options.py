"""What every backend's constructor starts with: its options checked, its package imported."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from distill_offline.errors import ConfigError, MissingPackage
from distill_offline.text.encoding import NotUTF8, read_utf8

__all__ = ["read_options", "read_template", "require"]

T = TypeVar("T")


def read_options(kind: type[T], options: Mapping[str, Any]) -> T:
    """`options` as an instance of the dataclass `kind`, whose fields are the known names, types and defaults.

    Types are strict: "4" is not an integer. Raises ConfigError with every problem found, each with its key,
    `backend.options.<key>`, and with the nearest known name for an unknown one.
    """
    known = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    strange = False
    for key, value in options.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            strange |= not near
            hint = f" Did you mean backend.options.{near[0]}?" if near else ""
            problems.append(f"backend.options.{key} is unknown.{hint} Known: {', '.join(sorted(known))}.")
            continue
        try:
            values[key] = TypeAdapter(known[key]).validate_python(value, strict=True)
        except ValidationError as error:
            faults = {fault["msg"] for fault in error.errors(include_url=False, include_input=False)}
            problems.append(f"backend.options.{key}: {'; or '.join(sorted(faults))}.")
            continue
        if isinstance(values[key], float) and not math.isfinite(values[key]):
            problems.append(f"backend.options.{key}: a finite number is expected (it is {values[key]}).")
    if strange:
        problems.append("Options belong to one engine. If they are another's, take them away: --set backend.options={}")
    required = [field.name for field in fields(kind) if _is_required(field)]  # type: ignore[arg-type]
    problems += [f"backend.options.{name} is missing." for name in required if name not in options]
    if problems:
        raise ConfigError("\n".join(problems))
    return kind(**values)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def read_template(path: str | None) -> str | None:
    """The Jinja chat template in a file that `backend.options.chat_template` names, or None if it names none."""
    if path is None:
        return None
    try:
        return read_utf8(Path(path))
    except (OSError, NotUTF8) as error:
        raise ConfigError(f"backend.options.chat_template: cannot read {path}: {error}.") from error


def require(module: str, remedy: str) -> Any:
    """The imported module. Raises MissingPackage, with the remedy, if it does not import."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise MissingPackage(f"backend.name: {missing} does not import ({error}). Install it: {remedy}.") from error
