from __future__ import annotations

from typing import Any

import pytest
from model_fixtures import ENTITIES, PAIRS

from distill_offline.backends.json_grammar import compact_grammar


def root(schema: dict[str, Any]) -> str:
    first, *_ = compact_grammar(schema).splitlines()
    return first.removeprefix("root ::= ")


@pytest.mark.parametrize(
    ("schema", "expression"),
    [
        ({"const": 'say "é"'}, r'("\"say \\\"é\\\"\"")'),
        ({"enum": ["A", 1, None]}, r'("\"A\"" | "1" | "null")'),
        ({"type": "integer"}, "integer"),
        ({"type": ["boolean", "null"]}, "(boolean | null)"),
        ({"type": "string"}, r'"\"" character* "\""'),
        ({"type": "string", "minLength": 1, "maxLength": 6}, r'"\"" character{1,6} "\""'),
        ({"type": "array", "items": {"type": "null"}}, '"[" (null ("," null)*)? "]"'),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, '"[" null ("," null){1,} "]"'),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1}, '"[" null "]"'),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 3}, '"[" (null ("," null){0,2})? "]"'),
        ({"type": "array", "items": False}, '"[]"'),
        (
            {"type": "array", "prefixItems": [{"type": "null"}, {"type": "integer"}], "minItems": 2, "maxItems": 2},
            '"[" null "," integer "]"',
        ),
        ({"type": "object"}, '"{}"'),
        (
            {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "required": ["b", "a"]},
            r'"{" "\"a\":" null "," "\"b\":" null "}"',
        ),
    ],
)
def test_each_shape_has_its_expression(schema: dict[str, Any], expression: str) -> None:
    assert root(schema) == expression


@pytest.mark.parametrize("schema", [PAIRS, ENTITIES], ids=["pairs", "entities"])
def test_every_rule_that_is_used_is_there_once(schema: dict[str, Any]) -> None:
    lines = compact_grammar(schema).splitlines()
    names = [line.partition(" ::= ")[0] for line in lines]
    assert sorted(names) == ["character", "root"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "pattern": "a+"}, "'pattern'"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "'uniqueItems'"),
        ({"$ref": "#/$defs/x", "$defs": {}}, "'[$]defs'"),
        ({"type": "array"}, "without items"),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "null"}}, "exactly these"),
        ({"type": "array", "prefixItems": [{"type": "null"}]}, "exactly these"),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, "required"),
        ({"type": "x"}, "type 'x'"),
        ({}, "type None"),
        ({"type": "array", "items": True}, "True"),
    ],
)
def test_what_it_cannot_express_is_named_and_not_dropped(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compact_grammar(schema)
