"""YAML without its surprises: no key twice, numbers as people write them, and no aliases that grow beyond measure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from distill_offline.errors import ConfigError
from distill_offline.text.encoding import NotUTF8, read_utf8

__all__ = ["PlainDumper", "UniqueKeys", "ValueLoader", "read_yaml"]

_LARGEST = 100_000  # nodes, with every alias written out
_MERGE = "tag:yaml.org,2002:merge"
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_WHOLE = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+")
# YAML 1.1 takes 5e-5 for a text, and 1:30 for 90.
_BROKEN = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_yaml(path: Path) -> Any:
    """The value of a configuration file. Raises ConfigError with the file, and the line of a mistake."""
    try:
        return yaml.load(read_utf8(path), UniqueKeys)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such configuration file.") from error
    except NotUTF8 as error:
        raise ConfigError(f"{path}:{error.line}: cannot be read as UTF-8 text: {error.problem}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else '?'}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a control character, a date such as 2024-13-01
        raise ConfigError(f"{path}: is not YAML ({str(error).splitlines()[0]}).") from error


class UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error and not a silent choice.

    Numbers are those of YAML 1.2's core schema (5e-5 is one, 1:30 is none), with `_` between digits. Aliases may be
    used as long as all of it, written out, is no more than 100,000 nodes, and none holds itself.
    """

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _size(node, {}, set())
        return node


class ValueLoader(UniqueKeys):
    """One value on a command line: without anchors, aliases, merges and tags, which have no use there."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        is_plain = not isinstance(event, yaml.AliasEvent) and not event.anchor and not getattr(event, "tag", None)
        if not is_plain:
            raise yaml.composer.ComposerError(
                None, None, "anchors, aliases and tags have no use here", event.start_mark
            )
        node = super().compose_node(parent, index)
        if node is not None and node.tag == _MERGE:
            raise yaml.composer.ComposerError(None, None, "merges have no use here", node.start_mark)
        return node


class PlainDumper(yaml.SafeDumper):
    """Writes texts that UniqueKeys would take for numbers in quotes."""


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many nodes there are with every alias written out."""
    if id(node) in above:
        raise yaml.composer.ComposerError(None, None, "an alias that holds itself", node.start_mark)
    if id(node) not in known:
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        total, above = 1, above | {id(node)} if isinstance(node, yaml.CollectionNode) else above
        for part in inner if isinstance(node, yaml.CollectionNode) else ():
            total += _size(part, known, above)
            if total > _LARGEST:
                problem = f"more than {_LARGEST:,} values, with aliases written out"
                raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        known[id(node)] = total
    return known[id(node)]


def _mapping(loader: UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        plain = isinstance(key_node, yaml.ScalarNode)
        if not plain or key_node.value in seen:
            problem = (
                f"the key {key_node.value!r} occurs here twice"
                if plain
                else "a key must be plain text, not a list or a mapping"
            )
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key_node.value)
    # What `<<` merges in may be overridden, so it is no second key.
    return loader.construct_mapping(node, deep=True)


def _whole(loader: UniqueKeys, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


def _number(loader: UniqueKeys, node: yaml.ScalarNode) -> float:
    return float(
        str(loader.construct_scalar(node)).replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    )


def _use(kind: Any, *, keep: bool) -> None:
    """Numbers as above for a loader; a dumper keeps YAML 1.1's as well: what either takes for one is quoted."""
    kind.yaml_implicit_resolvers = {
        first: [line for line in resolvers if keep or line[0] not in (_INT, _FLOAT)]
        for first, resolvers in kind.yaml_implicit_resolvers.items()
    }
    for tag, words in ((_INT, _WHOLE), (_FLOAT, _BROKEN)):
        kind.add_implicit_resolver(tag, re.compile(f"(?:{words.pattern})\\Z"), list("-+.0123456789"))


UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
UniqueKeys.add_constructor(_INT, _whole)
UniqueKeys.add_constructor(_FLOAT, _number)
_use(UniqueKeys, keep=False)
ValueLoader.yaml_implicit_resolvers = UniqueKeys.yaml_implicit_resolvers
_use(PlainDumper, keep=True)
