"""Jinja for templates of a site or a model: sandboxed, and bounded in steps, time, size and depth, in any thread."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinMethodType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

__all__ = ["BoundedEnvironment", "LimitReached", "bounded", "check_format", "guarded"]

_STEPS = 200_000  # passes of loops, calls of macros and functions
_SECONDS = 10.0
_TEXT = 10_000_000  # characters of one text
_MADE = 100_000_000  # characters of all texts that are made on the way
_NUMBER = 100_000  # of a width, an indentation, a count: the largest that a function is given
_BITS = 4096
_DEEPEST = 6  # of lists in lists that are measured
_WIDE = re.compile(r"\d{6}|%[^a-zA-Z%]*\*")  # in a format: a width of a million, or one that comes as an argument


class LimitReached(jinja2.TemplateError):
    """A template that takes more than any prompt can need; the message says of what."""


class _Used(threading.local):
    steps = made = 0
    until = float("inf")


_used = _Used()


@contextmanager
def bounded() -> Iterator[None]:
    """The limits begin anew within it, for this thread."""
    before = _used.steps, _used.made, _used.until
    _used.steps, _used.made, _used.until = 0, 0, time.monotonic() + _SECONDS
    try:
        yield
    except RecursionError as error:
        raise LimitReached("macros or loops call themselves without an end").with_traceback(
            error.__traceback__
        ) from error
    except MemoryError as error:
        raise LimitReached("it takes more memory than there is") from error
    finally:
        _used.steps, _used.made, _used.until = before


class BoundedEnvironment(SandboxedEnvironment):
    """A sandbox whose templates count their steps and the characters that they make; LimitReached ends them."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, undefined: type[jinja2.Undefined] = jinja2.StrictUndefined, **settings: Any) -> None:
        super().__init__(undefined=undefined, autoescape=False, optimized=False, **settings)
        self.filters = {name: guarded(function) for name, function in self.filters.items()}
        self.tests |= {name: _guarded_test(function) for name, function in dict[str, Any](self.tests).items()}

    def pieces(self, stream: Iterable[str]) -> str:
        """What a template's stream of texts adds up to."""
        texts, size = list[str](), 0
        for piece in stream:
            texts.append(piece)
            size += len(piece)
            if size > _TEXT:
                raise LimitReached(f"a text of more than {_TEXT:,} characters")
        return "".join(texts)

    def step(self, literal: int = 0) -> None:
        """One step more, with so many characters of the template's own text."""
        _step()
        _charge(literal)

    def compared(self, value: Any) -> Any:
        """A value that is about to be compared: two lists in lists take time beyond measure."""
        if isinstance(value, list | tuple | Mapping):
            _weight(value)
        return value

    def shown(self, value: Any) -> Any:
        """The value of an expression that is about to be written out."""
        _charge(_weight(value))
        return value

    def joined(self, *values: Any) -> str:
        """What `~` makes of them."""
        _charge(sum(map(_weight, values)))
        return "".join(map(str, values))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str | bytes):
            check_format(left, (right,))
        elif operator in ("*", "**"):
            _check_product(operator, left, right)
        elif operator == "+":
            _charge(_size(left) + _size(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(obj, "__self__", None) is self:  # what _count_steps has put in
            return obj(*args)
        self.step()
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes) and isinstance(method, BuiltinMethodType):
            _check_call(owner, (*args, *kwargs.values()), is_format=method.__name__ in ("format", "format_map"))
        else:
            _check_numbers((*args, *kwargs.values()) if obj in _COUNTING else ())
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, str | bytes):
            _charge(len(result))
        return result

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        _count_steps(source)
        return super()._generate(source, name, filename, defer_init)


_SLOW = {"do_striptags", "do_urlize"}  # their time grows with the square of the text
_COUNTING: tuple[Any, ...] = (jinja2.utils.generate_lorem_ipsum,)


def _count_steps(tree: nodes.Node) -> None:
    """Have loops, macros and blocks count steps, outputs their size; what is compared is looked at, `~` made by us."""
    for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock))):
        literal = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        body: list[nodes.Node] = node.body  # type: ignore[attr-defined]
        body.insert(0, _at(node, nodes.ExprStmt(_call(node, "step", [nodes.Const(literal)]))))
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [
            node_ if isinstance(node_, nodes.TemplateData) else _call(node_, "shown", [node_]) for node_ in output.nodes
        ]
    for compared in list(tree.find_all(nodes.Compare)):
        compared.expr = _call(compared.expr, "compared", [compared.expr])
        for other in compared.ops:
            other.expr = _call(other.expr, "compared", [other.expr])
    _replace_joins(tree)


def _replace_joins(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            value[:] = [_without_join(item) for item in value]
        elif isinstance(value, nodes.Node):
            setattr(node, name, _without_join(value))


def _without_join(node: Any) -> Any:
    if not isinstance(node, nodes.Node):
        return node
    _replace_joins(node)
    return _call(node, "joined", node.nodes) if isinstance(node, nodes.Concat) else node


def _call(at: nodes.Node, method: str, arguments: list[Any]) -> nodes.Call:
    call = nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None)
    _at(at, call)
    return call


def _at(origin: nodes.Node, node: nodes.Node) -> nodes.Node:
    node.set_lineno(origin.lineno)
    return node.set_environment(origin.environment) if origin.environment is not None else node


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step, with its arguments looked at before, and its result after."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        _step()
        values = [*args, *kwargs.values()]
        while values and isinstance(values[0], jinja2.Environment | jinja2.runtime.Context | jinja2.nodes.EvalContext):
            values.pop(0)
        if values:
            if function.__name__ in _SLOW and _size(values[0]) > _NUMBER:
                raise LimitReached(f"a text of more than {_NUMBER:,} characters for a filter that is slow with such")
            _check_call(values[0], values[1:], is_format=function.__name__ == "do_format")
        result = function(*args, **kwargs)
        _charge(_weight(result) if isinstance(result, str | bytes) else 0)
        return result

    return run


def _guarded_test(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any) -> Any:
        _step()
        for value in args:
            if isinstance(value, list | tuple | Mapping):
                _weight(value)
        return function(*args)

    return run


def _step() -> None:
    _used.steps += 1
    if _used.steps > _STEPS:
        raise LimitReached(f"more than {_STEPS:,} steps: a loop that hardly ends?")
    if time.monotonic() > _used.until:
        raise LimitReached(f"more than {_SECONDS:g} s")


def _check_call(owner: Any, others: Iterable[Any], *, is_format: bool) -> None:
    """What a function of a text may make at most: as many of each of its characters as the arguments have."""
    arguments = list(others)
    _check_numbers(arguments)
    if is_format:
        check_format(owner, arguments)
    most = max(1, _weight(owner)) * (
        1 + sum(abs(argument) if isinstance(argument, int) else _weight(argument) for argument in arguments)
    )
    if most > _MADE and not isinstance(owner, int | float):
        raise LimitReached("a text that is made of others grows beyond any measure")


def _check_numbers(values: Iterable[Any]) -> None:
    if wrong := next((value for value in values if isinstance(value, int) and abs(value) > _NUMBER), None):
        raise LimitReached(f"a function is given a number beyond {_NUMBER:,} ({str(wrong)[:12]}...)")


def check_format(text: Any, values: Iterable[Any]) -> None:
    """Raises LimitReached for a format that makes far more than it is given."""
    if _WIDE.search(text if isinstance(text, str) else text.decode("latin-1")):
        raise LimitReached("a format with a width that no prompt needs")
    if len(text) * (1 + sum(map(_weight, values))) > _MADE:
        raise LimitReached("a format that makes a text beyond any measure")


def _check_product(operator: str, left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | bytes | list | tuple) and isinstance(times, int):
            _charge(_size(value) * max(0, times))
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(1, right) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _BITS:
            raise LimitReached("a number that no prompt needs")


def _charge(size: int) -> None:
    _used.made += size
    if size > _TEXT:
        raise LimitReached(f"a text of more than {_TEXT:,} characters")
    if _used.made > _MADE:
        raise LimitReached(f"texts of more than {_MADE:,} characters in all")


def _size(value: Any) -> int:
    """How many characters or items it has; a list costs a little for each."""
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _weight(value: Any, depth: int = 0) -> int:
    """How many characters a value has when it is written out, or a little more."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() // 3 + 2
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        if depth == _DEEPEST:
            raise LimitReached("lists in lists, deeper than any prompt needs")
        total = 0
        for item in value:
            total += 2 + _weight(item, depth + 1)
            if total > _TEXT:
                break
        return total
    return 20
