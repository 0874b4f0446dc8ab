"""A JSON schema as a grammar (GBNF) of compact JSON, which llama.cpp's and vLLM's servers read alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["compact_grammar"]

_SCALARS = {
    "string": "string",
    "integer": 'integer ::= "-"? ("0" | [1-9] [0-9]*)',
    "number": 'number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?',
    "boolean": 'boolean ::= "true" | "false"',
    "null": 'null ::= "null"',
}
_CHARACTER = r'character ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])'
_REMARKS = {"$schema", "$id", "title", "description", "default", "examples", "additionalProperties"}
_KEYWORDS = {
    "string": {"minLength", "maxLength"},
    "array": {"prefixItems", "items", "minItems", "maxItems"},
    "object": {"properties", "required"},
}


def compact_grammar(schema: Mapping[str, Any]) -> str:
    """A grammar whose every text is valid under the schema and holds no whitespace outside strings.

    Objects have exactly the properties that are named, in that order, and all must be required. Raises ValueError for
    a keyword that it cannot express ($ref, pattern, uniqueItems and the like), and never drops one.
    """
    rules = _Rules()
    root = rules.value(schema)
    return "\n".join([f"root ::= {root}", *rules.named.values()]) + "\n"


class _Rules:
    """Expressions are written in place; only strings and numbers are rules of their own, so that names cannot clash."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}

    def value(self, schema: Mapping[str, Any]) -> str:
        if not isinstance(schema, Mapping):
            raise ValueError(f"the JSON schema {schema!r} has no grammar")
        if "const" in schema or "enum" in schema:
            self._check(schema, {"type", "enum", "const"})
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return _either(_literal(_json(value)) for value in values)
        if "anyOf" in schema:
            self._check(schema, {"anyOf"})
            return _either(self.value(option) for option in schema["anyOf"])
        kind = schema.get("type")
        if isinstance(kind, list):
            return _either(self.value({**schema, "type": type_}) for type_ in kind)
        self._check(schema, {"type"} | _KEYWORDS.get(str(kind), set()))
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        if kind == "string":
            return self._string(schema)
        if kind not in _SCALARS:
            raise ValueError(f"the JSON schema's type {kind!r} has no grammar")
        self.named[kind] = _SCALARS[kind]
        return str(kind)

    def _string(self, schema: Mapping[str, Any]) -> str:
        self.named["character"] = _CHARACTER
        return rf'"\"" character{_repeat(schema.get("minLength", 0), schema.get("maxLength"))} "\""'

    def _array(self, schema: Mapping[str, Any]) -> str:
        first = [self.value(item) for item in schema.get("prefixItems", ())]
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        rest = schema.get("items", False if first else None)
        if rest is None:
            raise ValueError("an array without items in the JSON schema has no grammar")
        if first:
            if rest is not False or least < len(first) or (most is not None and most < len(first)):
                raise ValueError("prefixItems in the JSON schema has a grammar only if exactly these items must come")
            return " ".join(['"["', ' "," '.join(first), '"]"'])
        if rest is False or most == 0:
            return '"[]"'
        item = self.value(rest)
        more = _repeat(max(least - 1, 0), None if most is None else most - 1)
        some = item if most == 1 else f'{item} ("," {item}){more}'
        return f'"[" {some} "]"' if least else f'"[" ({some})? "]"'

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties = schema.get("properties", {})
        if set(schema.get("required", ())) != set(properties):
            raise ValueError("an object in the JSON schema has a grammar only if each of its properties is required")
        members = [
            f"{_literal(_json(name) + ':')} {self.value(property_schema)}"
            for name, property_schema in properties.items()
        ]
        return " ".join(['"{"', ' "," '.join(members), '"}"'] if members else ['"{}"'])

    def _check(self, schema: Mapping[str, Any], known: set[str]) -> None:
        if unknown := sorted(set(schema) - known - _REMARKS):
            raise ValueError(f"the JSON schema's keyword {unknown[0]!r} has no grammar")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _literal(text: str) -> str:
    """JSON text holds no control characters, so that JSON's own escapes are those of a grammar's string."""
    return json.dumps(text, ensure_ascii=False)


def _either(expressions: Iterable[str]) -> str:
    return f"({' | '.join(expressions)})"


def _repeat(least: int, most: int | None) -> str:
    if (least, most) == (0, None):
        return "*"
    return f"{{{least},{'' if most is None else most}}}"
