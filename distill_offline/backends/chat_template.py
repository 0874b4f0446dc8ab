"""A model's own chat template: what transformers gives such templates, within the limits that ours have."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import modifies_known_mutable

from distill_offline.text.template_limits import BoundedEnvironment, LimitReached, bounded, check_format, guarded

__all__ = ["ChatTemplate"]

_MISTAKES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class ChatTemplate:
    """A compiled chat template. Raises jinja2.TemplateError, of which LimitReached is one, here and in `render`."""

    def __init__(self, text: str) -> None:
        self._environment = _ChatEnvironment()
        try:
            with bounded():
                self._template = self._environment.from_string(text)
        except LimitReached as error:
            raise LimitReached("it is nested too deeply") from error
        except SyntaxError as error:  # Python's own limits: too many blocks in blocks
            raise jinja2.TemplateError(error.msg) from error

    def render(self, **values: Any) -> str:
        """The text. What Python says of an expression that fails is left out: it may quote the corpus."""
        try:
            with bounded():
                context = self._template.new_context(values)
                return self._environment.pieces(self._template.root_render_func(context))
        except _MISTAKES as error:
            raise jinja2.TemplateError(f"an expression of it fails ({type(error).__name__})") from error


class _ChatEnvironment(BoundedEnvironment):
    def __init__(self) -> None:
        super().__init__(
            jinja2.Undefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationTag],
        )
        self.filters["tojson"] = guarded(_to_json)
        self.globals.update(raise_exception=_refuse, strftime_now=_strftime_now)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return super().is_safe_attribute(obj, attr, value) and not modifies_known_mutable(obj, attr)


class _GenerationTag(Extension):
    """`{% generation %}` marks what training learns from, and shows its content."""

    tags = {"generation"}  # noqa: RUF012  as Jinja has it

    def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _refuse(message: str) -> Any:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own would write &, < and > as escapes, which models have not learnt.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    check_format(form, ())
    return datetime.now().strftime(form)
