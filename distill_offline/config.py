"""YAML to settings: strict, with the file, the key and the nearest known name in every message."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from distill_offline.errors import ConfigError
from distill_offline.settings import Settings

__all__ = ["dump", "load", "parse_settings"]


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error and not a silent choice."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path, changes: Iterable[str] = ()) -> Settings:
    """The settings of a YAML file after `--set section.key=value` changes.

    Values of changes are YAML, too: `train.updates=300`, `annotate.limit=null`. Raises ConfigError.
    """
    try:
        value = yaml.load(path.read_text("utf-8"), _UniqueKeys)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such configuration file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else '?'}: {error.problem}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a configuration is a mapping with the sections name, task, corpus, ...")
    for change in changes:
        _apply(value, change)
    return parse_settings(value, path.name)


def parse_settings(value: Mapping[str, Any], where: str) -> Settings:
    """Settings out of plain values; `where` names them in messages. Raises ConfigError with every problem found."""
    try:
        return TypeAdapter(Settings).validate_python(value)
    except ValidationError as error:
        problems = _problems(error)
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error


def dump(settings: Settings) -> str:
    """The resolved settings as YAML."""
    return yaml.safe_dump(as_plain(settings), sort_keys=False, allow_unicode=True, width=100)


def as_plain(settings: Any) -> Any:
    """Settings as JSON values: what manifests and fingerprints hold."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json")


def _apply(value: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {change}: write section.key=value, for example train.updates=300.")
    *sections, last = key.strip().split(".")
    place: Any = value
    for number, section in enumerate(sections):
        if isinstance(place, list) and section.isdigit() and int(section) < len(place):
            place = place[int(section)]
            continue
        if not isinstance(place, dict):
            raise ConfigError(f"--set {key}: {'.'.join(sections[:number])} is no section.")
        if not isinstance(place.get(section), (dict, list)):
            inner = place.get(section)
            place[section] = {"path": inner} if isinstance(inner, str) and sections[0] == "corpus" else {}
        place = place[section]
    if not isinstance(place, dict):
        raise ConfigError(f"--set {key}: {'.'.join(sections)} is no section.")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value.") from error


def _problems(error: ValidationError) -> list[str]:
    problems: list[str] = []
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"] if part not in _BRANCHES]
        key = ".".join(path)
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            near = difflib.get_close_matches(path[-1], _names_at(path[:-1]), n=1)
            hint = f" Did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
            problems.append(f"{key} is unknown.{hint}")
        elif item["type"] in ("missing", "missing_argument"):
            problems.append(f"{key} is missing.")
        elif item["type"] == "string_type" and any(part in _BRANCHES for part in item["loc"]):
            continue  # the other branch of `str | Source`: its own message says what is wrong
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            problems.append(f"{key}: {message} (it is {item['input']!r}).")
    return list(dict.fromkeys(problems)) or [str(error)]


_BRANCHES = ("str", "Source")  # what pydantic adds to a location for the branches of a union


def _names_at(path: Iterable[str]) -> list[str]:
    kind: Any = Settings
    for part in path:
        if part.isdigit():
            kind = next((a for a in typing.get_args(kind) if dataclasses.is_dataclass(a)), kind)
            continue
        hints = typing.get_type_hints(kind)
        kind = hints.get(part)
        members = [kind, *typing.get_args(kind)]
        kind = next((m for m in members if dataclasses.is_dataclass(m)), kind)
        if kind is None:
            return []
    kind = next((a for a in typing.get_args(kind) if dataclasses.is_dataclass(a)), kind)
    return [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
