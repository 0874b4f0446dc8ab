"""YAML to settings: strict, with the file, the key and the nearest known name in every message."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from distill_offline.config.plain_yaml import PlainDumper, ValueLoader, read_yaml
from distill_offline.config.settings import Settings, Source
from distill_offline.errors import ConfigError

__all__ = ["coerced", "dump", "load", "parse_settings"]


def load(path: Path, changes: Iterable[str] = ()) -> Settings:
    """The settings of a YAML file after `--set section.key=value` changes.

    Values of changes are YAML, too: `train.updates=300`, `annotate.limit=null`. Raises ConfigError.
    """
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a configuration is a mapping with the sections name, task, corpus, ...")
    for change in changes:
        _apply(value, change)
    return parse_settings(value, path.name)


def parse_settings(value: Mapping[str, Any], where: str) -> Settings:
    """Settings out of plain values; `where` names them in messages. Raises ConfigError with every problem found."""
    try:
        made: Settings = _adapter(Settings).validate_python(value)
        if unlike := list(coerced(value, made)):
            raise ConfigError("\n".join(f"{where}: {problem}" for problem in unlike))
        return made
    except ValidationError as error:
        problems = _problems(error)
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error


def dump(settings: Settings) -> str:
    """The resolved settings as YAML."""
    return yaml.dump(as_plain(settings), Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=100)


def as_plain(settings: Any) -> Any:
    """Settings as JSON values: what manifests and fingerprints hold."""
    plain = _adapter(type(settings)).dump_python(settings, mode="json")
    if isinstance(settings, Settings):
        for section in ("adapt", "pretrain"):  # they came later: what a run without them has written stays what it is
            if plain[section] is None:
                del plain[section]
        for part, key, default in _CAME_LATER:
            if plain[part][key] == default:
                del plain[part][key]
    return plain


_CAME_LATER = (("annotate", "verify", None), ("select", "confidence_from", "answer"))


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Building one takes far longer than using it."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def coerced(plain: Any, made: Any, key: str = "") -> Iterator[str]:
    """What was taken for a number, or for true or false, and is none: `true`, "3", 2.0 for a whole number, NaN.

    `plain` are the plain values that the settings `made` come from.
    """
    if isinstance(plain, Mapping):
        for name, value in plain.items():
            inner = made.get(name) if isinstance(made, Mapping) else getattr(made, str(name), None)
            yield from coerced(value, inner, f"{key}.{name}" if key else str(name))
    elif isinstance(plain, list) and isinstance(made, tuple | list):
        for number, (value, inner) in enumerate(zip(plain, made, strict=False)):
            yield from coerced(value, inner, f"{key}.{number}")
    elif isinstance(made, bool) and not isinstance(plain, bool):
        yield f"{key}: true or false is expected (it is {_shortened(plain)})."
    elif isinstance(made, int) and (isinstance(plain, bool) != isinstance(made, bool) or not isinstance(plain, int)):
        yield f"{key}: a whole number is expected (it is {_shortened(plain)})."
    elif isinstance(made, float) and (isinstance(plain, bool) or not isinstance(plain, int | float)):
        yield f"{key}: a number is expected (it is {_shortened(plain)})."
    elif isinstance(made, float) and not math.isfinite(made):
        yield f"{key}: a finite number is expected (it is {_shortened(plain)})."


def _apply(value: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {change}: write section.key=value, for example train.updates=300.")
    try:
        new = yaml.load(text, ValueLoader)
    except yaml.composer.ComposerError as error:
        raise ConfigError(f"--set {key}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value.") from error
    container: Any = value
    for number, part in enumerate(parts[:-1], 1):
        inner = container[_position(container, part, key)] if isinstance(container, list) else container.get(part)
        if not isinstance(inner, (dict, list)):
            inner = _section(inner, parts[:number], key)
            container[_position(container, part, key) if isinstance(container, list) else part] = inner
        container = inner
    container[_position(container, parts[-1], key) if isinstance(container, list) else parts[-1]] = new


def _position(container: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(container):
        raise ConfigError(f"--set {key}: {part!r} is none of the list's positions, 0 to {len(container) - 1}.")
    return int(part)


def _section(inner: Any, path: list[str], key: str) -> dict[str, Any]:
    """What a key that holds no section becomes when something is set inside it."""
    if inner is None:
        return {}
    if isinstance(inner, str) and _takes_source(path):
        return {"path": inner}
    raise ConfigError(f"--set {key}: {'.'.join(path)} is not a section; it is {_shortened(inner)}.")


def _problems(error: ValidationError) -> list[str]:
    problems: list[str] = []
    for item in error.errors(include_url=False):
        path, branch = _without_branches(item["loc"])
        key = ".".join(path)
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            near = difflib.get_close_matches(path[-1], _names_at(path[:-1]), n=1)
            hint = f" Did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
            problems.append(f"{key} is unknown.{hint}")
        elif item["type"] in ("missing", "missing_argument"):
            problems.append(f"{key} is missing.")
        elif path[-1:] == ["[key]"]:
            problems.append(f"{'.'.join(path[:-2])}: the key {item['input']!r} is not text. Put it in quotes.")
        elif branch == "str":
            continue  # the other branch of `str | Source`: its own message says what is wrong
        elif branch == "Source" and item["type"] == "dataclass_type":
            problems.append(f"{key}: a path is expected, or a section with path (it is {_shortened(item['input'])}).")
        elif item["type"] == "value_error":  # what a section says of itself; it names its keys
            message = str(item["ctx"]["error"]).removesuffix(".")
            problems.append(f"{key}: {message}." if key else f"{message}.")
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            hint = _QUOTES if item["type"] == "string_type" and isinstance(item["input"], bool) else ""
            problems.append(f"{key or 'the configuration'}: {message} (it is {_shortened(item['input'])}).{hint}")
    return list(dict.fromkeys(problems))


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_QUOTES = " Put it in quotes: YAML takes yes and no, on and off for true and false."
_SHOWN = 80  # characters of a wrong value


def _without_branches(location: tuple[Any, ...]) -> tuple[list[str], str]:
    """A location without what pydantic adds for the branches of `str | Source`, and the branch that was added."""
    path: list[str] = []
    branch = ""
    for part in location:
        if part in ("str", "Source") and not branch and _takes_source(path):
            branch = part
        else:
            path.append(str(part))
    return path, branch


def _takes_source(path: Iterable[str]) -> bool:
    """Whether the key at `path` is a corpus file: a path or a whole Source."""
    return Source in typing.get_args(_kind_at(path))


def _names_at(path: Iterable[str]) -> list[str]:
    """The keys of the section at `path`."""
    section = _section_of(_kind_at(path))
    return [field.name for field in dataclasses.fields(section)] if section else []


def _kind_at(path: Iterable[str]) -> Any:
    """The annotated type of the setting at `path`; None if there is no such setting."""
    kind: Any = Settings
    for part in path:
        section = _section_of(kind)
        if part.isdecimal() and section is None:
            kind = next((inner for inner in typing.get_args(kind) if inner is not Ellipsis), None)  # of a list
        elif section is None:
            return None
        else:
            kind = section if part.isdecimal() else typing.get_type_hints(section).get(part)
    return kind


def _section_of(kind: Any) -> Any:
    """The dataclass that a type is, or holds: `tuple[ArmSettings, ...]`, `str | Source | None`."""
    return next((member for member in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(member)), None)
